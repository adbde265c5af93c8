"""The servers, the archive and the targets that the rows of the table work on."""

import functools
import os
import shutil
import sqlite3

import check
import levels
import mariadb
import postgres
import program

# What a study with its three series needs on disk: in the archive, in three targets, and in the log of the server.
BYTES_PER_STUDY = 10_000

# Keys of a source: nothing is read twice, and nothing compared beside what changed.
CHANGES_ONLY = 'overlap = "0s"\nsweep_percent = 0.0'


class Stage:
    """PostgreSQL with an archive; MariaDB only when a row asks for it. Rows leave the archive as they found it,
    apart from values that they changed, and the target `ours` equal to it."""

    def __init__(self, options, folder):
        self.options = options
        self.folder = folder
        self.studies = options.studies
        self.rounds = options.rounds
        self.seconds = options.seconds
        self.need(self.studies)
        self.pg = postgres.Postgres()

    def need(self, rows, size=BYTES_PER_STUDY):
        """Stops where the disk has no room for so many rows more of that size."""
        needed, free = rows * size, shutil.disk_usage(self.folder).free
        if needed > free * 0.8:
            raise SystemExit(f"{needed >> 30} GiB are needed in {self.folder}, {free >> 30} are free: ask for less, or"
                             " set TMPDIR")

    def stop(self):
        self.pg.stop()
        if "mariadb" in self.__dict__:
            self.mariadb.stop()

    @functools.cached_property
    def mariadb(self):
        return mariadb.MariaDB()

    # What the rows share, made when it is first asked for.

    @functools.cached_property
    def archive(self):
        """The name of the archive, with an index on updated_time."""
        self.pg.archive("archive", self.studies)
        return "archive"

    @functools.cached_property
    def empty_archive(self):
        """An archive without rows, for the tables that the program makes from it."""
        self.pg.archive("nothing", 0)
        return "nothing"

    @functools.cached_property
    def tables(self):
        """A target with the tables, keys and indexes of the program, and no row."""
        return self.make_tables("tables", self.empty_archive)

    def make_tables(self, target, empty_archive, source_keys=""):
        self.pg.create(target)
        self.site(self.pg.url(empty_archive), self.pg.url(target), "tables", source_keys=source_keys).once()
        self.pg.sql(target, "DELETE FROM sync_cursor; DELETE FROM sync_sweep; DELETE FROM rbac_source")
        return target

    @functools.cached_property
    def ours(self):
        """A target that holds the archive, filled by the program."""
        self.pg.create("ours")
        self.site(self.pg.url(self.archive), self.pg.url("ours")).once()
        self.pg.sql("ours", "VACUUM ANALYZE")
        return "ours"

    def sqlite_tables(self, path):
        """As `tables`, in a file."""
        self.site(self.pg.url(self.empty_archive), f"sqlite://{path}", "sqlite-tables").once()
        with sqlite3.connect(path) as database:
            database.execute("DELETE FROM sync_cursor")
            database.execute("DELETE FROM sync_sweep")
            database.execute("DELETE FROM rbac_source")
        database.close()

    def site(self, source, target, name="site", **keys):
        return program.Site(self.options.binary, os.path.join(self.folder, name), source, target, **keys)

    def daemon(self, **keys):
        """A site from the archive to `ours` that reads what changed, and nothing else."""
        return self.site(self.pg.url(self.archive), self.pg.url(self.ours), source_keys=CHANGES_ONLY, **keys)

    def once(self, target, mode="full"):
        """A single run from the archive: seconds and MiB."""
        return self.site(self.pg.url(self.archive), self.pg.url(target)).once(mode)

    def check(self, target, archive=None, instances=False):
        """That a target in PostgreSQL holds what the archive holds."""
        def of(database):
            return lambda statement: check.printed(self.pg.dump(database, statement))
        check.compare(levels.POSTGRES, of(archive or self.archive), of(target), target, instances)

    # Changes of the archive.

    def change(self, studies, text, first=0):
        """Changes about so many studies all over the table, and all series of them, as the archive would. `first`
        tells changes of other studies apart."""
        step = max(self.studies // studies, 1)
        now, where = "(clock_timestamp() AT TIME ZONE 'UTC')", f"% {step} = {first % step}"
        self.pg.sql(
            self.archive,
            f"UPDATE study SET study_desc = '{text}', updated_time = {now} WHERE pk {where}",
            f"UPDATE series SET series_desc = '{text}', updated_time = {now} WHERE study_fk {where}",
        )

    def change_first(self, studies, text, archive=None):
        """Changes the first so many studies, and nothing of their series."""
        self.pg.sql(
            archive or self.archive,
            f"UPDATE study SET study_desc = '{text}', updated_time = clock_timestamp() AT TIME ZONE 'UTC'"
            f" WHERE pk <= {studies}",
        )

    def change_ids(self, studies, text, archive=None):
        """Gives the first so many studies other access control IDs, of which no time tells."""
        ids = f"SELECT pk FROM study WHERE pk <= {studies}"
        self.pg.sql(
            archive or self.archive,
            f"DELETE FROM study_access_control_id WHERE study_fk IN ({ids})",
            f"INSERT INTO study_access_control_id SELECT pk, '{text}' FROM study WHERE pk <= {studies}",
        )
