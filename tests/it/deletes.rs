//! Rows that go, rows that come back, and the brake.

use std::collections::BTreeSet;

use crate::harness::archive::Val;
use crate::harness::compare::Gone;
use crate::harness::db::Cells;
use crate::harness::edit;
use crate::harness::generate;
use crate::harness::mutate::{self, Change};
use crate::harness::random::{self, Random};
use crate::harness::shape::{Dialect, Shape};
use crate::harness::site::Site;
use crate::harness::store::Batch;

async fn loaded(dialect: Dialect, studies: u32, seed: u64) -> Site {
    let mut site = Site::within(dialect, Shape::release("5.35.0"), random::seed(seed)).await;
    generate::fill(&mut site.archive, studies).await;
    site.sync(&[]).await;
    site
}

#[tokio::test]
async fn the_brake_stops_before_the_first_delete_until_somebody_allows_it() {
    for dialect in Dialect::SERVERS {
        for brake in [(3, 100.0), (1_000_000, 5.0)] {
            let mut site = loaded(dialect, 100, 51).await;
            site.settings.brake = brake;
            edit::delete_studies(
                &mut site.archive,
                "pk % 3 = 0 AND pk NOT IN (SELECT pk FROM (SELECT min(pk) AS pk FROM study) lowest)",
            )
            .await;
            Change::Rename.apply(&mut site.archive).await;
            Change::NewStudy.apply(&mut site.archive).await;
            let stopped = site.once(&["--mode", "full"]).await;
            assert_eq!(stopped.code, 1, "{stopped:#?}");
            assert!(
                stopped.records().iter().any(|record| {
                    record["success"] == false
                        && record["error"].as_str().is_some_and(|error| {
                            error.contains("allow") && error.chars().any(|character| character.is_ascii_digit())
                        })
                }),
                "the error says how many and what to do: {stopped:#?}"
            );
            assert_eq!(stopped.count("study", "deleted") + stopped.count("series", "deleted"), 0);
            let dead = "SELECT count(*) FROM rbac_study WHERE deleted_at IS NOT NULL";
            assert_eq!(site.target().await.numbers(dead).await, [0], "deleted past the brake");
            only_deletes_are_missing(&mut site).await;
            assert_eq!(site.once(&["--mode", "full"]).await.code, 1, "the brake holds until it is lifted");
            site.sync(&["--mode", "full", "--allow-deletes"]).await;
            site.assert_in_step("after the deletes were allowed").await;
            assert_eq!(site.sync(&["--mode", "full"]).await.changed(), 0);
        }
    }
}

/// All else was applied although the brake held.
async fn only_deletes_are_missing(site: &mut Site) {
    let text = site.verdict().await.expect_err("the deletes are still to come");
    let counts = text.lines().skip(1).take_while(|line| line.starts_with("  "));
    let other: Vec<&str> = counts.filter(|line| !line.ends_with(": live") && !line.contains(": parent")).collect();
    assert!(other.is_empty(), "{other:#?}");
}

#[tokio::test]
async fn an_emptied_archive_does_not_empty_the_target() {
    for dialect in Dialect::SERVERS {
        let mut site = loaded(dialect, 60, 52).await;
        site.settings.brake = (500, 5.0);
        edit::delete_studies(&mut site.archive, "1 = 1").await;
        for mode in ["delta", "full", "delta", "full"] {
            site.once(&["--mode", mode]).await;
        }
        let dead = "SELECT count(*) FROM rbac_study WHERE deleted_at IS NOT NULL";
        assert_eq!(site.target().await.numbers(dead).await, [0]);
    }
}

#[tokio::test]
async fn remove_mode_leaves_no_tombstone() {
    use Dialect::{Mariadb, Postgres, Sqlite};
    for (source, target) in [(Postgres, Postgres), (Postgres, Sqlite), (Mariadb, Mariadb)] {
        let seed = random::seed(53);
        let mut site = Site::between(source, target, Shape::release("5.35.0"), seed).await;
        site.settings.deletes = Gone::Removed;
        generate::fill(&mut site.archive, 120).await;
        site.sync(&[]).await;
        site.assert_in_step("after the first load").await;
        let mut random = Random::new(seed);
        for round in 0..4 {
            for _ in 0..15 {
                random.choose(&mutate::ALL).apply(&mut site.archive).await;
            }
            site.sync(&["--mode", if round == 0 { "delta" } else { "full" }]).await;
            if round > 0 {
                site.assert_in_step("after changes in remove mode").await;
            }
        }
    }
}

