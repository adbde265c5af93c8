//! The demo's archive file: what a file is, opening it, and filling a new one.

use std::path::Path;
use std::time::Duration;

use chrono::{NaiveDateTime, TimeDelta};
use rand::{RngExt, SeedableRng};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqliteConnection};

use super::rows::{insert_codes, insert_patient, insert_series, insert_study, reject_whole};
use super::{Dice, imaging, people, schema};

/// A new archive looks as if it had been in use for this long.
const AGE: TimeDelta = TimeDelta::days(90);

/// Opens the file, makes it if there is none. The simulator waits for a lock rather than fail.
pub(super) async fn open(path: &Path) -> sqlx::Result<SqliteConnection> {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5))
        .connect()
        .await
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Nothing: a new file, or one whose filling was interrupted.
    Nothing,
    /// A demo's archive.
    Demo,
    /// Tables of somebody else.
    Foreign,
}

/// Looks at what the file is, without changing it.
pub(super) async fn content(path: &Path) -> sqlx::Result<Content> {
    if !path.exists() {
        return Ok(Content::Nothing);
    }
    let mut file = SqliteConnectOptions::new().filename(path).read_only(true).connect().await?;
    let id: i32 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut file).await?;
    let objects: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_master").fetch_one(&mut file).await?;
    file.close().await?;
    Ok(match (id, objects) {
        (schema::APPLICATION_ID, _) => Content::Demo,
        (0, 0) => Content::Nothing,
        _ => Content::Foreign,
    })
}

/// Makes the tables and about `studies` studies, all or nothing. The same seed and the same `now`
/// make the same archive.
pub(super) async fn fill(
    archive: &mut SqliteConnection,
    studies: u32,
    seed: u64,
    now: NaiveDateTime,
) -> sqlx::Result<()> {
    let mut transaction = archive.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::raw_sql(schema::DDL).execute(&mut *transaction).await?;
    let mark = AssertSqlSafe(format!("PRAGMA application_id = {}", schema::APPLICATION_ID));
    sqlx::raw_sql(mark).execute(&mut *transaction).await?;
    insert_codes(&mut transaction).await?;

    let mut dice = Dice::seed_from_u64(seed);
    let mut patients = Vec::new();
    for number in 0..studies {
        let stored = now - AGE + AGE / i32::try_from(studies).unwrap_or(i32::MAX) * i32::try_from(number).unwrap_or(0);
        let patient = match patients.is_empty() || dice.random_bool(0.6) {
            true => {
                let person = people::person(&mut dice, stored.date());
                let pk = insert_patient(&mut transaction, &person, stored).await?;
                patients.push(pk);
                pk
            }
            false => people::pick(&mut dice, &patients),
        };
        let study = insert_study(&mut transaction, patient, &imaging::study(&mut dice, stored), stored).await?;
        for _ in 0..imaging::series_count(&mut dice) {
            insert_series(&mut transaction, study, &imaging::series(&mut dice), stored).await?;
        }
        if dice.random_bool(0.03) {
            reject_whole(&mut transaction, study).await?;
        }
    }
    merge_some(&mut transaction, &patients).await?;
    transaction.commit().await
}

