//! Changes after the first load, of each kind that an archive makes.

use std::fmt::Write;

use chrono::{Duration, Utc};
use serde_json::Value;

use crate::harness::generate;
use crate::harness::mutate::{self, Change};
use crate::harness::random::{self, Random};
use crate::harness::shape::{Dialect, Shape};
use crate::harness::site::Site;

/// Each kind alone, so that a failure names it. A delta must see what bumps `updated_time`.
#[tokio::test]
async fn each_kind_of_change_reaches_the_target() {
    each_kind_within(Dialect::Postgres, ["5.23.3", "5.29.2", "5.35.0"].map(Shape::release)).await;
}

#[tokio::test]
async fn each_kind_of_change_passes_from_mariadb_to_mariadb() {
    each_kind_within(Dialect::Mariadb, [Shape::release("5.23.3"), Shape::upgraded(), Shape::release("5.35.0")]).await;
}

async fn each_kind_within(dialect: Dialect, shapes: [Shape; 3]) {
    let mut wrong = String::new();
    for shape in shapes {
        let mut site = Site::within(dialect, shape, random::seed(31)).await;
        each_kind(&mut site, &mut wrong).await;
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[tokio::test]
async fn each_kind_of_change_passes_from_sqlite_to_sqlite() {
    let mut wrong = String::new();
    let shape = Shape::release("5.35.0");
    let mut site = Site::between(Dialect::Sqlite, Dialect::Sqlite, shape, random::seed(32)).await;
    each_kind(&mut site, &mut wrong).await;
    assert!(wrong.is_empty(), "{wrong}");
}

async fn each_kind(site: &mut Site, wrong: &mut String) {
    generate::fill(&mut site.archive, 200).await;
    site.sync(&[]).await;
    site.assert_in_step("after the first load").await;
    for change in mutate::ALL {
        for _ in 0..3 {
            change.apply(&mut site.archive).await;
        }
        let mode = if change.is_bumped() { "delta" } else { "full" };
        let once = site.once(&["--mode", mode]).await;
        let verdict = if once.code == 0 { site.verdict().await } else { Err(format!("{once:#?}")) };
        if let Err(text) = verdict {
            writeln!(wrong, "{change:?} by {mode} in {}: {text}", site.archive.shape.name).unwrap();
            // The next kind starts from a target in step.
            site.sync(&["--mode", "full"]).await;
        }
    }
}

#[tokio::test]
async fn random_changes_reach_the_target_by_deltas() {
    random_changes_reach(Dialect::Postgres).await;
}

#[tokio::test]
async fn random_changes_reach_a_mariadb_target_by_deltas() {
    random_changes_reach(Dialect::Mariadb).await;
}

async fn random_changes_reach(dialect: Dialect) {
    let seed = random::seed(33);
    for shape in Shape::all() {
        let mut site = Site::within(dialect, shape, seed).await;
        generate::fill(&mut site.archive, 150).await;
        site.sync(&[]).await;
        let mut random = Random::new(seed);
        let bumped: Vec<Change> = mutate::ALL.into_iter().filter(|change| change.is_bumped()).collect();
        for round in 0..4 {
            for _ in 0..12 {
                random.choose(&bumped).apply(&mut site.archive).await;
            }
            site.sync(&["--mode", "delta"]).await;
            site.assert_in_step(&format!("after delta {round}")).await;
        }
        for _ in 0..40 {
            random.choose(&mutate::ALL).apply(&mut site.archive).await;
        }
        // What a delta between them makes of changes that it cannot see must do no harm.
        site.sync(&["--mode", "delta"]).await;
        site.sync(&["--mode", "full"]).await;
        site.assert_in_step("after the full run").await;
        assert_eq!(site.sync(&["--mode", "full"]).await.changed(), 0);
    }
}

#[tokio::test]
async fn a_restart_between_runs_loses_nothing() {
    for dialect in Dialect::SERVERS {
        let mut site = Site::within(dialect, Shape::release("5.35.0"), random::seed(34)).await;
        generate::fill(&mut site.archive, 100).await;
        let mut latest = Value::Null;
        for round in 0..3 {
            let daemon = site.daemon().await;
            // The result of the daemon before is still known; this one's own run is what is waited for.
            let done =
                |status: &Value| status["last_result"]["success"] == true && status["last_result"]["run_id"] != latest;
            daemon.status_with("the run at start", done).await;
            site.assert_in_step(&format!("after start {round}")).await;
            for change in [Change::NewStudy, Change::Rename, Change::SeriesAttributes, Change::Merge] {
                change.apply(&mut site.archive).await;
            }
            latest = daemon.run("{}").await["run_id"].clone();
            site.assert_in_step(&format!("after a forced run, start {round}")).await;
            for change in [Change::NewSeries, Change::StudyAccess, Change::DeleteStudy] {
                change.apply(&mut site.archive).await;
            }
            daemon.stop().await;
        }
        site.sync(&["--mode", "delta"]).await;
        site.assert_in_step("changes while no daemon ran").await;
    }
}

#[tokio::test]
async fn a_row_dated_in_the_future_does_not_hide_what_comes_after_it() {
    for dialect in Dialect::SERVERS {
        let mut site = Site::within(dialect, Shape::release("5.35.0"), random::seed(35)).await;
        let now = Utc::now().naive_utc();
        site.archive.set_clock(now - Duration::hours(2));
        generate::fill(&mut site.archive, 40).await;
        site.archive.set_clock(now + Duration::days(2));
        Change::NewStudy.apply(&mut site.archive).await;
        site.sync(&[]).await;
        for _ in 0..3 {
            site.archive.set_clock(Utc::now().naive_utc());
            Change::NewStudy.apply(&mut site.archive).await;
            Change::Rename.apply(&mut site.archive).await;
            site.sync(&["--mode", "delta"]).await;
            site.assert_in_step("after a row from the future").await;
        }
    }
}
