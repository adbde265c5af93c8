"""What the throw-away servers of the measurements have in common."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile

SQL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sql")


def script(name):
    return os.path.join(SQL, name)


def patients(studies):
    """How many an archive with so many studies has."""
    return max(studies // 5, min(studies, 1))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Folder:
    """Of one server, which refuses to run as root: then it runs as the user postgres, whom the folder belongs to."""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="rbac-sync-bench-")
        self.user = []
        if os.geteuid() == 0:
            entry = pwd.getpwnam("postgres")
            os.chown(self.path, entry.pw_uid, entry.pw_gid)
            self.user = ["setpriv", "--reuid", str(entry.pw_uid), "--regid", str(entry.pw_gid), "--init-groups", "--"]

    def inside(self, name):
        return os.path.join(self.path, name)

    def run(self, program, *arguments):
        done = subprocess.run([*self.user, program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                              text=True, cwd="/", check=False)
        if done.returncode:
            raise SystemExit(f"{program} failed: {done.stderr}")

    def start(self, program, *arguments):
        """A server that stays in the foreground, with its log beside its data."""
        with open(self.inside("log"), "wb") as log:
            return subprocess.Popen([*self.user, program, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                    cwd="/", start_new_session=True)

    def log(self):
        with open(self.inside("log"), encoding="utf-8", errors="replace") as log:
            return log.read()[-2000:]

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)
