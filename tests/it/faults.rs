//! A database that fails in the middle of the work, in every way that a database can fail: the error names
//! the side, nothing is lost or doubled, and it works again without a hand.

use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::ConnectOptions as _;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::postgres::{PgConnectOptions, PgConnection};

use crate::harness::cluster::{self, Cluster, READER, WRITER};
use crate::harness::daemon::{CAP, Daemon};
use crate::harness::db::Db;
use crate::harness::generate;
use crate::harness::mutate::{self, Change};
use crate::harness::on_both_servers;
use crate::harness::product::Product;
use crate::harness::random::{self, Random};
use crate::harness::shape::{Dialect, Shape};
use crate::harness::site::Site;
use crate::harness::wait::{check, eventually};

on_both_servers!(
    a_server_that_is_killed_in_the_middle,
    a_server_that_is_restarted_in_the_middle_of_a_step,
    a_server_that_is_frozen_in_the_middle,
    a_statement_that_takes_long_is_given_up_only_when_its_server_is_dead,
    cancel_and_stop_work_while_a_server_is_frozen,
    a_server_without_free_connections,
    a_target_that_is_frozen_while_a_run_writes,
    a_target_that_fails_over_to_a_replica_which_is_read_only_at_first,
);

/// The side that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
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
pub(crate) struct Work {
    /// Before the site: its log is there.
    pub(crate) daemon: Daemon,
    pub(crate) site: Site,
    side: Side,
    dialect: Dialect,
    pub(crate) cluster: &'static Cluster,
    random: Random,
    bumped: Vec<Change>,
}

impl Work {
    /// One side on a server of its own, the other one on the shared server.
    pub(crate) async fn new(dialect: Dialect, side: Side, seed: u64) -> Self {
        let product = if dialect == Dialect::Mariadb { Product::Mariadb } else { Product::Postgres };
        let cluster: &'static Cluster = Box::leak(Box::new(Cluster::of(product)));
        let seed = random::seed(seed);
        let shared = cluster::shared_for(dialect);
        let (source, target) = if side == Source { (cluster, shared) } else { (shared, cluster) };
        let site = Site::on(source, target, dialect, dialect, Shape::release("5.35.0"), seed).await;
        Self::at(site, cluster, dialect, side, seed).await
    }

    pub(crate) async fn at(mut site: Site, cluster: &'static Cluster, dialect: Dialect, side: Side, seed: u64) -> Self {
        site.settings.interval = "1s";
        generate::fill(&mut site.archive, 150).await;
        let daemon = site.daemon().await;
        daemon.status_with("the first load", |status| status["last_result"]["success"] == true).await;
        let bumped = mutate::ALL.into_iter().filter(|change| change.is_bumped()).collect();
        Self { daemon, site, side, dialect, cluster, random: Random::new(seed), bumped }
    }

    /// Gives the daemon something to do, and lets it get somewhere into that.
    pub(crate) async fn busy(&mut self) {
        for _ in 0..20 {
            self.random.choose(&self.bumped).apply(&mut self.site.archive).await;
        }
        self.daemon.socket.ask("POST", "/sync/run", Some("{\"mode\": \"full\"}")).await;
        tokio::time::sleep(Duration::from_millis(self.random.below(250))).await;
    }

