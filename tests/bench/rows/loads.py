"""First loads, each against the fastest script that the clients of its databases allow."""

import functools
import os
import shlex

import check
import levels
import program
import scripts


def load(stage, report):
    """first load, PostgreSQL to PostgreSQL, against psql's COPY out piped into COPY in"""
    beside_psql(stage, report, "load", "first load, PostgreSQL to PostgreSQL", stage.pg.url)


def socket(stage, report):
    """the same over the server's Unix socket, as on one host"""
    beside_psql(stage, report, "socket", "first load over the server's Unix socket", stage.pg.socket_url)


def beside_psql(stage, report, row, work, url):
    """A first load by way of `url`, which is that of a database."""
    archive, tables = url(stage.archive), stage.tables
    ours, theirs, peak = [], [], 0
    for number in range(stage.rounds):
        stage.pg.create("theirs", tables)
        theirs.append(program.measured(["sh", "-c", scripts.copy(shlex.quote(archive), shlex.quote(url("theirs")))])[0])
        stage.pg.create("loaded")
        seconds, memory = stage.site(archive, url("loaded"), row).once()
        ours.append(seconds)
        peak = max(peak, memory)
        if number == 0:
            stage.check("theirs")
        stage.check("loaded")
    for target in ("theirs", "loaded"):
        stage.pg.drop(target)
    report.line(row, work, "s", ours, theirs,
                [("ratio", 1.15), ("peak_mib", 48)], peak_mib=peak)


def mariadb(stage, report):
    """first load, MariaDB to MariaDB, against mariadb | awk | mariadb with VALUES of 1,000 rows"""
    server = stage.mariadb
    server.archive("archive", stage.studies)
    server.archive("nothing", 0)

    def digest(database, statement):
        return check.printed(server.dump(database, statement))

    def compare(target):
        check.compare(levels.MARIADB, functools.partial(digest, "archive"), functools.partial(digest, target), target)

    ours, theirs, peak = [], [], 0
    for number in range(stage.rounds):
        server.create("theirs")
        stage.site(server.url("nothing"), server.url("theirs"), "mariadb-tables").once()
        server.sql("theirs", "DELETE FROM sync_cursor; DELETE FROM sync_sweep; DELETE FROM rbac_source")
        script = scripts.values_in_mariadb(server.client("archive"), server.client("theirs"))
        theirs.append(program.measured(["bash", "-c", script])[0])
        server.create("loaded")
        seconds, memory = stage.site(server.url("archive"), server.url("loaded"), "mariadb").once()
        ours.append(seconds)
        peak = max(peak, memory)
        if number == 0:
            compare("theirs")
        compare("loaded")
    report.line("mariadb", "first load, MariaDB to MariaDB", "s", ours, theirs,
                [("ratio", 1.1), ("peak_mib", 48)], peak_mib=peak)


def sqlite(stage, report):
    """first load, PostgreSQL to SQLite, against psql piped into a script with VALUES of 500 rows"""
    archive = stage.pg.url(stage.archive)

    def compare(path):
        check.compare(levels.SQLITE, lambda statement: check.printed(stage.pg.dump(stage.archive, statement)),
                      functools.partial(check.in_file, path), path)

    ours, theirs, peak = [], [], 0
    for number in range(stage.rounds):
        there, here = (os.path.join(stage.folder, f"{name}-{number}.db") for name in ("theirs", "loaded"))
        stage.sqlite_tables(there)
        theirs.append(program.measured(scripts.values_in_sqlite(archive, there))[0])
        seconds, memory = stage.site(archive, f"sqlite://{here}", "sqlite").once()
        ours.append(seconds)
        peak = max(peak, memory)
        if number == 0:
            compare(there)
        compare(here)
        for path in (there, here):
            os.unlink(path)
    report.line("sqlite", "first load, PostgreSQL to SQLite", "s", ours, theirs,
                [("ratio", 1.1), ("peak_mib", 48)], peak_mib=peak)
