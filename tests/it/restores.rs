//! Deletes in parts, restores, and sources that are not what they were.

use std::time::Duration;

use serde_json::Value;

use crate::harness::archive::{Archive, Val};
use crate::harness::cluster::{self, READER};
use crate::harness::daemon::Daemon;
use crate::harness::edit;
use crate::harness::generate;
use crate::harness::on_both_servers;
use crate::harness::random;
use crate::harness::shape::{Dialect, Shape};
use crate::harness::site::{Site, program};
use crate::harness::store::{Batch, Entity};
use crate::harness::wait::{check, eventually};

const CAP: Duration = Duration::from_secs(60);
const DEAD: &str = "SELECT (SELECT count(*) FROM rbac_patient WHERE deleted_at IS NOT NULL) \
     + (SELECT count(*) FROM rbac_study WHERE deleted_at IS NOT NULL) \
     + (SELECT count(*) FROM rbac_series WHERE deleted_at IS NOT NULL)";

on_both_servers!(
    a_large_study_that_is_deleted_in_several_transactions_is_gone_from_the_first_on,
    a_patient_that_is_deleted_takes_those_merged_into_it_and_their_studies,
    a_study_restored_under_a_new_key_while_no_daemon_ran_is_the_same_row,
    a_study_that_comes_back_while_the_run_goes_on_is_not_deleted,
    a_half_restored_archive_wipes_nothing_and_a_whole_one_goes_on,
    beside_a_half_restored_source_a_delta_deletes_nothing,
    while_the_brake_holds_changes_without_a_trace_are_applied,
    another_archive_in_its_place_wipes_nothing,
    a_brake_that_held_while_somebody_else_served_the_target_holds_here_too,
);

async fn site(dialect: Dialect, seed: u64, studies: u32) -> Site {
    let mut site = Site::within(dialect, Shape::release("5.35.0"), random::seed(seed)).await;
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

async fn a_large_study_that_is_deleted_in_several_transactions_is_gone_from_the_first_on(dialect: Dialect) {
    let mut site = site(dialect, 201, 30).await;
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
        // MariaDB takes no LIMIT in the subquery itself, and none of the table that is deleted from.
        let part = format!("pk IN (SELECT pk FROM ({parts} = {study} ORDER BY pk LIMIT 100) part)");
        edit::delete_series(&mut site.archive, &part).await;
    }
    edit::delete_studies(&mut site.archive, &format!("pk = {study}")).await;
    site.archive.bump("patient", patient).await;
    daemon.run("{}").await;
    site.assert_in_step("after the last part").await;
    daemon.stop().await;
}

