"""Whether a target holds what the archive's own SQL says it must hold."""

import hashlib
import sqlite3
import subprocess

import levels


def printed(command):
    """The digest of what a shell command prints."""
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command} | sha256sum"], check=True, stdout=subprocess.PIPE,
                          text=True)
    return done.stdout.split()[0]


def in_file(path, statement):
    """The digest of rows of an SQLite file, in the form of PostgreSQL's COPY."""
    digest = hashlib.sha256()
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        for row in database.execute(statement):
            cells = ("\\N" if cell is None else str(cell).replace("\\", "\\\\") for cell in row)
            digest.update(("\t".join(cells) + "\n").encode())
    database.close()
    return digest.hexdigest()


def compare(dialect, archive, target, name, instances=False):
    """Raises when a level differs. `archive` and `target` make a digest of what a statement answers."""
    for level, expected, found, order in levels.compared(dialect, instances):
        if archive(f"{expected} ORDER BY {order}") != target(f"{found} ORDER BY {order}"):
            raise SystemExit(f"wrong result: {level} of {name} is not what the archive holds")
