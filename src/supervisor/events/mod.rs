//! What happens in the daemon, for readers that follow it: `GET /events`.
//!
//! An event is the difference between two snapshots ([`differences`]), so that whoever hears of something
//! finds it in the snapshot too.
//! The latest events are kept ([`log`]), and a reader takes them from there at its own pace: it can be
//! slow, gone or many without the supervisor noticing.

mod differences;
mod log;
mod speed;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

pub use log::{EventId, Follower};
pub(crate) use log::{Log, NOWHERE};
pub use speed::{Progress, Speed, Speeds};

use super::{LogLevel, ReloadOutcome, Schedule, Snapshot};
use crate::history::{RunRecord, RunState};
use crate::schedule::Pause;
use speed::Meter;

/// One event with its place in the stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Happened {
    /// Its place.
    pub id: EventId,
    /// When, UTC.
    pub at: DateTime<Utc>,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened. In JSON the name is the member `event`, and the fields stand beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event")]
pub enum Event {
    /// A run began.
    #[serde(rename = "run.started")]
    RunStarted(Arc<RunRecord>),
    /// A run under way has come further.
    #[serde(rename = "run.progress")]
    RunProgress(Progress),
    /// A run ended, or was given up before it began.
    #[serde(rename = "run.finished")]
    RunFinished(Arc<RunRecord>),
    /// Scheduled runs are stopped, or the pause is another one.
    #[serde(rename = "paused")]
    Paused(Pause),
    /// Scheduled runs go on.
    #[serde(rename = "resumed")]
    Resumed,
    /// The time between scheduled runs is another one.
    #[serde(rename = "schedule.changed")]
    ScheduleChanged(Schedule),
    /// What is logged is another thing: somebody set it, its time is over, or the file has another one.
    #[serde(rename = "log_level.changed")]
    LogLevelChanged(LogLevel),
    /// The configuration was read again and is in effect.
    #[serde(rename = "reloaded")]
    Reloaded(ReloadOutcome),
    /// The configuration was read again and refused; the one before it stays.
    #[serde(rename = "reload.refused")]
    ReloadRefused(ReloadOutcome),
    /// The database of a source does not answer any more, or did not when it was first asked.
    #[serde(rename = "source.lost")]
    SourceLost {
        /// The source.
        source: String,
        /// What it said.
        error: Option<String>,
    },
    /// It answers again.
    #[serde(rename = "source.back")]
    SourceBack {
        /// The source.
        source: String,
    },
    /// The database of the target does not answer any more, or did not when it was first asked.
    #[serde(rename = "target.lost")]
    TargetLost {
        /// What it said.
        error: Option<String>,
    },
    /// It answers again.
    #[serde(rename = "target.back")]
    TargetBack,
    /// Another daemon serves the target.
    #[serde(rename = "standby")]
    Standby {
        /// What that one says of itself.
        served_by: String,
    },
    /// This daemon serves the target, after it stood by.
    #[serde(rename = "serving")]
    Serving,
    /// The daemon ends: no run begins any more.
    #[serde(rename = "stopping")]
    Stopping,
    /// Events before this place are lost to this reader: it should look at the status again.
    #[serde(rename = "gap")]
    Gap {
        /// Why.
        reason: GapReason,
    },
}

impl Event {
    /// The name, also the `event` field of the stream.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::RunStarted(_) => "run.started",
            Self::RunProgress(_) => "run.progress",
            Self::RunFinished(_) => "run.finished",
            Self::Paused(_) => "paused",
            Self::Resumed => "resumed",
            Self::ScheduleChanged(_) => "schedule.changed",
            Self::LogLevelChanged(_) => "log_level.changed",
            Self::Reloaded(_) => "reloaded",
            Self::ReloadRefused(_) => "reload.refused",
            Self::SourceLost { .. } => "source.lost",
            Self::SourceBack { .. } => "source.back",
            Self::TargetLost { .. } => "target.lost",
            Self::TargetBack => "target.back",
            Self::Standby { .. } => "standby",
            Self::Serving => "serving",
            Self::Stopping => "stopping",
            Self::Gap { .. } => "gap",
        }
    }
}

/// Why a reader misses events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GapReason {
    /// The place that it comes from is not of this daemon's life.
    Restart,
    /// More has happened since then than is kept.
    Overrun,
}

/// The supervisor's end of the stream.
#[derive(Debug)]
pub(crate) struct Events {
    log: watch::Sender<Log>,
    meters: Vec<Meter>,
}

impl Events {
    pub(crate) fn new() -> Self {
        Self { log: watch::Sender::new(Log::new()), meters: Vec::new() }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Log> {
        self.log.subscribe()
    }

    /// Adds what differs between two snapshots, and how far runs have come.
    pub(crate) fn observe(&mut self, old: &Snapshot, new: &Snapshot, now: Instant, at: DateTime<Utc>) {
        let mut events = differences::between(old, new);
        let running: Vec<_> = new.open_runs.iter().filter(|run| run.state == RunState::Running).collect();
        self.meters.retain(|meter| running.iter().any(|run| run.run_id == meter.run_id()));
        for run in running {
            let known = self.meters.iter_mut().find(|meter| meter.run_id() == run.run_id);
            match known {
                Some(meter) => events.extend(meter.read(run, now).map(Event::RunProgress)),
                None => self.meters.push(Meter::new(run.run_id, now)),
            }
        }
        if !events.is_empty() {
            self.log.send_modify(|log| events.into_iter().for_each(|event| log.push(event, at)));
        }
    }
}
