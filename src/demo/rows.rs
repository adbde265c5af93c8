//! The archive's rows as statements: inserting patients, studies and series, access control IDs,
//! rejection. They are written here and nowhere else, in the shape in which the archive stores them:
//! `'*'` for what is missing, times as the archive's wall clock (UTC in the demo).

use chrono::NaiveDateTime;
use sqlx::SqliteConnection;

use super::imaging::{CODED_INSTITUTIONS, Series, Study};
use super::people::{Name, Person};

/// Inserts the codes of institutions; they must be the first of the archive.
pub(super) async fn insert_codes(archive: &mut SqliteConnection) -> sqlx::Result<()> {
    for (at, (code, meaning)) in CODED_INSTITUTIONS.iter().enumerate() {
        sqlx::query("INSERT INTO code (pk, code_value, code_designator, code_meaning) VALUES (?, ?, '99DEMO', ?)")
            .bind(code_pk(at))
            .bind(code)
            .bind(meaning)
            .execute(&mut *archive)
            .await?;
    }
    Ok(())
}

/// The key of a coded institution's row: the codes are the first rows of a new archive.
pub(super) fn code_pk(at: usize) -> i64 {
    i64::try_from(at).map_or(i64::MAX, |at| at + 1)
}

/// Inserts a patient with name and identifiers.
pub(super) async fn insert_patient(
    archive: &mut SqliteConnection,
    person: &Person,
    now: NaiveDateTime,
) -> sqlx::Result<i64> {
    let name = insert_name(archive, person.name.as_ref()).await?;
    let pk = sqlx::query(
        "INSERT INTO patient (created_time, updated_time, version, pat_birthdate, pat_sex, pat_name_fk)
         VALUES (?1, ?1, 0, ?2, ?3, ?4)",
    )
    .bind(stamp(now))
    .bind(&person.birth_date)
    .bind(person.sex)
    .bind(name)
    .execute(&mut *archive)
    .await?
    .last_insert_rowid();
    for id in &person.identifiers {
        sqlx::query(
            "INSERT INTO patient_id (pat_id, entity_id, entity_uid, entity_uid_type, version, patient_fk)
             VALUES (?, ?, ?, ?, 0, ?)",
        )
        .bind(&id.value)
        .bind(id.entity_id)
        .bind(id.entity_uid)
        .bind(id.entity_uid_type)
        .bind(pk)
        .execute(&mut *archive)
        .await?;
    }
    Ok(pk)
}

async fn insert_name(archive: &mut SqliteConnection, name: Option<&Name>) -> sqlx::Result<Option<i64>> {
    let Some(name) = name else { return Ok(None) };
    let done =
        sqlx::query("INSERT INTO person_name (alphabetic_name, ideographic_name, phonetic_name) VALUES (?, ?, ?)")
            .bind(&name.alphabetic)
            .bind(&name.ideographic)
            .bind(&name.phonetic)
            .execute(archive)
            .await?;
    Ok(Some(done.last_insert_rowid()))
}

/// Inserts a study without series.
pub(super) async fn insert_study(
    archive: &mut SqliteConnection,
    patient: i64,
    study: &Study,
    now: NaiveDateTime,
) -> sqlx::Result<i64> {
    let physician = insert_name(archive, study.referring_physician.as_ref()).await?;
    let pk = sqlx::query(
        "INSERT INTO study (created_time, updated_time, modified_time, version, study_iuid, study_id, study_date,
             study_time, study_desc, accession_no, accno_entity_id, accno_entity_uid, accno_entity_uid_type,
             storage_ids, patient_fk, ref_phys_name_fk, access_control_id)
         VALUES (?1, ?1, ?1, 0, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 'fs1', ?11, ?12, ?13)",
    )
    .bind(stamp(now))
    .bind(&study.uid)
    .bind(&study.id)
    .bind(&study.date)
    .bind(&study.time)
    .bind(study.description)
    .bind(&study.accession_no)
    .bind(study.accession_issuer[0])
    .bind(study.accession_issuer[1])
    .bind(study.accession_issuer[2])
    .bind(patient)
    .bind(physician)
    .bind(joined(&study.access_control_ids))
    .execute(&mut *archive)
    .await?
    .last_insert_rowid();
    insert_access(archive, Level::Study, pk, &study.access_control_ids).await?;
    Ok(pk)
}

