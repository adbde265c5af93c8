"""Deltas: of what changed, of nothing, of much, and of a long queue."""

import datetime
import time

import program
import scripts

# Deltas of the row "queue".
QUEUE = 10
# Seconds after which PostgreSQL's statistics have what a session wrote that does nothing more.
STATISTICS_DELAY = 11


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")


def delta(stage, report):
    """1,000 studies and their 3,000 series changed, against a script on postgres_fdw with ON CONFLICT"""
    pg = stage.pg
    pg.create("theirs", stage.ours)  # the same rows in the same places
    scripts.prepare_delta(pg, "theirs", stage.archive, now())
    pg.sql("theirs", "VACUUM ANALYZE")
    command, run, theirs = [], [], []
    with stage.daemon() as daemon:
        daemon.run()
        for number in range(stage.rounds + 1):
            cursor = now()
            stage.change(1000, f"delta {number}", first=number)
            script = program.measured(scripts.delta(pg, "theirs", cursor))[0]
            seconds, record = daemon.run()
            if number:  # the first warms both up
                theirs.append(script)
                command.append(seconds)
                run.append(record["duration_ms"] / 1000)
            stage.check("ours")
            stage.check("theirs")
    pg.drop("theirs")
    report.line("delta", "1,000 studies and 3,000 series, as a command", "s", command, theirs, [("ratio", 1.0)])
    report.line("delta", "the same, the run in the daemon alone", "s", run, theirs)


def empty(stage, report):
    """a run for which nothing changed, in the daemon; and what it writes to the target"""
    with stage.daemon(interval="1s") as daemon:
        daemon.run()
        time.sleep(STATISTICS_DELAY)
        before = stage.pg.writes(stage.ours)
        time.sleep(stage.seconds + 1)
        times = daemon.scheduled(stage.seconds)
        after = stage.pg.writes(stage.ours)
    report.line("empty", "empty delta, index present", "ms", times, goals=[("median", 10)])
    written = {name: after[name] - before[name] for name in after}
    report.line("empty", f"rows that {len(times)} empty deltas wrote", "", [sum(written.values())],
                goals=[("most", 0)], **written)
    # The overlap is counted from the newest change, so that a burst is read again until something else changes.
    stage.change(1000, "burst")
    burst = 'overlap = "6m"\nsweep_percent = 0.0'
    with stage.site(stage.pg.url(stage.archive), stage.pg.url(stage.ours), interval="1s", source_keys=burst) as daemon:
        daemon.run()
        time.sleep(stage.seconds + 1)
        times = daemon.scheduled(stage.seconds)
    report.line("empty", "the same, 1,000 studies within the overlap", "ms", times)
    stage.check("ours")


def bulk(stage, report):
    """50,000 changed studies in one delta, and 50,000 found by comparison, against a fiftieth of them"""
    many = min(50_000, stage.studies)
    sizes = (max(many // 50, 1), many)
    text = f"{many:,} against {sizes[0]:,} studies"
    ours, times = stage.ours, {size: [] for size in sizes}
    with stage.daemon() as daemon:
        daemon.run()
        for number in range(stage.rounds):
            for size in sizes:
                stage.change_first(size, f"bulk {number} {size}")
                times[size].append(daemon.run()[1]["duration_ms"] / 1000)
                stage.check(ours)
        peak = daemon.memory()[1]
    report.line("bulk", f"one delta, {text}", "s", times[many], times[sizes[0]], [("ratio", 60), ("peak_mib", 48)],
                peak_mib=peak)
    times, peak = {size: [] for size in sizes}, 0
    for number in range(stage.rounds):
        for size in sizes:
            stage.change_ids(size, f"BULK{number}")
            seconds, memory = stage.once(ours)
            times[size].append(seconds)
            peak = max(peak, memory)
            stage.check(ours)
    report.line("bulk", f"IDs by comparison, {text}", "s", times[many], times[sizes[0]],
                [("ratio", 60), ("peak_mib", 48)], peak_mib=peak)


def queue(stage, report):
    """ten deltas of 1,000 studies and 3,000 series one after the other: the tenth against the first"""
    firsts, tenths, every = [], [], []
    with stage.daemon() as daemon:
        daemon.run()
        for number in range(stage.rounds):
            stage.pg.sql(stage.ours, "VACUUM")
            stage.pg.sql(stage.archive, "VACUUM")
            times = []
            # The one before the first finds the pages of the indexes in memory as the others do.
            for place in range(QUEUE + 1):
                stage.change(1000, f"queue {number} {place}", first=number * QUEUE + place)
                times.append(daemon.run()[1]["duration_ms"] / 1000)
            firsts.append(times[1])
            tenths.append(times[-1])
            every.append(times[1:])
        stage.check(stage.ours)
    report.line("queue", f"{stage.studies * 3:,} series, the tenth delta against the first", "s", tenths, firsts,
                [("ratio", 1.2)])
    report.lines[-1]["every"] = every
