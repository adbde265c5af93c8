"""Many clients that ask one URL again and again, each as soon as it was answered: wrk, else this process itself."""

import dataclasses
import re
import selectors
import shutil
import socket
import subprocess
import time
import urllib.parse

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


@dataclasses.dataclass
class Found:
    """Times in seconds."""

    client: str
    seconds: float
    requests: int
    errors: int
    p50: float
    p99: float


def load(url, connections, seconds):
    """Asks for so many seconds, at least one, over so many connections."""
    seconds = max(round(seconds), 1)
    return by_wrk(url, connections, seconds) if shutil.which("wrk") else by_hand(url, connections, seconds)


def by_wrk(url, connections, seconds):
    command = ["wrk", "--latency", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s", url]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    def percentile(name):
        value, unit = re.search(rf"^ +{name}% +([\d.]+)([a-z]+)$", text, re.MULTILINE).groups()
        return float(value) * UNITS[unit]

    errors = sum(map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", text)))
    errors += sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", text)))
    requests = int(re.search(r"(\d+) requests in", text)[1])
    return Found("wrk", seconds, requests, errors, percentile(50), percentile(99))


class Client:
    """One connection and its request under way."""

    def __init__(self, address, request):
        self.socket = socket.create_connection(address, timeout=10)
        self.request = request
        self.ask()

    def ask(self):
        self.reply = b""
        self.begun = time.monotonic()
        self.socket.sendall(self.request)

    def read(self):
        """Whether the reply is complete; raises where the server has gone."""
        part = self.socket.recv(65536)
        if not part:
            raise ConnectionError
        self.reply += part
        head, found, body = self.reply.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)^content-length: *(\d+)", head, re.MULTILINE)
        return bool(found) and len(body) >= int(length[1])


def by_hand(url, connections, seconds):
    parts = urllib.parse.urlsplit(url)
    request = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
    times, errors = [], 0
    with selectors.DefaultSelector() as ready:
        for _ in range(connections):
            client = Client((parts.hostname, parts.port), request)
            ready.register(client.socket, selectors.EVENT_READ, client)
        end = time.monotonic() + seconds
        while time.monotonic() < end and ready.get_map():
            for key, _ in ready.select(0.1):
                client = key.data
                try:
                    if not client.read():
                        continue
                    times.append(time.monotonic() - client.begun)
                    errors += not client.reply.startswith(b"HTTP/1.1 200 ")
                    client.ask()
                except OSError:
                    errors += 1
                    ready.unregister(client.socket)
                    client.socket.close()
        for key in list(ready.get_map().values()):
            key.fileobj.close()
    times.sort()
    if not times:
        raise SystemExit(f"wrong result: nobody answers {url}")
    return Found("own", seconds, len(times), errors, times[len(times) // 2], times[len(times) * 99 // 100])
