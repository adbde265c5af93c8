"""The instance level, where it is mirrored."""

import program
import scripts
import server

KEYS = "instances = true"
# In the archive, in one target, and in the log of the server.
BYTES_PER_INSTANCE = 700


def instances(stage, report):
    """first load with the instance level (--instances of each series), against psql's COPY: memory and rate"""
    pg, options = stage.pg, stage.options
    rows = stage.studies * 3 * options.instances
    stage.need(rows, BYTES_PER_INSTANCE)
    for archive, made_from in (("archive_instances", stage.archive), ("nothing_instances", stage.empty_archive)):
        pg.create(archive, made_from)
        pg.psql(archive, "-v", f"instances={options.instances}", "-f", server.script("instances-postgres.sql"))
    tables = stage.make_tables("tables_instances", "nothing_instances", KEYS)
    source = pg.url("archive_instances")
    ours, theirs, peak = [], [], 0
    for number in range(stage.rounds):
        pg.create("theirs", tables)
        theirs.append(program.measured(["sh", "-c", scripts.copy(source, pg.url("theirs"), instances=True)])[0])
        if number == 0:
            stage.check("theirs", "archive_instances", instances=True)
        pg.drop("theirs")
        pg.create("loaded")
        seconds, memory = stage.site(source, pg.url("loaded"), "instances", source_keys=KEYS).once()
        ours.append(seconds)
        peak = max(peak, memory)
        stage.check("loaded", "archive_instances", instances=True)
        pg.drop("loaded")
    for database in ("archive_instances", "nothing_instances", tables):
        pg.drop(database)
    report.line("instances", f"first load with {rows:,} instances", "s", ours, theirs, [("peak_mib", 48)],
                peak_mib=peak, instances_per_second=rows / min(ours))
