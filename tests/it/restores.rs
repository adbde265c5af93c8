//! Deletes in parts, restores, and sources that are not what they were.

use std::time::Duration;

use serde_json::Value;

use crate::harness::archive::{Archive, Val};
use crate::harness::cluster::{self, READER};
use crate::harness::daemon::Daemon;
use crate::harness::edit;
use crate::harness::generate;
use crate::harness::random;
use crate::harness::shape::{Dialect, Shape};
use crate::harness::site::Site;
use crate::harness::store::{Batch, Entity};
use crate::harness::wait::{check, eventually};

const CAP: Duration = Duration::from_secs(60);
const DEAD: &str = "SELECT (SELECT count(*) FROM rbac_patient WHERE deleted_at IS NOT NULL) \
     + (SELECT count(*) FROM rbac_study WHERE deleted_at IS NOT NULL) \
     + (SELECT count(*) FROM rbac_series WHERE deleted_at IS NOT NULL)";

async fn site(seed: u64, studies: u32) -> Site {
    let mut site = Site::new(Shape::release("5.35.0"), random::seed(seed)).await;
    generate::fill(&mut site.archive, studies).await;
    site
}

/// A daemon that compares round and round, after its first run.
async fn sweeping(site: &mut Site) -> Daemon {
    (site.settings.interval, site.settings.pace) = ("1s", "sweep_every = \"1s\"\nsweep_percent = 50");
    let daemon = site.daemon().await;
    daemon.status_with("the first run", |status| status["last_result"]["success"] == true).await;
    daemon
}

