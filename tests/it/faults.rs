//! A database that fails in the middle of the work, in every way that a database can fail: the error names
//! the side, nothing is lost or doubled, and it works again without a hand.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use crate::harness::cluster::{self, Cluster, READER, WRITER, give_to_server};
use crate::harness::daemon::{CAP, Daemon};
use crate::harness::db::Db;
use crate::harness::generate;
use crate::harness::mutate::{self, Change};
use crate::harness::random::{self, Random};
use crate::harness::shape::{Dialect, Shape};
use crate::harness::site::Site;
use crate::harness::wait::{check, eventually};

/// The side that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Target,
}

use Side::{Source, Target};

impl Side {
    fn of(self, status: &Value) -> &Value {
        match self {
            Source => &status["sources"][0],
            Target => &status["target"],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Source => "source",
            Target => "target",
        }
    }
}

/// A daemon at work between two servers, one of which is going to fail.
struct Work {
    /// Before the site: its log is there.
    daemon: Daemon,
    site: Site,
    side: Side,
    cluster: &'static Cluster,
    random: Random,
    bumped: Vec<Change>,
}

impl Work {
    async fn new(side: Side, seed: u64) -> Self {
        Self::on(Box::leak(Box::new(Cluster::new())), side, seed).await
    }

    async fn on(cluster: &'static Cluster, side: Side, seed: u64) -> Self {
        let seed = random::seed(seed);
        let shared = cluster::shared();
        let (source, target) = if side == Source { (cluster, shared) } else { (shared, cluster) };
        let postgres = Dialect::Postgres;
        let mut site = Site::on(source, target, postgres, postgres, Shape::release("5.35.0"), seed).await;
        site.settings.interval = "1s";
        generate::fill(&mut site.archive, 150).await;
        let daemon = site.daemon().await;
        daemon.status_with("the first load", |status| status["last_result"]["success"] == true).await;
        let bumped = mutate::ALL.into_iter().filter(|change| change.is_bumped()).collect();
        Self { site, side, cluster, daemon, random: Random::new(seed), bumped }
    }

    /// Gives the daemon something to do, and lets it get somewhere into that.
    async fn busy(&mut self) {
        for _ in 0..20 {
            self.random.choose(&self.bumped).apply(&mut self.site.archive).await;
        }
        self.daemon.socket.ask("POST", "/sync/run", Some("{\"mode\": \"full\"}")).await;
        tokio::time::sleep(Duration::from_millis(self.random.below(250))).await;
    }

    /// The failing side is named, with a reason, and the other one is not.
    async fn named(&self, reason: &str) {
        let begun = Instant::now();
        let (side, other) = if self.side == Source { (Source, Target) } else { (Target, Source) };
        let seen = |status: &Value| {
            let error = side.of(status)["error"].as_str().unwrap_or_default();
            side.of(status)["reachable"] == false && error.contains(reason)
        };
        let status = self.daemon.status_with(&format!("{side:?} fails with {reason:?}"), seen).await;
        assert_ne!(other.of(&status)["reachable"], false, "{status}");
        println!("{side:?} noticed after {:?}: {}", begun.elapsed(), side.of(&status)["error"]);
        let ready = self.daemon.get("/health/ready").await;
        assert!(ready.code == 503 && ready.body.contains(side.name()), "{ready:?}");
        assert_eq!(self.daemon.get("/health/live").await.code, 200);
    }

