//! From the supervisor's state to the [`Snapshot`] that every reader sees.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

use super::lane::Lane;
use super::outside::Outside;
use super::{
    ConfigStatus, LastResult, LogLevel, Origin, Reachability, Schedule, Snapshot, SourceStatus, Status, Supervisor,
};
use crate::config::Config;
use crate::history::RunRecord;

/// The snapshot before the first turn of the loop.
pub(super) fn empty(config: Arc<Config>, config_status: ConfigStatus, started: DateTime<Utc>) -> Snapshot {
    let plan = &config.schedule.plan;
    let unknown = Reachability { reachable: None, error: None, since: None };
    let source = |name: String| SourceStatus {
        name,
        reachability: unknown.clone(),
        last_success: None,
        verified_since: None,
        consecutive_failures: 0,
        next_run: None,
        backoff: None,
    };
    let status = Status {
        is_running: false,
        paused: false,
        last_run: None,
        next_run: None,
        interval_sec: plan.gap(started).0.as_secs(),
        last_result: None,
        schedule: Schedule::new(plan, Origin::File),
        log_level: LogLevel { level: config.log.level.clone(), origin: Origin::File, until: None },
        pause: None,
        running: Vec::new(),
        sources: config.sources.iter().map(|config| source(config.name.to_string())).collect(),
        target: unknown.clone(),
        config: config_status,
        started,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        stopping: false,
        standby: false,
        served_by: None,
        unconfigured_sources: Vec::new(),
    };
    Snapshot { status, config, history: Arc::default(), changes: Arc::default(), open_runs: Vec::new() }
}

impl<O: Outside> Supervisor<O> {
    /// Publishes the state, if it differs from what readers have, and then tells what has happened.
    pub(super) fn publish(&mut self) {
        let new = Arc::new(self.compose());
        let old = self.snapshot.borrow().clone();
        let same = old.status == new.status
            && old.open_runs == new.open_runs
            && Arc::ptr_eq(&old.history, &new.history)
            && Arc::ptr_eq(&old.changes, &new.changes)
            && Arc::ptr_eq(&old.config, &new.config);
        if !same {
            self.snapshot.send_replace(new.clone());
        }
        self.events.observe(&old, &new, Instant::now(), self.outside.now());
    }

    fn compose(&mut self) -> Snapshot {
        let sources = self.source_statuses();
        let running: Vec<_> = self.lanes.iter().filter_map(Lane::running).collect();
        let history = self.history.records().clone();
        let last = history.first();
        let status = Status {
            is_running: !running.is_empty(),
            paused: self.intent.pause().is_some(),
            last_run: last.and_then(|record| record.started),
            next_run: sources.iter().filter_map(|source| source.next_run).min(),
            interval_sec: self.gap().as_secs(),
            last_result: last.map(|record| last_result(record)),
            schedule: self.schedule(),
            log_level: self.log_level(),
            pause: self.intent.pause().cloned(),
            running,
            sources,
            target: self.link.reach.clone(),
            config: self.config_status.clone(),
            started: self.started,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            stopping: self.drain_until.is_some(),
            standby: self.link.served_by().is_some(),
            served_by: self.link.served_by().map(str::to_owned),
            unconfigured_sources: self.residents.unconfigured(&self.config),
        };
        let open_runs = self.lanes.iter().flat_map(Lane::open_runs).collect();
        let changes = self.changes.records().clone();
        Snapshot { status, config: self.config.clone(), history, changes, open_runs }
    }

    fn source_statuses(&mut self) -> Vec<SourceStatus> {
        let (now, at) = (Instant::now(), self.outside.now());
        let standby = self.link.served_by().is_some();
        let held = standby || self.intent.pause().is_some() || self.drain_until.is_some();
        let (open, opens_at) = (self.link.is_open(), self.link.opens_at());
        let staying = self.lanes.iter_mut().filter(|lane| !lane.leaving);
        staying
            .map(|lane| {
                let due = match opens_at {
                    _ if held => None,
                    Some(opens_at) => Some(lane.timer.due().max(opens_at)),
                    None if open => Some(lane.timer.due()),
                    None => None,
                };
                // A run that takes longer than the interval: unknown until it ends.
                let next_run = due.filter(|due| *due > now).map(|due| match lane.timer.due_at() {
                    Some(due_at) if due == lane.timer.due() => due_at,
                    _ => lane.shown_due.of(due, now, at),
                });
                SourceStatus {
                    name: lane.config.name.to_string(),
                    reachability: lane.reach.clone(),
                    last_success: lane.last_success,
                    verified_since: lane.verified_since,
                    consecutive_failures: lane.failures,
                    next_run,
                    backoff: lane.backoff(next_run),
                }
            })
            .collect()
    }
}

fn last_result(record: &RunRecord) -> LastResult {
    LastResult {
        run_id: record.run_id,
        success: record.success.unwrap_or(false),
        processed: record.processed,
        duration_ms: record.duration_ms.unwrap_or(0),
        error: record.error.clone(),
    }
}

/// A moment of the monotonic clock as a time of day, converted once: two conversions of one moment
/// differ by microseconds, and each would look like a new state.
#[derive(Debug, Default)]
pub(super) struct Shown(Option<(Instant, DateTime<Utc>)>);

impl Shown {
    fn of(&mut self, moment: Instant, now: Instant, at: DateTime<Utc>) -> DateTime<Utc> {
        match self.0 {
            Some((known, shown)) if known == moment => shown,
            _ => {
                let wait = TimeDelta::from_std(moment.saturating_duration_since(now)).unwrap_or(TimeDelta::MAX);
                let shown = at.checked_add_signed(wait).unwrap_or(DateTime::<Utc>::MAX_UTC);
                self.0 = Some((moment, shown));
                shown
            }
        }
    }
}
