"""The program under measurement: single runs, and the daemon."""

import json
import os
import socket
import subprocess
import time


class Site:
    """A configuration in a folder of its own."""

    def __init__(self, binary, folder, source, target, interval="1h", source_keys="", more=""):
        os.makedirs(folder, exist_ok=True)
        self.binary = binary
        self.socket = os.path.join(folder, "control.sock")
        self.config = os.path.join(folder, "rbac-sync.toml")
        self.daemon = None
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(
                f'[schedule]\ninterval = "{interval}"\n[[source]]\nname = "main"\nurl = "{source}"\n'
                f'time_zone = "UTC"\n{source_keys}\n[target]\nurl = "{target}"\n'
                f"max_deletes = {{ rows = 1000000000, percent = 100.0 }}\n"
                f'[socket]\npath = "{self.socket}"\n[log]\nformat = "json"\nlevel = "warn"\n{more}\n'
            )

    def once(self, mode="full"):
        """Seconds, and the largest resident size in MiB."""
        return measured([self.binary, "once", "--config", self.config, "--mode", mode])

    def start(self):
        """Starts the daemon; seconds until it says READY to a service manager."""
        path = self.socket + ".notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(path)
            notify.settimeout(60)
            begun = time.monotonic()
            environment = dict(os.environ, NOTIFY_SOCKET=path)
            self.daemon = subprocess.Popen([self.binary, "daemon", "--config", self.config], env=environment)
            while b"READY=1" not in notify.recv(4096):
                pass
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
        """A run of the daemon: its record."""
        record = self.ask("run", "--wait", *arguments)
        if not record.get("success"):
            raise SystemExit(f"a run failed: {record}")
        return record

    def memory(self):
        """Resident MiB of the daemon now, and at its largest."""
        values = {}
        with open(f"/proc/{self.daemon.pid}/status", encoding="ascii") as status:
            for line in status:
                name, _, value = line.partition(":")
                values[name] = value
        return tuple(int(values[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))

    def cpu(self):
        """Seconds of processor time of the daemon so far."""
        with open(f"/proc/{self.daemon.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measured(command):
    """Runs a command: seconds, and the largest resident size of it in MiB."""
    begun = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    error = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise SystemExit(f"{' '.join(command)}: failed\n{error}")
    return seconds, usage.ru_maxrss / 1024
