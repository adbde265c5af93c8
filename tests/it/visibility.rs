//! When a row can be seen: transactions that commit late, views that are old, replicas that lag.

use std::time::Duration;

use crate::harness::archive::{Node, Val};
use crate::harness::generate;
use crate::harness::mutate::Change;
use crate::harness::on_both_servers;
use crate::harness::random;
use crate::harness::shape::{Dialect, Shape};
use crate::harness::site::{LAZY, Site};
use crate::harness::wait::eventually;

on_both_servers!(
    without_an_index_a_new_row_whose_key_was_drawn_long_before_its_commit_is_found_between_scans,
    each_poll_of_a_daemon_sees_what_was_committed_since_the_one_before,
    what_a_lagging_replica_shows_late_is_found,
);

const CAP: Duration = Duration::from_secs(60);

async fn filled(dialect: Dialect, release: &str, seed: u64) -> Site {
    let mut site = Site::within(dialect, Shape::release(release), random::seed(seed)).await;
    generate::fill(&mut site.archive, 40).await;
    site
}

async fn without_an_index_a_new_row_whose_key_was_drawn_long_before_its_commit_is_found_between_scans(
    dialect: Dialect,
) {
    let mut site = filled(dialect, "5.34.3", 251).await;
    let daemon = site.started("1s", LAZY).await;
    daemon.run("{}").await;
    let node = Node { skew: chrono::Duration::zero(), whole_seconds: false };
    let mut late = site.archive.node(site.archive_session().await, node, 251);
    late.db.run("BEGIN").await;
    Change::NewStudy.apply(&mut late).await;
    // Others draw higher keys, commit, and are read; the next scan is due in a quarter of an hour at the earliest.
    for round in 0..2 {
        for _ in 0..3 {
            Change::NewStudy.apply(&mut site.archive).await;
        }
        eventually(&format!("higher keys, round {round}"), CAP, async || site.verdict().await).await;
    }
    late.db.run("COMMIT").await;
    eventually("the lower key", CAP, async || site.verdict().await).await;
    daemon.stop().await;
}

async fn each_poll_of_a_daemon_sees_what_was_committed_since_the_one_before(dialect: Dialect) {
    let mut site = filled(dialect, "5.35.0", 252).await;
    let daemon = site.started("1h", LAZY).await;
    // The sessions with the databases live on from run to run.
    for change in [Change::NewStudy, Change::StudyAttributes, Change::NewPatient, Change::Rename] {
        assert!(change.apply(&mut site.archive).await);
        assert_eq!(daemon.run("{}").await["success"], true);
        site.assert_in_step(&format!("after {change:?}")).await;
    }
    daemon.stop().await;
}

/// The replica is played by changes that appear with times from before the newest row that a poll has read.
async fn what_a_lagging_replica_shows_late_is_found(dialect: Dialect) {
    let mut site = filled(dialect, "5.35.0", 253).await;
    let daemon = site.started("1h", LAZY).await;
    let live = "SELECT pk FROM study WHERE NOT study_deleting ORDER BY pk";
    let studies = site.archive.db.numbers(live).await;
    let newest = site.archive.tick() + chrono::Duration::hours(1);
    site.archive.set_clock(newest);
    site.archive.update("study", studies[0], &[("updated_time", Val::Time(newest))]).await;
    daemon.run("{}").await;
    let appears = async |site: &mut Site, study: i64, age: chrono::Duration| {
        let fields = [("study_desc", Val::from("LATE")), ("updated_time", Val::Time(newest - age))];
        site.archive.update("study", study, &fields).await;
        assert_eq!(daemon.run("{}").await["success"], true);
    };
    appears(&mut site, studies[1], chrono::Duration::minutes(5)).await;
    site.assert_in_step("a lag within the overlap").await;
    appears(&mut site, studies[2], chrono::Duration::days(3)).await;
    assert!(site.verdict().await.is_err(), "no delta reads three days back");
    daemon.stop().await;
    let daemon = site.started("1s", "sweep_every = \"1s\"\nsweep_percent = 50").await;
    eventually("a lag beyond the overlap", CAP, async || site.verdict().await).await;
    daemon.stop().await;
}