/// Long-standing merges: every fortieth patient into the one before it, and, as real archives have
/// them, a chain, a patient merged into itself, and two merged into each other.
async fn merge_some(archive: &mut SqliteConnection, patients: &[i64]) -> sqlx::Result<()> {
    let mut merges: Vec<(i64, i64)> = patients.chunks_exact(40).map(|chunk| (chunk[39], chunk[38])).collect();
    if let [a, b, c, itself, left, right, ..] = *patients {
        merges.extend([(a, b), (b, c), (itself, itself), (left, right), (right, left)]);
    }
    for (merged, survivor) in merges {
        sqlx::query("UPDATE patient SET merge_fk = ? WHERE pk = ?")
            .bind(survivor)
            .bind(merged)
            .execute(&mut *archive)
            .await?;
        sqlx::query("UPDATE study SET patient_fk = ? WHERE patient_fk = ?")
            .bind(survivor)
            .bind(merged)
            .execute(&mut *archive)
            .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NOW, archive, dump};
    use super::*;

    async fn count(archive: &mut SqliteConnection, from: &'static str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {from}"))).fetch_one(archive).await.unwrap()
    }

    #[tokio::test]
    async fn the_same_seed_makes_the_same_archive() {
        let (_one, mut one) = archive(100).await;
        let (_two, mut two) = archive(100).await;
        let dump_one = dump(&mut one).await;
        assert!(dump_one.len() > 10_000);
        assert_eq!(dump_one, dump(&mut two).await);

        let folder = tempfile::tempdir().unwrap();
        let mut other = open(&folder.path().join("archive.db")).await.unwrap();
        fill(&mut other, 100, 99, NOW).await.unwrap();
        assert_ne!(dump_one, dump(&mut other).await);
    }

    #[tokio::test]
    async fn a_new_archive_has_every_habit_of_a_real_one() {
        let (_folder, mut archive) = archive(1000).await;
        for habit in [
            "patient WHERE pat_birthdate = '*'",
            "patient WHERE pat_name_fk IS NULL",
            "person_name WHERE alphabetic_name LIKE '%^' AND ideographic_name LIKE '%^' AND phonetic_name LIKE '%^'",
            "person_name WHERE alphabetic_name = '*' AND ideographic_name <> '*'",
            "person_name WHERE ideographic_name <> '*' AND phonetic_name = '*'",
            "patient_id a JOIN patient_id b ON a.patient_fk = b.patient_fk AND a.pk < b.pk",
            "patient_id WHERE entity_id = '*' AND entity_uid <> '*'",
            "patient_id WHERE entity_id = '*' AND entity_uid = '*'",
            "study WHERE accession_no = '*'",
            "study WHERE accno_entity_id IS NULL",
            "study WHERE accno_entity_id = '*' AND accno_entity_uid <> '*'",
            "study WHERE study_date = '*'",
            "study WHERE rejection_state = 2",
            "study WHERE access_control_id LIKE '%\\%'",
            "study_access_control_id",
            "series_access_control_id",
            "series WHERE sending_aet IS NULL",
            "series WHERE institution = '*'",
            "series WHERE inst_code_fk IS NOT NULL",
            "series WHERE perf_phys_name_fk IS NOT NULL",
            "patient WHERE merge_fk = pk",
            "patient a JOIN patient b ON a.merge_fk = b.pk AND b.merge_fk = a.pk AND a.pk < b.pk",
            "patient a JOIN patient b ON a.merge_fk = b.pk JOIN patient c ON b.merge_fk = c.pk AND c.merge_fk IS NULL",
        ] {
            assert!(count(&mut archive, habit).await > 0, "no {habit}");
        }
        assert_eq!(count(&mut archive, "study").await, 1000);
        assert_eq!(count(&mut archive, "study WHERE length(updated_time) <> 23").await, 0);
        assert_eq!(count(&mut archive, "pragma_foreign_key_check").await, 0);
    }

    #[tokio::test]
    async fn no_index_leads_with_updated_time() {
        let (_folder, mut archive) = archive(0).await;
        assert_eq!(count(&mut archive, "sqlite_master WHERE type = 'index' AND sql LIKE '%(updated_time%'").await, 0);
        assert_eq!(count(&mut archive, "sqlite_master WHERE type = 'index' AND sql LIKE '%(created_time)%'").await, 3);
    }

    #[tokio::test]
    async fn a_file_is_known_for_what_it_is() {
        let (folder, demo) = archive(1).await;
        demo.close().await.unwrap();
        assert_eq!(content(&folder.path().join("archive.db")).await.unwrap(), Content::Demo);

        let path = folder.path().join("other.db");
        assert_eq!(content(&path).await.unwrap(), Content::Nothing);
        let mut other = open(&path).await.unwrap();
        assert_eq!(content(&path).await.unwrap(), Content::Nothing);
        sqlx::raw_sql("CREATE TABLE patient (pk INTEGER)").execute(&mut other).await.unwrap();
        assert_eq!(content(&path).await.unwrap(), Content::Foreign);
    }
}
