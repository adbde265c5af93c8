"""Looking at whole tables: the comparison of everything, and deltas without an index."""

import subprocess
import time

import levels

# What the archive's statistics call the look for changed rows by updated_time.
SCANS = "SELECT pk, %, updated_time FROM % WHERE updated_time >= %"
# The configured share, the default.
SCAN_PERCENT = 10.0
INTERVAL = 2


def sweep(stage, report):
    """comparison of everything, nothing different, against COPY of the compared columns from both sides"""
    databases = (stage.archive, stage.ours)
    commands = []
    for _, expected, found, _ in levels.compared(levels.POSTGRES):
        commands += [stage.pg.dump(database, statement) for database, statement in zip(databases, (expected, found))]
    script = "set -e\n" + "\n".join(f"{command} > /dev/null" for command in commands)
    ours, theirs, peak = [], [], 0
    for _ in range(stage.rounds):
        begun = time.monotonic()
        subprocess.run(["sh", "-c", script], check=True)
        theirs.append(time.monotonic() - begun)
        seconds, memory = stage.once(stage.ours)
        ours.append(seconds)
        peak = max(peak, memory)
    stage.check(stage.ours)
    size = stage.studies * 4 + stage.studies // 5
    report.line("sweep", f"{size:,} rows compared, nothing different", "s", ours, theirs,
                [("ratio", 1.5), ("peak_mib", 48)], peak_mib=peak)


def unindexed(stage, report):
    """deltas without an index on updated_time: the share of time of scans, and when a new row is seen"""
    pg, archive, ours = stage.pg, stage.archive, stage.ours
    pg.unindex(archive)
    with stage.daemon(interval=f"{INTERVAL}s") as daemon:
        daemon.run()
        pg.forget_statements()
        begun = time.monotonic()
        seen = [new_study(stage) for _ in range(3)]
        time.sleep(max(stage.seconds - (time.monotonic() - begun), 0))
        watched = time.monotonic() - begun
        scans, spent = pg.statements(archive, SCANS, "sum(calls), sum(total_exec_time) / 1000")
        runs = daemon.scheduled()
    pg.index(archive)
    stage.check(ours)
    series = f"{stage.studies * 3:,} series"
    report.line("unindexed", f"share of time of scans, {series}", "%", [spent / watched * 100],
                goals=[("median", SCAN_PERCENT)], scans=int(scans), seconds_of_a_scan=spent / max(scans, 1))
    # At most one interval, and the run that finds it.
    report.line("unindexed", f"until a new study is seen, interval {INTERVAL} s", "s", seen,
                goals=[("most", INTERVAL + max(runs) / 1000)])
    report.line("unindexed", "a scheduled run meanwhile", "ms", runs)


def new_study(stage):
    """Stores a study with a series in the archive; seconds until the target has both."""
    pk = int(stage.pg.sql(stage.archive, "SELECT max(pk) + 1 FROM study"))
    stage.pg.sql(
        stage.archive,
        "BEGIN; CREATE TEMPORARY TABLE s ON COMMIT DROP AS SELECT * FROM study WHERE pk = 1;"
        " CREATE TEMPORARY TABLE e ON COMMIT DROP AS SELECT * FROM series WHERE pk = 1;"
        f" UPDATE s SET pk = {pk}, study_iuid = '1.2.840.113619.2.55.' || {pk},"
        " updated_time = clock_timestamp() AT TIME ZONE 'UTC';"
        " UPDATE e SET pk = (SELECT max(pk) + 1 FROM series),"
        f" study_fk = {pk}, series_iuid = '1.2.840.113619.2.55.4.' || {pk},"
        " updated_time = clock_timestamp() AT TIME ZONE 'UTC';"
        " INSERT INTO study SELECT * FROM s; INSERT INTO series SELECT * FROM e; COMMIT;",
    )
    begun = time.monotonic()
    seen = f"SELECT count(*) FROM rbac_series e JOIN rbac_study s ON s.id = e.study_fk WHERE s.source_pk = {pk}"
    while stage.pg.sql(stage.ours, seen) != "1":
        if time.monotonic() - begun > 60:
            raise SystemExit("wrong result: a new study is not seen within a minute")
        time.sleep(0.02)
    return time.monotonic() - begun
