"""A throw-away PostgreSQL server for the measurements."""

import glob
import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile

SQL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sql")

# The defaults of the server where they matter; sizes as on a small real one.
SETTINGS = {
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "shared_preload_libraries": "pg_stat_statements",
    "track_io_timing": "on",
    "autovacuum": "off",  # it would start in one of the two runs that are compared
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Postgres:
    """Started in a folder of its own, as the user postgres where this process is root."""

    def __init__(self):
        found = glob.glob("/usr/lib/postgresql/*/bin")
        if not found:
            raise SystemExit("no PostgreSQL server programs in /usr/lib/postgresql: apt-get install postgresql-15")
        self.bin = max(found, key=lambda path: int(re.search(r"/(\d+)/", path)[1]))
        self.folder = tempfile.mkdtemp(prefix="rbac-sync-bench-")
        self.port = free_port()
        self.user = []
        if os.geteuid() == 0:
            entry = pwd.getpwnam("postgres")
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
            self.user = ["runuser", "-u", "postgres", "--"]
        data = os.path.join(self.folder, "data")
        self._server("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
        with open(os.path.join(data, "postgresql.conf"), "a", encoding="utf-8") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in SETTINGS.items())
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        self.data = data
        self._server("pg_ctl", "-D", data, "-w", "-l", os.path.join(self.folder, "log"), "-o", options, "start")

    def _server(self, program, *arguments):
        command = [*self.user, os.path.join(self.bin, program), *arguments]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd="/", check=False)
        if done.returncode:
            raise SystemExit(f"{program} failed: {done.stderr}")

    def url(self, database):
        return f"postgres://postgres@127.0.0.1:{self.port}/{database}"

    def psql(self, database, *arguments):
        """The output of psql, which stops at the first error."""
        command = ["psql", "-qXAt", "-v", "ON_ERROR_STOP=1", self.url(database), *arguments]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    def sql(self, database, statement):
        return self.psql(database, "-c", statement)

    def create(self, database, template="template0"):
        self.psql("postgres", "-c", "SET client_min_messages = warning", "-c", f"DROP DATABASE IF EXISTS {database}")
        self.sql("postgres", f"CREATE DATABASE {database} TEMPLATE {template}")

    def archive(self, database, patients, studies):
        self.create(database)
        sizes = ("-v", f"patients={patients}", "-v", f"studies={studies}")
        self.psql(database, *sizes, "-f", os.path.join(SQL, "archive.sql"))
        self.psql(database, "-f", os.path.join(SQL, "expected.sql"), "-c", "CREATE EXTENSION pg_stat_statements")
        self.sql(database, "VACUUM ANALYZE")

    def stop(self):
        self._server("pg_ctl", "-D", self.data, "-m", "immediate", "stop")
        shutil.rmtree(self.folder, ignore_errors=True)
