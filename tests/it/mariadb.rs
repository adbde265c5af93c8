//! What only MariaDB and MySQL do: whole seconds that are rounded up, tables made one by one, a catalogue
//! that hides what a login may not read, errors that quote values.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{TimeDelta, Timelike, Utc};

use crate::harness::cluster::{self, Cluster, READER};
use crate::harness::generate;
use crate::harness::mutate::Change;
use crate::harness::product::Product;
use crate::harness::random;
use crate::harness::shape::{Dialect, Shape};
use crate::harness::site::{Site, program};
use crate::harness::wait::{check, eventually};
use crate::privacy::private;

/// The tables of the target in the order in which they are made.
const MADE: [&str; 13] = [
    "sync_schema",
    "sync_sequence",
    "rbac_source",
    "rbac_institution",
    "rbac_patient",
    "rbac_patient_identifier",
    "rbac_study",
    "rbac_series",
    "sync_cursor",
    "sync_sweep",
    "sync_run",
    "sync_control",
    "sync_lock",
];

async fn filled(shape: Shape, seed: u64) -> Site {
    let mut site = Site::within(Dialect::Mariadb, shape, random::seed(seed)).await;
    generate::fill(&mut site.archive, 40).await;
    site
}

#[tokio::test]
async fn times_rounded_up_into_the_future_lose_nothing_and_are_written_once() {
    let mut site = Site::within(Dialect::Mariadb, Shape::upgraded(), random::seed(171)).await;
    // MySQL rounds to whole seconds; MariaDB cuts off unless it is told to do the same.
    site.archive.db.run("SET sql_mode = CONCAT(@@sql_mode, ',TIME_ROUND_FRACTIONAL')").await;
    site.archive.set_clock(Utc::now().naive_utc() - TimeDelta::hours(2));
    generate::fill(&mut site.archive, 40).await;
    site.sync(&[]).await;
    for change in [Change::NewStudy, Change::Rename, Change::SeriesAttributes, Change::StudyAttributes] {
        // Up to half a second ahead of the clock that the daemon asks.
        let now = Utc::now().naive_utc();
        site.archive.set_clock(now.with_nanosecond(600_000_000).unwrap());
        change.apply(&mut site.archive).await;
        site.sync(&["--mode", "delta"]).await;
        site.assert_in_step(&format!("{change:?}, rounded up")).await;
        assert_eq!(site.sync(&["--mode", "delta"]).await.changed(), 0, "{change:?} was written twice");
    }
    // Once the clock has come there, the cursor has too: nobody reads these rows for ever.
    let newest = "SELECT CAST(max(updated_time) AS datetime(6)) FROM study";
    let newest = site.archive.db.value(newest).await;
    eventually("the cursor reaches the newest row", Duration::from_secs(20), async || {
        site.sync(&["--mode", "delta"]).await;
        let cursor = "SELECT updated_time FROM sync_cursor WHERE level = 'study'";
        let cursor = site.target().await.value(cursor).await;
        check(cursor == newest, format!("{cursor:?} instead of {newest:?}"))
    })
    .await;
}

#[tokio::test]
async fn a_transaction_that_commits_late_is_within_the_overlap() {
    let mut site = filled(Shape::upgraded(), 172).await;
    site.sync(&[]).await;
    let mut late = site.archive_session().await;
    for round in 0..3 {
        let study = site.archive.pick("SELECT pk FROM study WHERE study_deleting = 0").await.unwrap();
        let time = site.archive.tick();
        late.run(&format!(
            "BEGIN; UPDATE study SET study_desc = 'LATE {round}', updated_time = '{time}' WHERE pk = {study}; \
             UPDATE series SET department = 'LATE {round}', updated_time = '{time}' WHERE study_fk = {study}"
        ))
        .await;
        for change in [Change::NewStudy, Change::NewPatient, Change::NewSeries] {
            // Each lets up to three minutes pass.
            site.archive.set_clock(time + TimeDelta::minutes(2));
            change.apply(&mut site.archive).await;
            site.sync(&["--mode", "delta"]).await;
        }
        late.run("COMMIT").await;
        site.sync(&["--mode", "delta"]).await;
        site.assert_in_step(&format!("late commit {round}")).await;
    }
}

