//! The one task that owns configuration, timers and what is running.
//!
//! ```text
//!   front ends --Command--> +------------+ --Snapshot--> readers
//!   child tasks ---Done---> | Supervisor | --spawns----> child tasks (run, open, write, reload)
//!   timers ---------------> +------------+
//! ```
//!
//! The loop does three things over and over: start what may start (`tend`), publish the state
//! (`publish`), wait for one event (`wait`). It awaits no database and no file: that is the work of
//! child tasks, which report back. Nothing else holds this state, so there is no lock.
//!
//! A panic in a child task is a failure of that task. A panic here ends the process (see
//! [`crate::daemon`]), for a daemon that schedules nothing must not look alive.

mod admission;
mod audit;
mod bookkeeping;
mod command;
mod drain;
pub(crate) mod events;
mod intent;
mod lane;
mod link;
mod log_level;
mod operator;
mod orders;
mod outside;
mod publish;
mod reload;
mod repeats;
mod residents;
mod runs;
mod snapshot;
mod standby;
#[cfg(test)]
pub(crate) mod tests;

use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use command::{
    Admitted, Command, Denied, Handle, LogRequest, Order, PauseRequest, ReloadOutcome, ReloadTrigger, RunRequest,
    ScheduleRequest,
};
pub use events::{Event, EventId, Follower, GapReason, Happened, Progress, Speed, Speeds};
pub(crate) use outside::{Outside, World};
pub use snapshot::{
    Backoff, ConfigStatus, LastResult, LogLevel, Origin, Provenance, Reachability, Running, Schedule, Snapshot,
    SourceStatus, Status,
};

use crate::config::{Config, Loaded, SourceName};
use crate::engine::{Error, RunReport};
use crate::history::{Change, Changes, Ring, RunRecord};
use crate::metrics::Metrics;
use events::Events;
use intent::Intent;
use lane::Lane;
use link::Link;
use log_level::LogOverride;
use operator::Gap;
use outside::Opened;
use reload::{Proposed, Reloads};
use repeats::Repeats;
use residents::Residents;
use standby::Release;

/// How long runs and bookkeeping may take to end once the daemon stops. Below the 90 s after which
/// systemd kills, with time left for the listeners.
pub(crate) const DRAIN: Duration = Duration::from_secs(60);
/// How often the counts of a run under way are published.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
/// The end of a pause and a cron expression are times of day, and the clock on the wall may be set: look at
/// least this often.
const WALL_CLOCK_EVERY: Duration = Duration::from_secs(30);
/// node_exporter is scraped every 15 s at the most often.
const TEXTFILE_EVERY: Duration = Duration::from_secs(15);
/// With nothing to wait for the loop still turns, so that a forgotten timer is late, not lost.
const IDLE: Duration = Duration::from_secs(60);

/// A supervisor at work.
pub(crate) struct Started {
    /// How front ends reach it.
    pub(crate) handle: Handle,
    /// Ends when it has drained; an error is a panic.
    pub(crate) task: JoinHandle<()>,
    /// For the service manager.
    pub(crate) pulse: Pulse,
}

/// What the service manager wants to know beside the snapshots.
#[derive(Debug)]
pub(crate) struct Pulse {
    /// A message here is answered by the loop itself: the proof that it turns.
    pub(crate) beats: mpsc::Sender<oneshot::Sender<()>>,
    /// Begin and end of each reload.
    pub(crate) reloads: mpsc::UnboundedReceiver<ReloadEdge>,
}

/// A moment of a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReloadEdge {
    /// The file is about to be read.
    Begin,
    /// The outcome stands.
    End,
}

/// Starts the supervisor as a task; it drains and ends once `stop` is cancelled.
pub(crate) fn start<O: Outside>(outside: O, loaded: Loaded, metrics: Metrics, stop: CancellationToken) -> Started {
    let (commands, command_queue) = mpsc::channel(command::QUEUE);
    let (beats, beat_queue) = mpsc::channel(1);
    let (edges, reloads) = mpsc::unbounded_channel();
    let supervisor = Supervisor::new(outside, loaded, metrics, stop, command_queue, beat_queue, edges);
    let handle = Handle::new(commands, supervisor.snapshot.subscribe(), supervisor.events.subscribe());
    Started { handle, task: tokio::spawn(supervisor.work()), pulse: Pulse { beats, reloads } }
}

