"""A throw-away PostgreSQL server for the measurements."""

import glob
import os
import re
import shlex
import subprocess

import server

# The defaults of the server where they matter; sizes as on a small real one.
SETTINGS = {
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "shared_preload_libraries": "pg_stat_statements",
    "track_io_timing": "on",
    "autovacuum": "off",  # it would start in one of the two runs that are compared
}


class Postgres:
    """Started in a folder of its own."""

    def __init__(self):
        found = glob.glob("/usr/lib/postgresql/*/bin")
        if not found:
            raise SystemExit("no PostgreSQL server programs in /usr/lib/postgresql: apt-get install postgresql-15")
        self.bin = max(found, key=lambda path: int(re.search(r"/(\d+)/", path)[1]))
        self.folder = server.Folder()
        self.port = server.free_port()
        self.data = self.folder.inside("data")
        self.folder.run(os.path.join(self.bin, "initdb"), "-D", self.data, "-U", "postgres", "-A", "trust",
                        "-E", "UTF8", "--locale=C")
        with open(os.path.join(self.data, "postgresql.conf"), "a", encoding="utf-8") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in SETTINGS.items())
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder.path}"
        self._pg_ctl("-l", self.folder.inside("log"), "-o", options, "start")
        self.sql("postgres", "CREATE EXTENSION pg_stat_statements")

    def _pg_ctl(self, *arguments):
        self.folder.run(os.path.join(self.bin, "pg_ctl"), "-D", self.data, "-w", *arguments)

    def url(self, database, port=None):
        return f"postgres://postgres@127.0.0.1:{port or self.port}/{database}"

    def socket_url(self, database):
        return f"postgres:///{database}?host={self.folder.path}&port={self.port}&user=postgres"

    def psql(self, database, *arguments):
        """The output of psql, which stops at the first error."""
        command = ["psql", "-qXAt", "-v", "ON_ERROR_STOP=1", self.url(database), *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"psql failed in {database}: {done.stderr}")
        return done.stdout.strip()

    def sql(self, database, *statements):
        return self.psql(database, *(part for statement in statements for part in ("-c", statement)))

    def dump(self, database, statement):
        """A shell command that prints rows as COPY does."""
        return f"psql -qX {self.url(database)} -c {shlex.quote(f'COPY ({statement}) TO STDOUT')}"

    def create(self, database, template="template0"):
        self.drop(database)
        self.sql("postgres", f"CREATE DATABASE {database} TEMPLATE {template}")

    def drop(self, database):
        self.sql("postgres", "SET client_min_messages = warning", f"DROP DATABASE IF EXISTS {database}")

    def archive(self, database, studies):
        """With an index on updated_time, and the views of what a target must hold."""
        self.create(database)
        sizes = ("-v", f"patients={server.patients(studies)}", "-v", f"studies={studies}")
        self.psql(database, *sizes, "-f", server.script("archive-postgres.sql"))
        self.psql(database, "-f", server.script("expected-postgres.sql"))
        self.index(database)
        self.sql(database, "VACUUM ANALYZE")

    def index(self, database):
        for table in ("patient", "study", "series"):
            self.sql(database, f"CREATE INDEX {table}_updated_time ON {table} (updated_time)")

    def unindex(self, database):
        for table in ("patient", "study", "series"):
            self.sql(database, f"DROP INDEX {table}_updated_time")

    def writes(self, database):
        """What the statistics count of the user tables: rows inserted, updated and deleted, and rows that are dead."""
        names = ("inserted", "updated", "deleted", "dead")
        counts = self.sql(
            database,
            "SELECT sum(n_tup_ins), sum(n_tup_upd), sum(n_tup_del), sum(n_dead_tup) FROM pg_stat_user_tables",
        )
        return dict(zip(names, map(int, counts.split("|"))))

    def forget_statements(self):
        self.sql("postgres", "SELECT pg_stat_statements_reset()")

    def statements(self, database, like, sums):
        """Sums over the statements of one database that were seen since they were forgotten, as numbers."""
        found = self.sql(
            "postgres",
            f"SELECT {sums} FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid"
            f" WHERE d.datname = '{database}' AND s.query LIKE '{like}'",
        )
        return [float(value or 0) for value in found.split("|")]

    def stop(self):
        self._pg_ctl("-m", "immediate", "stop")
        self.folder.remove()
