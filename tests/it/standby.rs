//! Two daemons on one target: one serves it, the other waits and takes over; never both.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::cluster;
use crate::harness::daemon::{CAP, Daemon};
use crate::harness::db::Db;
use crate::harness::generate;
use crate::harness::mutate::{self, Change};
use crate::harness::random::{self, Random};
use crate::harness::shape::{Dialect, Shape};
use crate::harness::site::{Site, program};
use crate::harness::wait::{check, eventually};

/// From the end of one daemon until the other serves the target: a second to notice, the rest for a busy
/// machine.
const TAKE_OVER: Duration = Duration::from_secs(10);

async fn site(target: Dialect, seed: u64) -> Site {
    let mut site = Site::between(Dialect::Postgres, target, Shape::release("5.35.0"), seed).await;
    site.settings.interval = "1s";
    generate::fill(&mut site.archive, 60).await;
    site.configure();
    site
}

fn is_standby(status: &Value) -> bool {
    status["standby"] == true
}

fn serves(status: &Value) -> bool {
    let both = [&status["target"], &status["sources"][0]].iter().all(|side| side["reachable"] == true);
    status["standby"] == false && status["last_result"]["success"] == true && both
}

#[tokio::test]
async fn the_second_waits_says_so_and_takes_over_when_the_first_ends_or_is_killed() {
    for (target, seed) in [(Dialect::Postgres, 141), (Dialect::Mariadb, 143), (Dialect::Sqlite, 142)] {
        let mut site = site(target, random::seed(seed)).await;
        let first = Daemon::beside(&site, "first").await;
        first.status_with("the first serves", serves).await;
        let second = Daemon::beside(&site, "second").await;
        let status = second.status_with("the second waits", is_standby).await;
        assert!(status["served_by"].as_str().unwrap().starts_with("daemon on host "), "{status}");
        assert_eq!(status["next_run"], Value::Null);
        waits_as_it_should(&second).await;

        let stopped = Instant::now();
        first.stop().await;
        let ended = stopped.elapsed();
        second.status_with("the second takes over", serves).await;
        println!("{target:?}: stopped within {ended:?}, taken over {:?} later", stopped.elapsed() - ended);
        assert!(stopped.elapsed() < ended + TAKE_OVER, "{:?}", stopped.elapsed());
        assert_eq!(second.get("/health/ready").await.code, 200);
        assert!(second.log().contains("takes over"), "{}", second.log());

        let third = Daemon::beside(&site, "third").await;
        third.status_with("the third waits", is_standby).await;
        Change::NewStudy.apply(&mut site.archive).await;
        let killed = Instant::now();
        second.crash().await;
        third.status_with("the third takes over", serves).await;
        println!("{target:?}: killed, taken over {:?} later", killed.elapsed());
        assert!(killed.elapsed() < TAKE_OVER, "{:?}", killed.elapsed());
        third.run("{}").await;
        site.assert_in_step("after two take-overs").await;
        third.stop().await;
    }
}

/// Live, not ready, healthy; refuses what the other one would not hear of.
async fn waits_as_it_should(standby: &Daemon) {
    assert_eq!(standby.get("/health/live").await.code, 200);
    let ready = standby.get("/health/ready").await;
    assert!(ready.code == 503 && ready.body.contains("standby: another daemon"), "{ready:?}");
    assert_eq!(standby.get("/health").await.code, 200);
    assert_eq!(standby.metric("rbac_sync_standby").await, Some(1.0));
    for (method, path, body) in [
        ("POST", "/sync/run", Some("{}")),
        ("POST", "/sync/pause", None),
        ("POST", "/sync/resume", None),
        ("PUT", "/sync/schedule", Some("{\"interval_sec\": 9}")),
    ] {
        let reply = standby.socket.ask(method, path, body).await;
        assert!(reply.code == 503 && reply.body.contains("problem:standby"), "{path}: {reply:?}");
    }
    assert_eq!(standby.socket.ask("POST", "/config/reload", None).await.code, 200);
}

#[tokio::test]
async fn once_beside_a_daemon_is_refused_unless_it_is_a_dry_run() {
    for (target, seed) in [(Dialect::Postgres, 143), (Dialect::Mariadb, 152), (Dialect::Sqlite, 144)] {
        let site = site(target, random::seed(seed)).await;
        let daemon = site.daemon().await;
        daemon.status_with("the daemon serves", serves).await;
        let once = site.once(&[]).await;
        assert_eq!(once.code, 75, "{once:#?}");
        assert!(once.log.contains("another process serves this target: daemon on host "), "{once:#?}");
        assert_eq!(site.once(&["--dry-run"]).await.code, 0);
        daemon.stop().await;
        assert_eq!(site.once(&[]).await.code, 0, "the daemon has given the target back");
    }
}