/// The state of the daemon; see the module.
struct Supervisor<O: Outside> {
    outside: Arc<O>,
    metrics: Metrics,
    config: Arc<Config>,
    /// What counts until the next start, for keys that need one.
    config_at_start: Arc<Config>,
    config_hash: String,
    config_status: ConfigStatus,
    provenance: Arc<Provenance>,
    intent: Intent,
    gap: Gap,
    log_override: Option<LogOverride>,
    /// In the order of the configuration; behind them those that leave.
    lanes: Vec<Lane<O::Source>>,
    link: Link<O::Target>,
    residents: Residents,
    history: Ring,
    changes: Changes,
    reloads: Reloads,
    repeats: Repeats,
    events: Events,
    textfile: Textfile,
    started: DateTime<Utc>,
    /// Set once the daemon stops: when it gives up waiting.
    drain_until: Option<Instant>,
    release: Release,

    stop: CancellationToken,
    commands: mpsc::Receiver<Order>,
    beats: mpsc::Receiver<oneshot::Sender<()>>,
    edges: mpsc::UnboundedSender<ReloadEdge>,
    children: JoinSet<Done<O>>,
    snapshot: watch::Sender<Arc<Snapshot>>,
}

/// The file for node_exporter.
struct Textfile {
    due: Instant,
    writing: bool,
    failed: bool,
}

/// What a child task reports. `None` in place of a result: it panicked.
enum Done<O: Outside> {
    Run { source: SourceName, run: Uuid, report: Option<RunReport> },
    Opened { link: u64, result: Result<Opened, Error> },
    LockLost { link: u64, error: Error },
    Released { link: u64 },
    Saved { link: u64, version: u64, result: Result<(), Error> },
    Recorded { link: u64, record: Arc<RunRecord>, result: Result<(), Error> },
    Noted { link: u64, change: Arc<Change>, result: Result<(), Error> },
    Proposed(Proposed<O>),
    TextfileWritten(io::Result<()>),
}

/// Why the loop woke up.
enum Wake<O: Outside> {
    Stop,
    Done(Box<Done<O>>),
    Order(Order),
    Beat(oneshot::Sender<()>),
    Time,
}

impl<O: Outside> Supervisor<O> {
    fn new(
        outside: O,
        loaded: Loaded,
        metrics: Metrics,
        stop: CancellationToken,
        commands: mpsc::Receiver<Order>,
        beats: mpsc::Receiver<oneshot::Sender<()>>,
        edges: mpsc::UnboundedSender<ReloadEdge>,
    ) -> Self {
        let (now, started) = (Instant::now(), outside.now());
        let config = Arc::new(loaded.config);
        let timing = || operator::timing(&outside, config.schedule.plan.clone(), config.schedule.jitter);
        let lane = |source: &_| Lane::new(Clone::clone(source), Arc::new(outside.source(source)), &timing());
        let lanes: Vec<_> = config.sources.iter().map(lane).collect();
        let link = Link::new(Arc::new(outside.target(&config.target)), now);
        let config_status = ConfigStatus {
            generation: 1,
            hash: loaded.file_hash,
            loaded: started,
            last_reload_successful: true,
            errors: Vec::new(),
            restart_required: Vec::new(),
        };
        let provenance = Provenance { origins: loaded.origins, companions: loaded.companions, ..Provenance::default() };
        let provenance = Arc::new(provenance);
        let first = publish::empty(config.clone(), provenance.clone(), config_status.clone(), started);
        Self {
            outside: Arc::new(outside),
            metrics,
            config_at_start: config.clone(),
            config_hash: loaded.hash,
            config_status,
            provenance,
            intent: Intent::default(),
            gap: Gap::default(),
            log_override: None,
            lanes,
            link,
            residents: Residents::default(),
            history: Ring::new(config.history_keep),
            changes: Changes::default(),
            reloads: Reloads::default(),
            repeats: Repeats::default(),
            events: Events::new(),
            textfile: Textfile { due: now, writing: false, failed: false },
            started,
            drain_until: None,
            release: Release::No,
            config,
            stop,
            commands,
            beats,
            edges,
            children: JoinSet::new(),
            snapshot: watch::Sender::new(Arc::new(first)),
        }
    }

    async fn work(mut self) {
        loop {
            self.tend();
            self.publish();
            if self.drained() {
                return;
            }
            match self.wait().await {
                Wake::Stop => self.begin_drain(),
                Wake::Done(done) => self.done(*done),
                Wake::Order(order) => self.order(order),
                Wake::Beat(answer) => drop(answer.send(())),
                Wake::Time => {}
            }
        }
    }

