//! A site: an archive, an RBAC database, a configuration, and the program on them.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::archive::Archive;
use super::cluster::{self, Cluster, READER, READER_PASSWORD, WRITER, WRITER_PASSWORD};
use super::compare::{Gone, Seen, describe, differences};
use super::daemon::Daemon;
use super::db::Db;
use super::oracle::Expected;
use super::shape::{Dialect, Shape};

/// Lines of a source of which a daemon neither compares all rows nor, without an index, scans for changes again soon.
pub(crate) const LAZY: &str = "sweep_percent = 0\nscan_percent = 0.0001";

/// What a test may choose in the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) interval: &'static str,
    pub(crate) overlap: &'static str,
    /// The zone of the archive's JVM.
    pub(crate) zone: &'static str,
    /// Whether the instance level is mirrored.
    pub(crate) instances: bool,
    /// More lines of the source.
    pub(crate) pace: &'static str,
    pub(crate) deletes: Gone,
    /// `max_deletes`: rows and percent.
    pub(crate) brake: (u32, f64),
    /// `http.listen`, with the lines that go with it.
    pub(crate) http: Option<String>,
    pub(crate) level: &'static str,
    /// Lines at the end of the file, such as another `[[source]]`.
    pub(crate) more: String,
}

/// Where the databases of a site live.
#[derive(Debug)]
enum Place {
    Cluster { url: String, name: String },
    File(PathBuf),
}

#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) archive: Archive,
    pub(crate) settings: Settings,
    pub(crate) folder: TempDir,
    pub(crate) source_url: String,
    target: Place,
    source_cluster: &'static Cluster,
    target_cluster: &'static Cluster,
    seen: Seen,
}

/// How `rbac-sync once` ended.
#[derive(Debug)]
pub(crate) struct Once {
    pub(crate) code: i32,
    pub(crate) output: String,
    pub(crate) log: String,
}

impl Site {
    /// Both databases in the shared server of that dialect.
    pub(crate) async fn within(dialect: Dialect, shape: Shape, seed: u64) -> Self {
        Self::between(dialect, dialect, shape, seed).await
    }

    /// Both databases in the shared PostgreSQL cluster.
    pub(crate) async fn new(shape: Shape, seed: u64) -> Self {
        Self::between(Dialect::Postgres, Dialect::Postgres, shape, seed).await
    }

    pub(crate) async fn between(source: Dialect, target: Dialect, shape: Shape, seed: u64) -> Self {
        Self::on(cluster::shared_for(source), cluster::shared_for(target), source, target, shape, seed).await
    }

