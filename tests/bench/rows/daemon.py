"""The daemon itself: its start, its rest, and its answers while it works."""

import itertools
import statistics
import time

import clients
import server

CONNECTIONS = 50
# Requests a second of those who ask at a steady rate: each of them twenty times, where a page would ask once.
RATE = 1000


def start(stage, report):
    """start of the daemon until READY, with the databases up"""
    site = stage.daemon()
    times = []
    for _ in range(max(stage.rounds, 5)):
        times.append(site.start() * 1000)
        site.stop()
    report.line("start", "start to READY", "ms", times, goals=[("median", 100)])


def idle(stage, report):
    """memory and processor time of a daemon with interval 5 s that has nothing to do"""
    keys = {"interval": "5s", "source_keys": 'overlap = "0s"'}  # other rows have changed the archive just now
    stage.once(stage.ours)  # so that the first comparison is due in a minute
    with stage.site(stage.pg.url(stage.archive), stage.pg.url(stage.ours), **keys) as site:
        time.sleep(stage.seconds / 3)
        for kind, seconds in (("interval 5 s", stage.seconds), ("comparing every minute", stage.seconds * 2)):
            cpu, begun = site.cpu(), time.monotonic()
            time.sleep(seconds)
            percent = (site.cpu() - cpu) / (time.monotonic() - begun) * 100
            resident, peak = site.memory()
            report.line("idle", f"resident, {kind}", "MiB", [resident], goals=[("median", 12)], peak_mib=peak)
            report.line("idle", f"processor time, {kind}", "%", [percent], goals=[("median", 0.2)])


def status(stage, report):
    """GET /sync/status over 50 connections during a first load"""
    kinds = {f"{RATE:,}/s": lambda *asked: clients.steady(*asked, RATE), "without a rest": clients.load}
    found = {kind: [] for kind in kinds}
    for _ in range(stage.rounds):
        for kind, ask in kinds.items():
            found[kind].append(asked_during_a_load(stage, ask))
    for kind, rounds in found.items():
        during = "a first load" if all(busy for _, busy, *_ in rounds) else "a first load that ended before"
        asked = [asked for asked, *_ in rounds]
        report.line("status", f"p99 during {during}, {kind}", "ms", [one.p99 * 1000 for one in asked],
                    goals=[("median", 5)], p50_ms=statistics.median(one.p50 for one in asked) * 1000,
                    requests_per_second=statistics.median(one.requests / one.seconds for one in asked),
                    client=asked[0].client)
    *_, rest, peak = zip(*itertools.chain(*found.values()))
    report.line("idle", "resident, after a first load in the same life", "MiB", rest, goals=[("median", 12)],
                peak_mib=max(peak))


def asked_during_a_load(stage, ask):
    """What clients found who asked while a daemon filled a target; its memory in MiB afterwards, and at most."""
    pg = stage.pg
    pg.create("loaded")
    address = f"127.0.0.1:{server.free_port()}"
    with stage.site(pg.url(stage.archive), pg.url("loaded"), name="status", listen=address) as site:
        # The first run begins with the daemon, and must not end before what is asked.
        found = ask(f"http://{address}/sync/status", CONNECTIONS, min(stage.seconds / 3, stage.studies / 30_000))
        busy = site.ask("status")["is_running"]
        while site.ask("status")["is_running"]:
            time.sleep(0.1)
        time.sleep(stage.seconds / 3)
        resident, peak = site.memory()
    stage.check("loaded")
    pg.drop("loaded")
    if found.errors:
        raise SystemExit(f"wrong result: {found.errors} of {found.requests} requests failed")
    return found, busy, resident, peak
