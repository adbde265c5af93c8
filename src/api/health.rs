//! What the health routes say of one moment. Pure: a snapshot and a time in, the reply out.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::wire::{Health, Part, Ready};
use crate::history::RunRecord;
use crate::supervisor::{ConfigStatus, Reachability, Snapshot, SourceStatus, Status};

/// A scheduled run that is later than this without any run under way means that the timer hangs.
const OVERDUE: TimeDelta = TimeDelta::seconds(60);

/// `GET /health`. `alive`: the supervisor is there.
pub(super) fn health(snapshot: &Snapshot, alive: bool, now: DateTime<Utc>) -> Health {
    let status = &snapshot.status;
    let source: BTreeMap<String, Part> =
        status.sources.iter().map(|one| (one.name.clone(), source_part(status, &one.reachability))).collect();
    let scheduler = scheduler(status, alive, now);
    let target = database(&status.target);
    let last_run = last_run(snapshot);
    let configuration = configuration(&status.config);
    let ok = scheduler.ok && source.values().all(|part| part.ok) && target.ok && last_run.ok && configuration.ok;
    Health { ok, scheduler, source, target, last_run, configuration }
}

/// `GET /health/ready`.
pub(super) fn ready(snapshot: &Snapshot, alive: bool) -> Ready {
    let status = &snapshot.status;
    let mut missing = Vec::new();
    if status.stopping || !alive {
        missing.push("the daemon is stopping".to_owned());
    }
    if status.standby {
        missing.push(standby(status));
        return Ready { ready: false, missing };
    }
    for source in &status.sources {
        let part = source_part(status, &source.reachability);
        if !part.ok {
            missing.push(format!("source {}: {}", source.name, part.detail));
        }
    }
    if status.target.reachable != Some(true) {
        missing.push(format!("target: {}", database(&status.target).detail));
    }
    Ready { ready: missing.is_empty(), missing }
}

fn scheduler(status: &Status, alive: bool, now: DateTime<Utc>) -> Part {
    if !alive || status.stopping {
        return Part { ok: false, detail: "stopping".into() };
    }
    if status.standby {
        return Part { ok: true, detail: standby(status) };
    }
    if let Some(pause) = &status.pause {
        let until = pause.until.map_or_else(String::new, |until| format!(" until {}", time(until)));
        return Part { ok: true, detail: format!("paused since {}{until}", time(pause.since)) };
    }
    match status.next_run {
        Some(due) if !status.is_running && now - due > OVERDUE => {
            Part { ok: false, detail: format!("the run due at {} has not started", time(due)) }
        }
        Some(due) => Part { ok: true, detail: format!("next run at {}", time(due)) },
        None => Part { ok: true, detail: "no run is due".into() },
    }
}

fn standby(status: &Status) -> String {
    let holder = status.served_by.as_deref().unwrap_or("another process");
    format!("standby: another daemon serves this target ({holder})")
}

/// Runs ask a source. A daemon that was paused before it started, and a standby, have none to do, and
/// nothing is missing.
fn source_part(status: &Status, state: &Reachability) -> Part {
    match (&status.pause, state.reachable) {
        (_, None) if status.standby => Part { ok: true, detail: "not asked by a standby".into() },
        (Some(_), None) => Part { ok: true, detail: "not asked while paused".into() },
        // Under a cron expression the first run may be hours after the start.
        (None, None) if status.schedule.cron.is_some() && status.next_run.is_some() => {
            Part { ok: true, detail: "not asked before the first scheduled run".into() }
        }
        _ => database(state),
    }
}

fn database(state: &Reachability) -> Part {
    let since = state.since.map_or_else(String::new, |since| format!(" since {}", time(since)));
    match (state.reachable, &state.error) {
        (None, _) => Part { ok: false, detail: "not asked yet".into() },
        (Some(true), _) => Part { ok: true, detail: format!("reachable{since}") },
        (Some(false), None) => Part { ok: false, detail: format!("not reachable{since}") },
        (Some(false), Some(error)) => Part { ok: false, detail: format!("not reachable{since}: {}", error) },
    }
}

