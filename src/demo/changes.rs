//! The changes that an archive makes, each one transaction's worth of statements, and each moving
//! `updated_time` and `version` of exactly the rows that dcm4chee-arc-light 5.35 moves:
//!
//! | change | rows that move |
//! |---|---|
//! | a study is stored | only the new rows |
//! | a series is added | only the new series, not its study |
//! | a patient is renamed | the patient; its name changes in place, its studies do not move |
//! | a study's access control IDs | the study; those of a series: the series |
//! | patients are merged | the merged patient and the studies that change hands; series do not move |
//! | a series is corrected | the series |
//! | a series is deleted | its study |
//! | a study is deleted | its patient, but nothing where the study had been rejected |
//! | a patient is deleted | nothing; patients merged into it go too |
//! | a study is rejected | the study and the series concerned |

use chrono::NaiveDateTime;
use rand::RngExt;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::kind::Kind;
use super::rows::{self, Level, stamp};
use super::{Dice, imaging, people};

/// Patients that studies are stored to.
const CURRENT_PATIENTS: &str = "FROM patient WHERE merge_fk IS NULL";

/// Makes a change of that kind at `now`; false where the archive has no row that it could concern.
pub(super) async fn make(
    archive: &mut SqliteConnection,
    kind: Kind,
    dice: &mut Dice,
    now: NaiveDateTime,
) -> sqlx::Result<bool> {
    match kind {
        Kind::StoreStudy => store_study(archive, dice, now).await,
        Kind::AddSeries => add_series(archive, dice, now).await,
        Kind::RenamePatient => rename_patient(archive, dice, now).await,
        Kind::ChangeAccess => change_access(archive, dice, now).await,
        Kind::MergePatients => merge_patients(archive, dice, now).await,
        Kind::CorrectSeries => correct_series(archive, dice, now).await,
        Kind::DeleteSeries => delete_series(archive, dice, now).await,
        Kind::DeleteStudy => delete_study(archive, dice, now).await,
        Kind::DeletePatient => delete_patient(archive, dice).await,
        Kind::Reject => reject(archive, dice, now).await,
    }
}

async fn store_study(archive: &mut SqliteConnection, dice: &mut Dice, now: NaiveDateTime) -> sqlx::Result<bool> {
    let known = if dice.random_bool(0.5) { draw(archive, dice, CURRENT_PATIENTS).await? } else { None };
    let patient = match known {
        Some(pk) => pk,
        None => rows::insert_patient(archive, &people::person(dice, now.date()), now).await?,
    };
    let study = rows::insert_study(archive, patient, &imaging::study(dice, now), now).await?;
    for _ in 0..imaging::series_count(dice) {
        rows::insert_series(archive, study, &imaging::series(dice), now).await?;
    }
    Ok(true)
}

async fn add_series(archive: &mut SqliteConnection, dice: &mut Dice, now: NaiveDateTime) -> sqlx::Result<bool> {
    let Some(study) = draw(archive, dice, "FROM study WHERE rejection_state = 0").await? else { return Ok(false) };
    rows::insert_series(archive, study, &imaging::series(dice), now).await?;
    Ok(true)
}

async fn rename_patient(archive: &mut SqliteConnection, dice: &mut Dice, now: NaiveDateTime) -> sqlx::Result<bool> {
    let Some(patient) = draw(archive, dice, "FROM patient WHERE pat_name_fk IS NOT NULL").await? else {
        return Ok(false);
    };
    let female = dice.random_bool(0.5);
    let name = people::name(dice, female);
    sqlx::query(
        "UPDATE person_name SET alphabetic_name = ?, ideographic_name = ?, phonetic_name = ?
         WHERE pk = (SELECT pat_name_fk FROM patient WHERE pk = ?)",
    )
    .bind(name.alphabetic)
    .bind(name.ideographic)
    .bind(name.phonetic)
    .bind(patient)
    .execute(&mut *archive)
    .await?;
    bump(archive, "patient", patient, now).await?;
    Ok(true)
}