    /// The one place where the loop waits.
    async fn wait(&mut self) -> Wake<O> {
        let next = self.next_wake();
        tokio::select! {
            () = self.stop.cancelled(), if self.drain_until.is_none() => Wake::Stop,
            Some(done) = self.children.join_next() => {
                Wake::Done(Box::new(done.expect("child tasks catch their panics and are never aborted")))
            }
            Some(order) = self.commands.recv() => Wake::Order(order),
            Some(answer) = self.beats.recv() => Wake::Beat(answer),
            () = tokio::time::sleep_until(next) => Wake::Time,
        }
    }

    /// Starts everything whose time has come.
    fn tend(&mut self) {
        let now = Instant::now();
        if self.drain_until.is_none() {
            self.end_pause_in_time();
            self.end_log_level_in_time();
            self.reload_again_in_time();
            self.follow_the_clock();
            self.lanes.retain(|lane| !lane.leaving || lane.active.is_some());
            if self.link.opens_at().is_some_and(|at| at <= now) {
                self.open_target();
            }
            self.start_runs();
            self.write_textfile();
        }
        if self.link.writes_at().is_some_and(|at| at <= now) {
            self.write_bookkeeping();
        }
        // Last of all, and at once, so that another daemon need not wait for the end of this process.
        if self.drain_until.is_some() && self.release == Release::No && self.is_quiet() {
            self.release = Release::UnderWay;
            self.release_target();
        }
    }

    /// Nothing is under way that uses the target.
    fn is_quiet(&self) -> bool {
        self.lanes.iter().all(|lane| lane.active.is_none()) && !self.link.is_writing()
    }

    /// When `tend` has something to do again, if nothing else happens.
    fn next_wake(&self) -> Instant {
        let now = Instant::now();
        let mut next = now + IDLE;
        let mut at = |instant: Option<Instant>| next = next.min(instant.unwrap_or(next));
        at(self.lanes.iter().any(|lane| lane.active.is_some()).then(|| now + PROGRESS_EVERY));
        at(self.link.writes_at().filter(|_| self.has_unwritten()));
        at(self.drain_until);
        if self.drain_until.is_none() {
            at(self.link.opens_at());
            at(self.lanes.iter().filter(|lane| self.may_run_on_schedule(lane)).map(|lane| lane.timer.due()).min());
            at(self.lanes.iter().any(|lane| lane.timer.is_by_the_wall()).then(|| now + WALL_CLOCK_EVERY));
            at(self.log_override.as_ref().map(|set| set.ends));
            at(self.reloads.again_at());
            at(self.pause_ends_in().map(|time| now + time.min(WALL_CLOCK_EVERY)));
            at((self.config.metrics_textfile.is_some() && !self.textfile.writing).then_some(self.textfile.due));
        }
        next
    }

    fn done(&mut self, done: Done<O>) {
        match done {
            Done::Run { source, run, report } => self.run_ended(&source, run, report),
            Done::Opened { link, result } if link == self.link.number => self.target_opened(result),
            Done::Saved { link, version, result } if link == self.link.number => self.control_saved(version, &result),
            Done::Recorded { link, record, result } if link == self.link.number => {
                self.run_recorded(&record, &result);
            }
            Done::Noted { link, change, result } if link == self.link.number => self.change_noted(&change, &result),
            Done::LockLost { link, error } if link == self.link.number => self.lock_lost(&error),
            Done::Released { link } if link == self.link.number => self.release = Release::Done,
            Done::LockLost { .. } | Done::Released { .. } => {}
            Done::Opened { .. } | Done::Saved { .. } | Done::Recorded { .. } | Done::Noted { .. } => {}
            Done::Proposed(proposed) => self.reload_ended(proposed),
            Done::TextfileWritten(result) => self.textfile_written(&result),
        }
    }

    /// Starts work that may wait. `done` turns its result into a report; `None` means that it panicked.
    fn spawn<T>(
        &mut self,
        work: impl Future<Output = T> + Send + 'static,
        done: impl FnOnce(Option<T>) -> Done<O> + Send + 'static,
    ) {
        // The state that a panic may leave half-changed goes with the task; connections check theirs.
        self.children.spawn(async move { done(AssertUnwindSafe(work).catch_unwind().await.ok()) });
    }
}
