//! Fixtures for tests: a snapshot with fixed times and IDs, and a supervisor that only does as told.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::App;
use crate::config::{
    Config, Deletes, Dialect, Endpoint, LogConfig, LogFormat, MaxDeletes, Pace, ScheduleConfig, SocketConfig,
    SourceConfig, SourceName, TargetConfig,
};
use crate::engine::{Counts, Levels, Mode};
use crate::history::{Actor, RunRecord, RunState, Trigger};
use crate::metrics::Metrics;
use crate::schedule::{Pause, Plan};
use crate::supervisor::events::Log;
use crate::supervisor::{
    Admitted, Command, ConfigStatus, Denied, Event, Handle, LastResult, LogLevel, Order, Origin, Reachability,
    ReloadOutcome, ReloadTrigger, RunRequest, Schedule, Snapshot, SourceStatus, Status,
};

/// Seconds after a fixed moment.
pub(crate) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(1_795_478_400 + seconds)
}

pub(crate) fn id(number: u8) -> Uuid {
    Uuid::from_bytes([1, 0x9f, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, number])
}

/// An ended run.
pub(crate) fn record(number: u8) -> RunRecord {
    let study = Counts { inserted: 2, updated: 1, deleted: 0, unchanged: 7 };
    RunRecord {
        run_id: id(number),
        state: RunState::Finished,
        trigger: Trigger::Socket,
        actor: Some(Actor::named("uid 1000")),
        mode: Mode::Delta,
        source: "main".into(),
        dry_run: false,
        started: Some(at(i64::from(number))),
        finished: Some(at(i64::from(number) + 1)),
        success: Some(true),
        processed: 10,
        levels: Levels { study, ..Levels::default() },
        duration_ms: Some(1000),
        error: None,
    }
}

pub(crate) fn config() -> Config {
    let endpoint = Endpoint { dialect: Dialect::Sqlite, url: "sqlite:///tmp/x.db".into(), password: None };
    Config {
        schedule: ScheduleConfig {
            plan: Plan::Interval(Duration::from_secs(5)),
            time_zone: chrono_tz::UTC,
            jitter: Duration::ZERO,
        },
        sources: vec![SourceConfig {
            name: SourceName::new("main").expect("valid"),
            endpoint: endpoint.clone(),
            time_zone: chrono_tz::UTC,
            overlap: Duration::from_secs(360),
            instances: false,
            pace: Pace::default(),
        }],
        target: TargetConfig {
            endpoint,
            deletes: Deletes::Tombstone,
            max_deletes: MaxDeletes { rows: 500, percent: 5.0 },
        },
        http: None,
        socket: SocketConfig { path: PathBuf::from("/run/x.sock"), mode: 0o660 },
        history_keep: 1000,
        log: LogConfig { level: "info".into(), format: LogFormat::Auto },
        metrics_textfile: None,
    }
}

/// A daemon at rest that has had two runs.
pub(crate) fn snapshot() -> Snapshot {
    let up = Reachability { reachable: Some(true), error: None, since: Some(at(0)) };
    let status = Status {
        is_running: false,
        paused: false,
        last_run: Some(at(2)),
        next_run: Some(at(1_000_000_000)),
        interval_sec: 5,
        last_result: Some(LastResult { run_id: id(2), success: true, processed: 10, duration_ms: 1000, error: None }),
        schedule: Schedule::new(&Plan::Interval(Duration::from_secs(5)), Origin::File),
        log_level: LogLevel { level: "info".into(), origin: Origin::File, until: None },
        pause: None,
        running: Vec::new(),
        sources: vec![SourceStatus {
            name: "main".into(),
            reachability: up.clone(),
            last_success: Some(at(3)),
            verified_since: Some(at(2)),
            consecutive_failures: 0,
            next_run: Some(at(1_000_000_000)),
            backoff: None,
        }],
        target: up,
        config: ConfigStatus {
            generation: 1,
            hash: "0123456789ab".into(),
            loaded: at(0),
            last_reload_successful: true,
            errors: Vec::new(),
            restart_required: Vec::new(),
        },
        started: at(0),
        version: "0.1.0".into(),
        stopping: false,
        standby: false,
        served_by: None,
        unconfigured_sources: Vec::new(),
    };
    let history = Arc::new([record(2), record(1)].map(Arc::new).to_vec());
    Snapshot {
        status,
        config: Arc::new(config()),
        provenance: Arc::default(),
        history,
        changes: Arc::default(),
        open_runs: Vec::new(),
    }
}

/// The supervisor's side of a [`Handle`], driven by a test.
pub(crate) struct Supervisor {
    pub(crate) state: Arc<watch::Sender<Arc<Snapshot>>>,
    events: watch::Sender<Log>,
    task: tokio::task::JoinHandle<()>,
}