async fn change_access(archive: &mut SqliteConnection, dice: &mut Dice, now: NaiveDateTime) -> sqlx::Result<bool> {
    let ids = if dice.random_bool(0.2) { Vec::new() } else { imaging::access_control_ids(dice) };
    let level = if dice.random_bool(0.7) { Level::Study } else { Level::Series };
    let Some(pk) = draw(archive, dice, &format!("FROM {}", level.table())).await? else { return Ok(false) };
    rows::set_access(archive, level, pk, &ids).await?;
    bump(archive, level.table(), pk, now).await?;
    Ok(true)
}

async fn merge_patients(archive: &mut SqliteConnection, dice: &mut Dice, now: NaiveDateTime) -> sqlx::Result<bool> {
    let (Some(merged), Some(survivor)) =
        (draw(archive, dice, CURRENT_PATIENTS).await?, draw(archive, dice, CURRENT_PATIENTS).await?)
    else {
        return Ok(false);
    };
    if merged == survivor {
        return Ok(false);
    }
    sqlx::query("UPDATE patient SET merge_fk = ? WHERE pk = ?")
        .bind(survivor)
        .bind(merged)
        .execute(&mut *archive)
        .await?;
    bump(archive, "patient", merged, now).await?;
    sqlx::query("UPDATE study SET patient_fk = ?, updated_time = ?, version = version + 1 WHERE patient_fk = ?")
        .bind(survivor)
        .bind(stamp(now))
        .bind(merged)
        .execute(archive)
        .await?;
    Ok(true)
}

async fn correct_series(archive: &mut SqliteConnection, dice: &mut Dice, now: NaiveDateTime) -> sqlx::Result<bool> {
    let Some(series) = draw(archive, dice, "FROM series").await? else { return Ok(false) };
    let origin = imaging::origin(dice);
    sqlx::query(
        "UPDATE series SET series_desc = ?, modality = ?, body_part = ?, laterality = ?, station_name = ?,
             institution = ?, department = ?, inst_code_fk = ?, modified_time = ?
         WHERE pk = ?",
    )
    .bind(origin.description)
    .bind(origin.modality)
    .bind(origin.body_part)
    .bind(origin.laterality)
    .bind(origin.station)
    .bind(origin.institution.name)
    .bind(origin.department)
    .bind(origin.institution.code.map(rows::code_pk))
    .bind(stamp(now))
    .bind(series)
    .execute(&mut *archive)
    .await?;
    bump(archive, "series", series, now).await?;
    Ok(true)
}

async fn delete_series(archive: &mut SqliteConnection, dice: &mut Dice, now: NaiveDateTime) -> sqlx::Result<bool> {
    let with_siblings = "FROM series s WHERE rejection_state = 0 AND EXISTS
        (SELECT 1 FROM series other WHERE other.study_fk = s.study_fk AND other.pk <> s.pk)";
    let Some(series) = draw(archive, dice, with_siblings).await? else { return Ok(false) };
    let study = sqlx::query_scalar("SELECT study_fk FROM series WHERE pk = ?").bind(series).fetch_one(&mut *archive);
    let study: i64 = study.await?;
    remove_series(archive, series).await?;
    bump(archive, "study", study, now).await?;
    Ok(true)
}

async fn delete_study(archive: &mut SqliteConnection, dice: &mut Dice, now: NaiveDateTime) -> sqlx::Result<bool> {
    let Some(study) = draw(archive, dice, "FROM study").await? else { return Ok(false) };
    let (patient, rejection, physician): (i64, i64, Option<i64>) =
        sqlx::query_as("SELECT patient_fk, rejection_state, ref_phys_name_fk FROM study WHERE pk = ?")
            .bind(study)
            .fetch_one(&mut *archive)
            .await?;
    let all_series: Vec<i64> =
        sqlx::query_scalar("SELECT pk FROM series WHERE study_fk = ?").bind(study).fetch_all(&mut *archive).await?;
    for series in all_series {
        remove_series(archive, series).await?;
    }
    sqlx::query("DELETE FROM study_access_control_id WHERE study_fk = ?").bind(study).execute(&mut *archive).await?;
    sqlx::query("DELETE FROM study WHERE pk = ?").bind(study).execute(&mut *archive).await?;
    remove_name(archive, physician).await?;
    if rejection != 2 {
        bump(archive, "patient", patient, now).await?;
    }
    Ok(true)
}

