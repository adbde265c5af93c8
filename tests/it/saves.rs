//! Every way to save the configuration file, against the real daemon: on the first, the second and the tenth
//! save, with inotify and without. Each test prints its matrix (`cargo test --test it saves -- --nocapture`).

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tempfile::TempDir;

use crate::harness::daemon::{CAP, Daemon};
use crate::harness::random;
use crate::harness::shape::{Dialect, Shape};
use crate::harness::site::{Site, program};
use crate::harness::wait::{check, eventually};

/// A way to save a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    InPlace,
    RenameOver,
    Vim,
    DataSwap,
    LinkTargetInPlace,
    LinkTargetReplaced,
    LinkRepointed,
    FolderSwapped,
    DeletedAndCreated,
}

const WAYS: [(Way, &str); 9] = [
    (Way::InPlace, "written in place"),
    (Way::RenameOver, "temporary file renamed over it"),
    (Way::Vim, "vim: old file moved away, new one written"),
    (Way::DataSwap, "Kubernetes: ..data link swapped"),
    (Way::LinkTargetInPlace, "link to another folder, target in place"),
    (Way::LinkTargetReplaced, "link to another folder, target replaced"),
    (Way::LinkRepointed, "link pointed to another folder"),
    (Way::FolderSwapped, "folder is a link, pointed elsewhere"),
    (Way::DeletedAndCreated, "deleted, later created again"),
];

