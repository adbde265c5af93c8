//! What a naive delta query misses: late commits, and changes that leave no trace in `updated_time`.

use std::time::Duration;

use crate::harness::generate;
use crate::harness::mutate::{self, Change};
use crate::harness::random;
use crate::harness::shape::{Dialect, Shape};
use crate::harness::site::{LAZY, Site, program};
use crate::harness::wait::eventually;

const CAP: Duration = Duration::from_secs(60);

/// A daemon that compares all rows round and round.
const SWEEPING: &str = "sweep_every = \"1s\"\nsweep_percent = 50";

async fn in_step_by_itself(site: &mut Site, what: &str) {
    eventually(what, CAP, async || site.verdict().await).await;
}

async fn traceless_changes_are_found(site: &mut Site) {
    generate::fill(&mut site.archive, 120).await;
    let daemon = site.started("1s", SWEEPING).await;
    for change in mutate::ALL.into_iter().filter(|change| !change.is_bumped()) {
        for _ in 0..3 {
            change.apply(&mut site.archive).await;
        }
        in_step_by_itself(site, &format!("{change:?} in {}", site.archive.shape.name)).await;
    }
    // A pass that ended after the last change says so.
    let age = daemon.metric("rbac_sync_sweep_age_seconds{source=\"main\"}").await;
    assert!(age.is_some_and(|age| age < 60.0), "{age:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn changes_without_a_trace_are_found_by_the_rolling_comparison() {
    for release in ["5.23.3", "5.34.3", "5.35.0"] {
        let mut site = Site::new(Shape::release(release), random::seed(161)).await;
        traceless_changes_are_found(&mut site).await;
    }
}

#[tokio::test]
async fn changes_without_a_trace_are_found_in_a_mariadb_archive_too() {
    for shape in [Shape::upgraded(), Shape::release("5.34.3")] {
        let mut site = Site::within(Dialect::Mariadb, shape, random::seed(167)).await;
        traceless_changes_are_found(&mut site).await;
    }
}

#[tokio::test]
async fn changes_without_a_trace_are_found_in_an_sqlite_archive_too() {
    let shape = Shape::release("5.35.0");
    let mut site = Site::between(Dialect::Sqlite, Dialect::Sqlite, shape, random::seed(162)).await;
    traceless_changes_are_found(&mut site).await;
}

#[tokio::test]
async fn the_rolling_comparison_stops_at_the_brake_and_goes_on_once_that_is_allowed() {
    for dialect in Dialect::SERVERS {
        let mut site = Site::within(dialect, Shape::release("5.35.0"), random::seed(163)).await;
        site.settings.brake = (8, 100.0);
        generate::fill(&mut site.archive, 60).await;
        let daemon = site.started("1s", SWEEPING).await;
        let before = site.target().await.value("SELECT count(*) FROM rbac_study WHERE deleted_at IS NULL").await;
        let pks = site.archive.db.numbers("SELECT pk FROM study ORDER BY pk LIMIT 20").await;
        let pks: Vec<String> = pks.iter().map(ToString::to_string).collect();
        crate::harness::edit::delete_studies(&mut site.archive, &format!("pk IN ({})", pks.join(","))).await;
        let braked = |status: &serde_json::Value| {
            status["last_result"]["error"].as_str().is_some_and(|error| error.contains("20 studies"))
        };
        daemon.status_with("the brake", braked).await;
        let still = site.target().await.value("SELECT count(*) FROM rbac_study WHERE deleted_at IS NULL").await;
        assert_eq!(before, still);
        // Everything else goes on, and the brake stays on.
        Change::NewStudy.apply(&mut site.archive).await;
        let run = daemon.run("{}").await;
        assert_eq!(run["success"], false, "{run}");
        assert_eq!(run["levels"]["study"]["deleted"], 0, "{run}");
        let run = daemon.run("{\"allow_deletes\": true}").await;
        assert_eq!(run["success"], true, "{run}");
        site.assert_in_step("after the deletes were allowed").await;
        daemon.stop().await;
    }
}

#[tokio::test]
async fn a_transaction_that_commits_late_is_not_lost_however_long_it_took() {
    let mut site = Site::new(Shape::release("5.35.0"), random::seed(164)).await;
    site.settings.overlap = "1s";
    generate::fill(&mut site.archive, 40).await;
    let mut daemon = site.started("1h", LAZY).await;
    let study = site.archive.db.numbers("SELECT max(pk) FROM study").await[0];
    let mut late = site.archive_session().await;
    for round in 0..3 {
        daemon.run("{}").await;
        let time = site.archive.tick();
        let change =
            format!("UPDATE study SET study_desc = 'LATE {round}', updated_time = '{time}' WHERE pk = {study}");
        late.run(&format!("BEGIN; {change}")).await;
        for _ in 0..3 {
            // Meanwhile others commit what is an hour newer, and the daemon reads it.
            site.archive.set_clock(time + chrono::Duration::hours(1));
            Change::NewStudy.apply(&mut site.archive).await;
            assert_eq!(daemon.run("{}").await["success"], true);
        }
        if round == 1 {
            // What the daemon remembers of transactions under way may be lost.
            daemon.crash().await;
            daemon = site.daemon().await;
            daemon.run("{}").await;
        }
        late.run("COMMIT").await;
        assert_eq!(daemon.run("{}").await["success"], true);
        site.assert_in_step(&format!("late commit {round}")).await;
    }
    daemon.stop().await;
}

#[tokio::test]
async fn without_an_index_new_rows_come_at_once_and_changed_ones_when_a_scan_is_due() {
    for dialect in Dialect::SERVERS {
        let mut site = Site::within(dialect, Shape::release("5.34.3"), random::seed(165)).await;
        generate::fill(&mut site.archive, 60).await;
        let daemon = site.started("1s", LAZY).await;
        // The first delta scans; the next one is due in hours.
        let runs = |status: &serde_json::Value| status["last_result"]["success"] == true;
        daemon.status_with("a delta", runs).await;
        daemon.run("{}").await;
        for _ in 0..3 {
            Change::NewStudy.apply(&mut site.archive).await;
            Change::NewPatient.apply(&mut site.archive).await;
        }
        in_step_by_itself(&mut site, "new rows").await;
        let pk = site.archive.db.numbers("SELECT max(pk) FROM study").await[0];
        let time = site.archive.tick();
        site.archive
            .db
            .run(&format!("UPDATE study SET study_desc = 'X', updated_time = '{time}' WHERE pk = 1 OR pk <> {pk}"))
            .await;
        // Somebody who asks for a run gets all of it.
        daemon.run("{}").await;
        site.assert_in_step("after a forced run").await;
        daemon.stop().await;
    }
}

#[tokio::test]
async fn verify_finds_what_a_delta_cannot_see_and_writes_nothing() {
    for dialect in Dialect::SERVERS {
        let mut site = Site::within(dialect, Shape::release("5.34.3"), random::seed(169)).await;
        generate::fill(&mut site.archive, 40).await;
        let daemon = site.started("1h", LAZY).await;
        let verify = async |site: &Site| {
            let mut command = program(site.folder.path());
            let output = command.args(["verify", "--socket"]).arg(site.socket()).output().await.unwrap();
            (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let (code, said) = verify(&site).await;
        assert_eq!(code, Some(0), "{said}");
        site.archive
            .db
            .run("UPDATE study SET access_control_id = 'SECRET' WHERE pk IN (SELECT min(pk) FROM study)")
            .await;
        let (code, said) = verify(&site).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("1 differences") && said.contains("DIFFERENT"), "{said}");
        assert!(!said.contains("SECRET"), "{said}");
        assert!(site.verdict().await.is_err(), "nothing was written");
        daemon.run("{\"mode\": \"full\"}").await;
        let (code, said) = verify(&site).await;
        assert_eq!(code, Some(0), "{said}");
        daemon.stop().await;
    }
}

#[tokio::test]
async fn an_index_on_updated_time_is_used_at_every_run() {
    for dialect in Dialect::SERVERS {
        let mut site = Site::within(dialect, Shape::release("5.35.0"), random::seed(166)).await;
        generate::fill(&mut site.archive, 60).await;
        for table in ["patient", "study", "series"] {
            site.archive.db.run(&format!("CREATE INDEX {table}_by_time ON {table} (updated_time, pk)")).await;
        }
        let daemon = site.started("1s", LAZY).await;
        for change in [Change::Rename, Change::SeriesAttributes, Change::StudyAttributes, Change::Rename] {
            change.apply(&mut site.archive).await;
            in_step_by_itself(&mut site, &format!("{change:?} with an index")).await;
        }
        daemon.stop().await;
    }
}

#[tokio::test]
async fn a_transaction_that_was_open_before_the_first_load_is_not_lost() {
    let mut site = Site::new(Shape::release("5.35.0"), random::seed(170)).await;
    site.settings.overlap = "1s";
    site.archive.set_clock(chrono::Utc::now().naive_utc() - chrono::Duration::days(1));
    generate::fill(&mut site.archive, 40).await;
    let time = chrono::Utc::now().naive_utc() - chrono::Duration::minutes(20);
    let mut late = site.archive_session().await;
    late.run(&format!("BEGIN; UPDATE study SET study_desc = 'LATE', updated_time = '{time}'")).await;
    site.archive.set_clock(time + chrono::Duration::minutes(10));
    Change::NewStudy.apply(&mut site.archive).await;
    let daemon = site.started("1h", LAZY).await;
    daemon.run("{}").await;
    late.run("COMMIT").await;
    daemon.run("{}").await;
    site.assert_in_step("after a transaction from before the first load").await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_code_that_is_replaced_by_a_higher_one_is_found_by_the_rolling_comparison() {
    for dialect in Dialect::SERVERS {
        let mut site = Site::within(dialect, Shape::release("5.35.0"), random::seed(168)).await;
        generate::fill(&mut site.archive, 60).await;
        let daemon = site.started("1s", SWEEPING).await;
        for code in ["AAA", "ZZZ"] {
            site.archive.db.run(&format!("UPDATE code SET code_value = '{code}'")).await;
            in_step_by_itself(&mut site, code).await;
        }
        daemon.stop().await;
    }
}
