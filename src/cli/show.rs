//! Replies in words for people; times are UTC. Pure: values in, text out.

use std::fmt::Write;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::print::table;
use crate::api::wire::{Audit, Health, Paused, RunAccepted};
use crate::config::{self, Effect};
use crate::engine::Levels;
use crate::history::{Change, RunRecord, RunState};
use crate::schedule::Pause;
use crate::supervisor::{Backoff, LogLevel, Origin, Reachability, ReloadOutcome, Schedule, Status};

/// `status`: what is going on, what is wrong, what comes next.
pub(super) fn status(status: &Status) -> String {
    let mut rows = vec![["state", &state(status)].map(str::to_owned)];
    let mut row = |name: &str, text: String| rows.push([name.to_owned(), text]);
    if let Some(pause) = &status.pause {
        row("pause", pause_words(pause));
    }
    if let Some(holder) = &status.served_by {
        row("standby", format!("another daemon serves this target: {holder}"));
    }
    row("last run", last_run(status));
    row("next run", status.next_run.map_or_else(|| "none is due".to_owned(), time));
    row(if status.schedule.cron.is_some() { "cron" } else { "interval" }, schedule(&status.schedule));
    if status.log_level.origin == Origin::Api {
        row("log level", log_level(&status.log_level));
    }
    for source in &status.sources {
        let success = source.last_success.map_or_else(|| "never".to_owned(), time);
        let failures = source.backoff.as_ref().map_or_else(String::new, backoff);
        let text = format!("{}; last success {success}{failures}", database(&source.reachability));
        row(&format!("source {}", source.name), text);
    }
    row("target", database(&status.target));
    row("configuration", format!("generation {} since {}", status.config.generation, time(status.config.loaded)));
    if !status.config.last_reload_successful {
        row("", "the latest reload was refused:".to_owned());
        status.config.errors.iter().for_each(|error| row("", error.clone()));
    }
    if !status.config.restart_required.is_empty() {
        row("", format!("waiting for a restart: {}", status.config.restart_required.join(", ")));
    }
    if !status.unconfigured_sources.is_empty() {
        let names = status.unconfigured_sources.join(", ");
        row("", format!("rows of sources that are not configured: {names} (\"rbac-sync forget NAME\" removes them)"));
    }
    row("daemon", format!("{} since {}", status.version, time(status.started)));
    let width = rows.iter().map(|[name, _]| name.chars().count()).max().unwrap_or_default();
    rows.iter().map(|[name, text]| format!("{name:<width$}  {text}\n")).collect()
}

pub(super) fn state(status: &Status) -> String {
    if status.stopping {
        return "stopping".to_owned();
    }
    if status.standby {
        return "standby".to_owned();
    }
    let running: Vec<String> = status
        .running
        .iter()
        .map(|run| format!("running: {} since {}, {} rows so far", run.source, time(run.started), run.processed))
        .collect();
    match (running.is_empty(), status.paused) {
        (false, _) => running.join("; "),
        (true, true) => "paused".to_owned(),
        (true, false) => "waiting".to_owned(),
    }
}

pub(super) fn last_run(status: &Status) -> String {
    let Some(result) = &status.last_result else { return "none has ended yet".to_owned() };
    let started = status.last_run.map_or_else(String::new, |started| format!("{}: ", time(started)));
    if result.success {
        return format!("{started}succeeded, {} rows compared in {}", result.processed, duration(result.duration_ms));
    }
    let error = result.error.as_deref().unwrap_or("no reason is known");
    format!("{started}FAILED after {}: {error}", duration(result.duration_ms))
}

pub(super) fn database(state: &Reachability) -> String {
    let since = state.since.map_or_else(String::new, |since| format!(" since {}", time(since)));
    match (state.reachable, &state.error) {
        (None, _) => "not asked yet".to_owned(),
        (Some(true), _) => "reachable".to_owned(),
        (Some(false), None) => format!("NOT REACHABLE{since}"),
        (Some(false), Some(error)) => format!("NOT REACHABLE{since}: {}", error),
    }
}