#[tokio::test]
async fn a_study_being_deleted_counts_as_deleted_and_comes_back() {
    for dialect in Dialect::SERVERS {
        let mut site = loaded(dialect, 60, 54).await;
        let study = "SELECT pk FROM study WHERE NOT study_deleting AND pk IN (SELECT study_fk FROM series)";
        let study = site.archive.pick(study).await.unwrap();
        let before = row(&site, "rbac_study", study).await;
        site.archive.update("study", study, &[("study_deleting", Val::Bool(true))]).await;
        let run = site.sync(&["--mode", "full"]).await;
        assert_eq!(run.count("study", "deleted"), 1);
        assert!(row(&site, "rbac_study", study).await["deleted_at"].is_some());
        site.assert_in_step("while it is being deleted").await;
        site.archive.update("study", study, &[("study_deleting", Val::Bool(false))]).await;
        site.archive.bump("study", study).await;
        site.sync(&["--mode", "delta"]).await;
        let after = row(&site, "rbac_study", study).await;
        assert_eq!(after["deleted_at"], None);
        assert_eq!(after["id"], before["id"]);
        site.assert_in_step("after it came back").await;
    }
}

#[tokio::test]
async fn a_rejected_study_that_the_archive_deletes_is_gone() {
    for dialect in Dialect::SERVERS {
        let mut site = loaded(dialect, 60, 58).await;
        let study = "SELECT pk FROM study WHERE NOT study_deleting AND pk IN (SELECT study_fk FROM series)";
        let study = site.archive.pick(study).await.unwrap();
        site.archive.db.run(&format!("UPDATE series SET rejection_state = 2 WHERE study_fk = {study}")).await;
        site.archive.update("study", study, &[("rejection_state", Val::Int(2))]).await;
        site.archive.bump("study", study).await;
        site.sync(&["--mode", "delta"]).await;
        site.assert_in_step("after the rejection").await;
        assert_eq!(row(&site, "rbac_study", study).await["deleted_at"], None, "it is still there, and marked");
        edit::delete_studies(&mut site.archive, &format!("pk = {study}")).await;
        let run = site.sync(&["--mode", "full"]).await;
        assert_eq!(run.count("study", "deleted"), 1);
        site.assert_in_step("after the archive deleted it").await;
    }
}

#[tokio::test]
async fn a_study_stored_again_stays_the_same_row() {
    for dialect in Dialect::SERVERS {
        let mut site = loaded(dialect, 60, 55).await;
        let before = ids(&site).await;
        for _ in 0..5 {
            Change::Reimport.apply(&mut site.archive).await;
        }
        site.sync(&["--mode", "delta"]).await;
        site.assert_in_step("after re-imports").await;
        let after = ids(&site).await;
        assert!(before.is_subset(&after), "{before:?} became {after:?}");
    }
}

#[tokio::test]
async fn a_study_that_comes_back_under_a_new_key_is_the_same_row_without_its_tombstone() {
    for dialect in Dialect::SERVERS {
        let mut site = loaded(dialect, 60, 56).await;
        let before = ids(&site).await;
        let study = site.archive.pick("SELECT pk FROM study WHERE NOT study_deleting").await.unwrap();
        let uid = format!("SELECT study_iuid FROM study WHERE pk = {study}");
        let uid = site.archive.db.value(&uid).await.unwrap();
        edit::delete_studies(&mut site.archive, &format!("pk = {study}")).await;
        site.sync(&["--mode", "full"]).await;
        assert!(row(&site, "rbac_study", study).await["deleted_at"].is_some());
        let patient = site.archive.pick("SELECT pk FROM patient").await.unwrap();
        let mut batch = Batch::default();
        let again = batch.study(&mut site.archive, patient, &uid);
        batch.write(&mut site.archive).await;
        site.sync(&["--mode", "delta"]).await;
        site.assert_in_step("after the study came back").await;
        assert_eq!(row(&site, "rbac_study", again).await["deleted_at"], None);
        assert_eq!(ids(&site).await, before);
    }
}

/// UID and ID of each study in the target.
async fn ids(site: &Site) -> BTreeSet<Cells> {
    site.target().await.rows("SELECT study_uid, id FROM rbac_study").await.into_iter().collect()
}

async fn row(site: &Site, table: &str, source_pk: i64) -> Cells {
    let mut rows = site.target().await.rows(&format!("SELECT * FROM {table} WHERE source_pk = {source_pk}")).await;
    assert_eq!(rows.len(), 1, "{table} with source_pk {source_pk}");
    rows.remove(0)
}

#[tokio::test]
async fn a_key_that_is_given_away_again_does_not_keep_the_row_of_before_alive() {
    for dialect in Dialect::SERVERS {
        let mut site = loaded(dialect, 60, 57).await;
        let old = "SELECT min(pk) FROM study WHERE NOT study_deleting";
        site.archive.db.run(&format!("UPDATE study SET study_iuid = '1.2.3.4.5' WHERE pk = ({old})")).await;
        let old = "SELECT max(pk) FROM series WHERE study_fk IN (SELECT pk FROM study WHERE NOT study_deleting)";
        site.archive.db.run(&format!("UPDATE series SET series_iuid = '1.2.3.4.6' WHERE pk = ({old})")).await;
        site.sync(&["--mode", "full"]).await;
        site.assert_in_step("after keys were given away again").await;
    }
}
