"""A throw-away MariaDB server for the measurements."""

import shlex
import shutil
import subprocess
import time

import server

# As for PostgreSQL: the defaults of the server where they matter, sizes as on a small real one.
OPTIONS = (
    "--bind-address=127.0.0.1", "--skip-name-resolve", "--skip-log-bin", "--innodb-buffer-pool-size=512M",
    "--innodb-log-file-size=1G", "--character-set-server=utf8mb4", "--collation-server=utf8mb4_general_ci",
)


class MariaDB:
    """Started in a folder of its own."""

    def __init__(self):
        self.program = shutil.which("mariadbd", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
        if not self.program:
            raise SystemExit("no MariaDB server program: apt-get install mariadb-server-core mariadb-client-core")
        self.folder = server.Folder()
        self.port = server.free_port()
        data = self.folder.inside("data")
        # A server that starts clears the temporary files of all others from the folder for them.
        places = (f"--datadir={data}", f"--tmpdir={self.folder.path}")
        self.folder.run("mariadb-install-db", "--no-defaults", "--auth-root-authentication-method=normal",
                        "--skip-test-db", *places)
        self.process = self.folder.start(
            self.program, "--no-defaults", *places, f"--port={self.port}", f"--socket={self.folder.inside('socket')}",
            f"--pid-file={self.folder.inside('pid')}", *OPTIONS)
        deadline = time.monotonic() + 60
        while subprocess.run(self.client("mysql", "-e", "SELECT 1"), stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, check=False).returncode:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"mariadbd does not start: {self.folder.log()}")
            time.sleep(0.1)

    def url(self, database):
        return f"mysql://root@127.0.0.1:{self.port}/{database}"

    def client(self, database, *arguments):
        """A command of the client: rows as they come, without names."""
        return ["mariadb", "--no-defaults", "--host=127.0.0.1", f"--port={self.port}", "--user=root", "--batch",
                "--quick", "--skip-column-names", "--default-character-set=utf8mb4", database, *arguments]

    def sql(self, database, statement):
        done = subprocess.run(self.client(database), input=statement, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, check=False)
        if done.returncode:
            raise SystemExit(f"mariadb failed in {database}: {done.stderr}")
        return done.stdout.strip()

    def dump(self, database, statement):
        """A shell command that prints rows."""
        return shlex.join(self.client(database, "-e", statement))

    def create(self, database):
        self.sql("mysql", f"DROP DATABASE IF EXISTS {database}; CREATE DATABASE {database}")

    def archive(self, database, studies):
        """With an index on updated_time, and the views of what a target must hold."""
        self.create(database)
        text = f"SET @patients = {server.patients(studies)}, @studies = {studies};\n"
        for name in ("archive-mariadb.sql", "expected-mariadb.sql"):
            with open(server.script(name), encoding="utf-8") as file:
                text += file.read()
        self.sql(database, text)
        self.sql(database, "ANALYZE TABLE person_name, patient, patient_id, study, series, study_access_control_id")

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.folder.remove()