async fn a_patient_that_is_deleted_takes_those_merged_into_it_and_their_studies(dialect: Dialect) {
    let mut site = site(dialect, 202, 30).await;
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

async fn a_study_restored_under_a_new_key_while_no_daemon_ran_is_the_same_row(dialect: Dialect) {
    let mut site = site(dialect, 203, 60).await;
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

async fn a_study_that_comes_back_while_the_run_goes_on_is_not_deleted(dialect: Dialect) {
    let mut site = site(dialect, 206, 60).await;
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
    let (hold, waits) = match dialect {
        Dialect::Mariadb => (
            "BEGIN; SELECT id FROM rbac_study FOR UPDATE",
            // The list of transactions is not renewed while it is asked for often.
            "SELECT count(*) FROM information_schema.processlist WHERE db = database() AND user = 'rbac_writer' \
             AND command <> 'Sleep' AND time_ms > 500",
        ),
        Dialect::Postgres | Dialect::Sqlite => (
            "BEGIN; LOCK TABLE rbac_study IN SHARE ROW EXCLUSIVE MODE",
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'rbac_study'::regclass",
        ),
    };
    holder.run(hold).await;
    let meanwhile = async {
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

/// An archive that loses half of its studies, and gets them back.
const TABLES: [&str; 4] = ["study", "study_access_control_id", "series", "series_access_control_id"];

async fn lose_half(site: &mut Site) {
    for table in TABLES {
        site.archive.db.run(&format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}")).await;
    }
    site.archive.db.run("BEGIN").await;
    edit::delete_studies(&mut site.archive, "pk % 2 = 0").await;
    site.archive.db.run("COMMIT").await;
}

async fn restore(site: &mut Site) {
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
}

/// Fails because of the brake, and says how many rows of what would go.
fn braked(run: &Value) -> bool {
    let error = run["error"].as_str().unwrap_or_default();
    error.contains("the brake on deletes") && error.contains(" studies and ")
}

async fn a_half_restored_archive_wipes_nothing_and_a_whole_one_goes_on(dialect: Dialect) {
    let mut site = site(dialect, 204, 120).await;
    site.settings.brake = (500, 5.0);
    let daemon = sweeping(&mut site).await;
    let before = site.target().await.numbers(DEAD).await;
    // All runs that may have begun before are over.
    daemon.run("{}").await;
    lose_half(&mut site).await;
    daemon.status_with("the brake", |status| braked(&status["last_result"])).await;
    let after_the_first = site.target().await.numbers(DEAD).await[0] - before[0];
    assert!(after_the_first <= 6, "{after_the_first} rows were deleted before the comparison was through");
    for options in ["{}", "{\"mode\": \"full\"}", "{}"] {
        let run = daemon.run(options).await;
        assert!(run["success"] == false && braked(&run), "{run}");
        assert_eq!(site.target().await.numbers(DEAD).await[0] - before[0], after_the_first);
    }
    const HIT: &str = "rbac_sync_brake_hit{source=\"main\"}";
    assert_eq!(daemon.metric(HIT).await, Some(1.0));
    restore(&mut site).await;
    daemon.status_with("a success", |status| status["last_result"]["success"] == true).await;
    assert_eq!(daemon.metric(HIT).await, Some(0.0));
    eventually("the rest is restored", CAP, async || site.verdict().await).await;
    assert_eq!(site.target().await.numbers(DEAD).await, before);
    daemon.stop().await;
}

/// What the delta finds by itself is within the limit all the time.
async fn beside_a_half_restored_source_a_delta_deletes_nothing(dialect: Dialect) {
    // Fewer rows may go than the passes find, so that they count some without keeping them.
    for (seed, brake) in [(207, (500, 10.0)), (208, (20, 100.0))] {
        let mut site = site(dialect, seed, 120).await;
        site.settings.brake = brake;
        (site.settings.interval, site.settings.overlap) = ("1h", "0s");
        site.settings.pace = "sweep_every = \"1s\"\nsweep_percent = 0.1";
        let daemon = site.daemon().await;
        daemon.status_with("the first run", |status| status["last_result"]["success"] == true).await;
        let before = site.target().await.numbers(DEAD).await;
        lose_half(&mut site).await;
        // A pass begins in this run, for the last one is a second old.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let bereft = "SELECT p.pk FROM patient p JOIN kept_study k ON k.patient_fk = p.pk \
                      WHERE k.pk % 2 = 0 AND NOT k.study_deleting AND p.merge_fk IS NULL";
        let bereft = site.archive.pick(bereft).await.unwrap();
        let nothing_goes = async |daemon: &Daemon, site: &mut Site, when: &str| {
            // The delta looks at this patient again, and at its studies.
            site.archive.bump("patient", bereft).await;
            let run = daemon.run("{}").await;
            assert!(run["success"] == false && braked(&run), "{when}: {run}");
            assert_eq!(site.target().await.numbers(DEAD).await, before, "{when}");
        };
        nothing_goes(&daemon, &mut site, "in the run of the first pass").await;
        nothing_goes(&daemon, &mut site, "in a later run").await;
        daemon.stop().await;
        // Without a rolling comparison of its own, from what the target tells.
        site.archive.bump("patient", bereft).await;
        let once = site.once(&["--mode", "delta"]).await;
        // On the shared PostgreSQL others' transactions may have held the cursor, so that the delta finds more.
        let why = if dialect == Dialect::Mariadb { "the brake on deletes holds" } else { "the brake on deletes" };
        assert!(once.code == 1 && once.output.contains(why), "{once:#?}");
        let daemon = site.daemon().await;
        nothing_goes(&daemon, &mut site, "in another process").await;
        daemon.run("{\"mode\": \"full\"}").await;
        nothing_goes(&daemon, &mut site, "after a full run").await;

        // Half of the rest is back, and then all of it: the brake lifts itself.
        restore(&mut site).await;
        edit::delete_studies(&mut site.archive, "pk % 4 = 0").await;
        nothing_goes(&daemon, &mut site, "when some are back").await;
        nothing_goes(&daemon, &mut site, "when they have been counted again").await;
        restore(&mut site).await;
        eventually("the brake is lifted", CAP, async || {
            let run = daemon.run("{}").await;
            check(run["success"] == true, run)
        })
        .await;
        site.assert_in_step("with the whole archive").await;
        assert_eq!(site.target().await.numbers(DEAD).await, before);
        // Deletes go their way again, and so does what the brake holds once somebody allows it.
        edit::delete_studies(&mut site.archive, "pk % 3 = 0").await;
        tokio::time::sleep(Duration::from_millis(1100)).await;
        nothing_goes(&daemon, &mut site, "when a third is gone").await;
        let run = daemon.run("{\"allow_deletes\": true}").await;
        assert_eq!(run["success"], true, "{run}");
        site.assert_in_step("after one permission").await;
        daemon.stop().await;
    }
}

async fn a_brake_that_held_while_somebody_else_served_the_target_holds_here_too(dialect: Dialect) {
    let mut site = Site::between(dialect, Dialect::Sqlite, Shape::release("5.35.0"), random::seed(211)).await;
    generate::fill(&mut site.archive, 80).await;
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    (site.settings.brake, site.settings.pace) = ((500, 10.0), "sweep_every = \"24h\"");
    site.target_in(folders[0].path());
    let daemon = site.daemon().await;
    daemon.status_with("the first run", |status| status["last_result"]["success"] == true).await;
    let before = site.target().await.numbers(DEAD).await;
    // The daemon serves another target for a while.
    site.target_in(folders[1].path());
    daemon.status_with("another target", |status| status["config"]["generation"] == 2).await;
    assert_eq!(daemon.run("{}").await["success"], true);
    lose_half(&mut site).await;
    let elsewhere = site.folder.path().join("elsewhere.toml");
    let [first, second] = [0, 1].map(|number| folders[number].path().to_str().unwrap());
    std::fs::write(&elsewhere, site.toml().replace(second, first)).unwrap();
    let mut once = program(site.folder.path());
    let once = once.args(["once", "--mode", "full", "--config"]).arg(&elsewhere).output().await.unwrap();
    assert_eq!(once.status.code(), Some(1), "{once:?}");
    site.target_in(folders[0].path());
    daemon.status_with("the first target", |status| status["config"]["generation"] == 3).await;
    let bereft = "SELECT p.pk FROM patient p JOIN kept_study k ON k.patient_fk = p.pk \
                  WHERE k.pk % 2 = 0 AND NOT k.study_deleting AND p.merge_fk IS NULL";
    let bereft = site.archive.pick(bereft).await.unwrap();
    site.archive.bump("patient", bereft).await;
    let run = daemon.run("{}").await;
    assert!(run["success"] == false && braked(&run), "{run}");
    assert_eq!(site.target().await.numbers(DEAD).await, before);
    daemon.stop().await;
}

async fn while_the_brake_holds_changes_without_a_trace_are_applied(dialect: Dialect) {
    // With the first brake the passes count some rows without keeping them, with the second they keep all.
    for (seed, brake) in [(209, (8, 100.0)), (210, (500, 5.0))] {
        let mut site = site(dialect, seed, 60).await;
        site.settings.brake = brake;
        // A study that no delta looks at again.
        let study =
            site.archive.pick("SELECT min(pk) FROM study WHERE pk % 2 = 1 AND NOT study_deleting").await.unwrap();
        for (table, rows) in [
            ("patient", format!("pk = (SELECT patient_fk FROM study WHERE pk = {study})")),
            ("study", format!("pk = {study}")),
            ("series", format!("study_fk = {study}")),
        ] {
            site.archive.db.run(&format!("UPDATE {table} SET updated_time = '2020-01-01 00:00:00' WHERE {rows}")).await;
        }
        let daemon = sweeping(&mut site).await;
        daemon.run("{}").await;
        edit::delete_studies(&mut site.archive, "pk % 2 = 0").await;
        daemon.status_with("the brake", |status| braked(&status["last_result"])).await;
        let before = site.target().await.numbers(DEAD).await;
        for id in ["FIRST", "SECOND"] {
            let table = "study_access_control_id";
            site.archive.db.run(&format!("DELETE FROM {table} WHERE study_fk = {study}")).await;
            let new = format!("INSERT INTO {table} (study_fk, access_control_id) VALUES ({study}, '{id}')");
            site.archive.db.run(&new).await;
            let changed = format!("SELECT count(*) FROM rbac_study WHERE access_control_ids = '{id}'");
            eventually("the change is applied", CAP, async || {
                check(site.target().await.numbers(&changed).await == [1], daemon.log())
            })
            .await;
            let run = daemon.run("{}").await;
            assert!(run["success"] == false && braked(&run), "{run}");
        }
        assert_eq!(site.target().await.numbers(DEAD).await, before);
        daemon.stop().await;
    }
}

async fn another_archive_in_its_place_wipes_nothing(dialect: Dialect) {
    let mut site = site(dialect, 205, 80).await;
    site.settings.brake = (500, 5.0);
    site.sync(&[]).await;
    let before = site.target().await.numbers(DEAD).await;
    let cluster = cluster::shared_for(dialect);
    let mut other = Archive::on(cluster, dialect, "another_archive", Shape::release("5.35.0"), 7).await;
    for _ in 0..100_000 {
        other.next_key();
    }
    generate::fill(&mut other, 80).await;
    let right = std::mem::replace(&mut site.source_url, cluster.url(READER, "another_archive"));
    for mode in ["delta", "full", "delta", "full"] {
        let once = site.once(&["--mode", mode]).await;
        assert_eq!(site.target().await.numbers(DEAD).await, before, "{mode}: {once:#?}");
    }
    site.source_url = right;
    // What the other archive left is gone from the source; somebody looks at it and allows that.
    site.sync(&["--mode", "full", "--allow-deletes"]).await;
    site.assert_in_step("with the right archive again").await;
}
