"""The daemon itself: its start, its rest, and its answers while it works."""

import time

import clients
import server

CONNECTIONS = 50


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
    with stage.site(stage.pg.url(stage.archive), stage.pg.url(stage.ours), **keys) as site:
        time.sleep(stage.seconds / 3)
        cpu, begun = site.cpu(), time.monotonic()
        time.sleep(stage.seconds)
        percent = (site.cpu() - cpu) / (time.monotonic() - begun) * 100
        resident, peak = site.memory()
    report.line("idle", "resident, interval 5 s", "MiB", [resident], goals=[("median", 12)], peak_mib=peak)
    report.line("idle", "processor time, of one core", "%", [percent], goals=[("median", 0.2)])


def status(stage, report):
    """GET /sync/status over 50 connections during a first load"""
    pg = stage.pg
    pg.create("loaded")
    address = f"127.0.0.1:{server.free_port()}"
    with stage.site(pg.url(stage.archive), pg.url("loaded"), name="status", listen=address) as site:
        # The first run begins with the daemon, and must not end before what is asked.
        seconds = min(stage.seconds / 3, stage.studies / 30_000)
        found = clients.load(f"http://{address}/sync/status", CONNECTIONS, seconds)
        busy = site.ask("status")["is_running"]
        while site.ask("status")["is_running"]:
            time.sleep(0.1)
        time.sleep(stage.seconds / 3)
        resident, peak = site.memory()
    stage.check("loaded")
    pg.drop("loaded")
    if found.errors:
        raise SystemExit(f"wrong result: {found.errors} of {found.requests} requests failed")
    during = "during a first load" if busy else "during a first load that ended before"
    report.line("status", f"p99 {during}, {CONNECTIONS} connections", "ms", [found.p99 * 1000], goals=[("median", 5)],
                p50_ms=found.p50 * 1000, requests_per_second=found.requests / found.seconds, client=found.client)
    report.line("idle", "resident, after a first load in the same life", "MiB", [resident], goals=[("median", 12)],
                peak_mib=peak)