    /// A run that waits in a statement on the failing side until the transaction of that session ends; and
    /// the path of the run.
    async fn stuck(&mut self) -> (Db, String) {
        let (database, table) = match self.side {
            Source => (self.site.source_url.rsplit('/').next().unwrap().to_owned(), "series"),
            Target => (self.site.target().await.value("SELECT current_database()").await.unwrap(), "rbac_study"),
        };
        Change::NewStudy.apply(&mut self.site.archive).await;
        let mut holder = self.cluster.admin(&database).await;
        holder.run(&format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")).await;
        let asked = self.daemon.socket.ask("POST", "/sync/run", Some("{\"mode\": \"full\"}")).await.json();
        let run = format!("/sync/runs/{}?wait=30s", asked["run_id"].as_str().expect("a run"));
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                     AND wait_event_type = 'Lock' AND application_name = 'rbac-sync'";
        eventually("a run waits", CAP, async || check(holder.numbers(waits).await[0] > 0, self.daemon.log())).await;
        (holder, run)
    }

    /// The archive's own session, where the server has ended it.
    async fn reconnect(&mut self) {
        if self.side == Source {
            let database = self.site.source_url.rsplit('/').next().unwrap();
            self.site.archive.db = self.cluster.admin(database).await;
        }
    }

    /// Without a hand: both sides answer, a run succeeds, and the target is in step.
    async fn recovered(&mut self, what: &str) {
        let begun = Instant::now();
        Change::NewStudy.apply(&mut self.site.archive).await;
        let works = |status: &Value| {
            let both = [Source, Target].iter().all(|side| side.of(status)["reachable"] == true);
            both && status["standby"] == false && status["sources"][0]["consecutive_failures"] == 0
        };
        self.daemon.status_with(&format!("it works again after {what}"), works).await;
        self.daemon.run("{}").await;
        println!("{:?}: works again {:?} after {what}", self.side, begun.elapsed());
        self.site.assert_in_step(what).await;
    }

    async fn end(self) {
        assert!(!self.daemon.log().contains("panicked"), "{}", self.daemon.log());
        self.daemon.stop().await;
        assert_eq!(self.site.sync(&["--mode", "full"]).await.changed(), 0, "something was left over");
    }
}

#[tokio::test]
async fn a_server_that_is_killed_in_the_middle() {
    for (side, seed) in [(Source, 171), (Target, 172)] {
        let mut work = Work::new(side, seed).await;
        for _ in 0..3 {
            work.busy().await;
            work.cluster.kill_9();
            work.named("").await;
            work.cluster.start();
            work.reconnect().await;
            work.recovered("a kill").await;
        }
        work.end().await;
    }
}

/// As in a switch to another server: all sessions end, the address stays.
#[tokio::test]
async fn a_server_that_is_restarted_in_the_middle_of_a_step() {
    for (side, seed) in [(Source, 173), (Target, 174)] {
        let mut work = Work::new(side, seed).await;
        for _ in 0..4 {
            work.busy().await;
            work.cluster.stop();
            work.cluster.start();
            work.reconnect().await;
            work.recovered("a restart").await;
        }
        work.end().await;
    }
}

#[tokio::test]
async fn a_server_that_is_frozen_in_the_middle() {
    for (side, seed) in [(Source, 175), (Target, 176)] {
        let mut work = Work::new(side, seed).await;
        work.busy().await;
        work.cluster.freeze();
        work.named("").await;
        work.cluster.thaw();
        work.recovered("a freeze").await;
        work.end().await;
    }
}

/// A statement may take long as long as the server lives, and no longer than that.
#[tokio::test]
async fn a_statement_that_takes_long_is_given_up_only_when_its_server_is_dead() {
    for (side, seed) in [(Source, 183), (Target, 184)] {
        let mut work = Work::new(side, seed).await;
        let (mut holder, _) = work.stuck().await;
        // Past the first sign of life that is asked for, and its answer.
        tokio::time::sleep(Duration::from_secs(13)).await;
        let status = work.daemon.status().await;
        assert_eq!((&status["is_running"], &side.of(&status)["reachable"]), (&true.into(), &true.into()), "{status}");
        work.cluster.freeze();
        work.named("").await;
        eventually("the statement is given up", CAP, async || {
            check(work.daemon.log().contains("frozen or cut off"), work.daemon.log())
        })
        .await;
        work.cluster.thaw();
        holder.run("ROLLBACK").await;
        work.recovered("a freeze in a statement").await;
        work.end().await;
    }
}

/// Whatever hangs, a cancel and a stop do not.
#[tokio::test]
async fn cancel_and_stop_work_while_a_server_is_frozen() {
    for (side, seed) in [(Source, 177), (Target, 178)] {
        let mut work = Work::new(side, seed).await;
        let (mut holder, run) = work.stuck().await;
        work.cluster.freeze();
        let begun = Instant::now();
        work.daemon.socket.ask("POST", "/sync/cancel", None).await;
        let ended = work.daemon.get(&run).await.json();
        assert_eq!(ended["state"], "finished", "{ended}");
        println!("{side:?}: cancelled within {:?}", begun.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        let begun = Instant::now();
        work.daemon.stop().await;
        println!("{side:?}: stopped within {:?}", begun.elapsed());
        work.cluster.thaw();
        holder.run("ROLLBACK").await;
        assert_eq!(work.site.once(&[]).await.code, 0);
        work.site.assert_in_step("after a stop beside a frozen server").await;
    }
}

#[tokio::test]
async fn a_server_without_free_connections() {
    for (side, seed, role) in [(Source, 179, READER), (Target, 180, WRITER)] {
        let mut work = Work::new(side, seed).await;
        work.busy().await;
        let taken = take_all_connections(work.cluster, role).await;
        println!("{side:?}: {} connections taken", taken.0.len());
        work.named("connection").await;
        drop(taken);
        work.recovered("a lack of connections").await;
        work.end().await;
    }
}

/// Takes connections until there are none for others, ending those that the daemon has. The session that
/// looks takes one too, and stays with the others for that reason.
async fn take_all_connections(cluster: &Cluster, role: &str) -> (Vec<PgConnection>, Db) {
    let mut admin = cluster.admin("postgres").await;
    let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(cluster.port).username(role);
    let password = if role == READER { cluster::READER_PASSWORD } else { cluster::WRITER_PASSWORD };
    let options = options.password(password).database("postgres");
    let mut taken = Vec::new();
    let theirs = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'rbac-sync'";
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'rbac-sync'";
    // The daemon takes back what it lost until there is nothing to take. A session that is about to log in
    // is not shown yet, so "none" has to last.
    let mut none = 0;
    while none < 5 {
        if let Ok(connection) = options.connect().await {
            taken.push(connection);
            none = 0;
        } else if admin.numbers(theirs).await[0] == 0 {
            none += 1;
            tokio::time::sleep(Duration::from_millis(100)).await;
        } else {
            admin.run(end).await;
            none = 0;
        }
    }
    (taken, admin)
}

/// A replica takes the place of the target's server, at first without being promoted.
#[tokio::test]
async fn a_target_that_fails_over_to_a_replica_which_is_read_only_at_first() {
    let mut work = Work::new(Target, 181).await;
    let replica: &'static Cluster = Box::leak(Box::new(work.cluster.replica()));
    work.busy().await;
    // Nothing is lost in this failover: the test is about the daemon, not about replication.
    work.daemon.status_with("idle", |status| status["is_running"] == false).await;
    work.cluster.stop();
    // What the primary wrote last is in its log; the copy was made before.
    work.named("").await;
    replica.start();
    work.named("read-only").await;
    replica.promote();
    work.site.target_moved(replica);
    work.recovered("a failover").await;
    work.end().await;
}

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
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(self.path()).status().ok();
    }
}

