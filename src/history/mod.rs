//! The records of runs and of other changes: their shape, and the latest ones in memory.
//!
//! Does no I/O: the supervisor has the records that are worth a row written to the target.

mod actor;
mod change;
mod page;
mod ring;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use actor::Actor;
pub use change::{Change, Changes, Via};
pub use page::{Page, Record, page};
pub use ring::Ring;

use crate::engine::{Levels, Mode};

/// What started a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// Its time had come.
    Schedule,
    /// `POST /sync/run` over HTTP.
    Api,
    /// `POST /sync/run` over the Unix socket.
    Socket,
    /// SIGUSR1.
    Signal,
    /// The first run of a daemon.
    Start,
    /// `rbac-sync once`.
    Cli,
}

impl Trigger {
    /// As the API, the history and the metrics spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Api => "api",
            Self::Socket => "socket",
            Self::Signal => "signal",
            Self::Start => "start",
            Self::Cli => "cli",
        }
    }
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Waits for the run before it.
    Queued,
    /// Under way.
    Running,
    /// Over; see `success`.
    Finished,
}

/// One run as the history and `GET /sync/runs/ID` show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Unique, ordered by time (UUID version 7).
    pub run_id: Uuid,
    /// Where it stands.
    pub state: RunState,
    /// What started it.
    pub trigger: Trigger,
    /// Who asked for it; null for a run of an older version.
    #[serde(default)]
    pub actor: Option<Actor>,
    /// What it read.
    pub mode: Mode,
    /// Name of the source.
    pub source: String,
    /// Whether it only looked.
    pub dry_run: bool,
    /// Start, UTC; null while queued.
    pub started: Option<DateTime<Utc>>,
    /// End, UTC; null until then.
    pub finished: Option<DateTime<Utc>>,
    /// Null until it has ended.
    pub success: Option<bool>,
    /// Rows compared on all levels, changed or not.
    pub processed: u64,
    /// Counts per level.
    pub levels: Levels,
    /// Milliseconds from start to end; null until then.
    pub duration_ms: Option<u64>,
    /// Why it failed, in one line.
    pub error: Option<String>,
}

/// How the error of a run begins that somebody ended, or that ended with the daemon.
const CANCELLED: &str = "run: cancelled";

/// How the error of a run begins that was stopped by the brake on deletes.
const HELD: &str = "run: the brake on deletes";

impl RunRecord {
    /// Whether more rows were gone from the source than one run may delete.
    #[must_use]
    pub fn is_held_by_the_brake(&self) -> bool {
        self.error.as_deref().is_some_and(|error| error.starts_with(HELD))
    }

    /// Whether it was cancelled, which is no failure.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.error.as_deref().is_some_and(|error| error.starts_with(CANCELLED))
    }

    /// A scheduled success that changed nothing: kept in memory, not worth a row in the target.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.trigger == Trigger::Schedule && self.success == Some(true) && self.levels.changed() == 0
    }
}
