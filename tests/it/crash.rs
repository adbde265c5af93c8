//! The daemon is killed at any moment: nothing is lost, nothing is doubled.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::cluster::{self, Cluster};
use crate::harness::daemon::{CAP, Daemon};
use crate::harness::generate;
use crate::harness::mutate::{self, Change};
use crate::harness::product::Product;
use crate::harness::random::{self, Random};
use crate::harness::shape::{Dialect, Shape};
use crate::harness::site::Site;
use crate::harness::wait::{check, eventually};

#[tokio::test]
async fn a_kill_in_the_middle_of_the_first_load_loses_and_doubles_nothing() {
    use Dialect::{Mariadb, Postgres, Sqlite};
    for (source, target) in [(Postgres, Postgres), (Postgres, Sqlite), (Mariadb, Mariadb)] {
        let shape = Shape::release("5.35.0");
        let mut site = Site::between(source, target, shape, random::seed(41)).await;
        let studies = random::studies(4000);
        generate::fill(&mut site.archive, studies).await;
        site.configure();
        for part in 0..5 {
            let daemon = Daemon::spawn(&site, &[]);
            loaded(&site, u64::from(studies) * part / 6 + u64::from(part > 0)).await;
            daemon.crash().await;
        }
        let daemon = site.daemon().await;
        let done = daemon.status_with("the load", |status| status["last_result"]["success"] == true).await;
        assert_eq!(done["last_result"]["error"], serde_json::Value::Null);
        site.assert_in_step("after the load that was killed").await;
        daemon.stop().await;
        assert_eq!(site.sync(&["--mode", "full"]).await.changed(), 0, "something was left over");
    }
}

#[tokio::test]
async fn a_server_killed_in_the_middle_of_the_first_load_loses_and_doubles_nothing() {
    for (product, target) in [(Product::Postgres, Dialect::Postgres), (Product::Mariadb, Dialect::Mariadb)] {
        let own: &'static Cluster = Box::leak(Box::new(Cluster::of(product)));
        let (source, shape) = (Dialect::Postgres, Shape::release("5.35.0"));
        let mut site = Site::on(cluster::shared(), own, source, target, shape, random::seed(44)).await;
        site.settings.interval = "1s";
        let studies = random::studies(4000);
        generate::fill(&mut site.archive, studies).await;
        site.configure();
        let daemon = Daemon::start(&site, &[]).await;
        loaded(&site, u64::from(studies) / 3).await;
        own.kill();
        own.start();
        daemon.status_with("the load", |status| status["last_result"]["success"] == true).await;
        site.assert_in_step("after the load on a server that was killed").await;
        daemon.stop().await;
        assert_eq!(site.sync(&["--mode", "full"]).await.changed(), 0, "something was left over");
    }
}

/// Waits until the target holds that many studies, or until the load cannot be caught any more.
async fn loaded(site: &Site, studies: u64) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(20) {
        let mut target = site.target().await;
        let table = target.tables().await.contains("rbac_study");
        if table && studies == 0 {
            return;
        }
        if table && target.numbers("SELECT count(*) FROM rbac_study").await[0] >= i64::try_from(studies).unwrap() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("no {studies} studies within 20 s");
}

#[tokio::test]
async fn a_kill_in_the_middle_of_deltas_loses_nothing() {
    for dialect in Dialect::SERVERS {
        let seed = random::seed(42);
        let mut site = Site::within(dialect, Shape::release("5.34.3"), seed).await;
        generate::fill(&mut site.archive, 300).await;
        site.sync(&[]).await;
        let mut random = Random::new(seed);
        let bumped: Vec<Change> = mutate::ALL.into_iter().filter(|change| change.is_bumped()).collect();
        for _ in 0..6 {
            for _ in 0..40 {
                random.choose(&bumped).apply(&mut site.archive).await;
            }
            let daemon = site.daemon().await;
            daemon.signal(Signal::USR1);
            tokio::time::sleep(Duration::from_millis(random.below(120))).await;
            daemon.crash().await;
        }
        site.sync(&["--mode", "delta"]).await;
        site.assert_in_step("after deltas that were killed").await;
    }
}

#[tokio::test]
async fn a_kill_before_rows_are_written_leaves_the_cursor_before_them() {
    for table in ["rbac_patient", "rbac_study", "rbac_series"] {
        let mut site = Site::new(Shape::release("5.35.0"), random::seed(44)).await;
        (site.settings.overlap, site.settings.pace) = ("1s", "sweep_percent = 0");
        generate::fill(&mut site.archive, 60).await;
        site.sync(&[]).await;
        // What is changed first is older than the overlap when the last of them has been read.
        for change in [Change::Rename, Change::StudyAttributes, Change::SeriesAttributes, Change::NewPatient] {
            change.apply(&mut site.archive).await;
            let later = site.archive.tick() + chrono::Duration::hours(1);
            site.archive.set_clock(later);
        }
        let mut holder = site.target().await;
        holder.run(&format!("BEGIN; LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")).await;
        site.configure();
        let daemon = Daemon::spawn(&site, &[]);
        let waits = format!("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '{table}'::regclass");
        eventually("the run waits for the lock", CAP, async || {
            let waiting = holder.numbers(&waits).await[0];
            check(waiting > 0, daemon.log())
        })
        .await;
        daemon.crash().await;
        holder.run("COMMIT").await;
        site.sync(&["--mode", "delta"]).await;
        site.assert_in_step(&format!("after a kill before {table} was written")).await;
    }
}

#[tokio::test]
async fn a_target_without_its_rows_is_not_taken_for_loaded() {
    for dialect in Dialect::SERVERS {
        let mut site = Site::within(dialect, Shape::release("5.35.0"), random::seed(43)).await;
        generate::fill(&mut site.archive, 50).await;
        site.sync(&[]).await;
        site.target().await.run("DELETE FROM rbac_series").await;
        site.sync(&["--mode", "full"]).await;
        site.assert_in_step("after somebody emptied a table").await;
    }
}