/// `pause` and `resume`.
pub(super) fn paused(paused: &Paused) -> String {
    match &paused.pause {
        Some(pause) => format!("paused {}\n", pause_words(pause)),
        None if paused.paused => "paused\n".to_owned(),
        None => "not paused\n".to_owned(),
    }
}

pub(super) fn pause_words(pause: &Pause) -> String {
    let until = pause.until.map_or_else(String::new, |until| format!(" until {}", time(until)));
    let reason = pause.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    let actor = pause.actor.as_ref().map_or_else(String::new, |actor| format!(" by {actor}"));
    format!("since {}{until}{actor}{reason}", time(pause.since))
}

fn backoff(backoff: &Backoff) -> String {
    let attempt = backoff.next_attempt.map_or_else(String::new, |at| format!(", next attempt {}", time(at)));
    let (failures, side, class) = (backoff.consecutive_failures, &backoff.side, &backoff.class);
    format!("; failed runs since then: {failures} ({side}: {class}{attempt})")
}

/// `30 s (from the configuration)`, or `*/5 * * * * in UTC (from the configuration)`.
pub(super) fn schedule(schedule: &Schedule) -> String {
    let origin = match schedule.origin {
        Origin::File => "from the configuration",
        Origin::Api => "overridden; \"rbac-sync schedule reset\" gives the configured one again",
    };
    match (&schedule.cron, &schedule.time_zone, schedule.interval_sec) {
        (Some(cron), Some(zone), _) => format!("{cron} in {zone} ({origin})"),
        (_, _, Some(seconds)) => format!("{seconds} s ({origin})"),
        _ => format!("not known ({origin})"),
    }
}

/// `schedule`: with the next times of a cron expression.
pub(super) fn schedule_with_times(of: &Schedule, next: &[DateTime<Utc>]) -> String {
    let times: String = next.iter().map(|at| format!("next  {} UTC\n", time(*at))).collect();
    format!("{}\n{times}", schedule(of))
}

/// `info (from the configuration)`.
pub(super) fn log_level(level: &LogLevel) -> String {
    match level.until {
        Some(until) => {
            let again = "\"rbac-sync log-level --reset\" gives the configured one again";
            format!("{} until {} (overridden; {again})", level.level, time(until))
        }
        None => format!("{} (from the configuration)", level.level),
    }
}

/// `run` without `--wait`: IDs only, for scripts.
pub(super) fn accepted(accepted: &RunAccepted) -> String {
    if accepted.runs.is_empty() {
        return format!("{}\n", accepted.run_id);
    }
    accepted.runs.iter().map(|run| format!("{}\n", run.run_id)).collect()
}

/// `run --wait` and `once`: each run's outcome and counts.
pub(super) fn results(runs: &[RunRecord]) -> String {
    let mut text = String::new();
    for run in runs {
        let dry = if run.dry_run { " (dry run: nothing was written)" } else { "" };
        let took = run.duration_ms.map_or_else(String::new, |time| format!(" in {}", duration(time)));
        let outcome = match &run.error {
            Some(error) => format!("FAILED{took}: {error}"),
            None => format!("succeeded{took}"),
        };
        let _ = writeln!(text, "{} run {} of source {} {outcome}{dry}", run.mode.as_str(), run.run_id, run.source);
        text.push_str(&levels(&run.levels));
    }
    text
}

/// `verify`: what differs between each source and the target, by kind.
pub(super) fn differences(runs: &[RunRecord]) -> String {
    let mut text = String::new();
    for run in runs {
        let (differences, compared) = (run.levels.changed(), run.processed);
        let _ = writeln!(text, "source {}: {differences} differences in {compared} rows compared", run.source);
        if differences > 0 {
            let row = |(level, counts): (&str, crate::engine::Counts)| {
                let numbers = [counts.inserted, counts.updated, counts.deleted];
                [level.to_owned()].into_iter().chain(numbers.map(|number| number.to_string())).collect()
            };
            let rows: Vec<Vec<String>> = run.levels.iter().map(row).collect();
            text.push_str(&table(&["LEVEL", "MISSING", "DIFFERENT", "SURPLUS"], &rows));
        }
    }
    text
}

