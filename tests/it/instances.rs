//! The instance level, where it is switched on.

use std::time::Duration;

use crate::harness::archive::Val;
use crate::harness::cluster::READER;
use crate::harness::compare::Gone;
use crate::harness::daemon::Daemon;
use crate::harness::edit;
use crate::harness::generate;
use crate::harness::mutate::{self, Change};
use crate::harness::random::{self, Random};
use crate::harness::shape::{Dialect, Shape};
use crate::harness::site::{LAZY, Site};
use crate::harness::store::Batch;
use crate::harness::wait::eventually;

const CAP: Duration = Duration::from_secs(60);
/// More instances than the program reads at once.
const LARGE: u32 = 12_000;

async fn filled(mut site: Site, studies: u32) -> Site {
    site.settings.instances = true;
    generate::fill(&mut site.archive, studies).await;
    generate::fill_instances(&mut site.archive, 8).await;
    site
}

async fn loaded(dialect: Dialect, studies: u32, seed: u64) -> Site {
    let mut site = filled(Site::within(dialect, Shape::release("5.35.0"), random::seed(seed)).await, studies).await;
    site.sync(&[]).await;
    site.assert_in_step("after the first load").await;
    site
}

/// A live series with that many instances.
async fn large_series(site: &mut Site, instances: u32) -> i64 {
    let series = "SELECT e.pk FROM series e JOIN study s ON s.pk = e.study_fk WHERE NOT s.study_deleting";
    let series = site.archive.pick(series).await.unwrap();
    let mut batch = Batch::default();
    for _ in 0..instances {
        let uid = site.archive.next_uid();
        batch.instance(&mut site.archive, series, &uid);
    }
    batch.write(&mut site.archive).await;
    series
}

async fn number(site: &Site, sql: &str) -> i64 {
    site.target().await.numbers(sql).await[0]
}

const LIVE: &str = "SELECT count(*) FROM rbac_instance WHERE deleted_at IS NULL";
const DEAD: &str = "SELECT count(*) FROM rbac_instance WHERE deleted_at IS NOT NULL";

async fn arrives_whole(site: Site) {
    let mut site = filled(site, 120).await;
    let dry = site.sync(&["--dry-run"]).await;
    let first = site.sync(&[]).await;
    site.assert_in_step("after the first load").await;
    let live = number(&site, LIVE).await;
    assert!(live > 0);
    assert_eq!(first.count("instance", "inserted"), live.unsigned_abs());
    assert_eq!(dry.count("instance", "inserted"), live.unsigned_abs(), "what the dry run said");
    for mode in ["delta", "full"] {
        assert_eq!(site.sync(&["--mode", mode]).await.changed(), 0, "{mode} in {}", site.archive.shape.name);
    }
}

#[tokio::test]
async fn the_instances_of_every_shape_of_archive_arrive_whole() {
    for dialect in Dialect::SERVERS {
        for shape in Shape::all() {
            arrives_whole(Site::within(dialect, shape, random::seed(231)).await).await;
        }
    }
}

#[tokio::test]
async fn instances_arrive_in_every_other_kind_of_database() {
    use Dialect::{Mariadb, Postgres, Sqlite};
    for (source, target) in [(Postgres, Sqlite), (Postgres, Mariadb), (Mariadb, Postgres), (Sqlite, Sqlite)] {
        arrives_whole(Site::between(source, target, Shape::release("5.35.0"), random::seed(232)).await).await;
    }
}

#[tokio::test]
async fn each_kind_of_change_reaches_the_instances() {
    use Dialect::{Mariadb, Postgres, Sqlite};
    for (source, target) in [(Postgres, Postgres), (Mariadb, Mariadb), (Postgres, Sqlite)] {
        for deletes in [Gone::Tombstoned, Gone::Removed] {
            let shape = Shape::release("5.35.0");
            let mut site = filled(Site::between(source, target, shape, random::seed(233)).await, 150).await;
            site.settings.deletes = deletes;
            site.sync(&[]).await;
            for change in mutate::OF_INSTANCES.into_iter().chain(mutate::ALL) {
                for _ in 0..3 {
                    change.apply(&mut site.archive).await;
                }
                site.sync(&["--mode", if change.is_bumped() { "delta" } else { "full" }]).await;
                site.assert_in_step(&format!("{change:?}, {deletes:?} in {target:?}")).await;
            }
        }
    }
}