    /// A site whose target's cluster may be stopped.
    pub(crate) async fn on(
        source_cluster: &'static Cluster,
        target_cluster: &'static Cluster,
        source: Dialect,
        target: Dialect,
        shape: Shape,
        seed: u64,
    ) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = tempfile::tempdir().unwrap();
        let name = format!("archive_{number}");
        let (archive, source_url) = match source {
            Dialect::Postgres | Dialect::Mariadb => {
                (Archive::on(source_cluster, source, &name, shape, seed).await, source_cluster.url(READER, &name))
            }
            Dialect::Sqlite => {
                let path = folder.path().join("archive.db");
                (Archive::sqlite(&path, shape, seed).await, format!("sqlite://{}", path.display()))
            }
        };
        let target = match target {
            Dialect::Postgres | Dialect::Mariadb => {
                let name = format!("rbac_{number}");
                target_cluster.create_database(&name, WRITER);
                Place::Cluster { url: target_cluster.url(WRITER, &name), name }
            }
            Dialect::Sqlite => Place::File(folder.path().join("rbac.db")),
        };
        std::fs::write(folder.path().join("source.password"), READER_PASSWORD).unwrap();
        std::fs::write(folder.path().join("target.password"), WRITER_PASSWORD).unwrap();
        let settings = Settings {
            interval: "1h",
            overlap: "6m",
            zone: "UTC",
            instances: false,
            pace: "",
            deletes: Gone::Tombstoned,
            brake: (1_000_000, 100.0),
            http: None,
            level: "debug",
            more: String::new(),
        };
        let seen = Seen::default();
        let site = Self { archive, settings, folder, source_url, target, source_cluster, target_cluster, seen };
        site.configure();
        site
    }

    /// The configuration as the settings have it.
    pub(crate) fn toml(&self) -> String {
        let Settings { interval, overlap, zone, instances, pace, deletes, brake: (rows, percent), http, level, more } =
            &self.settings;
        let folder = self.folder.path().display();
        let secret = |url: &str, name: &str| {
            if url.starts_with("sqlite") { String::new() } else { format!("password_file = \"{folder}/{name}\"\n") }
        };
        let target = match &self.target {
            Place::Cluster { url, .. } => url.clone(),
            Place::File(path) => format!("sqlite://{}", path.display()),
        };
        let instances = if *instances { "instances = true\n" } else { "" };
        let deletes = if *deletes == Gone::Removed { "remove" } else { "tombstone" };
        let http = http.as_ref().map_or(String::new(), |listen| format!("[http]\nlisten = {listen}\n"));
        format!(
            "[schedule]\ninterval = \"{interval}\"\n\n\
             [[source]]\nname = \"main\"\nurl = \"{}\"\n{}time_zone = \"{zone}\"\noverlap = \"{overlap}\"\n{instances}{pace}\n\n\
             [target]\nurl = \"{target}\"\n{}deletes = \"{deletes}\"\n\
             max_deletes = {{ rows = {rows}, percent = {percent:.1} }}\n\n\
             [socket]\npath = \"{}\"\n\n[log]\nlevel = \"{level}\"\nformat = \"text\"\n\n{http}\n{more}",
            self.source_url,
            secret(&self.source_url, "source.password"),
            secret(&target, "target.password"),
            self.socket().display(),
        )
    }

    /// Writes the configuration file.
    pub(crate) fn configure(&self) {
        std::fs::write(self.config(), self.toml()).unwrap();
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("rbac-sync.toml")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("control.sock")
    }

    /// Another cluster has taken the place of the target's, on the same port.
    pub(crate) fn target_moved(&mut self, cluster: &'static Cluster) {
        self.target_cluster = cluster;
    }

    /// The RBAC database is a file, and there.
    pub(crate) fn target_in(&mut self, folder: &Path) {
        self.target = Place::File(folder.join("rbac.db"));
        self.configure();
    }

    /// A new session in the RBAC database, as its administrator.
    pub(crate) async fn target(&self) -> Db {
        match &self.target {
            Place::Cluster { name, .. } => self.target_cluster.admin(name).await,
            Place::File(path) => Db::sqlite(path).await,
        }
    }

    /// `rbac-sync once --json` with more arguments; whatever the outcome.
    pub(crate) async fn once(&self, arguments: &[&str]) -> Once {
        self.configure();
        let output = program(self.folder.path())
            .args(["once", "--json", "--config"])
            .arg(self.config())
            .args(arguments)
            .output()
            .await
            .unwrap();
        Once::from(output)
    }

    /// A run that must succeed.
    pub(crate) async fn sync(&self, arguments: &[&str]) -> Once {
        let once = self.once(arguments).await;
        assert_eq!(once.code, 0, "{once:#?}");
        once
    }

    /// Another session in the archive, as its administrator.
    pub(crate) async fn archive_session(&self) -> Db {
        let name = self.source_url.rsplit('/').next().and_then(|rest| rest.split('?').next()).unwrap();
        self.source_cluster.admin(name).await
    }

    pub(crate) async fn daemon(&self) -> Daemon {
        self.configure();
        Daemon::start(self, &[]).await
    }

    /// A daemon with this interval and these lines of the source, whose first run has succeeded.
    pub(crate) async fn started(&mut self, interval: &'static str, pace: &'static str) -> Daemon {
        (self.settings.interval, self.settings.pace) = (interval, pace);
        let daemon = self.daemon().await;
        daemon.status_with("the first run", |status| status["last_result"]["success"] == true).await;
        daemon
    }

    /// What is wrong in the target; nothing if it is in step with the archive.
    pub(crate) async fn verdict(&mut self) -> Result<(), String> {
        let mut expected = Expected::of(&mut self.archive.db).await;
        if !self.settings.instances {
            expected.instances = None;
        }
        let found = differences(&mut self.target().await, "main", &expected, &self.seen, self.settings.deletes).await;
        self.seen.add(&expected);
        if found.is_empty() { Ok(()) } else { Err(describe(&found)) }
    }

    pub(crate) async fn assert_in_step(&mut self, when: &str) {
        if let Err(text) = self.verdict().await {
            panic!("{when} ({} in {:?}): {text}", self.archive.shape.name, self.archive.dialect);
        }
    }
}

impl Once {
    /// All run records in the output, however they are wrapped.
    pub(crate) fn records(&self) -> Vec<Value> {
        fn collect(value: &Value, found: &mut Vec<Value>) {
            match value {
                Value::Object(fields) if fields.contains_key("levels") => found.push(value.clone()),
                Value::Object(fields) => fields.values().for_each(|value| collect(value, found)),
                Value::Array(items) => items.iter().for_each(|value| collect(value, found)),
                _ => {}
            }
        }
        let value = serde_json::from_str(&self.output).unwrap_or_else(|error| panic!("{error}: {self:#?}"));
        let mut found = Vec::new();
        collect(&value, &mut found);
        assert!(!found.is_empty(), "no run in {value}");
        found
    }

    /// Rows of one action on one level.
    pub(crate) fn count(&self, level: &str, action: &str) -> u64 {
        let counts = self.records().into_iter().map(|record| record["levels"][level][action].as_u64());
        counts.map(|count| count.unwrap_or_else(|| panic!("no {level}.{action} in {self:?}"))).sum()
    }

    /// Rows written on all levels.
    pub(crate) fn changed(&self) -> u64 {
        let levels = ["institution", "patient", "study", "series"];
        let instance = self.records().iter().any(|record| record["levels"].get("instance").is_some());
        let levels = levels.into_iter().chain(instance.then_some("instance"));
        let actions = ["inserted", "updated", "deleted"];
        levels.flat_map(|level| actions.map(|action| self.count(level, action))).sum()
    }
}

impl From<Output> for Once {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
            log: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The real program in a folder, with none of our own settings in its environment.
pub(crate) fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rbac-sync"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RBAC_SYNC_") {
            command.env_remove(name);
        }
    }
    command.env_remove("NOTIFY_SOCKET").current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
    command
}
