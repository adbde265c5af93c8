//! When the next run is due, and what operators have said about it.
//!
//! Pure: it reads no clock, starts no timer and knows no run. The supervisor asks it.

mod due;

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::history::Actor;
pub use due::{after_interval_change, backoff, next_due};

/// What operators said through the API and what outlives a restart: kept in the target's
/// `sync_control`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// Scheduled runs are stopped.
    pub pause: Option<Pause>,
    /// The interval of the file is overridden.
    pub interval: Option<IntervalOverride>,
}

/// A pause in effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Why.
    pub reason: Option<String>,
    /// Who asked for it; null where an older version kept it.
    #[serde(default)]
    pub actor: Option<Actor>,
    /// Since when, UTC.
    pub since: DateTime<Utc>,
    /// When it ends by itself, UTC.
    pub until: Option<DateTime<Utc>>,
}

impl Pause {
    /// Whether its time is over.
    #[must_use]
    pub fn is_over(&self, now: DateTime<Utc>) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// An interval set through the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntervalOverride {
    /// Time between scheduled runs.
    pub interval: Duration,
    /// The file's interval at that time: once the file says something else, the override is over,
    /// also when the file was edited while the daemon was down.
    pub file_interval: Duration,
}