#[tokio::test]
async fn a_new_instance_alone_is_one_row() {
    for dialect in Dialect::SERVERS {
        let mut site = loaded(dialect, 60, 234).await;
        large_series(&mut site, 1).await;
        let run = site.sync(&["--mode", "delta"]).await;
        assert_eq!((run.changed(), run.count("instance", "inserted")), (1, 1), "{run:#?}");
        site.assert_in_step("after a new instance").await;
    }
}

#[tokio::test]
async fn a_series_of_many_pages_is_kept_in_step() {
    for dialect in Dialect::SERVERS {
        for deletes in [Gone::Tombstoned, Gone::Removed] {
            let mut site = filled(Site::within(dialect, Shape::release("5.35.0"), random::seed(235)).await, 30).await;
            site.settings.deletes = deletes;
            let series = large_series(&mut site, LARGE).await;
            site.sync(&[]).await;
            site.assert_in_step("after the first load").await;
            let pks = site.archive.db.numbers(&format!("SELECT pk FROM instance WHERE series_fk = {series}")).await;
            edit::delete_instances(&mut site.archive, &pks[..7000]).await;
            site.archive.update("instance", pks[9000], &[("inst_no", Val::Int(777))]).await;
            site.archive.bump("instance", pks[9000]).await;
            large_series(&mut site, 3).await;
            let run = site.sync(&["--mode", "delta"]).await;
            assert_eq!(run.count("instance", "deleted"), 7000, "{run:#?}");
            assert_eq!((run.count("instance", "inserted"), run.count("instance", "updated")), (3, 1), "{run:#?}");
            site.assert_in_step("after many instances went").await;
            edit::delete_series(&mut site.archive, &format!("pk = {series}")).await;
            site.sync(&["--mode", "full"]).await;
            site.assert_in_step("after the series went").await;
            assert_eq!(site.sync(&["--mode", "full"]).await.changed(), 0);
        }
    }
}

#[tokio::test]
async fn instances_go_with_their_study_and_come_back_as_the_same_rows() {
    for dialect in Dialect::SERVERS {
        let mut site = loaded(dialect, 60, 236).await;
        // The instances do not count: one study is all that goes.
        let series = large_series(&mut site, 900).await;
        site.sync(&[]).await;
        site.settings.brake = (40, 100.0);
        let study = site.archive.pick(&format!("SELECT study_fk FROM series WHERE pk = {series}")).await.unwrap();
        let before = site.target().await.rows("SELECT id, instance_uid FROM rbac_instance ORDER BY id").await;
        site.archive.update("study", study, &[("study_deleting", Val::Bool(true))]).await;
        let run = site.sync(&["--mode", "full"]).await;
        assert_eq!(run.count("study", "deleted"), 1);
        assert!(run.count("instance", "deleted") >= 900, "{run:#?}");
        site.assert_in_step("while it is being deleted").await;
        site.archive.update("study", study, &[("study_deleting", Val::Bool(false))]).await;
        site.archive.bump("study", study).await;
        site.sync(&["--mode", "delta"]).await;
        site.assert_in_step("after it came back").await;
        let after = site.target().await.rows("SELECT id, instance_uid FROM rbac_instance ORDER BY id").await;
        assert_eq!(before, after);
    }
}

#[tokio::test]
async fn the_brake_holds_instances_until_somebody_allows_it() {
    for dialect in Dialect::SERVERS {
        let mut site = loaded(dialect, 60, 237).await;
        let series = large_series(&mut site, 50).await;
        site.sync(&[]).await;
        site.settings.brake = (20, 100.0);
        site.archive.db.run(&format!("DELETE FROM instance WHERE series_fk = {series}")).await;
        site.archive.bump("series", series).await;
        for mode in ["delta", "full", "delta"] {
            let stopped = site.once(&["--mode", mode]).await;
            assert_eq!(stopped.code, 1, "{mode}: {stopped:#?}");
            let error = stopped.records()[0]["error"].as_str().unwrap_or_default().to_owned();
            assert!(error.contains("instances"), "{error}");
            assert_eq!(number(&site, DEAD).await, 0);
        }
        site.sync(&["--mode", "delta", "--allow-deletes"]).await;
        site.assert_in_step("after the deletes were allowed").await;
        assert_eq!(site.sync(&["--mode", "full"]).await.changed(), 0);
    }
}

