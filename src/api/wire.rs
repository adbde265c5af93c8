//! The JSON bodies that the API and the client of the command line share. What is not here is used
//! as its owner defines it: [`Status`](crate::supervisor::Status), [`Schedule`](crate::supervisor::Schedule),
//! [`ReloadOutcome`](crate::supervisor::ReloadOutcome), [`RunRecord`].

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::config::KeyState;
use crate::engine::Mode;
use crate::history::{Change, RunRecord};
use crate::schedule::Pause;
use crate::supervisor::ReloadOutcome;

/// Body of `POST /sync/run`. Every field is optional; null is the same as absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RunBody {
    /// What to read; absent means delta.
    pub mode: Option<Mode>,
    /// Write nothing.
    pub dry_run: bool,
    /// One source; absent means all of them.
    pub source: Option<String>,
    /// Pass the brake on deletes, once.
    pub allow_deletes: bool,
}

/// Body of `POST /sync/pause`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PauseBody {
    /// Why, for the others.
    pub reason: Option<String>,
    /// Ends by itself after this time, such as `2h`.
    #[serde(rename = "for")]
    pub duration: Option<String>,
}

/// Body of `PUT /sync/schedule`: an interval or a cron expression.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ScheduleBody {
    /// Seconds between scheduled runs, 1 to 86400.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_sec: Option<u64>,
    /// A cron expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// Its zone; absent means the configured one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

/// Body of `PUT /log/level`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogLevelBody {
    /// A level or a filter per module.
    pub level: String,
    /// Ends by itself after this time; absent means an hour.
    #[serde(rename = "for")]
    pub duration: Option<String>,
}

/// Reply to `POST /sync/run` while the run is not over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunAccepted {
    /// The run, or the first one of several.
    pub run_id: Uuid,
    /// All of them, when there are several sources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<RunOf>,
}

/// One of several runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOf {
    /// Its source, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Its ID.
    pub run_id: Uuid,
}

/// Reply to `POST /sync/run?wait=` with several sources.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Runs {
    /// The runs.
    pub runs: Vec<Arc<RunRecord>>,
}

/// Reply to `GET /sync/audit`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// What was changed beside runs, newest first.
    pub changes: Vec<Arc<Change>>,
    /// Where the older ones are; absent when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Reply to `GET /sync/history`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HistoryPage {
    /// Ended runs, newest first.
    pub runs: Vec<Arc<RunRecord>>,
    /// Where the older ones are; absent when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Reply to `POST /sync/cancel`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancelled {
    /// Runs that were told to end; they end at their next batch.
    pub run_ids: Vec<Uuid>,
}

/// Reply to `POST /sync/pause` and `POST /sync/resume`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// Whether scheduled runs are stopped now.
    pub paused: bool,
    /// The pause in effect, or null.
    pub pause: Option<Pause>,
}

/// Reply to `GET /config`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfigReply {
    /// Counts the configurations that took effect; the one at start is 1.
    pub generation: u64,
    /// The first 12 digits of the SHA-256 of its file, as `sha256sum` prints it.
    pub hash: String,
    /// When it took effect.
    pub loaded: DateTime<Utc>,
    /// Whether the latest reload was accepted.
    pub last_reload_successful: bool,
    /// What was wrong with the latest one, if it was refused.
    pub errors: Vec<String>,
    /// Keys whose new value waits for a restart.
    pub restart_required: Vec<String>,
    /// Every key with its value, in the shape of the file; secrets are masked.
    pub config: serde_json::Value,
    /// Every key with its value, its origin and when a change of it counts.
    pub keys: Vec<KeyState>,
    /// The latest reload; null: none since the start.
    pub last_reload: Option<ReloadOutcome>,
}

/// One part of [`Health`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Whether it is as it should be.
    pub ok: bool,
    /// In one line: how it is, and what is wrong.
    pub detail: String,
}

/// Reply to `GET /health`: 200 when `ok`, else 503.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether every part is.
    pub ok: bool,
    /// The supervisor and its timers.
    pub scheduler: Part,
    /// Each source by its name.
    pub source: BTreeMap<String, Part>,
    /// The RBAC database.
    pub target: Part,
    /// How the latest run ended.
    pub last_run: Part,
    /// Whether the file on disk is the configuration in effect.
    pub configuration: Part,
}

/// Reply to `GET /health/ready`: 200 when `ready`, else 503.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Whether every database answers and the daemon is not stopping.
    pub ready: bool,
    /// What is missing, one line each.
    pub missing: Vec<String>,
}

/// Reply to `GET /health/live`: 200 when `live`, else 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// Whether the supervisor is there.
    pub live: bool,
}