/// Each source's own latest run counts: with several, the latest of all would hide one that fails. One
/// that was cancelled and a dry run say nothing about the others.
fn last_run(snapshot: &Snapshot) -> Part {
    let counts = |run: &RunRecord| !run.dry_run && !run.is_cancelled();
    let latest = |source: &SourceStatus| snapshot.history.iter().find(|run| run.source == source.name && counts(run));
    let failed = snapshot.status.sources.iter().filter_map(latest).filter(|run| run.success == Some(false));
    let failing: Vec<String> = failed
        .map(|run| format!("{} failed: {}", run.source, run.error.as_deref().unwrap_or("no reason is known")))
        .collect();
    if !failing.is_empty() {
        return Part { ok: false, detail: failing.join("; ") };
    }
    let detail = match &snapshot.status.last_result {
        None => "no run has ended yet".into(),
        Some(run) if run.success => format!("succeeded: {} rows compared in {} ms", run.processed, run.duration_ms),
        Some(run) => format!("ended early: {}", run.error.as_deref().unwrap_or("no reason is known")),
    };
    Part { ok: true, detail }
}

fn configuration(config: &ConfigStatus) -> Part {
    let loaded = format!("generation {} since {}", config.generation, time(config.loaded));
    if !config.last_reload_successful {
        let errors = config.errors.join("; ");
        return Part { ok: false, detail: format!("the latest reload was refused, still at {loaded}: {errors}") };
    }
    if config.restart_required.is_empty() {
        return Part { ok: true, detail: loaded };
    }
    Part { ok: true, detail: format!("{loaded}; waiting for a restart: {}", config.restart_required.join(", ")) }
}

fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::api::testing::{at, record, snapshot};
    use crate::schedule::Pause;

    #[test]
    fn a_quiet_daemon_is_healthy_and_ready() {
        let snapshot = snapshot();
        let health = health(&snapshot, true, at(100));
        assert!(health.ok, "{health:?}");
        assert_eq!(ready(&snapshot, true), Ready { ready: true, missing: vec![] });
    }

    #[test]
    fn names_the_side_that_is_missing() {
        let mut snapshot = snapshot();
        snapshot.status.sources[0].reachability =
            Reachability { reachable: Some(false), error: Some("refused".into()), since: Some(at(50)) };
        snapshot.status.target = Reachability { reachable: None, error: None, since: None };
        let health = health(&snapshot, true, at(100));
        assert!(!health.ok);
        assert_eq!(health.source["main"].detail, "not reachable since 2026-11-24T00:00:50Z: refused");
        let missing = ready(&snapshot, true).missing;
        assert_eq!(missing.len(), 2);
        assert!(missing[0].starts_with("source main: ") && missing[1].starts_with("target: "), "{missing:?}");
    }

    #[test]
    fn a_source_that_a_pause_kept_from_being_asked_is_not_missing() {
        let mut snapshot = snapshot();
        snapshot.status.sources[0].reachability = Reachability { reachable: None, error: None, since: None };
        assert!(!ready(&snapshot, true).ready);
        (snapshot.status.paused, snapshot.status.pause) =
            (true, Some(Pause { reason: None, actor: None, since: at(50), until: None }));
        let health = health(&snapshot, true, at(100));
        assert!(health.ok && health.source["main"].detail == "not asked while paused", "{health:?}");
        assert_eq!(ready(&snapshot, true), Ready { ready: true, missing: vec![] });
    }

    #[test]
    fn a_source_whose_first_run_is_not_due_yet_is_not_missing() {
        let mut snapshot = snapshot();
        snapshot.status.sources[0].reachability = Reachability { reachable: None, error: None, since: None };
        snapshot.status.schedule.cron = Some("0 3 * * *".into());
        let health = health(&snapshot, true, at(100));
        assert!(health.ok && health.source["main"].detail.contains("before the first scheduled run"), "{health:?}");
        snapshot.status.next_run = None;
        assert!(!ready(&snapshot, true).ready, "it is being asked");
    }

    #[test]
    fn a_refused_reload_is_unhealthy_but_ready() {
        let mut snapshot = snapshot();
        snapshot.status.config.last_reload_successful = false;
        snapshot.status.config.errors = vec!["rbac-sync.toml:1:1: no".into()];
        let health = health(&snapshot, true, at(100));
        assert!(!health.ok && !health.configuration.ok);
        assert!(ready(&snapshot, true).ready);
    }

    /// A snapshot with these runs, the newest first.
    fn after(runs: impl IntoIterator<Item = RunRecord>) -> Snapshot {
        let history: Vec<_> = runs.into_iter().map(Arc::new).collect();
        let last = &history[0];
        let mut snapshot = snapshot();
        let result = snapshot.status.last_result.as_mut().expect("the fixture has one");
        (result.success, result.error) = (last.success == Some(true), last.error.clone());
        Snapshot { history: Arc::new(history), ..snapshot }
    }

    fn failed(error: &str) -> RunRecord {
        RunRecord { success: Some(false), error: Some(error.into()), ..record(2) }
    }

    #[test]
    fn a_source_whose_latest_run_failed_is_unhealthy_but_ready() {
        let snapshot = after([failed("run: the brake"), record(1)]);
        let last_run = health(&snapshot, true, at(100)).last_run;
        assert_eq!((last_run.ok, last_run.detail.as_str()), (false, "main failed: run: the brake"));
        assert!(ready(&snapshot, true).ready);
    }

    #[test]
    fn a_source_that_fails_is_not_hidden_by_another_one_that_ran_later() {
        let mut snapshot = after([record(3), RunRecord { source: "two".into(), ..failed("run: the brake") }]);
        let two = SourceStatus { name: "two".into(), ..snapshot.status.sources[0].clone() };
        snapshot.status.sources.push(two);
        assert_eq!(health(&snapshot, true, at(100)).last_run.detail, "two failed: run: the brake");
    }

    #[test]
    fn a_cancelled_run_and_a_dry_run_neither_fail_nor_heal() {
        for run in [failed("run: cancelled"), RunRecord { dry_run: true, ..failed("run: the brake") }] {
            assert!(health(&after([run.clone(), record(1)]), true, at(100)).ok);
            assert!(!health(&after([run, failed("source: gone")]), true, at(100)).ok);
        }
    }

    #[test]
    fn an_overdue_timer_is_unhealthy_unless_a_run_or_a_pause_explains_it() {
        let mut snapshot = snapshot();
        let late = snapshot.status.next_run.expect("the fixture has one") + TimeDelta::seconds(61);
        assert!(!health(&snapshot, true, late).scheduler.ok);
        snapshot.status.is_running = true;
        assert!(health(&snapshot, true, late).scheduler.ok);
    }

    #[test]
    fn a_standby_is_healthy_and_not_ready() {
        let mut snapshot = snapshot();
        snapshot.status.standby = true;
        snapshot.status.served_by = Some("daemon on host a".into());
        snapshot.status.sources[0].reachability = Reachability { reachable: None, error: None, since: None };
        let health = health(&snapshot, true, at(100));
        assert!(health.ok && health.scheduler.detail.contains("daemon on host a"), "{health:?}");
        let missing = ready(&snapshot, true).missing;
        assert_eq!(missing, ["standby: another daemon serves this target (daemon on host a)"]);
    }

    #[test]
    fn a_daemon_that_stops_is_not_ready() {
        let mut snapshot = snapshot();
        snapshot.status.stopping = true;
        assert!(!ready(&snapshot, true).ready);
        assert!(!health(&snapshot, true, at(100)).ok);
    }
}
