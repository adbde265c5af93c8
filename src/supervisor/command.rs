//! What the front ends may ask of the supervisor, and the handle that they ask through.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use uuid::Uuid;

use super::events::{Follower, Log, NOWHERE};
use super::{LogLevel, Schedule, Snapshot};
use crate::config::{self, SourceName};
use crate::engine::Mode;
use crate::history::{Actor, RunRecord, Trigger, Via};
use crate::schedule::{Pause, Plan};

/// Requests that wait for the supervisor at the most; whoever comes then waits for a place, in the order of coming.
pub(crate) const QUEUE: usize = 64;
/// A client waits so long for a place, then it is told "busy". The daemon's own orders, a signal or a saved file, wait
/// as long as it takes: nobody would give them again.
const PATIENCE: Duration = Duration::from_secs(5);

/// A run that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRequest {
    /// Who asks.
    pub trigger: Trigger,
    /// Which source; `None` means all of them.
    pub source: Option<SourceName>,
    /// What to read.
    pub mode: Mode,
    /// Write nothing.
    pub dry_run: bool,
    /// Pass the brake on deletes, once.
    pub allow_deletes: bool,
    /// The sender's name for this request: the same request with the same key is that one again.
    pub key: Option<Arc<str>>,
}

/// The run that serves a request: its own, or the one that it joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// One run for each source, in the order of the configuration; never empty.
    pub runs: Vec<Uuid>,
}

/// A pause that somebody wants.
#[derive(Clone, Debug, Default)]
pub struct PauseRequest {
    /// Why, for the others.
    pub reason: Option<String>,
    /// Ends by itself after this time.
    pub duration: Option<Duration>,
}

/// A change of the schedule that somebody wants.
#[derive(Clone, Debug, Default)]
pub struct ScheduleRequest {
    /// Overrides that of the file; `None` gives the file's again.
    pub plan: Option<Plan>,
    /// Only if the schedule in effect has one of these tags (see [`Schedule::tag`]); `None`: in any case.
    pub expected: Option<Vec<String>>,
}

/// A log level that somebody wants for a while.
#[derive(Clone, Debug)]
pub struct LogRequest {
    /// A level or a filter per module, checked.
    pub level: String,
    /// Ends by itself after this time.
    pub duration: Duration,
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// More requests wait than the supervisor takes.
    #[error("too many requests are waiting; try again")]
    Busy,
    /// The daemon drains.
    #[error("the daemon is stopping")]
    Stopping,
    /// No source has that name.
    #[error("no source is named \"{0}\"")]
    UnknownSource(String),
    /// `cancel` without a run.
    #[error("no run is under way")]
    NothingToCancel,
    /// The run that waits differs from the wanted one, so that joining it would not do what was asked.
    #[error("another run with different options is already queued")]
    QueueTaken,
    /// The schedule is not the one that the asker saw.
    #[error("somebody has changed the schedule meanwhile: read it again, then decide")]
    ScheduleChanged,
    /// The key is that of another request.
    #[error("this idempotency key was sent with another request; take a new key for each")]
    KeyReused,
    /// Another daemon serves the target, and says so of itself.
    #[error("standby: another daemon serves this target ({0}); ask that one")]
    Standby(String),
}

/// What triggered a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReloadTrigger {
    /// The file changed.
    File,
    /// SIGHUP.
    Signal,
    /// `POST /config/reload` over HTTP.
    Api,
    /// `POST /config/reload` over the Unix socket.
    Socket,
}

impl ReloadTrigger {
    /// As the API, the log and the metrics spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Signal => "signal",
            Self::Api => "api",
            Self::Socket => "socket",
        }
    }
}