#[tokio::test]
async fn a_daemon_waits_for_once() {
    let mut site = site(Dialect::Postgres, random::seed(145)).await;
    // The run hangs at the archive until the lock there is gone.
    let mut holder = archive_session(&site).await;
    holder.run("BEGIN; LOCK TABLE series IN ACCESS EXCLUSIVE MODE").await;
    let mut once = program(site.folder.path()).args(["once", "--config"]).arg(site.config()).spawn().unwrap();
    let mut target = site.target().await;
    eventually("once holds the target", CAP, async || {
        let token = target.tables().await.contains("sync_lock") && !token(&mut target).await.is_empty();
        check(token, "no token")
    })
    .await;
    let daemon = Daemon::beside(&site, "daemon").await;
    let status = daemon.status_with("it waits", is_standby).await;
    assert!(status["served_by"].as_str().unwrap().starts_with("once on host "), "{status}");
    holder.run("ROLLBACK").await;
    assert!(once.wait().await.unwrap().success());
    daemon.status_with("it serves", serves).await;
    site.assert_in_step("after once and the daemon").await;
    daemon.stop().await;
}

async fn archive_session(site: &Site) -> Db {
    cluster::shared().admin(site.source_url.rsplit('/').next().unwrap()).await
}

async fn token(target: &mut Db) -> String {
    target.value("SELECT token FROM sync_lock").await.unwrap()
}

/// Ends the session that holds the lock, as a cut connection would; its daemon and its other sessions live.
async fn cut_lock_session(target: &mut Db) {
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted \
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert_eq!(target.rows(cut).await.len(), 1, "one session holds the lock");
}