#[tokio::test]
async fn instances_that_are_purged_to_metadata_stay() {
    for dialect in Dialect::SERVERS {
        let mut site = loaded(dialect, 60, 238).await;
        let large = large_series(&mut site, LARGE).await;
        site.sync(&[]).await;
        let of_large =
            site.archive.db.numbers(&format!("SELECT pk FROM instance WHERE series_fk = {large}")).await.len();
        let before = number(&site, LIVE).await;
        for series in site.archive.db.numbers("SELECT pk FROM series").await {
            edit::purge(&mut site.archive, series).await;
            site.archive.bump("series", series).await;
        }
        for mode in ["delta", "full"] {
            assert_eq!(site.sync(&["--mode", mode]).await.count("instance", "deleted"), 0);
        }
        assert_eq!(number(&site, LIVE).await, before);
        // Without the mark they are really gone.
        site.archive.update("series", large, &[("inst_purge_state", Val::Int(0))]).await;
        site.archive.bump("series", large).await;
        let run = site.sync(&["--mode", "delta"]).await;
        assert_eq!(run.count("instance", "deleted"), of_large as u64, "{run:#?}");
        site.assert_in_step("after the mark went").await;
    }
}

#[tokio::test]
async fn an_archive_that_was_loaded_without_instances_gets_them_when_they_are_switched_on() {
    use Dialect::{Mariadb, Postgres, Sqlite};
    for (source, target) in [(Postgres, Postgres), (Mariadb, Mariadb), (Postgres, Sqlite)] {
        let mut site =
            filled(Site::between(source, target, Shape::release("5.35.0"), random::seed(239)).await, 60).await;
        site.settings.instances = false;
        let first = site.sync(&[]).await;
        assert!(first.records()[0]["levels"].get("instance").is_none(), "{first:#?}");
        assert!(!site.target().await.tables().await.contains("rbac_instance"));
        let cursors = "SELECT count(*) FROM sync_cursor WHERE level = 'instance'";
        let passes = "SELECT count(*) FROM sync_sweep WHERE pass = 'instance'";
        assert_eq!((number(&site, cursors).await, number(&site, passes).await), (0, 0));
        site.settings.instances = true;
        site.sync(&["--mode", "delta"]).await;
        site.assert_in_step("after it was switched on").await;
        assert_eq!((number(&site, cursors).await, number(&site, passes).await), (1, 1));

        // Switched off: rows stay, and go with their parents.
        site.settings.instances = false;
        let kept = number(&site, LIVE).await;
        Change::NewInstance.apply(&mut site.archive).await;
        Change::DeleteInstanceQuietly.apply(&mut site.archive).await;
        site.sync(&["--mode", "full"]).await;
        assert_eq!((number(&site, LIVE).await, number(&site, cursors).await), (kept, 0));
        site.settings.deletes = Gone::Removed;
        edit::delete_studies(&mut site.archive, "pk IN (SELECT study_fk FROM series) AND pk % 3 = 0").await;
        site.sync(&["--mode", "full"]).await;
        site.assert_in_step("while it is switched off").await;
        assert!(number(&site, LIVE).await < kept);

        site.settings.instances = true;
        site.sync(&["--mode", "delta"]).await;
        site.assert_in_step("after it was switched on again").await;
    }
}

#[tokio::test]
async fn a_kill_in_the_middle_of_the_load_loses_and_doubles_no_instance() {
    use Dialect::{Mariadb, Postgres, Sqlite};
    for (source, target) in [(Postgres, Postgres), (Postgres, Sqlite), (Mariadb, Mariadb)] {
        let mut site =
            filled(Site::between(source, target, Shape::release("5.35.0"), random::seed(240)).await, 1500).await;
        large_series(&mut site, LARGE).await;
        let all = site.archive.db.numbers("SELECT count(*) FROM instance").await[0];
        site.configure();
        for part in 0..4 {
            let daemon = Daemon::spawn(&site, &[]);
            let want = all * part / 5;
            eventually("a part of the load", CAP, async || {
                let mut target = site.target().await;
                let there = target.tables().await.contains("rbac_instance");
                let rows = if there { target.numbers("SELECT count(*) FROM rbac_instance").await[0] } else { -1 };
                crate::harness::wait::check(rows >= want, daemon.log())
            })
            .await;
            daemon.crash().await;
        }
        site.sync(&["--mode", "delta"]).await;
        site.assert_in_step("after the load that was killed").await;
        assert_eq!(site.sync(&["--mode", "full"]).await.changed(), 0);
    }
}