fn levels(levels: &Levels) -> String {
    let row = |(level, counts): (&str, crate::engine::Counts)| {
        let numbers = [counts.inserted, counts.updated, counts.deleted, counts.unchanged];
        [level.to_owned()].into_iter().chain(numbers.map(|number| number.to_string())).collect()
    };
    let rows: Vec<Vec<String>> = levels.iter().map(row).collect();
    table(&["LEVEL", "INSERTED", "UPDATED", "DELETED", "UNCHANGED"], &rows)
}

/// `history`.
pub(super) fn history(runs: &[Arc<RunRecord>]) -> String {
    let row = |run: &RunRecord| {
        let result = match (run.state, run.success) {
            (RunState::Queued, _) => "queued",
            (RunState::Running, _) => "running",
            (RunState::Finished, Some(true)) => "ok",
            (RunState::Finished, _) => "FAILED",
        };
        let mode = if run.dry_run { format!("{} (dry)", run.mode.as_str()) } else { run.mode.as_str().to_owned() };
        vec![
            run.started.map_or_else(|| "-".to_owned(), time),
            run.source.clone(),
            run.trigger.as_str().to_owned(),
            run.actor.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            mode,
            result.to_owned(),
            run.duration_ms.map_or_else(|| "-".to_owned(), duration),
            run.processed.to_string(),
            run.levels.changed().to_string(),
            run.run_id.to_string(),
            run.error.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<Vec<String>> = runs.iter().map(|run| row(run)).collect();
    let head = [
        "STARTED (UTC)",
        "SOURCE",
        "TRIGGER",
        "ACTOR",
        "MODE",
        "RESULT",
        "TOOK",
        "COMPARED",
        "CHANGED",
        "RUN",
        "ERROR",
    ];
    table(&head, &rows)
}

/// `audit`.
pub(super) fn audit(audit: &Audit) -> String {
    let row = |change: &Change| {
        let detail = |(key, value): (&String, &serde_json::Value)| match value.as_str() {
            Some(text) => format!("{key}={text}"),
            None => format!("{key}={value}"),
        };
        let detail: Vec<_> = change.detail.iter().map(detail).collect();
        vec![
            time(change.at),
            change.actor.to_string(),
            change.via.clone(),
            change.action.clone(),
            change.change_id.to_string(),
            detail.join(" "),
        ]
    };
    let rows: Vec<Vec<String>> = audit.changes.iter().map(|change| row(change)).collect();
    table(&["AT (UTC)", "ACTOR", "VIA", "ACTION", "CHANGE", "DETAIL"], &rows)
}

/// `reload` that was refused, behind its errors.
pub(super) fn refused(outcome: &ReloadOutcome) -> String {
    let again = if outcome.retrying { "; the daemon tries again by itself until the database answers" } else { "" };
    format!("refused; generation {} stays in effect{again}", outcome.generation)
}

/// `reload` that was accepted.
pub(super) fn reloaded(outcome: &ReloadOutcome) -> String {
    let mut text = format!("generation {} is in effect (file {})\n", outcome.generation, outcome.hash);
    if outcome.changes.is_empty() {
        text.push_str("nothing has changed\n");
    }
    text.push_str(&changes(&outcome.changes));
    let older = |key: &&String| outcome.changes.iter().all(|change| change.key != **key);
    for key in outcome.restart_required.iter().filter(older) {
        let _ = writeln!(text, "waits for a restart: {key} (changed earlier)");
    }
    text
}

/// One line for each change, by when it counts.
pub(super) fn changes(changes: &[config::Change]) -> String {
    let line = |change: &config::Change| match change.effect {
        Effect::Hot => format!("changed: {change}\n"),
        Effect::Restart => format!("waits for a restart: {change}\n"),
    };
    changes.iter().map(line).collect()
}

/// `health`.
pub(super) fn health(health: &Health) -> String {
    let mut parts = vec![("scheduler".to_owned(), &health.scheduler)];
    parts.extend(health.source.iter().map(|(name, part)| (format!("source {name}"), part)));
    parts.extend([
        ("target".to_owned(), &health.target),
        ("last run".to_owned(), &health.last_run),
        ("configuration".to_owned(), &health.configuration),
    ]);
    let row = |(name, part): &(String, &crate::api::wire::Part)| {
        vec![name.clone(), if part.ok { "ok" } else { "NOT OK" }.to_owned(), part.detail.clone()]
    };
    table(&["PART", "STATE", "DETAIL"], &parts.iter().map(row).collect::<Vec<_>>())
}

pub(super) fn time(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S").to_string()
}

pub(super) fn duration(milliseconds: u64) -> String {
    match milliseconds {
        0..1000 => format!("{milliseconds} ms"),
        1000..60_000 => format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100),
        _ => format!("{} min {} s", milliseconds / 60_000, milliseconds / 1000 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::{at, record, snapshot};
    use crate::history::Actor;
    use crate::supervisor::Running;

    #[test]
    fn status_answers_at_a_glance() {
        insta::assert_snapshot!("status_quiet", status(&snapshot().status));
        let mut status_now = snapshot().status;
        status_now.running =
            vec![Running { run_id: record(1).run_id, source: "main".into(), started: at(1), processed: 7 }];
        status_now.paused = true;
        status_now.pause = Some(Pause {
            reason: Some("upgrade".into()),
            actor: Some(Actor::named("uid 0")),
            since: at(0),
            until: Some(at(60)),
        });
        status_now.schedule.cron = Some("*/5 * * * *".into());
        status_now.schedule.time_zone = Some("Asia/Seoul".into());
        status_now.log_level = LogLevel { level: "debug".into(), origin: Origin::Api, until: Some(at(60)) };
        status_now.sources[0].backoff = Some(Backoff {
            consecutive_failures: 3,
            next_attempt: Some(at(20)),
            side: "source".into(),
            class: "transient".into(),
        });
        status_now.target = Reachability { reachable: Some(false), error: Some("refused".into()), since: Some(at(9)) };
        status_now.config.last_reload_successful = false;
        status_now.config.errors = vec!["rbac-sync.toml:3:1: unknown key \"intervall\"".into()];
        status_now.config.restart_required = vec!["socket.path".into()];
        insta::assert_snapshot!("status_troubled", status(&status_now));
    }

    #[test]
    fn a_refusal_says_whether_somebody_must_act() {
        let refused_outcome = crate::api::testing::reloaded(crate::supervisor::ReloadTrigger::Socket, false, vec![]);
        assert_eq!(refused(&refused_outcome), "refused; generation 1 stays in effect");
        let passing = ReloadOutcome { retrying: true, ..refused_outcome };
        assert!(refused(&passing).ends_with("the daemon tries again by itself until the database answers"));
    }

    #[test]
    fn a_reload_says_what_changed_and_what_waits() {
        let mut outcome = crate::api::testing::reloaded(crate::supervisor::ReloadTrigger::Socket, true, vec![]);
        let socket = config::Change {
            key: "socket.mode".into(),
            old: "0660".into(),
            new: "0600".into(),
            effect: Effect::Restart,
        };
        outcome.changes.push(socket);
        outcome.restart_required = vec!["socket.mode".into(), "log.format".into()];
        insta::assert_snapshot!("reloaded", reloaded(&outcome));
    }

    #[test]
    fn history_is_an_aligned_table() {
        let failed = RunRecord { success: Some(false), error: Some("source: down".into()), ..record(3) };
        insta::assert_snapshot!("history", history(&[Arc::new(failed), Arc::new(record(2))]));
    }

    #[test]
    fn results_say_the_counts_of_each_level() {
        insta::assert_snapshot!("results", results(&[RunRecord { dry_run: true, ..record(1) }]));
    }

    #[test]
    fn durations_are_short() {
        assert_eq!(duration(999), "999 ms");
        assert_eq!(duration(1250), "1.2 s");
        assert_eq!(duration(3_725_000), "62 min 5 s");
    }
}
