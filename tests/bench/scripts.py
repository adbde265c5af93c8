"""The scripts that the program is measured against: what somebody would write who knows the databases well."""

import os
import shlex
import sys

import levels
import server

# Rows of one INSERT into MariaDB.
ROWS_IN_MARIADB = 1000


def copy(archive, target, instances=False):
    """A first load by psql: each table by COPY out of the archive, piped into COPY into the tables of the target
    with their keys and indexes. A text for sh."""
    def psql(url, statement):
        return f"psql -qX -v ON_ERROR_STOP=1 {url} -c {shlex.quote(statement)}"

    lines = ["set -e", psql(target, "INSERT INTO rbac_source (id, name) VALUES (1, 'main')")]
    for table, columns, expressions, tail in levels.loads(levels.POSTGRES, instances):
        out = psql(archive, f"COPY (SELECT {', '.join(expressions)} FROM {tail}) TO STDOUT")
        into = psql(target, f"COPY {table} ({', '.join(columns)}) FROM STDIN")
        lines.append(f"{out} | {into}")
    return "\n".join(lines)


def values_in_mariadb(archive, target):
    """A first load by MariaDB's client: the archive's server makes each row's text, awk makes statements of 1,000
    rows, the client sends them, a transaction for each table. A text for bash; arguments: the two clients."""
    lines = ["set -e -o pipefail", f"{shlex.join(target)} -e \"INSERT INTO rbac_source (id, name) VALUES (1, 'main')\""]
    for table, columns, expressions, tail in levels.loads(levels.MARIADB):
        row = ", ',', ".join(f"QUOTE({expression})" for expression in expressions)
        out = shlex.join([*archive, "--raw", "-e", f"SELECT CONCAT('(', {row}, ')') FROM {tail}"])
        insert = f"INSERT INTO {table} ({', '.join(columns)}) VALUES"
        group = (
            'BEGIN { print "SET autocommit = 0;" }'
            f' {{ if (NR % {ROWS_IN_MARIADB} == 1) print (NR > 1 ? ";" : "") "{insert}"; else print ","; print }}'
            ' END { if (NR) print ";"; print "COMMIT;" }'
        )
        lines.append(f"{out} | awk {shlex.quote(group)} | {shlex.join(target)}")
    return "\n".join(lines)


def values_in_sqlite(archive, target):
    """A first load by Python's sqlite3 from psql's COPY. A command."""
    return [sys.executable, os.path.join(os.path.dirname(server.SQL), "load_sqlite.py"), archive, target]


def prepare_delta(pg, target, archive, since):
    """The archive as foreign tables of the target, and the cursor of the script below."""
    variables = {"port": pg.port, "archive": archive, "since": since}
    pg.psql(target, *(part for name, value in variables.items() for part in ("-v", f"{name}={value}")),
            "-f", server.script("fdw.sql"))


def delta(pg, target, since):
    """The studies and series behind a cursor, upserted where they differ, and the cursor, in one transaction. A
    command."""
    return ["psql", "-qX", "-v", "ON_ERROR_STOP=1", "-v", f"since={since}", "-f", server.script("delta.sql"),
            pg.url(target)]