#[tokio::test]
async fn between_scans_new_instances_are_found_by_key_and_changed_ones_by_the_scan() {
    for dialect in Dialect::SERVERS {
        let mut site = filled(Site::within(dialect, Shape::release("5.35.0"), random::seed(241)).await, 60).await;
        let daemon = site.started("1s", LAZY).await;
        // The first delta scans; the next one is far away.
        daemon.run("{}").await;
        for _ in 0..3 {
            large_series(&mut site, 2).await;
            eventually("new instances", CAP, async || site.verdict().await).await;
        }
        daemon.stop().await;
        let daemon = site.started("1s", "sweep_percent = 0").await;
        for _ in 0..3 {
            Change::InstanceAttributes.apply(&mut site.archive).await;
            eventually("a changed instance", CAP, async || site.verdict().await).await;
        }
        daemon.stop().await;
    }
}

#[tokio::test]
async fn changes_of_instances_without_a_trace_are_found_by_the_rolling_comparison() {
    use Dialect::{Mariadb, Postgres, Sqlite};
    for dialect in [Postgres, Mariadb, Sqlite] {
        let shape = Shape::release("5.35.0");
        let mut site = filled(Site::between(dialect, dialect, shape, random::seed(242)).await, 80).await;
        let daemon = site.started("1s", "sweep_every = \"1s\"\nsweep_percent = 50").await;
        let quiet = mutate::OF_INSTANCES.into_iter().chain(mutate::ALL).filter(|change| !change.is_bumped());
        for change in quiet {
            for _ in 0..3 {
                change.apply(&mut site.archive).await;
            }
            eventually(&format!("{change:?} in {dialect:?}"), CAP, async || site.verdict().await).await;
        }
        daemon.stop().await;
    }
}

#[tokio::test]
async fn an_instance_of_a_study_without_a_patient_waits_for_the_patient() {
    for dialect in Dialect::SERVERS {
        let mut site = loaded(dialect, 60, 243).await;
        site.archive.db.run("UPDATE study SET study_deleting = (1 = 0)").await;
        let series = large_series(&mut site, 2).await;
        let patient = "SELECT s.patient_fk FROM series e JOIN study s ON s.pk = e.study_fk WHERE e.pk =";
        let patient = site.archive.pick(&format!("{patient} {series}")).await.unwrap();
        let elsewhere = site.archive.next_key();
        if dialect == Dialect::Postgres {
            site.archive.db.run("SET session_replication_role = replica").await;
        } else {
            site.archive.db.run("SET foreign_key_checks = 0").await;
        }
        let study = site.archive.pick(&format!("SELECT study_fk FROM series WHERE pk = {series}")).await.unwrap();
        site.archive.db.run(&format!("UPDATE study SET patient_fk = {elsewhere} WHERE pk = {study}")).await;
        site.archive.bump("study", study).await;
        assert_eq!(site.once(&["--mode", "delta"]).await.code, 1);
        site.archive.db.run(&format!("UPDATE study SET patient_fk = {patient} WHERE pk = {study}")).await;
        site.archive.bump("study", study).await;
        site.sync(&["--mode", "delta"]).await;
        site.sync(&["--mode", "full"]).await;
        site.assert_in_step("after the patient is there").await;
    }
}

#[tokio::test]
async fn table_instance_needs_a_grant_only_where_it_is_read() {
    let mut site = filled(Site::new(Shape::release("5.35.0"), random::seed(245)).await, 20).await;
    site.archive.db.run(&format!("REVOKE SELECT ON instance FROM {READER}")).await;
    site.settings.instances = false;
    site.sync(&[]).await;
    site.settings.instances = true;
    let refused = site.once(&[]).await;
    assert_eq!(refused.code, 1, "{refused:#?}");
    assert!(refused.output.contains("may not read table instance"), "{refused:#?}");
    site.archive.db.run(&format!("GRANT SELECT ON instance TO {READER}")).await;
    site.sync(&[]).await;
    site.assert_in_step("after the grant").await;
}

#[tokio::test]
async fn random_changes_leave_instances_in_step() {
    let seed = random::seed(244);
    let mut random = Random::new(seed);
    let kinds: Vec<Change> = mutate::ALL.into_iter().chain(mutate::OF_INSTANCES).collect();
    for dialect in Dialect::SERVERS {
        let mut site = filled(Site::within(dialect, Shape::release("5.29.2"), seed).await, 150).await;
        site.sync(&[]).await;
        for round in 0..8 {
            for _ in 0..25 {
                random.choose(&kinds).apply(&mut site.archive).await;
            }
            site.sync(&["--mode", "delta"]).await;
            if round % 2 == 1 {
                site.sync(&["--mode", "full"]).await;
                site.assert_in_step("after random changes").await;
            }
        }
    }
}