    /// The failing side is named, with a reason, and the other one is not.
    pub(crate) async fn named(&self, reason: &str) {
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

    /// A run that waits in a statement on the failing side until that session gives the table free with
    /// [`free`]; and the path of the run.
    async fn stuck(&mut self) -> (Db, String) {
        let table = if self.side == Source { "series" } else { "rbac_study" };
        let database = self.database().await;
        Change::NewStudy.apply(&mut self.site.archive).await;
        let mut holder = self.cluster.admin(&database).await;
        let (lock, waits) = match self.dialect {
            Dialect::Mariadb => (
                format!("LOCK TABLES {table} WRITE"),
                "SELECT count(*) FROM information_schema.processlist WHERE db = database() \
                 AND state = 'Waiting for table metadata lock'",
            ),
            Dialect::Postgres | Dialect::Sqlite => (
                format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"),
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                 AND wait_event_type = 'Lock' AND application_name = 'rbac-sync'",
            ),
        };
        holder.run(&lock).await;
        let asked = self.daemon.socket.ask("POST", "/sync/run", Some("{\"mode\": \"full\"}")).await.json();
        let run = format!("/sync/runs/{}?wait=30s", asked["run_id"].as_str().expect("a run"));
        eventually("a run waits", CAP, async || check(holder.numbers(waits).await[0] > 0, self.daemon.log())).await;
        (holder, run)
    }

    /// The name of the database on the failing side.
    pub(crate) async fn database(&self) -> String {
        if self.side == Source {
            return self.site.source_url.rsplit('/').next().unwrap().to_owned();
        }
        let name = if self.dialect == Dialect::Mariadb { "SELECT database()" } else { "SELECT current_database()" };
        self.site.target().await.value(name).await.unwrap()
    }

    /// The archive's own session, where the server has ended it.
    async fn reconnect(&mut self) {
        if self.side == Source {
            self.site.archive.db = self.cluster.admin(&self.database().await).await;
        }
    }

    /// Without a hand: both sides answer, a run succeeds, and the target is in step.
    pub(crate) async fn recovered(&mut self, what: &str) {
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

    pub(crate) async fn end(self) {
        assert!(!self.daemon.log().contains("panicked"), "{}", self.daemon.log());
        self.daemon.stop().await;
        assert_eq!(self.site.sync(&["--mode", "full"]).await.changed(), 0, "something was left over");
    }
}

/// A fault of the source and one of the target, at the same time and each at a place of its own: most of both is
/// waiting.
async fn both_sides(seeds: [u64; 2], fault: impl AsyncFn(Side, u64)) {
    tokio::join!(fault(Source, seeds[0]), fault(Target, seeds[1]));
}

/// Ends what [`Work::stuck`] waits for.
async fn free(dialect: Dialect, mut holder: Db) {
    holder.run(if dialect == Dialect::Mariadb { "UNLOCK TABLES" } else { "ROLLBACK" }).await;
}

async fn a_server_that_is_killed_in_the_middle(dialect: Dialect) {
    both_sides([171, 172], async |side, seed| {
        let mut work = Work::new(dialect, side, seed).await;
        for _ in 0..3 {
            work.busy().await;
            work.cluster.kill_9();
            work.named("").await;
            work.cluster.start();
            work.reconnect().await;
            work.recovered("a kill").await;
        }
        work.end().await;
    })
    .await;
}

/// As in a switch to another server: all sessions end, the address stays.
async fn a_server_that_is_restarted_in_the_middle_of_a_step(dialect: Dialect) {
    both_sides([173, 174], async |side, seed| {
        let mut work = Work::new(dialect, side, seed).await;
        for _ in 0..4 {
            work.busy().await;
            work.cluster.stop();
            work.cluster.start();
            work.reconnect().await;
            work.recovered("a restart").await;
        }
        work.end().await;
    })
    .await;
}

async fn a_server_that_is_frozen_in_the_middle(dialect: Dialect) {
    both_sides([175, 176], async |side, seed| {
        let mut work = Work::new(dialect, side, seed).await;
        work.busy().await;
        work.cluster.freeze();
        work.named("").await;
        work.cluster.thaw();
        work.recovered("a freeze").await;
        work.end().await;
    })
    .await;
}

/// A statement may take long as long as the server lives, and no longer than that.
async fn a_statement_that_takes_long_is_given_up_only_when_its_server_is_dead(dialect: Dialect) {
    both_sides([183, 184], async |side, seed| {
        let mut work = Work::new(dialect, side, seed).await;
        let (holder, _) = work.stuck().await;
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
        free(work.dialect, holder).await;
        work.recovered("a freeze in a statement").await;
        work.end().await;
    })
    .await;
}

/// Whatever hangs, a cancel and a stop do not.
async fn cancel_and_stop_work_while_a_server_is_frozen(dialect: Dialect) {
    both_sides([177, 178], async |side, seed| {
        let mut work = Work::new(dialect, side, seed).await;
        let (holder, run) = work.stuck().await;
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
        free(work.dialect, holder).await;
        assert_eq!(work.site.once(&[]).await.code, 0);
        work.site.assert_in_step("after a stop beside a frozen server").await;
    })
    .await;
}

async fn a_server_without_free_connections(dialect: Dialect) {
    both_sides([179, 180], async |side, seed| {
        let role = if side == Source { READER } else { WRITER };
        let mut work = Work::new(dialect, side, seed).await;
        // MariaDB has a limit for the server and one for each login; so many are quick to take.
        let limits: &[[String; 2]] = match dialect {
            Dialect::Mariadb => &[
                ["SET GLOBAL max_connections = 30".to_owned(), "SET GLOBAL max_connections = 200".to_owned()],
                [5, 0].map(|count| format!("ALTER USER {role} WITH MAX_USER_CONNECTIONS {count}")),
            ],
            Dialect::Postgres | Dialect::Sqlite => &[["SELECT 1".to_owned(), "SELECT 1".to_owned()]],
        };
        for [limit, unlimited] in limits {
            work.busy().await;
            work.cluster.admin_sql(limit);
            let taken = take_all_connections(work.cluster, dialect, role).await;
            println!("{side:?}: {} connections taken after {limit}", taken.0.len());
            work.named("connection").await;
            drop(taken);
            work.cluster.admin_sql(unlimited);
            work.recovered("a lack of connections").await;
        }
        work.end().await;
    })
    .await;
}

/// Takes connections until there are none for others, ending those that the daemon has. The session that
/// looks takes one too, and stays with the others for that reason.
async fn take_all_connections(cluster: &Cluster, dialect: Dialect, role: &str) -> (Vec<AnyConnection>, Db) {
    let mut admin = cluster.admin(if dialect == Dialect::Mariadb { "mysql" } else { "postgres" }).await;
    let mut taken = Vec::new();
    // The daemon takes back what it lost until there is nothing to take. A session that is about to log in
    // is not shown yet, so "none" has to last.
    let mut none = 0;
    while none < 5 {
        if let Some(connection) = AnyConnection::open(cluster, dialect, role).await {
            taken.push(connection);
            none = 0;
        } else if end_the_daemons(&mut admin, dialect, role, &taken).await {
            none = 0;
        } else {
            none += 1;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    (taken, admin)
}

/// Ends the daemon's sessions; answers whether there were any.
async fn end_the_daemons(admin: &mut Db, dialect: Dialect, role: &str, taken: &[AnyConnection]) -> bool {
    if dialect == Dialect::Postgres {
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'rbac-sync'";
        return !admin.rows(end).await.is_empty();
    }
    let sessions = format!("SELECT id FROM information_schema.processlist WHERE user = '{role}'");
    let ours: Vec<i64> = taken.iter().map(AnyConnection::id).collect();
    let theirs: Vec<i64> = admin.numbers(&sessions).await.into_iter().filter(|id| !ours.contains(id)).collect();
    for id in &theirs {
        // It may have gone by itself.
        let gone = "DECLARE CONTINUE HANDLER FOR 1094 BEGIN END";
        admin.run(&format!("BEGIN NOT ATOMIC {gone}; KILL CONNECTION {id}; END")).await;
    }
    !theirs.is_empty()
}

/// A connection that is only there, with its number at the server.
enum AnyConnection {
    Postgres { _open: PgConnection },
    Mariadb { _open: MySqlConnection, id: i64 },
}

impl AnyConnection {
    async fn open(cluster: &Cluster, dialect: Dialect, role: &str) -> Option<Self> {
        let password = if role == READER { cluster::READER_PASSWORD } else { cluster::WRITER_PASSWORD };
        if dialect == Dialect::Mariadb {
            let options = MySqlConnectOptions::new().host("127.0.0.1").port(cluster.port);
            let mut open = options.username(role).password(password).connect().await.ok()?;
            let id: u64 = sqlx::query_scalar("SELECT CONNECTION_ID()").fetch_one(&mut open).await.ok()?;
            return Some(Self::Mariadb { _open: open, id: i64::try_from(id).unwrap() });
        }
        let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(cluster.port).username(role);
        let open = options.password(password).database("postgres").connect().await.ok()?;
        Some(Self::Postgres { _open: open })
    }

    fn id(&self) -> i64 {
        if let Self::Mariadb { id, .. } = self { *id } else { 0 }
    }
}

/// As an operator does it, or a guard of the disk. PostgreSQL is read-only as a replica only, for the daemon's
/// sessions say that they write.
#[tokio::test]
async fn a_mariadb_target_that_is_read_only_for_a_while() {
    let mut work = Work::new(Dialect::Mariadb, Target, 185).await;
    work.busy().await;
    work.cluster.admin_sql("SET GLOBAL read_only = 1");
    Change::NewStudy.apply(&mut work.site.archive).await;
    work.named("read-only").await;
    work.cluster.admin_sql("SET GLOBAL read_only = 0");
    work.recovered("a read-only time").await;
    work.end().await;
}

/// The rows of the first batches are kept, and a transaction is under way.
async fn a_target_that_is_frozen_while_a_run_writes(dialect: Dialect) {
    let mut work = Work::new(dialect, Target, 186).await;
    work.daemon.socket.ask("POST", "/sync/pause", None).await;
    generate::fill(&mut work.site.archive, 5000).await;
    let mut target = work.site.target().await;
    let count = "SELECT count(*) FROM rbac_study";
    let before = target.numbers(count).await[0];
    work.daemon.socket.ask("POST", "/sync/run", Some("{\"mode\": \"full\"}")).await;
    while target.numbers(count).await[0] < before + 500 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    work.cluster.freeze();
    assert_eq!(work.daemon.status().await["is_running"], true, "the run was over already");
    work.named("").await;
    work.cluster.thaw();
    work.daemon.socket.ask("POST", "/sync/resume", None).await;
    work.recovered("a freeze in a write").await;
    work.end().await;
}

/// A replica takes the place of the target's server, at first without being promoted.
async fn a_target_that_fails_over_to_a_replica_which_is_read_only_at_first(dialect: Dialect) {
    let mut work = Work::new(dialect, Target, 181).await;
    let early = (dialect == Dialect::Postgres).then(|| work.cluster.replica());
    work.busy().await;
    // Nothing is lost in this failover, or the daemon does it again: the test is about the daemon, not about
    // replication.
    work.daemon.status_with("idle", |status| status["is_running"] == false).await;
    work.cluster.stop();
    let replica: &'static Cluster = Box::leak(Box::new(early.unwrap_or_else(|| work.cluster.replica())));
    work.named("").await;
    replica.start();
    // MariaDB says so only to somebody who writes.
    Change::NewStudy.apply(&mut work.site.archive).await;
    work.named("read-only").await;
    replica.promote();
    work.site.target_moved(replica);
    work.recovered("a failover").await;
    work.end().await;
}
