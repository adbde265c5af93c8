//! What the supervisor's child tasks reach: databases, files, the clock on the wall.
//!
//! The seam of this module: the loop knows nothing behind it, and its tests put a scripted world here.

use std::fs::Permissions;
use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Environment, Loaded, Refused, SourceConfig, TargetConfig};
use crate::engine::{self, Error, Levels, RunReport, Settings};
use crate::history::{Change, RunRecord};
use crate::schedule::Control;
use crate::source::Source;
use crate::target::{Claim, Target};
use crate::telemetry::Telemetry;

/// What a target knows of the daemon's earlier life.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    pub(crate) control: Control,
    pub(crate) runs: Vec<RunRecord>,
    pub(crate) changes: Vec<Change>,
    /// The sources of which it holds rows.
    pub(crate) sources: Vec<String>,
}

/// What became of an attempt to open a target.
#[derive(Debug)]
pub(crate) enum Opened {
    /// This daemon serves it.
    Active(Remembered),
    /// Another process does: what it says of itself.
    Standby(String),
}

/// Everything that takes time or has an effect outside of the process. Each call but the plain
/// functions happens in a child task, never in the loop.
pub(crate) trait Outside: Send + Sync + 'static {
    /// An archive's database.
    type Source: Send + Sync + 'static;
    /// The RBAC database.
    type Target: Send + Sync + 'static;

    /// Describes a source, without I/O.
    fn source(&self, config: &SourceConfig) -> Self::Source;
    /// Describes a target, without I/O.
    fn target(&self, config: &TargetConfig) -> Self::Target;
    /// The time of day.
    fn now(&self) -> DateTime<Utc>;
    /// A random number from 0 to below 1.
    fn chance(&self) -> f64;
    /// Logs from now on by this level, or filter per module.
    fn set_log_level(&self, level: &str);

    /// Does one run.
    fn run(
        &self,
        settings: Settings,
        source: &Self::Source,
        target: &Self::Target,
        progress: watch::Sender<Levels>,
        cancel: CancellationToken,
    ) -> impl Future<Output = RunReport> + Send;
    /// Proves that a source can be used.
    fn prove_source(&self, source: &Self::Source) -> impl Future<Output = Result<(), Error>> + Send;
    /// Proves that a target can be used.
    fn prove_target(&self, target: &Self::Target) -> impl Future<Output = Result<(), Error>> + Send;
    /// Asks to serve a target, prepares it, and reads up to `limit` runs and the control state.
    fn open(&self, target: &Self::Target, limit: usize) -> impl Future<Output = Result<Opened, Error>> + Send;
    /// Waits until this daemon does not hold the lock on the target any more.
    fn lost(&self, target: &Self::Target) -> impl Future<Output = Error> + Send;
    /// Lets somebody else serve the target.
    fn release(&self, target: &Self::Target) -> impl Future<Output = ()> + Send;
    /// Keeps the control state.
    fn save(&self, target: &Self::Target, control: &Control) -> impl Future<Output = Result<(), Error>> + Send;
    /// Keeps an ended run.
    fn record(
        &self,
        target: &Self::Target,
        record: &RunRecord,
        keep: usize,
    ) -> impl Future<Output = Result<(), Error>> + Send;
    /// Keeps a change.
    fn note(
        &self,
        target: &Self::Target,
        change: &Change,
        keep: usize,
    ) -> impl Future<Output = Result<(), Error>> + Send;
    /// Reads the configuration again.
    fn load(&self) -> impl Future<Output = Result<Loaded, Refused>> + Send;
    /// Replaces a file as a whole.
    fn write(&self, path: PathBuf, text: String) -> impl Future<Output = io::Result<()>> + Send;
}

/// The real world.
#[derive(Debug)]
pub(crate) struct World {
    /// The configuration file.
    pub(crate) config: PathBuf,
    /// The env file, if one was named.
    pub(crate) env_file: Option<PathBuf>,
    /// The log.
    pub(crate) telemetry: Telemetry,
}

impl Outside for World {
    type Source = Source;
    type Target = Target;

    fn source(&self, config: &SourceConfig) -> Source {
        Source::new(config)
    }

    fn target(&self, config: &TargetConfig) -> Target {
        Target::new(config)
    }

    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn chance(&self) -> f64 {
        rand::random()
    }

    fn set_log_level(&self, level: &str) {
        if let Err(error) = self.telemetry.set_level(level) {
            tracing::warn!("the log level was not changed: {error}");
        }
    }

    async fn run(
        &self,
        settings: Settings,
        source: &Source,
        target: &Target,
        progress: watch::Sender<Levels>,
        cancel: CancellationToken,
    ) -> RunReport {
        engine::run(&settings, source, target, &progress, &cancel).await
    }

    async fn prove_source(&self, source: &Source) -> Result<(), Error> {
        source.inspect().await.map(drop)
    }

    async fn prove_target(&self, target: &Target) -> Result<(), Error> {
        target.inspect().await.map(drop)
    }

    async fn open(&self, target: &Target, limit: usize) -> Result<Opened, Error> {
        match target.claim("daemon").await? {
            Claim::Elsewhere(holder) => Ok(Opened::Standby(holder)),
            Claim::Held => Ok(Opened::Active(Remembered {
                control: target.load_control().await?,
                runs: target.recent_runs(limit).await?,
                changes: target.recent_changes(limit).await?,
                sources: target.sources().await?,
            })),
        }
    }

    async fn lost(&self, target: &Target) -> Error {
        target.lost().await
    }

    async fn release(&self, target: &Target) {
        target.release().await;
    }

    async fn save(&self, target: &Target, control: &Control) -> Result<(), Error> {
        target.save_control(control).await
    }

    async fn record(&self, target: &Target, record: &RunRecord, keep: usize) -> Result<(), Error> {
        target.record_run(record, keep).await
    }

    async fn note(&self, target: &Target, change: &Change, keep: usize) -> Result<(), Error> {
        target.record_change(change, keep).await
    }

    async fn load(&self) -> Result<Loaded, Refused> {
        let (path, env_file) = (self.config.clone(), self.env_file.clone());
        blocking(move || config::load_to_watch(&path, &Environment::read(env_file.as_deref()))).await
    }

    async fn write(&self, path: PathBuf, text: String) -> io::Result<()> {
        blocking(move || replace(&path, &text)).await
    }
}

/// Runs file work where it may block. Its panic is the panic of the child task that waits for it.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Writes beside the file and renames, so that a reader sees the old text or the new one, whole.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    // node_exporter reads *.prom only, so that it never picks up the unfinished file.
    beside.push(".tmp");
    std::fs::write(&beside, text)?;
    // Whatever the umask: node_exporter is another user, and the metrics hold no secret.
    std::fs::set_permissions(&beside, Permissions::from_mode(0o644))?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rbac-sync.prom");
        replace(&path, "a long first text\n").unwrap();
        replace(&path, "second\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "second\n");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(replace(&folder.path().join("none/rbac-sync.prom"), "").is_err());
    }
}
