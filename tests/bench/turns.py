"""Counts the round trips between a program and its database: a proxy that passes all bytes on."""

import socket
import threading


class Turns:
    """Listens on a port of its own while it is entered. A turn is when the client speaks after the server did."""

    def __init__(self, port):
        self.server = ("127.0.0.1", port)
        self.count = 0
        self.lock = threading.Lock()

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        # Wakes accept() up, which close() alone does not.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.server)
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # The client speaks first.
            heard = {"server": True}
            for source, to, of_client in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pass, args=(source, to, of_client, heard), daemon=True).start()

    def _pass(self, source, to, of_client, heard):
        try:
            while data := source.recv(65536):
                with self.lock:
                    if of_client and heard["server"]:
                        self.count += 1
                    heard["server"] = not of_client
                to.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, to):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