#[tokio::test]
async fn a_large_study_that_is_deleted_in_several_transactions_is_gone_from_the_first_on() {
    let mut site = site(201, 30).await;
    let patient = site.archive.pick("SELECT pk FROM patient").await.unwrap();
    let mut batch = Batch::default();
    let uid = site.archive.next_uid();
    let study = batch.study(&mut site.archive, patient, &uid);
    for _ in 0..250 {
        let uid = site.archive.next_uid();
        batch.series(&mut site.archive, study, &uid);
    }
    batch.write(&mut site.archive).await;
    let daemon = sweeping(&mut site).await;
    site.archive.update("study", study, &[("study_deleting", Val::Bool(true))]).await;
    let live = format!("SELECT count(*) FROM rbac_study WHERE source_pk = {study} AND deleted_at IS NULL");
    let parts = "SELECT pk FROM series WHERE study_fk";
    while site.archive.pick(&format!("{parts} = {study}")).await.is_some() {
        eventually("the study that is being deleted is gone", CAP, async || site.verdict().await).await;
        assert_eq!(site.target().await.numbers(&live).await, [0]);
        let part = format!("pk IN ({parts} = {study} ORDER BY pk LIMIT 100)");
        edit::delete_series(&mut site.archive, &part).await;
    }
    edit::delete_studies(&mut site.archive, &format!("pk = {study}")).await;
    site.archive.bump("patient", patient).await;
    daemon.run("{}").await;
    site.assert_in_step("after the last part").await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_patient_that_is_deleted_takes_those_merged_into_it_and_their_studies() {
    let mut site = site(202, 30).await;
    let mut batch = Batch::default();
    let mut patients = Vec::new();
    for number in 0..4 {
        let entity = Entity { id: Some("ADT1".to_owned()), uid: None };
        let patient = batch.patient(&mut site.archive, &[(format!("D-{number}"), entity)]);
        let uid = site.archive.next_uid();
        batch.study(&mut site.archive, patient, &uid);
        patients.push(patient);
    }
    batch.write(&mut site.archive).await;
    for pair in patients[..3].windows(2) {
        site.archive.update("patient", pair[0], &[("merge_fk", Val::Int(pair[1]))]).await;
    }
    let daemon = sweeping(&mut site).await;
    site.assert_in_step("before the delete").await;
    let list = patients[..3].iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    // As the archive does it, without any bump.
    edit::delete_studies(&mut site.archive, &format!("patient_fk IN ({list})")).await;
    let rest = format!("DELETE FROM patient_id WHERE patient_fk IN ({list}); DELETE FROM patient WHERE pk IN ({list})");
    site.archive.db.run(&rest).await;
    eventually("the patients are gone", CAP, async || site.verdict().await).await;
    assert_eq!(site.target().await.numbers(&format!("{LIVE} AND source_pk IN ({list})")).await, [0]);
    assert_eq!(site.target().await.numbers(&format!("{LIVE} AND source_pk = {}", patients[3])).await, [1]);
    daemon.stop().await;
}

const LIVE: &str = "SELECT count(*) FROM rbac_patient WHERE deleted_at IS NULL";

#[tokio::test]
async fn a_study_restored_under_a_new_key_while_no_daemon_ran_is_the_same_row() {
    let mut site = site(203, 60).await;
    let daemon = sweeping(&mut site).await;
    let studies = site.archive.db.rows("SELECT pk, study_iuid FROM study WHERE NOT study_deleting ORDER BY pk").await;
    let [first, second] = [&studies[3], &studies[5]].map(|row| (row["pk"].clone().unwrap(), row["study_iuid"].clone()));
    let before = ids(&site).await;
    // One was deleted before, and its tombstone stands; the other is deleted and restored in between.
    edit::delete_studies(&mut site.archive, &format!("pk = {}", first.0)).await;
    eventually("the tombstone", CAP, async || site.verdict().await).await;
    daemon.stop().await;
    edit::delete_studies(&mut site.archive, &format!("pk = {}", second.0)).await;
    let patient = site.archive.pick("SELECT pk FROM patient").await.unwrap();
    // A restore brings the old times back.
    let old = chrono::NaiveDate::from_ymd_opt(2020, 1, 1).and_then(|date| date.and_hms_opt(0, 0, 0)).unwrap();
    site.archive.set_clock(old);
    let mut batch = Batch::default();
    for (_, uid) in [&first, &second] {
        let study = batch.study(&mut site.archive, patient, uid.as_ref().unwrap());
        let series = site.archive.next_uid();
        batch.series(&mut site.archive, study, &series);
    }
    batch.write(&mut site.archive).await;
    let daemon = sweeping(&mut site).await;
    eventually("the studies are back", CAP, async || site.verdict().await).await;
    assert_eq!(ids(&site).await, before);
    daemon.stop().await;
}

async fn ids(site: &Site) -> Vec<std::collections::BTreeMap<String, Option<String>>> {
    site.target().await.rows("SELECT study_uid, id FROM rbac_study ORDER BY 1").await
}

#[tokio::test]
async fn a_study_that_comes_back_while_the_run_goes_on_is_not_deleted() {
    let mut site = site(206, 60).await;
    let daemon = site.daemon().await;
    daemon.status_with("the first run", |status| status["last_result"]["success"] == true).await;
    let studies = "SELECT pk, study_iuid, patient_fk FROM study WHERE NOT study_deleting ORDER BY pk";
    let study = site.archive.db.rows(studies).await.remove(3);
    let [pk, uid, patient] = ["pk", "study_iuid", "patient_fk"].map(|column| study[column].clone().unwrap());
    let patient = patient.parse().unwrap();
    edit::delete_studies(&mut site.archive, &format!("pk = {pk}")).await;
    site.archive.bump("patient", patient).await;
    let other = site.archive.pick(&format!("SELECT pk FROM study WHERE pk <> {pk} AND NOT study_deleting")).await;
    site.archive.update("study", other.unwrap(), &[("study_desc", Val::from("held up"))]).await;
    site.archive.bump("study", other.unwrap()).await;
    // The run sees that the study is gone, and then has to wait.
    let mut holder = site.target().await;
    holder.run("BEGIN; LOCK TABLE rbac_study IN SHARE ROW EXCLUSIVE MODE").await;
    let meanwhile = async {
        let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'rbac_study'::regclass";
        eventually("the run waits", CAP, async || check(holder.numbers(waits).await[0] > 0, daemon.log())).await;
        let mut batch = Batch::default();
        batch.study(&mut site.archive, patient, &uid);
        batch.write(&mut site.archive).await;
        holder.run("COMMIT").await;
    };
    let (run, ()) = tokio::join!(daemon.run("{}"), meanwhile);
    assert_eq!((&run["success"], &run["levels"]["study"]["deleted"]), (&true.into(), &0.into()), "{run}");
    daemon.run("{}").await;
    site.assert_in_step("after the study came back").await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_half_restored_archive_wipes_nothing_and_a_whole_one_goes_on() {
    let mut site = site(204, 120).await;
    site.settings.brake = (500, 5.0);
    let daemon = sweeping(&mut site).await;
    const TABLES: [&str; 4] = ["study", "study_access_control_id", "series", "series_access_control_id"];
    for table in TABLES {
        site.archive.db.run(&format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}")).await;
    }
    let before = site.target().await.numbers(DEAD).await;
    site.archive.db.run("BEGIN").await;
    edit::delete_studies(&mut site.archive, "pk % 2 = 0").await;
    site.archive.db.run("COMMIT").await;
    let braked = |status: &Value| {
        status["last_result"]["error"].as_str().is_some_and(|error| error.contains("the brake on deletes"))
    };
    daemon.status_with("the brake", braked).await;
    for options in ["{}", "{\"mode\": \"full\"}", "{}"] {
        assert_eq!(daemon.run(options).await["success"], false);
        assert_eq!(site.target().await.numbers(DEAD).await, before);
    }
    site.archive.db.run("BEGIN").await;
    for table in TABLES {
        let missing = if table.ends_with("_id") {
            let parent = table.trim_end_matches("_access_control_id");
            format!("{parent}_fk NOT IN (SELECT {parent}_fk FROM {table})")
        } else {
            format!("pk NOT IN (SELECT pk FROM {table})")
        };
        let back = format!("INSERT INTO {table} SELECT * FROM kept_{table} WHERE {missing}");
        site.archive.db.run(&back).await;
    }
    site.archive.db.run("COMMIT").await;
    let done = |status: &Value| status["last_result"]["success"] == true;
    daemon.status_with("a success", done).await;
    site.assert_in_step("after the rest was restored").await;
    assert_eq!(site.target().await.numbers(DEAD).await, before);
    daemon.stop().await;
}

#[tokio::test]
async fn another_archive_in_its_place_wipes_nothing() {
    let mut site = site(205, 80).await;
    site.settings.brake = (500, 5.0);
    site.sync(&[]).await;
    let before = site.target().await.numbers(DEAD).await;
    let mut other =
        Archive::on(cluster::shared(), Dialect::Postgres, "another_archive", Shape::release("5.35.0"), 7).await;
    for _ in 0..100_000 {
        other.next_key();
    }
    generate::fill(&mut other, 80).await;
    let right = std::mem::replace(&mut site.source_url, cluster::shared().url(READER, "another_archive"));
    for mode in ["delta", "full", "delta", "full"] {
        let once = site.once(&["--mode", mode]).await;
        assert_eq!(site.target().await.numbers(DEAD).await, before, "{mode}: {once:#?}");
    }
    site.source_url = right;
    // What the other archive left is gone from the source; somebody looks at it and allows that.
    site.sync(&["--mode", "full", "--allow-deletes"]).await;
    site.assert_in_step("with the right archive again").await;
}
