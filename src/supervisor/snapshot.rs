//! The state of the daemon at one moment, as every reader sees it: status, health, metrics, history.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::ReloadOutcome;
use crate::config::{self, Companions, Config, Origins};
use crate::history::{Change, RunRecord};
use crate::schedule::{Pause, Plan};

/// Everything that a reader may ask for, of one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// What `GET /sync/status` answers.
    pub status: Status,
    /// The latest accepted configuration. Its keys in [`ConfigStatus::restart_required`] count only from
    /// the next start; until then the daemon goes by what they were.
    pub config: Arc<Config>,
    /// What is known of it beside its values.
    pub provenance: Arc<Provenance>,
    /// Ended runs, newest first.
    pub history: Arc<Vec<Arc<RunRecord>>>,
    /// Changes beside runs, newest first.
    pub changes: Arc<Vec<Arc<Change>>>,
    /// Runs that wait, and runs under way with their counts so far.
    pub open_runs: Vec<RunRecord>,
}

/// Where a configuration comes from and how it came to be the one in effect.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Provenance {
    /// Where the value of each key comes from.
    pub origins: Origins,
    /// The files that the latest reload, be it accepted or refused, or the start was made of.
    pub companions: Companions,
    /// Changes that wait for a restart; the old values count until then.
    pub pending: Vec<config::Change>,
    /// The latest reload; none since the start.
    pub last_reload: Option<ReloadOutcome>,
}

impl Snapshot {
    /// The run with that ID: waiting, under way, or ended and still in the history.
    #[must_use]
    pub fn run(&self, run: Uuid) -> Option<RunRecord> {
        let open = self.open_runs.iter().find(|record| record.run_id == run);
        open.cloned()
            .or_else(|| self.history.iter().find(|record| record.run_id == run).map(|record| (**record).clone()))
    }
}

/// `GET /sync/status`. Times are UTC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Whether any run is under way.
    pub is_running: bool,
    /// Whether scheduled runs are stopped.
    pub paused: bool,
    /// Start of the latest run that has ended, of any source.
    pub last_run: Option<DateTime<Utc>>,
    /// When the next scheduled run is due; null while paused or stopping.
    pub next_run: Option<DateTime<Utc>>,
    /// Seconds between scheduled runs. Under a cron expression those from its last time to its next one.
    pub interval_sec: u64,
    /// The latest run that has ended.
    pub last_result: Option<LastResult>,
    /// The schedule and where it comes from.
    pub schedule: Schedule,
    /// What is logged and where that comes from.
    pub log_level: LogLevel,
    /// The pause, if there is one.
    pub pause: Option<Pause>,
    /// Runs under way.
    pub running: Vec<Running>,
    /// Each source.
    pub sources: Vec<SourceStatus>,
    /// The target.
    pub target: Reachability,
    /// The configuration.
    pub config: ConfigStatus,
    /// When the daemon started.
    pub started: DateTime<Utc>,
    /// Its version.
    pub version: String,
    /// Whether it drains.
    pub stopping: bool,
    /// Whether another daemon serves the target and this one waits for its end.
    #[serde(default)]
    pub standby: bool,
    /// What that daemon says of itself.
    #[serde(default)]
    pub served_by: Option<String>,
    /// Sources of which the target holds rows, and which are not configured.
    #[serde(default)]
    pub unconfigured_sources: Vec<String>,
}

/// The short form of the latest ended run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastResult {
    /// Its ID.
    pub run_id: Uuid,
    /// How it ended.
    pub success: bool,
    /// Rows compared.
    pub processed: u64,
    /// Milliseconds.
    pub duration_ms: u64,
    /// Why it failed.
    pub error: Option<String>,
}

/// `GET /sync/schedule`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Seconds between scheduled runs; null under a cron expression.
    pub interval_sec: Option<u64>,
    /// The cron expression, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// Its zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Who set it.
    pub origin: Origin,
}

impl Schedule {
    /// A plan as the API shows it.
    #[must_use]
    pub fn new(plan: &Plan, origin: Origin) -> Self {
        Self {
            interval_sec: plan.interval_sec(),
            cron: plan.cron().map(|cron| cron.text().to_owned()),
            time_zone: plan.cron().map(|cron| cron.zone().name().to_owned()),
            origin,
        }
    }

    /// The value of `ETag`: equal exactly for equal schedules, also in another life of the daemon.
    #[must_use]
    pub fn tag(&self) -> String {
        let text = serde_json::to_vec(self).expect("texts and numbers have a JSON form");
        let digest = Sha256::digest(text);
        let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("\"{hex}\"")
    }
}

/// Who set something that the configuration sets too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The configuration.
    File,
    /// A `PUT`.
    Api,
}

/// `GET /log/level`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLevel {
    /// A level or a filter per module.
    pub level: String,
    /// Who set it.
    pub origin: Origin,
    /// When the file's level counts again; null if it does now.
    pub until: Option<DateTime<Utc>>,
}

/// A run under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Its ID.
    pub run_id: Uuid,
    /// Its source.
    pub source: String,
    /// Since when.
    pub started: DateTime<Utc>,
    /// Rows compared so far.
    pub processed: u64,
}

/// Whether a database answered when it was last asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reachability {
    /// Null until it was asked for the first time.
    pub reachable: Option<bool>,
    /// What it said last, if that was an error.
    pub error: Option<String>,
    /// Since when this is so.
    pub since: Option<DateTime<Utc>>,
}

/// One source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Its name.
    pub name: String,
    /// Whether its database answers.
    #[serde(flatten)]
    pub reachability: Reachability,
    /// End of its latest successful run.
    pub last_success: Option<DateTime<Utc>>,
    /// Every row of it has been compared with the target since then; null until a pass over all rows, or a
    /// full run, is complete.
    pub verified_since: Option<DateTime<Utc>>,
    /// Failed runs since then.
    pub consecutive_failures: u32,
    /// When its next scheduled run is due.
    pub next_run: Option<DateTime<Utc>>,
    /// How it is tried again; null unless its latest run failed.
    #[serde(default)]
    pub backoff: Option<Backoff>,
}

/// A source that fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// Failed runs since the latest success.
    pub consecutive_failures: u32,
    /// When it is tried again; null while paused, or while a run is under way.
    pub next_attempt: Option<DateTime<Utc>>,
    /// The side of the latest failure: `source`, `target` or `run`.
    pub side: String,
    /// What can be done about it: `transient` passes by itself, `permanent` stays until somebody acts,
    /// `config` means that the configuration is wrong.
    pub class: String,
}

/// The configuration as status and health show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigStatus {
    /// Counts the configurations that took effect; the one at start is 1.
    pub generation: u64,
    /// The first 12 digits of the SHA-256 of its file.
    pub hash: String,
    /// When it took effect.
    pub loaded: DateTime<Utc>,
    /// Whether the latest reload (or the start) was accepted.
    pub last_reload_successful: bool,
    /// What was wrong with the latest one, if it was refused.
    pub errors: Vec<String>,
    /// Keys whose new value waits for a restart.
    pub restart_required: Vec<String>,
}