/// Inserts a series.
pub(super) async fn insert_series(
    archive: &mut SqliteConnection,
    study: i64,
    series: &Series,
    now: NaiveDateTime,
) -> sqlx::Result<i64> {
    let physician = insert_name(archive, series.performing_physician.as_ref()).await?;
    let origin = &series.origin;
    let pk = sqlx::query(
        "INSERT INTO series (created_time, updated_time, modified_time, version, series_iuid, series_no, series_desc,
             modality, institution, department, station_name, body_part, laterality, sending_aet, receiving_aet,
             inst_code_fk, perf_phys_name_fk, study_fk, access_control_id)
         VALUES (?1, ?1, ?1, 0, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
    )
    .bind(stamp(now))
    .bind(&series.uid)
    .bind(series.number)
    .bind(origin.description)
    .bind(origin.modality)
    .bind(origin.institution.name)
    .bind(origin.department)
    .bind(origin.station)
    .bind(origin.body_part)
    .bind(origin.laterality)
    .bind(series.sending_aet)
    .bind(series.receiving_aet)
    .bind(origin.institution.code.map(code_pk))
    .bind(physician)
    .bind(study)
    .bind(joined(&series.access_control_ids))
    .execute(&mut *archive)
    .await?
    .last_insert_rowid();
    insert_access(archive, Level::Series, pk, &series.access_control_ids).await?;
    Ok(pk)
}

/// A level that has access control IDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Study,
    Series,
}

impl Level {
    /// Name of the table.
    pub(super) fn table(self) -> &'static str {
        match self {
            Self::Study => "study",
            Self::Series => "series",
        }
    }
}

/// Replaces the access control IDs of a study or a series: the rows of the child table, and the
/// joined column.
pub(super) async fn set_access(
    archive: &mut SqliteConnection,
    level: Level,
    pk: i64,
    ids: &[&str],
) -> sqlx::Result<()> {
    let (set, delete) = match level {
        Level::Study => (
            "UPDATE study SET access_control_id = ? WHERE pk = ?",
            "DELETE FROM study_access_control_id WHERE study_fk = ?",
        ),
        Level::Series => (
            "UPDATE series SET access_control_id = ? WHERE pk = ?",
            "DELETE FROM series_access_control_id WHERE series_fk = ?",
        ),
    };
    sqlx::query(set).bind(joined(ids)).bind(pk).execute(&mut *archive).await?;
    sqlx::query(delete).bind(pk).execute(&mut *archive).await?;
    insert_access(archive, level, pk, ids).await
}

async fn insert_access(archive: &mut SqliteConnection, level: Level, pk: i64, ids: &[&str]) -> sqlx::Result<()> {
    let insert = match level {
        Level::Study => "INSERT INTO study_access_control_id (study_fk, access_control_id) VALUES (?, ?)",
        Level::Series => "INSERT INTO series_access_control_id (series_fk, access_control_id) VALUES (?, ?)",
    };
    for id in ids {
        sqlx::query(insert).bind(pk).bind(id).execute(&mut *archive).await?;
    }
    Ok(())
}

/// Rejects a study with all its series.
pub(super) async fn reject_whole(archive: &mut SqliteConnection, study: i64) -> sqlx::Result<()> {
    sqlx::query("UPDATE study SET rejection_state = 2 WHERE pk = ?").bind(study).execute(&mut *archive).await?;
    sqlx::query("UPDATE series SET rejection_state = 2 WHERE study_fk = ?").bind(study).execute(archive).await?;
    Ok(())
}

fn joined(ids: &[&str]) -> Option<String> {
    (!ids.is_empty()).then(|| ids.join("\\"))
}

/// A time as the archive's text.
pub(super) fn stamp(time: NaiveDateTime) -> String {
    time.format("%Y-%m-%d %H:%M:%S%.3f").to_string()
}