fn rename_over(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

fn relink(target: &str, link: &Path) {
    let new = link.with_file_name("new-link");
    symlink(target, &new).unwrap();
    std::fs::rename(new, link).unwrap();
}

impl Way {
    /// Lays out `folder` so that this way can be used there; answers the configuration file.
    fn lay_out(self, folder: &Path, text: &str) -> PathBuf {
        let path = folder.join("rbac-sync.toml");
        std::fs::create_dir(folder.join("store")).unwrap();
        match self {
            Self::InPlace | Self::RenameOver | Self::Vim | Self::DeletedAndCreated => {
                std::fs::write(&path, text).unwrap();
            }
            Self::DataSwap => {
                self.save(folder, text, 0);
                symlink("..data/rbac-sync.toml", &path).unwrap();
            }
            Self::LinkTargetInPlace | Self::LinkTargetReplaced | Self::LinkRepointed => {
                std::fs::write(folder.join("store/rbac-sync.toml"), text).unwrap();
                symlink("store/rbac-sync.toml", &path).unwrap();
            }
            Self::FolderSwapped => {
                self.save(folder, text, 0);
                return folder.join("current/rbac-sync.toml");
            }
        }
        path
    }

    fn save(self, folder: &Path, text: &str, number: u64) {
        let path = folder.join("rbac-sync.toml");
        let version = |prefix: &str| {
            let name = format!("{prefix}{number}");
            std::fs::create_dir(folder.join(&name)).unwrap();
            std::fs::write(folder.join(&name).join("rbac-sync.toml"), text).unwrap();
            name
        };
        match self {
            Self::InPlace | Self::DeletedAndCreated => std::fs::write(&path, text).unwrap(),
            Self::RenameOver => rename_over(&path, text),
            Self::Vim => {
                let backup = folder.join("rbac-sync.toml~");
                std::fs::rename(&path, &backup).unwrap();
                std::fs::write(&path, text).unwrap();
                std::fs::remove_file(backup).unwrap();
            }
            Self::DataSwap => {
                let old = std::fs::read_link(folder.join("..data")).ok();
                let new = version("..version-");
                relink(&new, &folder.join("..data"));
                if let Some(old) = old {
                    std::fs::remove_dir_all(folder.join(old)).unwrap();
                }
            }
            Self::LinkTargetInPlace => std::fs::write(folder.join("store/rbac-sync.toml"), text).unwrap(),
            Self::LinkTargetReplaced => rename_over(&folder.join("store/rbac-sync.toml"), text),
            Self::LinkRepointed => {
                let new = version("elsewhere-");
                relink(&format!("{new}/rbac-sync.toml"), &path);
            }
            Self::FolderSwapped => {
                let new = version("release-");
                relink(&new, &folder.join("current"));
            }
        }
    }
}

/// A daemon on a file that is saved in one way.
struct Saved {
    // First, for its log lies in the folder of the site.
    daemon: Daemon,
    site: Site,
    folder: TempDir,
    way: Way,
    saves: u64,
}

impl Saved {
    async fn start(way: Way, environment: &[(&str, &str)]) -> Self {
        let site = Site::within(Dialect::Sqlite, Shape::release("5.35.0"), random::seed(900)).await;
        let folder = tempfile::tempdir().unwrap();
        let path = way.lay_out(folder.path(), &site.toml());
        let daemon = Daemon::start_with(&site, &path, environment).await;
        Self { daemon, site, folder, way, saves: 0 }
    }

    fn text(&self, number: u64) -> String {
        self.site.toml().replace("interval = \"1h\"", &format!("interval = {}", 1000 + number))
    }

    /// Saves once more, and says how long it took until the daemon obeyed.
    async fn save(&mut self) -> Duration {
        if self.way == Way::DeletedAndCreated {
            std::fs::remove_file(self.folder.path().join("rbac-sync.toml")).unwrap();
            let refused = |status: &serde_json::Value| status["config"]["last_reload_successful"] == false;
            self.daemon.status_with("the file is missed", refused).await;
        }
        self.saves += 1;
        let saved = Instant::now();
        self.way.save(self.folder.path(), &self.text(self.saves), self.saves);
        self.obeyed().await;
        saved.elapsed()
    }

    /// Waits until the last save is in effect.
    async fn obeyed(&self) {
        let (what, seconds) = (format!("{:?}: save {}", self.way, self.saves), 1000 + self.saves);
        self.daemon
            .status_with(&what, |status| {
                status["interval_sec"] == seconds && status["config"]["last_reload_successful"] == true
            })
            .await;
    }

    async fn reloads(&self) -> u64 {
        let text = self.daemon.get("/metrics").await.body;
        let of_file = text
            .lines()
            .filter(|line| line.starts_with("rbac_sync_config_reloads_total{") && line.contains("trigger=\"file\""));
        of_file.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }
}

/// Saves ten times in one way, and gives back a line of the matrix. `each`: every save is waited for; else only
/// the first, second, ninth and tenth.
async fn line(way: Way, name: &str, environment: &[(&str, &str)], each: bool) -> String {
    let mut saved = Saved::start(way, environment).await;
    let (mut shown, mut waited) = (Vec::new(), 0);
    for number in 1..=10 {
        if each || [1, 2, 9, 10].contains(&number) {
            let took = saved.save().await;
            waited += 1;
            if [1, 2, 10].contains(&number) {
                shown.push(format!("{:>5.2} s", took.as_secs_f64()));
            }
        } else {
            saved.saves += 1;
            if way == Way::DeletedAndCreated {
                std::fs::remove_file(saved.folder.path().join("rbac-sync.toml")).unwrap();
            }
            way.save(saved.folder.path(), &saved.text(saved.saves), saved.saves);
        }
    }
    let reloads = saved.reloads().await;
    // A save may be seen in the middle of it, when the file is not there or is empty.
    assert!((waited..=20).contains(&reloads), "{name}: {reloads} reloads for 10 saves");
    saved.daemon.stop().await;
    format!("{name:<44}{}   {reloads:>2} reloads", shown.join("  "))
}

async fn matrix(title: &str, environment: &[(&str, &str)], each: bool) {
    let lines = join_all(WAYS.map(|(way, name)| line(way, name, environment, each))).await;
    println!("{title}\n{:<44}{:>7}  {:>7}  {:>7}\n{}", "way of saving", "1st", "2nd", "10th", lines.join("\n"));
}

/// Builds a library that takes inotify away from the program that it is preloaded into.
fn without_inotify(folder: &Path, options: &[&str]) -> String {
    let library = folder.join("deaf.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/harness/deaf.c");
    let mut compiler = std::process::Command::new("cc");
    let status = compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).args(options).arg(source).status().unwrap();
    assert!(status.success());
    library.display().to_string()
}

#[tokio::test]
async fn every_way_to_save_works_every_time() {
    matrix("with inotify", &[], true).await;
}

#[tokio::test]
async fn every_way_to_save_works_where_inotify_says_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let library = without_inotify(folder.path(), &[]);
    matrix("deaf: inotify accepts watches and says nothing, the poll alone", &[("LD_PRELOAD", &library)], false).await;
}

#[tokio::test]
async fn without_any_inotify_the_daemon_says_so_once_and_polls() {
    let folder = tempfile::tempdir().unwrap();
    let library = without_inotify(folder.path(), &["-DREFUSED"]);
    let mut saved = Saved::start(Way::RenameOver, &[("LD_PRELOAD", &library)]).await;
    for _ in 0..2 {
        saved.save().await;
    }
    let log = saved.daemon.log();
    assert_eq!(log.matches("are found by polling").count(), 1, "{log}");
    saved.daemon.stop().await;
}