#[tokio::test]
async fn a_daemon_that_lost_its_lock_to_another_writes_nothing_more() {
    let mut site = site(Dialect::Postgres, random::seed(146)).await;
    site.settings.interval = "1h";
    site.configure();
    let first = Daemon::beside(&site, "first").await;
    first.status_with("the first serves", serves).await;
    let second = Daemon::beside(&site, "second").await;
    second.status_with("the second waits", is_standby).await;
    let mut target = site.target().await;
    let before = token(&mut target).await;
    for _ in 0..20 {
        Change::NewStudy.apply(&mut site.archive).await;
    }
    // A run of the first one hangs in the archive when its lock goes.
    let mut holder = archive_session(&site).await;
    holder.run("BEGIN; LOCK TABLE series IN ACCESS EXCLUSIVE MODE").await;
    first.socket.ask("POST", "/sync/run", Some("{\"mode\": \"full\"}")).await;
    first.status_with("a run is under way", |status| status["is_running"] == true).await;
    cut_lock_session(&mut target).await;
    second.status_with("the second takes over", |status| !is_standby(status)).await;
    assert_ne!(token(&mut target).await, before);
    holder.run("ROLLBACK").await;
    first.status_with("the first waits", is_standby).await;
    eventually("the run of the first is refused", CAP, async || {
        check(first.log().contains("another rbac-sync has taken over the target"), first.log())
    })
    .await;
    second.run("{}").await;
    site.assert_in_step("after the lock changed hands in the middle of a run").await;
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn nobody_takes_over_in_the_middle_of_a_transaction() {
    let mut site = site(Dialect::Postgres, random::seed(147)).await;
    let first = Daemon::beside(&site, "first").await;
    first.status_with("the first serves", serves).await;
    let second = Daemon::beside(&site, "second").await;
    second.status_with("the second waits", is_standby).await;
    let mut target = site.target().await;
    let before = token(&mut target).await;
    // A transaction of the first one hangs in the target, past the fence.
    let mut holder = site.target().await;
    holder.run("BEGIN; LOCK TABLE rbac_study IN SHARE ROW EXCLUSIVE MODE").await;
    Change::NewStudy.apply(&mut site.archive).await;
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let waiting = async |target: &mut Db, wanted: i64| {
        eventually("sessions wait for a lock", CAP, async || {
            let found = target.numbers(waits).await[0];
            check(found >= wanted, format!("{found} sessions wait"))
        })
        .await;
    };
    waiting(&mut target, 1).await;
    cut_lock_session(&mut target).await;
    // The second one has the lock now, and stands before the row.
    waiting(&mut target, 2).await;
    assert_eq!(token(&mut target).await, before, "the row is still the first one's");
    assert!(is_standby(&second.status().await));
    holder.run("ROLLBACK").await;
    second.status_with("the second takes over", serves).await;
    assert_ne!(token(&mut target).await, before);
    first.status_with("the first waits", is_standby).await;
    second.run("{}").await;
    site.assert_in_step("after a take-over behind a transaction").await;
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_short_cut_of_the_lock_session_ends_no_run_and_writes_nothing() {
    let mut site = site(Dialect::Postgres, random::seed(148)).await;
    let daemon = site.daemon().await;
    daemon.status_with("it serves", serves).await;
    let mut target = site.target().await;
    let before = token(&mut target).await;
    cut_lock_session(&mut target).await;
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted \
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    eventually("the lock is taken again", CAP, async || check(target.numbers(locks).await[0] == 1, daemon.log())).await;
    assert_eq!(token(&mut target).await, before, "nobody came in between");
    Change::NewStudy.apply(&mut site.archive).await;
    eventually("it runs", CAP, async || check(daemon.status().await["target"]["reachable"] == true, daemon.log()))
        .await;
    daemon.run("{}").await;
    site.assert_in_step("after a cut").await;
    daemon.stop().await;
}

#[tokio::test]
async fn an_idle_daemon_writes_nothing_to_the_target() {
    let site = site(Dialect::Postgres, random::seed(149)).await;
    let daemon = site.daemon().await;
    daemon.status_with("it serves", serves).await;
    let standby = Daemon::beside(&site, "standby").await;
    standby.status_with("the other one waits", is_standby).await;
    let mut target = site.target().await;
    // Transactions that change something get a number, all others do not.
    let number = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text";
    let settled = async |target: &mut Db| target.value(number).await.unwrap();
    let rows = "SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) FROM pg_stat_user_tables";
    let quiet = Duration::from_secs(4);
    eventually("four seconds without a change", CAP, async || {
        let before = (target.value(rows).await, settled(&mut target).await);
        tokio::time::sleep(quiet).await;
        let after = (target.value(rows).await, settled(&mut target).await);
        check(before.0 == after.0, format!("{before:?} {after:?}"))
    })
    .await;
    daemon.stop().await;
    standby.stop().await;
}

/// A holder that is alive but stopped, as on a machine that is suspended: the server ends its silent session,
/// and when it wakes up it writes nothing more.
#[tokio::test]
async fn a_daemon_that_is_stopped_in_its_tracks_is_replaced_and_wakes_up_as_a_standby() {
    let mut site = site(Dialect::Postgres, random::seed(152)).await;
    let first = Daemon::beside(&site, "first").await;
    first.status_with("the first serves", serves).await;
    let second = Daemon::beside(&site, "second").await;
    second.status_with("the second waits", is_standby).await;
    first.signal(Signal::STOP);
    let stopped = Instant::now();
    second.status_with("the second takes over", serves).await;
    println!("stopped in its tracks, taken over {:?} later", stopped.elapsed());
    for _ in 0..10 {
        Change::NewStudy.apply(&mut site.archive).await;
    }
    second.run("{}").await;
    first.signal(Signal::CONT);
    first.status_with("the first waits", is_standby).await;
    second.run("{}").await;
    site.assert_in_step("after the first one woke up").await;
    first.stop().await;
    second.stop().await;
}

/// Kills whichever daemon serves the target, at any moment, again and again; another one waits each time.
#[tokio::test]
async fn daemons_are_killed_and_take_turns_and_nothing_is_lost_or_doubled() {
    let kills = std::env::var("RBAC_SYNC_TEST_KILLS").ok().map_or(12, |text| text.parse().expect("a number"));
    for (target, seed) in [(Dialect::Postgres, 150), (Dialect::Mariadb, 153), (Dialect::Sqlite, 151)] {
        let seed = random::seed(seed);
        let mut site = site(target, seed).await;
        let mut random = Random::new(seed);
        let bumped: Vec<Change> = mutate::ALL.into_iter().filter(|change| change.is_bumped()).collect();
        let mut serving = Daemon::beside(&site, "daemon-0").await;
        serving.status_with("the first one serves", serves).await;
        let mut slowest = Duration::ZERO;
        for kill in 1..=kills {
            let next = Daemon::beside(&site, &format!("daemon-{kill}")).await;
            next.status_with("the next one waits", is_standby).await;
            for _ in 0..random.below(30) {
                random.choose(&bumped).apply(&mut site.archive).await;
            }
            serving.signal(Signal::USR1);
            tokio::time::sleep(Duration::from_millis(random.below(150))).await;
            let killed = Instant::now();
            serving.crash().await;
            next.status_with("the next one serves", |status| !is_standby(status)).await;
            slowest = slowest.max(killed.elapsed());
            serving = next;
        }
        println!("{target:?}: {kills} kills, the slowest take-over after {slowest:?}");
        assert!(slowest < TAKE_OVER, "{slowest:?}");
        serving.status_with("a run succeeds", serves).await;
        serving.run("{}").await;
        site.assert_in_step("after all kills").await;
        serving.stop().await;
        assert_eq!(site.sync(&["--mode", "full"]).await.changed(), 0, "something was left over");
    }
}