#[tokio::test]
async fn a_target_whose_disk_is_full() {
    let Some(disk) = SmallDisk::new(64) else {
        println!("skipped: this process may not mount a file system");
        return;
    };
    let mut work = Work::new(Target, 182).await;
    let mut database = work.site.target().await;
    let name = database.value("SELECT current_database()").await.unwrap();
    give_to_server(disk.path());
    let mut admin = work.cluster.admin("postgres").await;
    admin.run(&format!("CREATE TABLESPACE small LOCATION '{}'", disk.path().display())).await;
    // New files of the tables go to the small disk, which somebody else then fills.
    database
        .run(
            "ALTER TABLE rbac_patient SET TABLESPACE small; ALTER TABLE rbac_study SET TABLESPACE small; \
             ALTER TABLE rbac_series SET TABLESPACE small",
        )
        .await;
    drop((database, admin));
    let filler = disk.path().join("filler");
    let to = format!("of={}", filler.display());
    let filled = Command::new("dd").args(["if=/dev/zero", "bs=64k", "status=none", &to]).status().unwrap();
    assert!(!filled.success(), "{name}: the disk is not full");
    generate::fill(&mut work.site.archive, 2000).await;
    work.daemon.socket.ask("POST", "/sync/run", Some("{\"mode\": \"full\"}")).await;
    work.named("No space left").await;
    std::fs::remove_file(filler).unwrap();
    disk.resize(256);
    work.recovered("a full disk").await;
    work.end().await;
    drop(disk);
}