#[tokio::test]
async fn reading_the_file_and_saving_the_same_text_reload_nothing() {
    let mut saved = Saved::start(Way::RenameOver, &[]).await;
    saved.save().await;
    let before = saved.reloads().await;
    let path = saved.folder.path().join("rbac-sync.toml");
    for _ in 0..50 {
        let text = std::fs::read_to_string(&path).unwrap();
        rename_over(&path, &text);
    }
    // Longer than a burst of events is waited for.
    tokio::time::sleep(Duration::from_secs(1)).await;
    saved.save().await;
    assert_eq!(saved.reloads().await, before + 1);
    saved.daemon.stop().await;
}

#[tokio::test]
async fn a_storm_of_saves_is_one_reload_or_two() {
    let mut saved = Saved::start(Way::RenameOver, &[]).await;
    let start = Instant::now();
    for _ in 0..500 {
        saved.saves += 1;
        saved.way.save(saved.folder.path(), &saved.text(saved.saves), saved.saves);
    }
    // A storm that does not end is looked at every 2 s.
    let most = 2 + start.elapsed().as_secs() / 2;
    saved.obeyed().await;
    let reloads = saved.reloads().await;
    println!("500 saves within {:?}: {reloads} reloads", start.elapsed());
    assert!((1..=most).contains(&reloads), "{reloads} reloads");
    saved.daemon.stop().await;
}

#[tokio::test]
async fn a_file_that_is_missing_at_the_start_is_78_and_one_that_goes_later_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rbac-sync.toml");
    let output = program(folder.path()).args(["daemon", "--config"]).arg(&path).output().await.unwrap();
    assert_eq!(output.status.code(), Some(78));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("rbac-sync.toml: cannot read the configuration: there is no such file"), "{text}");
    let mut saved = Saved::start(Way::DeletedAndCreated, &[]).await;
    saved.save().await;
    saved.daemon.stop().await;
}

#[tokio::test]
async fn the_env_file_is_watched_and_each_key_says_where_its_value_comes_from() {
    let site = Site::within(Dialect::Sqlite, Shape::release("5.35.0"), random::seed(901)).await;
    site.configure();
    // The daemon's working folder.
    let env = site.folder.path().join(".env");
    std::fs::write(&env, "RBAC_SYNC_SCHEDULE_INTERVAL=77\nRBAC_SYNC_HISTORY_KEEP=5\n").unwrap();
    let daemon = Daemon::start(&site, &[("RBAC_SYNC_HISTORY_KEEP", "6")]).await;
    assert_eq!(daemon.status().await["interval_sec"], 77);
    rename_over(&env, "RBAC_SYNC_HISTORY_KEEP=5\n\nRBAC_SYNC_SCHEDULE_INTERVAL=88\n");
    daemon.status_with("the env file's new value", |status| status["interval_sec"] == 88).await;
    let config = daemon.get("/config").await.json();
    let keys = config["keys"].as_array().unwrap();
    let key = |name: &str| keys.iter().find(|key| key["key"] == name).unwrap_or_else(|| panic!("{name}: {config}"));
    let interval = key("schedule.interval");
    assert_eq!(
        (&interval["origin"]["from"], &interval["origin"]["line"]),
        (&"env_file".into(), &3.into()),
        "{interval}"
    );
    assert_eq!(key("history.keep")["origin"]["from"], "environment");
    assert_eq!(key("source.main.overlap")["origin"]["from"], "file");
    assert_eq!(key("metrics.textfile")["origin"]["from"], "default");
    // What the file says is hidden by the variable.
    assert_eq!(key("history.keep")["value"], 6);
    std::fs::write(&env, "RBAC_SYNC_SCHEDULE_INTERVAL=\"88\n").unwrap();
    let status =
        daemon.status_with("a broken env file", |status| status["config"]["last_reload_successful"] == false).await;
    assert!(status["config"]["errors"][0].as_str().unwrap().contains(".env:1:1: not a valid line"), "{status}");
    rename_over(&env, "");
    let status = daemon.status_with("the file's value", |status| status["interval_sec"] == 3600).await;
    assert_eq!(status["config"]["last_reload_successful"], true);
    eventually("the reload is on record", CAP, async || {
        let record = daemon.get("/config").await.json()["last_reload"].clone();
        check(record["trigger"] == "file" && record["changes"][0]["old"] == "1m 28s", record)
    })
    .await;
    daemon.stop().await;
}