/// The record of a reload, the same for everybody who asks: the API, the log, the command line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReloadOutcome {
    /// False: the old configuration stays whole.
    pub success: bool,
    /// What triggered it.
    pub trigger: ReloadTrigger,
    /// Who asked for it first.
    pub actor: Actor,
    /// When it ended.
    pub finished: DateTime<Utc>,
    /// Counts the configurations that took effect; the one at start is 1.
    pub generation: u64,
    /// The first 12 digits of the SHA-256 of the file in effect, after a refusal that of the old one.
    pub hash: String,
    /// What differs from the configuration before, value by value.
    pub changes: Vec<config::Change>,
    /// Keys that changed and took effect, such as `schedule.interval`.
    pub changed: Vec<String>,
    /// Keys that take effect only at the next start, also those of earlier reloads.
    pub restart_required: Vec<String>,
    /// What works but should be changed, each with file:line:column where known.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// What is wrong, each with file:line:column where known; empty on success.
    pub errors: Vec<String>,
    /// Refused only because a database could not be reached: tried again by itself until it answers.
    #[serde(default)]
    pub retrying: bool,
}

/// A request to the supervisor, each with its reply.
#[derive(Debug)]
pub enum Command {
    /// Run now, or join the run that is queued.
    Run(RunRequest, oneshot::Sender<Result<Admitted, Denied>>),
    /// End the runs under way cleanly; answers their IDs.
    Cancel(oneshot::Sender<Result<Vec<Uuid>, Denied>>),
    /// Stop scheduled runs.
    Pause(PauseRequest, oneshot::Sender<Result<Pause, Denied>>),
    /// Start scheduled runs again.
    Resume(oneshot::Sender<Result<(), Denied>>),
    /// Override the schedule of the file, or give the file's again.
    SetSchedule(ScheduleRequest, oneshot::Sender<Result<Schedule, Denied>>),
    /// Override the log level of the file for a while, or (`None`) give the file's again.
    SetLogLevel(Option<LogRequest>, oneshot::Sender<Result<LogLevel, Denied>>),
    /// Read the configuration again.
    Reload(ReloadTrigger, oneshot::Sender<Result<ReloadOutcome, Denied>>),
}

/// A command and who gave it.
#[derive(Debug)]
pub struct Order {
    /// Who asks.
    pub actor: Actor,
    /// By which way.
    pub via: Via,
    /// For what.
    pub command: Command,
}

/// How a front end reaches the supervisor: commands through a bounded queue, reads from the latest
/// snapshot. Clones are cheap.
#[derive(Clone, Debug)]
pub struct Handle {
    actor: Actor,
    via: Via,
    commands: mpsc::Sender<Order>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    events: watch::Receiver<Log>,
}

impl Handle {
    /// Joins the ends that the supervisor holds.
    pub(crate) fn new(
        commands: mpsc::Sender<Order>,
        snapshot: watch::Receiver<Arc<Snapshot>>,
        events: watch::Receiver<Log>,
    ) -> Self {
        Self { actor: Actor::daemon(), via: Via::Daemon, commands, snapshot, events }
    }

    /// The same supervisor, asked by somebody else.
    #[must_use]
    pub fn by(&self, actor: Actor, via: Via) -> Self {
        Self { actor, via, ..self.clone() }
    }

    /// The latest state; never waits.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }

    /// A receiver that wakes at each new state.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.clone()
    }

    /// Follows what happens: from now on, or from after the event whose ID is given. What cannot be given
    /// any more, or is no ID of this daemon's life, begins with a gap.
    #[must_use]
    pub fn follow(&self, after: Option<&str>) -> Follower {
        Follower::new(self.events.clone(), after.map(|id| id.parse().unwrap_or(NOWHERE)))
    }

    /// Runs now. While a run of the source is under way one more is queued, and further requests
    /// with the same options join that one.
    ///
    /// # Errors
    /// [`Denied::Busy`], [`Denied::Stopping`], [`Denied::UnknownSource`], [`Denied::QueueTaken`],
    /// [`Denied::KeyReused`].
    pub async fn run(&self, request: RunRequest) -> Result<Admitted, Denied> {
        self.ask(|reply| Command::Run(request, reply)).await
    }

    /// Waits until the run has ended, or the daemon stops. `None`: no run has that ID.
    pub async fn finished(&self, run: Uuid) -> Option<RunRecord> {
        let mut watch = self.watch();
        loop {
            let record = watch.borrow_and_update().run(run)?;
            if record.finished.is_some() || watch.changed().await.is_err() {
                return Some(record);
            }
        }
    }

    /// Ends the runs under way.
    ///
    /// # Errors
    /// [`Denied::NothingToCancel`], and those of [`Handle::run`].
    pub async fn cancel(&self) -> Result<Vec<Uuid>, Denied> {
        self.ask(Command::Cancel).await
    }

    /// Stops scheduled runs; outlives a restart.
    ///
    /// # Errors
    /// [`Denied::Busy`], [`Denied::Stopping`].
    pub async fn pause(&self, request: PauseRequest) -> Result<Pause, Denied> {
        self.ask(|reply| Command::Pause(request, reply)).await
    }

    /// Starts scheduled runs again.
    ///
    /// # Errors
    /// [`Denied::Busy`], [`Denied::Stopping`].
    pub async fn resume(&self) -> Result<(), Denied> {
        self.ask(Command::Resume).await
    }

    /// Overrides the schedule of the file, or gives it back. The caller has checked the range.
    ///
    /// # Errors
    /// [`Denied::Busy`], [`Denied::Stopping`], [`Denied::ScheduleChanged`].
    pub async fn set_schedule(&self, request: ScheduleRequest) -> Result<Schedule, Denied> {
        self.ask(|reply| Command::SetSchedule(request, reply)).await
    }

    /// Overrides the log level of the file for a while, or gives it back with `None`.
    ///
    /// # Errors
    /// [`Denied::Busy`], [`Denied::Stopping`].
    pub async fn set_log_level(&self, request: Option<LogRequest>) -> Result<LogLevel, Denied> {
        self.ask(|reply| Command::SetLogLevel(request, reply)).await
    }

    /// Reads the configuration again and answers when that is over.
    ///
    /// # Errors
    /// [`Denied::Busy`], [`Denied::Stopping`]. A refused configuration is not an error here: see
    /// [`ReloadOutcome::success`].
    pub async fn reload(&self, trigger: ReloadTrigger) -> Result<ReloadOutcome, Denied> {
        self.ask(|reply| Command::Reload(trigger, reply)).await
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<Result<T, Denied>>) -> Command) -> Result<T, Denied> {
        let (reply, answer) = oneshot::channel();
        let order = Order { actor: self.actor.clone(), via: self.via, command: command(reply) };
        let sending = self.commands.send(order);
        let sent = match self.via {
            Via::File | Via::Signal => sending.await,
            _ => timeout(PATIENCE, sending).await.map_err(|_| Denied::Busy)?,
        };
        sent.map_err(|_| Denied::Stopping)?;
        answer.await.unwrap_or(Err(Denied::Stopping))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing;

    /// A handle whose orders nobody takes yet.
    fn handle(room: usize) -> (Handle, mpsc::Receiver<Order>) {
        let (commands, orders) = mpsc::channel(room);
        let snapshot = watch::channel(Arc::new(testing::snapshot())).1;
        (Handle::new(commands, snapshot, watch::channel(Log::new()).1), orders)
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_places_are_taken_a_client_is_told_so_and_a_saved_file_waits() {
        let (handle, mut orders) = handle(1);
        let held = tokio::spawn({
            let handle = handle.clone();
            async move { handle.resume().await }
        });
        tokio::task::yield_now().await;
        assert_eq!(handle.cancel().await, Err(Denied::Busy));
        let file = handle.by(Actor::file(), Via::File);
        let saved = tokio::spawn(async move { file.reload(ReloadTrigger::File).await });
        tokio::time::sleep(PATIENCE * 10).await;
        assert!(matches!(orders.recv().await.map(|order| order.command), Some(Command::Resume(_))));
        let next = orders.recv().await.map(|order| order.command);
        assert!(matches!(next, Some(Command::Reload(ReloadTrigger::File, _))));
        drop(next);
        assert!(saved.await.expect("no panic").is_err() && held.await.expect("no panic").is_err());
    }
}
