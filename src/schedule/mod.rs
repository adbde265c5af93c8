//! When the next run is due, and what operators have said about it.
//!
//! Pure: it reads no clock, starts no timer and knows no run. The supervisor asks it.

mod cron;
mod due;
mod plan;
mod timer;

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::history::Actor;
pub use cron::{Cron, CronProblem};
pub use due::backoff;
use due::{after_interval_change, next_due};
pub use plan::Plan;
pub use timer::{Jitter, Moment, Timer, Timing};

/// What operators said through the API and what outlives a restart: kept in the target's
/// `sync_control`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Kept")]
pub struct Control {
    /// Scheduled runs are stopped.
    pub pause: Option<Pause>,
    /// The schedule of the file is overridden.
    pub schedule: Option<Override>,
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

/// A schedule set through the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// When scheduled runs are due.
    pub plan: Plan,
    /// The file's plan at that time: once the file says something else, the override is over, also when
    /// the file was edited while the daemon was down.
    pub file: Plan,
}

/// [`Control`] as this version and those before it kept it.
#[derive(Deserialize)]
struct Kept {
    pause: Option<Pause>,
    schedule: Option<Override>,
    /// Before there were cron expressions.
    interval: Option<KeptInterval>,
}

#[derive(Deserialize)]
struct KeptInterval {
    interval: Duration,
    file_interval: Duration,
}

impl From<Kept> for Control {
    fn from(kept: Kept) -> Self {
        let older = kept
            .interval
            .map(|kept| Override { plan: Plan::Interval(kept.interval), file: Plan::Interval(kept.file_interval) });
        Self { pause: kept.pause, schedule: kept.schedule.or(older) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_version_kept_is_still_read() {
        let text = r#"{"pause":{"reason":"upgrade","since":"2026-11-24T00:00:00Z","until":null},
            "interval":{"interval":{"secs":30,"nanos":0},"file_interval":{"secs":5,"nanos":0}}}"#;
        let control: Control = serde_json::from_str(text).expect("the older form");
        let plan = |seconds| Plan::Interval(Duration::from_secs(seconds));
        assert_eq!(control.schedule, Some(Override { plan: plan(30), file: plan(5) }));
        assert_eq!(control.pause.as_ref().and_then(|pause| pause.reason.as_deref()), Some("upgrade"));
        let again = serde_json::to_string(&control).expect("plain");
        assert_eq!(serde_json::from_str::<Control>(&again).expect("our own"), control);
        let nothing = serde_json::from_str::<Control>(r#"{"pause":null,"interval":null}"#).expect("the older form");
        assert_eq!(nothing, Control::default());
    }
}
