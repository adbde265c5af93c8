//! Studies without a patient, patients without their row, and very many patients that go.
//!
//! An archive's foreign keys forbid the first two, but a restore that is half done and somebody who works past
//! them do not.

use crate::harness::daemon::Daemon;
use crate::harness::edit;
use crate::harness::generate;
use crate::harness::mutate::Change;
use crate::harness::on_both_servers;
use crate::harness::random;
use crate::harness::shape::{Dialect, Shape};
use crate::harness::site::Site;
use crate::harness::store::{Batch, Entity};

on_both_servers!(
    a_study_without_a_patient_holds_up_nothing_and_is_completed_with_its_patient,
    a_first_load_loads_all_but_the_study_without_a_patient,
    a_patient_that_is_gone_before_its_studies_goes_with_the_last_of_them,
    a_first_load_that_may_delete_deletes_very_many_patients_with_their_studies,
);

const NOBODY: i64 = 987_654_321;
const LIVE_STUDIES: &str = "SELECT count(*) FROM rbac_study WHERE deleted_at IS NULL";

async fn site(dialect: Dialect, seed: u64) -> Site {
    let mut site = Site::within(dialect, Shape::release("5.35.0"), random::seed(seed)).await;
    generate::fill(&mut site.archive, 40).await;
    site
}

/// A daemon that neither compares all rows nor runs by itself: only what a run is told leads to a row.
async fn patient_daemon(site: &mut Site) -> Daemon {
    (site.settings.overlap, site.settings.pace) = ("1s", "sweep_percent = 0");
    let daemon = site.daemon().await;
    daemon.status_with("the first run", |status| status["last_result"]["success"] == true).await;
    site.assert_in_step("after the first load").await;
    daemon
}

async fn past_the_keys(site: &mut Site, sql: &str) {
    let (off, on) = match site.archive.dialect {
        Dialect::Postgres => ("SET session_replication_role = replica", "SET session_replication_role = DEFAULT"),
        Dialect::Mariadb => ("SET foreign_key_checks = 0", "SET foreign_key_checks = 1"),
        Dialect::Sqlite => ("PRAGMA foreign_keys = OFF", "PRAGMA foreign_keys = ON"),
    };
    for sql in [off, sql, on] {
        site.archive.db.run(sql).await;
    }
}

async fn a_study_without_a_patient_holds_up_nothing_and_is_completed_with_its_patient(dialect: Dialect) {
    let mut site = site(dialect, 241).await;
    let daemon = patient_daemon(&mut site).await;
    let study = site.archive.pick("SELECT pk FROM study WHERE NOT study_deleting").await.unwrap();
    let owner = site.archive.db.numbers(&format!("SELECT patient_fk FROM study WHERE pk = {study}")).await[0];
    let row = format!("SELECT * FROM rbac_study WHERE source_pk = {study}");
    let before = site.target().await.rows(&row).await;
    let time = site.archive.tick();
    let adrift = format!(
        "UPDATE study SET patient_fk = {NOBODY}, study_desc = 'ADRIFT', updated_time = '{time}' WHERE pk = {study}"
    );
    past_the_keys(&mut site, &adrift).await;
    for hours in 1..4 {
        // Each time more than the overlap passes, so that no delta reads the study's own time again.
        site.archive.set_clock(time + chrono::Duration::hours(hours));
        Change::NewStudy.apply(&mut site.archive).await;
        Change::Rename.apply(&mut site.archive).await;
        let run = daemon.run("{}").await;
        let error = run["error"].as_str().unwrap_or_default();
        let told = format!("studies without a patient in the source: 1, the first with pk {study}");
        assert!(run["success"] == false && error.contains(&told), "{run}");
        let there = site.archive.db.numbers("SELECT count(*) FROM study WHERE NOT study_deleting").await;
        assert_eq!(site.target().await.numbers(LIVE_STUDIES).await, there, "all new studies have come");
        assert_eq!(site.target().await.rows(&row).await, before, "the study is left as it is");
    }
    past_the_keys(&mut site, &format!("UPDATE study SET patient_fk = {owner} WHERE pk = {study}")).await;
    let run = daemon.run("{}").await;
    assert_eq!(run["success"], true, "{run}");
    site.assert_in_step("after the study had its patient again").await;
    daemon.stop().await;
}

