"""A first load into SQLite as a script would do it: psql's COPY out of the archive, and INSERTs of 500 rows with
prepared statements, a transaction for each table. Arguments: the archive's connection string, the file."""

import itertools
import sqlite3
import subprocess
import sys

import levels

ROWS = 500


def cells(lines):
    for line in lines:
        for cell in line[:-1].split("\t"):
            yield None if cell == "\\N" else cell.replace("\\\\", "\\") if "\\" in cell else cell


def main(archive, path):
    database = sqlite3.connect(path, isolation_level=None)
    # As the program opens it: keys are checked, and a commit survives a power cut.
    for pragma in ("foreign_keys = ON", "journal_mode = WAL", "synchronous = FULL"):
        database.execute(f"PRAGMA {pragma}")
    database.execute("INSERT INTO rbac_source (id, name) VALUES (1, 'main')")
    for table, columns, expressions, tail in levels.loads(levels.SQLITE):
        insert = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "
        row = f"({', '.join('?' * len(columns))})"
        full = insert + ", ".join([row] * ROWS)
        copy = f"COPY (SELECT {', '.join(expressions)} FROM {tail}) TO STDOUT"
        with subprocess.Popen(["psql", "-qX", archive, "-c", copy], stdout=subprocess.PIPE, text=True) as psql:
            database.execute("BEGIN")
            while lines := list(itertools.islice(psql.stdout, ROWS)):
                statement = full if len(lines) == ROWS else insert + ", ".join([row] * len(lines))
                database.execute(statement, list(cells(lines)))
            database.execute("COMMIT")
        if psql.returncode:
            sys.exit(psql.returncode)
    database.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
