//! Targets whose disk is full.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::faults::Side::Target;
use crate::faults::Work;
use crate::harness::cluster::{self, give_to_server};
use crate::harness::daemon::CAP;
use crate::harness::generate;
use crate::harness::on_both_servers;
use crate::harness::random;
use crate::harness::shape::{Dialect, Shape};
use crate::harness::site::Site;
use crate::harness::wait::{check, eventually};

on_both_servers!(a_target_whose_disk_is_full);

/// A small file system, if this process may mount one.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    fn new(megabytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self { folder })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn resize(&self, megabytes: u32) {
        let size = format!("remount,size={megabytes}m");
        let done = Command::new("mount").args(["-o", &size]).arg(self.path()).status().unwrap();
        assert!(done.success());
    }

    /// Fills it to the last byte; it is empty again without that file.
    fn fill(&self) -> PathBuf {
        let filler = self.path().join("filler");
        let to = format!("of={}", filler.display());
        let filled = Command::new("dd").args(["if=/dev/zero", "bs=4k", "status=none", &to]).status().unwrap();
        assert!(!filled.success(), "the disk is not full");
        filler
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(self.path()).status().ok();
    }
}

const SKIPPED: &str = "skipped: this process may not mount a file system";

/// What the tables grow into is full.
async fn a_target_whose_disk_is_full(dialect: Dialect) {
    let Some(disk) = SmallDisk::new(64) else { return println!("{SKIPPED}") };
    let mut work = Work::new(dialect, Target, 182).await;
    let name = work.database().await;
    give_to_server(disk.path());
    if dialect == Dialect::Mariadb {
        work.cluster.stop();
        work.cluster.move_database(&name, disk.path());
        work.cluster.start();
        work.recovered("a restart").await;
    } else {
        let space = format!("CREATE TABLESPACE small LOCATION '{}'", disk.path().display());
        work.cluster.admin_sql(&space);
        // New files of the tables go to the small disk, which somebody else then fills.
        let mut database = work.site.target().await;
        for table in ["rbac_patient", "rbac_study", "rbac_series"] {
            database.run(&format!("ALTER TABLE {table} SET TABLESPACE small")).await;
        }
    }
    let filler = disk.fill();
    generate::fill(&mut work.site.archive, 2000).await;
    work.daemon.socket.ask("POST", "/sync/run", Some("{\"mode\": \"full\"}")).await;
    work.named(if dialect == Dialect::Mariadb { "is full" } else { "No space left" }).await;
    std::fs::remove_file(filler).unwrap();
    disk.resize(256);
    work.recovered("a full disk").await;
    work.end().await;
    drop(disk);
}

/// MariaDB waits with the commit until there is space, and looks for it every minute.
#[tokio::test]
async fn a_mariadb_target_whose_disk_for_the_binary_log_is_full() {
    let Some(disk) = SmallDisk::new(16) else { return println!("{SKIPPED}") };
    let mut work = Work::new(Dialect::Mariadb, Target, 187).await;
    give_to_server(disk.path());
    work.cluster.stop();
    work.cluster.set_options(&format!("--server-id=1 --log-bin={}/binlog", disk.path().display()));
    work.cluster.start();
    work.recovered("a restart").await;
    let filler = disk.fill();
    work.busy().await;
    work.named("disk space").await;
    std::fs::remove_file(filler).unwrap();
    let mut admin = work.cluster.admin("mysql").await;
    let waiting = "SELECT count(*) FROM information_schema.processlist WHERE state LIKE '%free space'";
    eventually("the server has looked again", 2 * CAP, async || {
        let sessions = admin.numbers(waiting).await;
        check(sessions == [0], format!("{sessions:?} wait"))
    })
    .await;
    work.daemon.run("{}").await;
    work.recovered("a full disk").await;
    work.end().await;
    drop(disk);
}

#[tokio::test]
async fn an_sqlite_target_whose_disk_is_full() {
    let Some(disk) = SmallDisk::new(64) else { return println!("{SKIPPED}") };
    let seed = random::seed(188);
    let shape = Shape::release("5.35.0");
    let mut site = Site::between(Dialect::Postgres, Dialect::Sqlite, shape, seed).await;
    site.target_in(disk.path());
    let mut work = Work::at(site, cluster::shared(), Dialect::Sqlite, Target, seed).await;
    let filler = disk.fill();
    generate::fill(&mut work.site.archive, 2000).await;
    work.daemon.socket.ask("POST", "/sync/run", Some("{\"mode\": \"full\"}")).await;
    work.named("the disk is full").await;
    std::fs::remove_file(filler).unwrap();
    work.recovered("a full disk").await;
    work.end().await;
    drop(disk);
}