async fn a_first_load_loads_all_but_the_study_without_a_patient(dialect: Dialect) {
    let mut site = site(dialect, 242).await;
    let study = site.archive.pick("SELECT pk FROM study WHERE NOT study_deleting").await.unwrap();
    let owner = site.archive.db.numbers(&format!("SELECT patient_fk FROM study WHERE pk = {study}")).await[0];
    past_the_keys(&mut site, &format!("UPDATE study SET patient_fk = {NOBODY} WHERE pk = {study}")).await;
    for mode in ["delta", "full"] {
        let once = site.once(&["--mode", mode]).await;
        assert_eq!(once.code, 1, "{once:#?}");
        assert!(once.output.contains("studies without a patient in the source: 1"), "{once:#?}");
        let there = site.archive.db.numbers("SELECT count(*) - 1 FROM study WHERE NOT study_deleting").await;
        assert_eq!(site.target().await.numbers(LIVE_STUDIES).await, there);
    }
    past_the_keys(&mut site, &format!("UPDATE study SET patient_fk = {owner} WHERE pk = {study}")).await;
    site.sync(&["--mode", "full"]).await;
    site.assert_in_step("after the study had its patient").await;
}

async fn a_patient_that_is_gone_before_its_studies_goes_with_the_last_of_them(dialect: Dialect) {
    let mut site = site(dialect, 243).await;
    let daemon = patient_daemon(&mut site).await;
    let alone = "SELECT pk FROM patient WHERE merge_fk IS NULL \
                 AND pk NOT IN (SELECT merge_fk FROM patient WHERE merge_fk IS NOT NULL) \
                 AND pk IN (SELECT patient_fk FROM study WHERE NOT study_deleting)";
    let patient = site.archive.pick(alone).await.unwrap();
    for (table, key) in [("patient_id", "patient_fk"), ("patient", "pk")] {
        past_the_keys(&mut site, &format!("DELETE FROM {table} WHERE {key} = {patient}")).await;
    }
    let live = format!("SELECT count(*) FROM rbac_patient WHERE source_pk = {patient} AND deleted_at IS NULL");
    // Only this run looks for patients that are gone; a live study never has a deleted patient.
    let run = daemon.run("{\"mode\": \"full\"}").await;
    assert_eq!(run["success"], true, "{run}");
    assert_eq!(run["levels"]["patient"]["deleted"], 0, "{run}");
    assert_eq!(site.target().await.numbers(&live).await, [1]);
    for study in site.archive.db.numbers(&format!("SELECT pk FROM study WHERE patient_fk = {patient}")).await {
        site.archive.update("study", study, &[("study_deleting", crate::harness::archive::Val::Bool(true))]).await;
        site.archive.bump("study", study).await;
    }
    let run = daemon.run("{\"mode\": \"delta\"}").await;
    assert_eq!((&run["success"], &run["mode"]), (&true.into(), &"delta".into()), "{run}");
    assert_eq!(run["levels"]["patient"]["deleted"], 1, "{run}");
    assert_eq!(site.target().await.numbers(&live).await, [0]);
    edit::delete_studies(&mut site.archive, &format!("patient_fk = {patient}")).await;
    site.assert_in_step("after the last study had gone").await;
    daemon.stop().await;
}

async fn a_first_load_that_may_delete_deletes_very_many_patients_with_their_studies(dialect: Dialect) {
    let mut site = site(dialect, 244).await;
    let last = site.archive.next_key();
    let mut batch = Batch::default();
    for number in 0..10_100 {
        let entity = Entity { id: Some("ADT1".to_owned()), uid: None };
        let patient = batch.patient(&mut site.archive, &[(format!("GONE-{number}"), entity)]);
        let uid = site.archive.next_uid();
        batch.study(&mut site.archive, patient, &uid);
    }
    batch.write(&mut site.archive).await;
    site.sync(&[]).await;
    edit::delete_studies(&mut site.archive, &format!("pk > {last}")).await;
    site.archive.db.run(&format!("DELETE FROM patient_id WHERE patient_fk > {last}")).await;
    site.archive.db.run(&format!("DELETE FROM patient WHERE pk > {last}")).await;
    // What is loaded for the first time again finds the rows of before.
    site.target().await.run("DELETE FROM sync_cursor").await;
    let once = site.sync(&["--allow-deletes"]).await;
    assert_eq!((once.count("patient", "deleted"), once.count("study", "deleted")), (10_100, 10_100));
    site.assert_in_step("after the load").await;
}