impl Supervisor {
    /// Starts it. It obeys: runs are queued until [`Supervisor::finish`], sources named `busy`,
    /// `taken` and `standby` and the key `reused` are denied, a reload is refused while a pause is in effect.
    pub(crate) fn start(snapshot: Snapshot) -> (Self, App) {
        let (state, watch) = watch::channel(Arc::new(snapshot));
        let (commands, mut queue) = mpsc::channel::<Order>(8);
        let state = Arc::new(state);
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Some(order) = queue.recv().await {
                obey(&shared, order.command);
            }
        });
        let events = watch::Sender::new(Log::new());
        let handle = Handle::new(commands, watch, events.subscribe());
        (Self { state, events, task }, App { handle, metrics: Metrics::new() })
    }

    /// Ends the run with that ID.
    pub(crate) fn finish(&self, run: Uuid, success: bool) {
        change(&self.state, |snapshot| {
            let position = snapshot.open_runs.iter().position(|open| open.run_id == run).expect("an open run");
            let open = snapshot.open_runs.remove(position);
            let error = (!success).then(|| "source: the server is down".to_owned());
            let ended = RunRecord { run_id: run, trigger: open.trigger, success: Some(success), error, ..record(1) };
            let mut history = (*snapshot.history).clone();
            history.insert(0, Arc::new(ended));
            snapshot.history = Arc::new(history);
        });
    }

    pub(crate) fn change(&self, edit: impl FnOnce(&mut Snapshot)) {
        change(&self.state, edit);
    }

    /// Adds an event; a change of the state alone adds none.
    pub(crate) fn tell(&self, event: Event) {
        self.events.send_modify(|log| log.push(event, at(100)));
    }

    /// Ends it: its channels close.
    pub(crate) async fn stop(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

fn change(state: &watch::Sender<Arc<Snapshot>>, edit: impl FnOnce(&mut Snapshot)) {
    state.send_modify(|snapshot| edit(Arc::make_mut(snapshot)));
}

fn open_run(run_id: Uuid, source: &SourceName, request: &RunRequest) -> RunRecord {
    RunRecord {
        run_id,
        state: RunState::Running,
        trigger: request.trigger,
        mode: request.mode,
        source: source.to_string(),
        dry_run: request.dry_run,
        finished: None,
        success: None,
        duration_ms: None,
        ..record(1)
    }
}

pub(crate) fn reloaded(trigger: ReloadTrigger, success: bool, errors: Vec<String>) -> ReloadOutcome {
    let mut changed = config();
    changed.schedule.plan = Plan::Interval(std::time::Duration::from_secs(10));
    let changes = if success { crate::config::diff(&config(), &changed) } else { vec![] };
    ReloadOutcome {
        success,
        trigger,
        actor: Actor::named("uid 0"),
        finished: at(100),
        generation: if success { 2 } else { 1 },
        hash: "0123456789ab".into(),
        changed: crate::config::names(&changes, crate::config::Effect::Hot),
        changes,
        restart_required: vec![],
        warnings: vec![],
        errors,
        retrying: false,
    }
}

fn obey(state: &watch::Sender<Arc<Snapshot>>, command: Command) {
    match command {
        Command::Run(request, reply) => {
            let denied = match request.source.as_ref().map(SourceName::as_str) {
                _ if request.key.as_deref() == Some("reused") => Some(Denied::KeyReused),
                None | Some("main") => None,
                Some("busy") => Some(Denied::Busy),
                Some("taken") => Some(Denied::QueueTaken),
                Some("standby") => Some(Denied::Standby("daemon on host a".into())),
                Some(other) => Some(Denied::UnknownSource(other.into())),
            };
            let config = state.borrow().config.clone();
            let wanted = |name: &SourceName| request.source.as_ref().is_none_or(|source| source == name);
            let sources = config.sources.iter().map(|source| &source.name).filter(|name| wanted(name));
            let runs: Vec<RunRecord> =
                (100..).zip(sources).map(|(number, source)| open_run(id(number), source, &request)).collect();
            let admitted = Admitted { runs: runs.iter().map(|run| run.run_id).collect() };
            if denied.is_none() {
                change(state, |snapshot| snapshot.open_runs.extend(runs));
            }
            let _ = reply.send(denied.map_or(Ok(admitted), Err));
        }
        Command::Cancel(reply) => {
            let runs: Vec<Uuid> = state.borrow().open_runs.iter().map(|run| run.run_id).collect();
            let _ = reply.send(if runs.is_empty() { Err(Denied::NothingToCancel) } else { Ok(runs) });
        }
        Command::Pause(request, reply) => {
            let until = request.duration.map(|time| at(100) + time);
            let pause = Pause { reason: request.reason, actor: None, since: at(100), until };
            change(state, |snapshot| {
                snapshot.status.paused = true;
                snapshot.status.pause = Some(pause.clone());
            });
            let _ = reply.send(Ok(pause));
        }
        Command::Resume(reply) => {
            change(state, |snapshot| {
                snapshot.status.paused = false;
                snapshot.status.pause = None;
            });
            let _ = reply.send(Ok(()));
        }
        Command::SetSchedule(request, reply) => {
            let tag = state.borrow().status.schedule.tag();
            if request.expected.is_some_and(|tags| !tags.contains(&tag)) {
                let _ = reply.send(Err(Denied::ScheduleChanged));
                return;
            }
            let schedule = match &request.plan {
                Some(plan) => Schedule::new(plan, Origin::Api),
                None => Schedule::new(&config().schedule.plan, Origin::File),
            };
            change(state, |snapshot| snapshot.status.schedule = schedule.clone());
            let _ = reply.send(Ok(schedule));
        }
        Command::SetLogLevel(request, reply) => {
            let file = LogLevel { level: "info".into(), origin: Origin::File, until: None };
            let level = request.map_or(file, |request| LogLevel {
                level: request.level,
                origin: Origin::Api,
                until: Some(at(100) + request.duration),
            });
            change(state, |snapshot| snapshot.status.log_level = level.clone());
            let _ = reply.send(Ok(level));
        }
        Command::Reload(trigger, reply) => {
            let success = !state.borrow().status.paused;
            let errors = if success { vec![] } else { vec!["rbac-sync.toml:3:1: unknown key \"intervall\"".into()] };
            let _ = reply.send(Ok(reloaded(trigger, success, errors)));
        }
    }
}
