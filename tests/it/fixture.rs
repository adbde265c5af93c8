//! The tests' own instruments: archives of every shape, every kind of change, the judge and the comparer.

use crate::harness::archive::Archive;
use crate::harness::cluster;
use crate::harness::compare::{self, Difference, Gone, Seen};
use crate::harness::db::Db;
use crate::harness::generate;
use crate::harness::mutate::{self, Change};
use crate::harness::oracle::Expected;
use crate::harness::random;
use crate::harness::shape::{Dialect, RELEASES, Shape};

#[test]
fn a_shape_has_what_its_release_has() {
    let old = Shape::release("5.23.3");
    assert!(
        old.has("issuer", "entity_id")
            && old.has("patient", "patient_id_fk")
            && !old.has("series", "access_control_id")
    );
    let new = Shape::release("5.35.0");
    assert!(!new.has("patient", "patient_id_fk") && new.has("study_access_control_id", "access_control_id"));
    assert!(new.column("study", "study_deleting").unwrap().not_null);
    assert!(!new.column("study", "access_control_id").unwrap().not_null);
    assert!(Shape::before_5_23().has("person_name", "p_name_suffix"));
    assert_eq!(RELEASES.map(|release| Shape::release(release).tables.len()), [9, 8, 8, 10]);
}

#[tokio::test]
async fn every_kind_of_change_can_be_made_in_every_shape() {
    let seed = random::seed(11);
    for dialect in Dialect::SERVERS {
        for (index, shape) in Shape::all().into_iter().enumerate() {
            let (name, database) = (format!("{dialect:?} {}", shape.name), format!("fixture_changes_{index}"));
            let mut archive = Archive::on(cluster::shared_for(dialect), dialect, &database, shape, seed).await;
            changes_are_made(&mut archive, &name).await;
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut archive = Archive::sqlite(&folder.path().join("archive.db"), Shape::release("5.35.0"), seed).await;
    changes_are_made(&mut archive, "sqlite").await;
}

async fn changes_are_made(archive: &mut Archive, name: &str) {
    generate::fill(archive, 100).await;
    generate::fill_instances(archive, 3).await;
    let mut before = Expected::of(&mut archive.db).await;
    for change in mutate::ALL.into_iter().chain(mutate::OF_INSTANCES) {
        let mut seen = 0;
        for _ in 0..20 {
            let applied = change.apply(archive).await;
            let after = Expected::of(&mut archive.db).await;
            seen += u32::from(applied && after != before);
            before = after;
            if seen == 2 {
                break;
            }
        }
        let absent = match change {
            Change::StudyDeleting => !archive.shape.has("study", "study_deleting"),
            Change::IssuerEdit => archive.shape.table("issuer").is_none(),
            Change::AddPatientId => !archive.shape.has("patient_id", "patient_fk"),
            Change::SeriesAccess | Change::BulkSeriesAccess => !archive.shape.has("series", "access_control_id"),
            _ => false,
        };
        assert_eq!(seen > 0, !absent, "{change:?} in {name}: {seen} changes were visible");
    }
}

#[tokio::test]
async fn the_same_seed_makes_the_same_archive() {
    let folder = tempfile::tempdir().unwrap();
    let mut made = Vec::new();
    for (name, seed) in [("a.db", 5), ("b.db", 5), ("c.db", 6)] {
        let mut archive = Archive::sqlite(&folder.path().join(name), Shape::release("5.35.0"), seed).await;
        generate::fill(&mut archive, 60).await;
        for change in mutate::ALL {
            change.apply(&mut archive).await;
        }
        made.push(Expected::of(&mut archive.db).await);
    }
    assert_eq!(made[0], made[1]);
    assert_ne!(made[0], made[2]);
}

#[tokio::test]
async fn the_comparer_finds_nothing_in_a_right_target_and_each_single_wrong_value() {
    let folder = tempfile::tempdir().unwrap();
    let mut archive = Archive::sqlite(&folder.path().join("archive.db"), Shape::release("5.35.0"), 3).await;
    generate::fill(&mut archive, 120).await;
    let expected = Expected::of(&mut archive.db).await;
    let mut seen = Seen::default();
    seen.add(&expected);
    let cluster = cluster::shared();
    cluster.create_database("fixture_target", "admin");
    for mut target in [Db::sqlite(&folder.path().join("target.db")).await, cluster.admin("fixture_target").await] {
        target.run(TARGET).await;
        write(&mut target, &expected).await;
        assert_eq!(found(&mut target, &expected, &seen).await, []);
        for (table, changes) in WRONG {
            for change in changes.split("; ") {
                let whole = change.starts_with("UPDATE") || change.starts_with("DELETE");
                let in_last = format!("UPDATE {table} SET {change} WHERE id = (SELECT max(id) FROM {table})");
                target.run(&format!("BEGIN; {}", if whole { change } else { &in_last })).await;
                let differences = found(&mut target, &expected, &seen).await;
                target.run("ROLLBACK").await;
                assert!(differences.iter().any(|difference| difference.table == table), "{table}: {change}");
            }
        }
        assert_eq!(found(&mut target, &expected, &seen).await, []);
    }
}

async fn found(target: &mut Db, expected: &Expected, seen: &Seen) -> Vec<Difference> {
    compare::differences(target, "main", expected, seen, Gone::Tombstoned).await
}

/// Changes that the comparer must see; a bare assignment is made in the last row.
const WRONG: [(&str, &str); 5] = [
    (
        "rbac_institution",
        "institution_code = 'x'; DELETE FROM rbac_institution WHERE id = (SELECT min(id) FROM rbac_institution)",
    ),
    (
        "rbac_patient",
        "patient_name = 'x'; patient_id = 'x'; issuer = 'x'; birth_date = 'x'; sex = 'x'; merged_into_fk = id; \
         source_pk = 0; created_time = '1999-01-01 00:00:00'; updated_time = '1999-01-01 00:00:00'; \
         deleted_at = '2024-01-01 00:00:00'; synced_at = NULL",
    ),
    (
        "rbac_patient_identifier",
        "UPDATE rbac_patient_identifier SET issuer = 'x' WHERE patient_fk = (SELECT max(patient_fk) FROM \
         rbac_patient_identifier); DELETE FROM rbac_patient_identifier WHERE patient_fk = (SELECT max(patient_fk) \
         FROM rbac_patient_identifier)",
    ),
    (
        "rbac_study",
        "source_pk = 0; study_uid = '9'; patient_fk = (SELECT min(id) FROM rbac_patient); study_date = 'x'; \
         study_time = 'x'; study_desc = 'x'; accession_no = ''; accession_issuer = 'x'; referring_physician = 'x'; \
         modalities = 'x'; institutions = 'x'; access_control_ids = 'x'; rejection_state = 9; \
         created_time = '1999-01-01 00:00:00'; updated_time = NULL; deleted_at = '2024-01-01 00:00:00'",
    ),
    (
        "rbac_series",
        "source_pk = 0; study_fk = (SELECT min(id) FROM rbac_study); series_uid = '9'; series_desc = 'x'; \
         modality = 'x'; body_part = 'x'; station_name = 'x'; institution_fk = NULL; institution = 'x'; \
         department = 'x'; sending_aet = 'x'; receiving_aet = 'x'; access_control_ids = 'x'; rejection_state = 9; \
         created_time = NULL; updated_time = '1999-01-01 00:00:00'; deleted_at = '2024-01-01 00:00:00'; study_fk = 0",
    ),
];

/// The resource tables in their simplest form.
const TARGET: &str = "
CREATE TABLE rbac_source(id bigint PRIMARY KEY, name text);
CREATE TABLE rbac_institution(id bigint PRIMARY KEY, source_fk bigint, institution_code text, institution_name text);
CREATE TABLE rbac_patient(id bigint PRIMARY KEY, source_fk bigint, source_pk bigint, patient_id text, issuer text,
    patient_name text, birth_date text, sex text, merged_into_fk bigint, created_time timestamp,
    updated_time timestamp, synced_at timestamp, deleted_at timestamp);
CREATE TABLE rbac_patient_identifier(patient_fk bigint, patient_id text, issuer text);
CREATE TABLE rbac_study(id bigint PRIMARY KEY, source_fk bigint, source_pk bigint, study_uid text, patient_fk bigint,
    study_date text, study_time text, study_desc text, accession_no text, accession_issuer text,
    referring_physician text, modalities text, institutions text, access_control_ids text, rejection_state integer,
    created_time timestamp, updated_time timestamp, synced_at timestamp, deleted_at timestamp);
CREATE TABLE rbac_series(id bigint PRIMARY KEY, source_pk bigint, study_fk bigint, series_uid text, series_desc text,
    modality text, body_part text, station_name text, institution_fk bigint, institution text, department text,
    sending_aet text, receiving_aet text, access_control_ids text, rejection_state integer, created_time timestamp,
    updated_time timestamp, synced_at timestamp, deleted_at timestamp);";

/// Writes what the judge expects, with IDs of its own.
async fn write(target: &mut Db, expected: &Expected) {
    let quote = |value: Option<&str>| value.map_or("NULL".to_owned(), |text| format!("'{}'", text.replace('\'', "''")));
    let mut sql = String::from("INSERT INTO rbac_source VALUES (7, 'main');");
    let position = |found: Option<usize>| found.map_or("NULL".to_owned(), |index| (index + 1000).to_string());
    for (index, (name, code)) in expected.institutions.iter().enumerate() {
        let (name, code) = (quote(Some(name)), quote(Some(code)));
        sql += &format!("INSERT INTO rbac_institution VALUES ({}, 7, {code}, {name});", index + 1000);
    }
    let patient = |pk: &Option<String>| {
        let pk = pk.as_ref().map(|pk| pk.parse::<i64>().unwrap());
        position(expected.patients.keys().position(|known| Some(*known) == pk))
    };
    let mut insert = |into: &str, keys: String, row: Vec<(&str, String)>| {
        let (columns, values): (Vec<&str>, Vec<String>) = row.into_iter().unzip();
        let (columns, values) = (columns.join(","), values.join(","));
        sql += &format!("INSERT INTO {into}, synced_at, {columns}) VALUES ({keys}, '2024-01-01', {values});");
    };
    for (index, (pk, values)) in expected.patients.iter().enumerate() {
        let cell = |(column, value): (&&'static str, &Option<String>)| {
            (*column, if *column == "merged_into_fk" { patient(value) } else { quote(value.as_deref()) })
        };
        let keys = format!("{}, 7, {pk}", index + 1000);
        insert("rbac_patient (id, source_fk, source_pk", keys, values.iter().map(cell).collect());
    }
    for (index, (uid, values)) in expected.studies.iter().enumerate() {
        let cell = |(column, value): (&&'static str, &Option<String>)| {
            (*column, if *column == "patient_fk" { patient(value) } else { quote(value.as_deref()) })
        };
        let keys = format!("{}, 7, '{uid}'", index + 1000);
        insert("rbac_study (id, source_fk, study_uid", keys, values.iter().map(cell).collect());
    }
    for (index, ((study, uid), values)) in expected.series.iter().enumerate() {
        let institution = |name: &Option<String>| {
            position(expected.institutions.keys().position(|known| Some(known) == name.as_ref()))
        };
        let cell = |(column, value): (&&'static str, &Option<String>)| {
            (*column, if *column == "institution_fk" { institution(value) } else { quote(value.as_deref()) })
        };
        let study = position(expected.studies.keys().position(|known| known == study));
        let keys = format!("{}, {study}, '{uid}'", index + 1000);
        insert("rbac_series (id, study_fk, series_uid", keys, values.iter().map(cell).collect());
    }
    for (pk, set) in &expected.identifiers {
        for (id, issuer) in set {
            let (owner, id, issuer) = (patient(&Some(pk.to_string())), quote(id.as_deref()), quote(issuer.as_deref()));
            sql += &format!("INSERT INTO rbac_patient_identifier VALUES ({owner}, {id}, {issuer});");
        }
    }
    target.run(&sql).await;
}