#[tokio::test]
async fn a_transaction_that_was_open_before_the_first_load_is_within_the_overlap() {
    for shape in [Shape::upgraded(), Shape::release("5.35.0")] {
        let mut site = Site::within(Dialect::Mariadb, shape, random::seed(179)).await;
        let now = Utc::now().naive_utc();
        site.archive.set_clock(now - TimeDelta::days(1));
        generate::fill(&mut site.archive, 40).await;
        // As long as the archive's application server lets it be.
        let time = now - TimeDelta::minutes(5);
        let study = site.archive.pick("SELECT pk FROM study WHERE study_deleting = 0").await.unwrap();
        let mut late = site.archive_session().await;
        late.run(&format!("BEGIN; UPDATE study SET study_desc = 'LATE', updated_time = '{time}' WHERE pk = {study}"))
            .await;
        // Up to two minutes pass in it; a row from the future would not move the cursor.
        site.archive.set_clock(now - TimeDelta::minutes(2));
        Change::NewStudy.apply(&mut site.archive).await;
        site.sync(&[]).await;
        late.run("COMMIT").await;
        site.sync(&["--mode", "delta"]).await;
        site.assert_in_step("after a transaction from before the first load").await;
    }
}

#[tokio::test]
async fn an_installation_that_was_interrupted_is_completed() {
    for made in 1..=MADE.len() {
        let mut site = filled(Shape::release("5.35.0"), 173).await;
        let mut target = site.target().await;
        // Complete and empty, as it stands before the first rows.
        site.sync(&["--dry-run"]).await;
        assert!(target.tables().await.is_empty());
        install(&site).await;
        for table in MADE[made..].iter().rev() {
            target.run(&format!("DROP TABLE {table}")).await;
        }
        // Indexes of the table that was just made.
        if MADE[made - 1] == "rbac_study" {
            target.run("DROP INDEX rbac_study_source_pk ON rbac_study").await;
        }
        let found = check_connect(&site).await;
        assert!(found.1.contains("interrupted"), "{found:?}");
        site.sync(&[]).await;
        site.assert_in_step(&format!("installed after {made} tables")).await;
        assert!(check_connect(&site).await.1.contains("current version"));
        let indexes = "SELECT count(DISTINCT index_name) AS n FROM information_schema.statistics \
                       WHERE table_schema = database() AND index_name LIKE 'rbac\\_%'";
        assert_eq!(target.numbers(indexes).await, [6]);
        assert_eq!(target.numbers("SELECT count(*) FROM sync_sequence").await, [1]);
    }
}

/// The tables without a row, as an installation leaves them that ended before its last step.
async fn install(site: &Site) {
    site.sync(&[]).await;
    let mut target = site.target().await;
    target.run("UPDATE rbac_patient SET merged_into_fk = NULL").await;
    for table in MADE.iter().rev() {
        target.run(&format!("DELETE FROM {table}")).await;
    }
}

async fn check_connect(site: &Site) -> (Option<i32>, String) {
    site.configure();
    let mut command = program(site.folder.path());
    let output = command.args(["check", "--connect", "--config"]).arg(site.config()).output().await.unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), said)
}

#[tokio::test]
async fn tables_that_lost_their_version_or_are_of_somebody_else_are_left_alone() {
    let site = filled(Shape::release("5.35.0"), 174).await;
    site.sync(&[]).await;
    let mut target = site.target().await;
    target.run("DELETE FROM sync_schema").await;
    let refused = site.once(&[]).await;
    assert!(refused.code == 1 && refused.log.contains("damaged"), "{refused:#?}");
    target.run("DROP TABLE sync_schema").await;
    let refused = site.once(&[]).await;
    assert!(refused.code == 1 && refused.log.contains("did not make"), "{refused:#?}");
    assert!(!target.table("rbac_study").await.is_empty());
}