async fn delete_patient(archive: &mut SqliteConnection, dice: &mut Dice) -> sqlx::Result<bool> {
    let without_studies = "FROM patient p WHERE merge_fk IS NULL
        AND NOT EXISTS (SELECT 1 FROM study WHERE patient_fk = p.pk)";
    let Some(patient) = draw(archive, dice, without_studies).await? else { return Ok(false) };
    // The patient comes first and those merged into it after it: deleted from the end, no row refers
    // to one that is gone. A merged patient has no studies: they went to the survivor.
    let family: Vec<(i64, Option<i64>)> = sqlx::query_as(
        "WITH RECURSIVE family (pk, depth) AS (
             VALUES (?, 0) UNION SELECT p.pk, depth + 1 FROM patient p JOIN family ON p.merge_fk = family.pk)
         SELECT p.pk, p.pat_name_fk FROM family JOIN patient p ON p.pk = family.pk ORDER BY depth DESC",
    )
    .bind(patient)
    .fetch_all(&mut *archive)
    .await?;
    for (pk, name) in family {
        sqlx::query("DELETE FROM patient_id WHERE patient_fk = ?").bind(pk).execute(&mut *archive).await?;
        sqlx::query("DELETE FROM patient WHERE pk = ?").bind(pk).execute(&mut *archive).await?;
        remove_name(archive, name).await?;
    }
    Ok(true)
}

async fn reject(archive: &mut SqliteConnection, dice: &mut Dice, now: NaiveDateTime) -> sqlx::Result<bool> {
    let Some(study) = draw(archive, dice, "FROM study WHERE rejection_state = 0").await? else { return Ok(false) };
    let whole = dice.random_bool(0.6);
    let all_series: Vec<i64> = sqlx::query_scalar("SELECT pk FROM series WHERE study_fk = ? ORDER BY pk")
        .bind(study)
        .fetch_all(&mut *archive)
        .await?;
    if whole {
        rows::reject_whole(archive, study).await?;
    } else {
        // Some instances of the first series.
        sqlx::query("UPDATE study SET rejection_state = 1 WHERE pk = ?").bind(study).execute(&mut *archive).await?;
        sqlx::query("UPDATE series SET rejection_state = 1 WHERE pk = ?")
            .bind(all_series.first())
            .execute(&mut *archive)
            .await?;
    }
    for series in all_series.into_iter().take(if whole { usize::MAX } else { 1 }) {
        bump(archive, "series", series, now).await?;
    }
    bump(archive, "study", study, now).await?;
    Ok(true)
}

async fn remove_series(archive: &mut SqliteConnection, series: i64) -> sqlx::Result<()> {
    let physician: Option<i64> = sqlx::query_scalar("SELECT perf_phys_name_fk FROM series WHERE pk = ?")
        .bind(series)
        .fetch_one(&mut *archive)
        .await?;
    sqlx::query("DELETE FROM series_access_control_id WHERE series_fk = ?").bind(series).execute(&mut *archive).await?;
    sqlx::query("DELETE FROM series WHERE pk = ?").bind(series).execute(&mut *archive).await?;
    remove_name(archive, physician).await
}

async fn remove_name(archive: &mut SqliteConnection, name: Option<i64>) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM person_name WHERE pk = ?").bind(name).execute(archive).await?;
    Ok(())
}

/// Moves the row as the archive does when it writes it.
async fn bump(archive: &mut SqliteConnection, table: &str, pk: i64, now: NaiveDateTime) -> sqlx::Result<()> {
    let sql = format!("UPDATE {table} SET updated_time = ?, version = version + 1 WHERE pk = ?");
    sqlx::query(AssertSqlSafe(sql)).bind(stamp(now)).bind(pk).execute(archive).await?;
    Ok(())
}

/// The key of any row of `from` (the statement from FROM on, made in this module), by the dice and
/// not by the database, so that a seed decides.
async fn draw(archive: &mut SqliteConnection, dice: &mut Dice, from: &str) -> sqlx::Result<Option<i64>> {
    let count: i64 =
        sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) {from}"))).fetch_one(&mut *archive).await?;
    if count == 0 {
        return Ok(None);
    }
    sqlx::query_scalar(AssertSqlSafe(format!("SELECT pk {from} ORDER BY pk LIMIT 1 OFFSET ?")))
        .bind(dice.random_range(0..count))
        .fetch_optional(archive)
        .await
}
