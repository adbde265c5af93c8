"""What each kind of run costs the archive, and the target."""

import turns
from stage import CHANGES_ONLY

FIGURES = {
    "seconds": "sum(total_exec_time) / 1000",
    "statements": "sum(calls)",
    "kinds": "count(*)",
    "rows": "sum(rows)",
    "buffers_hit": "sum(shared_blks_hit)",
    "buffers_read": "sum(shared_blks_read)",
    "temporary": "sum(temp_blks_written)",
}


def cost(stage, report):
    """statements, round trips, time and buffers of each kind of run, by pg_stat_statements and a counting proxy"""
    pg = stage.pg
    pg.create("loaded")
    with turns.Turns(pg.port) as to_archive, turns.Turns(pg.port) as to_target:
        urls = (pg.url(stage.archive, to_archive.port), pg.url("loaded", to_target.port))
        site = stage.site(*urls, name="cost", source_keys=CHANGES_ONLY)

        def observe(kind, work):
            pg.forget_statements()
            before = (to_archive.count, to_target.count)
            work()
            after = (to_archive.count, to_target.count)
            for side, database, begin, end in zip(("archive", "target"), (stage.archive, "loaded"), before, after):
                figures = dict(zip(FIGURES, pg.statements(database, "%", ", ".join(FIGURES.values()))))
                seconds = figures.pop("seconds")
                counts = {name: int(value) for name, value in figures.items()}
                report.line("cost", f"{side}: {kind}", "s", [seconds], round_trips=end - begin, **counts)

        observe("first load, with its start", site.once)
        pg.sql("loaded", "VACUUM ANALYZE")
        with site:
            site.run()
            observe("empty delta", site.run)
            stage.change(1000, "cost")
            observe("delta of 1,000 studies and 3,000 series", site.run)
            observe("comparison of everything", lambda: site.run("--mode", "full"))
    stage.check("loaded")
    pg.drop("loaded")