/// A hidden table would pass for one that the archive does not have, and with it access control IDs.
#[tokio::test]
async fn a_login_that_may_read_only_some_tables_is_refused() {
    let mut site = filled(Shape::release("5.35.0"), 175).await;
    let tables = site.archive.db.tables().await;
    site.archive.db.run(&format!("REVOKE SELECT ON * FROM {READER}")).await;
    for table in tables.iter().filter(|table| *table != "patient_id") {
        site.archive.db.run(&format!("GRANT SELECT ON {table} TO {READER}")).await;
    }
    for words in [&["source", "table patient_id", "GRANT SELECT"][..], &["source", "GRANT SELECT"]] {
        let once = site.once(&[]).await;
        assert_eq!(once.code, 1, "{once:#?}");
        for word in words {
            assert!(once.output.contains(word), "nothing about {word}: {once:#?}");
        }
        site.archive.db.run(&format!("GRANT SELECT ON patient_id TO {READER}")).await;
    }
    site.archive.db.run(&format!("GRANT SELECT ON * TO {READER}")).await;
    site.sync(&[]).await;
    site.assert_in_step("after the grant").await;
}

#[tokio::test]
async fn a_local_socket_works_and_check_says_what_was_found() {
    let mut site = filled(Shape::upgraded(), 176).await;
    site.source_url = cluster::shared_for(Dialect::Mariadb).socket_url(&site.source_url);
    let (code, said) = check_connect(&site).await;
    assert_eq!(code, Some(0), "{said}");
    for words in
        ["MariaDB 1", "table study_access_control_id", "ON series (updated_time, pk) ALGORITHM=INPLACE LOCK=NONE"]
    {
        assert!(said.contains(words), "nothing about {words}: {said}");
    }
    site.sync(&[]).await;
    site.assert_in_step("through the socket").await;
}

#[tokio::test]
async fn an_error_that_quotes_a_value_does_not_reach_the_log() {
    let mut site = filled(Shape::release("5.35.0"), 177).await;
    site.sync(&[]).await;
    site.target()
        .await
        .run("SET sql_mode = ''; ALTER TABLE rbac_patient MODIFY patient_name text CHARACTER SET ascii")
        .await;
    for _ in 0..20 {
        Change::Rename.apply(&mut site.archive).await;
    }
    let mut words = BTreeSet::new();
    private(&mut site, &mut words).await;
    let failed = site.once(&["--mode", "delta"]).await;
    assert_eq!(failed.code, 1, "{failed:#?}");
    assert!(failed.output.contains("error 1366"), "{failed:#?}");
    let shown = failed.output + &failed.log;
    let leaks: Vec<&String> = words.iter().filter(|word| shown.contains(word.as_str())).collect();
    assert!(leaks.is_empty(), "{leaks:?}");
    // The server quotes the first bytes that it does not take, as \x and hexadecimal digits.
    assert!(!shown.contains("\\x"), "{shown}");
}

#[tokio::test]
async fn nothing_is_written_to_the_source() {
    let own: &'static Cluster = Box::leak(Box::new(Cluster::of(Product::Mariadb)));
    let (source, target) = (Dialect::Mariadb, Dialect::Sqlite);
    let mut site = Site::on(own, own, source, target, Shape::release("5.35.0"), random::seed(178)).await;
    generate::fill(&mut site.archive, 40).await;
    // Even a login that might write gets a session that only reads.
    site.archive.db.run(&format!("GRANT ALL ON * TO {READER}")).await;
    let written = "SELECT sum(variable_value) AS n FROM information_schema.global_status WHERE variable_name IN \
                   ('Handler_write', 'Handler_update', 'Handler_delete', 'Com_create_table', 'Com_create_index', \
                   'Com_alter_table', 'Com_insert', 'Com_update', 'Com_delete', 'Com_replace', 'Com_create_view')";
    let before = site.archive.db.value(written).await;
    site.sync(&["--mode", "full"]).await;
    assert_eq!(site.archive.db.value(written).await, before);
}
