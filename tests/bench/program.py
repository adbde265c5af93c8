"""The program under measurement: single runs, and the daemon."""

import json
import os
import select
import socket
import subprocess
import tempfile
import time


class Site:
    """A configuration in a folder of its own. `source_keys` are lines of TOML for the source, `listen` is an address
    for HTTP."""

    def __init__(self, binary, folder, source, target, interval="1h", source_keys="", listen=None):
        os.makedirs(folder, exist_ok=True)
        self.binary = binary
        self.socket = os.path.join(folder, "control.sock")
        self.config = os.path.join(folder, "rbac-sync.toml")
        self.daemon = None
        with open(self.config, "w", encoding="utf-8") as file:
            http = f'[http]\nlisten = "{listen}"\n' if listen else ""
            file.write(
                f'[schedule]\ninterval = "{interval}"\n[[source]]\nname = "main"\nurl = "{source}"\n'
                f'time_zone = "UTC"\n{source_keys}\n[target]\nurl = "{target}"\n'
                f"max_deletes = {{ rows = 1000000000, percent = 100.0 }}\n"
                f'[socket]\npath = "{self.socket}"\n[log]\nformat = "json"\nlevel = "warn"\n{http}'
            )

    def once(self, mode="full"):
        """Seconds, and the largest resident size in MiB."""
        return measured([self.binary, "once", "--config", self.config, "--mode", mode])

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        """Starts the daemon; seconds until it says READY to a service manager."""
        path = self.socket + ".notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(path)
            notify.settimeout(60)
            begun = time.monotonic()
            command = [self.binary, "daemon", "--config", self.config]
            self.daemon = subprocess.Popen(command, env=dict(os.environ, NOTIFY_SOCKET=path))
            try:
                while b"READY=1" not in notify.recv(4096):
                    pass
            except TimeoutError:
                self.stop()
                raise SystemExit("the daemon does not become ready within 60 seconds") from None
            ready = time.monotonic() - begun
        os.unlink(path)
        return ready

    def stop(self):
        self.daemon.terminate()
        self.daemon.wait()

    def ask(self, *arguments):
        """What a client command says, as JSON."""
        command = [self.binary, *arguments, "--socket", self.socket, "--json"]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)

    def run(self, *arguments):
        """A run of the daemon: the seconds that the command took, and the run's record."""
        begun = time.monotonic()
        record = self.ask("run", "--wait=1h", *arguments)
        seconds = time.monotonic() - begun
        if not record.get("success"):
            raise SystemExit(f"a run failed: {record}")
        return seconds, record

    def scheduled(self, limit=50):
        """Milliseconds of those of the latest runs that the schedule started."""
        runs = self.ask("history", "--limit", str(limit))["runs"]
        return [run["duration_ms"] for run in runs if run["trigger"] == "schedule"]

    def memory(self):
        """Resident MiB of the daemon now, and at its largest."""
        return resident(self.daemon.pid)

    def cpu(self):
        """Seconds of processor time of the daemon so far."""
        with open(f"/proc/{self.daemon.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measured(command):
    """Runs a command: seconds, and the largest resident size of its process in MiB.

    Not what wait4 says: a process begins there with the size of the one that it was forked from."""
    peak = 0
    with tempfile.TemporaryFile() as errors:
        begun = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        ended = os.pidfd_open(process.pid)
        while not select.select([ended], [], [], 0.05)[0]:
            peak = max(peak, resident(process.pid)[1])
        seconds = time.monotonic() - begun
        os.close(ended)
        if process.wait():
            errors.seek(0)
            text = errors.read().decode(errors="replace")
            raise SystemExit(f"{' '.join(command)}: failed\n{text}")
    return seconds, peak


def resident(pid):
    """Resident MiB of a process now, and at its largest; zeros of one that has ended."""
    values = {}
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        for line in status:
            name, _, value = line.partition(":")
            values[name] = value
    return tuple(int(values.get(name, "0").split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
