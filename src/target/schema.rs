//! The tables of the target, and how they come to be.

use crate::config::Dialect;
use crate::database::{Class, Error, Param, Session, Side};

/// The version of the tables that this program reads and writes.
const VERSION: i64 = 1;

/// Every table of this program; a table of somebody else is never touched.
const TABLES: [&str; 13] = [
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
    "sync_sequence",
    "sync_schema",
];

/// Version 1. In braces stand types whose names differ between dialects. `id` is assigned from
/// `sync_sequence` and never used twice, also not after a removal: other tables may refer to it.
const VERSION_1: [&str; 23] = [
    "CREATE TABLE sync_schema (version {int} NOT NULL)",
    "CREATE TABLE sync_sequence (next_id {int} NOT NULL)",
    "CREATE TABLE rbac_source (id {int} PRIMARY KEY, name {text} NOT NULL UNIQUE)",
    "CREATE TABLE rbac_institution (id {int} PRIMARY KEY, source_fk {int} NOT NULL REFERENCES rbac_source (id), \
     institution_code {text} NOT NULL, institution_name {text} NOT NULL, UNIQUE (source_fk, institution_name))",
    "CREATE TABLE rbac_patient (id {int} PRIMARY KEY, source_fk {int} NOT NULL REFERENCES rbac_source (id), \
     source_pk {int} NOT NULL, patient_id {text}, issuer {text}, patient_name {text}, birth_date {text}, sex {text}, \
     merged_into_fk {int} REFERENCES rbac_patient (id), created_time {time}, updated_time {time}, \
     synced_at {instant} NOT NULL, deleted_at {instant}, UNIQUE (source_fk, source_pk))",
    "CREATE INDEX rbac_patient_merged_into_fk ON rbac_patient (merged_into_fk)",
    "CREATE TABLE rbac_patient_identifier (patient_fk {int} NOT NULL REFERENCES rbac_patient (id), \
     patient_id {text} NOT NULL, issuer {text})",
    "CREATE INDEX rbac_patient_identifier_patient_fk ON rbac_patient_identifier (patient_fk)",
    "CREATE INDEX rbac_patient_identifier_patient_id ON rbac_patient_identifier (patient_id)",
    "CREATE TABLE rbac_study (id {int} PRIMARY KEY, source_fk {int} NOT NULL REFERENCES rbac_source (id), \
     source_pk {int} NOT NULL, study_uid {text} NOT NULL, patient_fk {int} NOT NULL REFERENCES rbac_patient (id), \
     study_date {text}, study_time {text}, study_desc {text}, accession_no {text}, accession_issuer {text}, \
     referring_physician {text}, modalities {text}, institutions {text}, access_control_ids {text}, \
     rejection_state {int}, created_time {time}, updated_time {time}, synced_at {instant} NOT NULL, \
     deleted_at {instant}, UNIQUE (source_fk, study_uid))",
    "CREATE INDEX rbac_study_source_pk ON rbac_study (source_fk, source_pk)",
    "CREATE INDEX rbac_study_patient_fk ON rbac_study (patient_fk)",
    "CREATE TABLE rbac_series (id {int} PRIMARY KEY, source_pk {int} NOT NULL, \
     study_fk {int} NOT NULL REFERENCES rbac_study (id), series_uid {text} NOT NULL, series_desc {text}, \
     modality {text}, body_part {text}, station_name {text}, institution_fk {int} REFERENCES rbac_institution (id), \
     institution {text}, department {text}, sending_aet {text}, receiving_aet {text}, access_control_ids {text}, \
     rejection_state {int}, created_time {time}, updated_time {time}, synced_at {instant} NOT NULL, \
     deleted_at {instant}, UNIQUE (study_fk, series_uid))",
    "CREATE INDEX rbac_series_institution_fk ON rbac_series (institution_fk)",
    "CREATE TABLE sync_cursor (source_fk {int} NOT NULL REFERENCES rbac_source (id), level {text} NOT NULL, \
     updated_time {fine_time}, load_pk {int}, moved_at {instant} NOT NULL, PRIMARY KEY (source_fk, level))",
    "CREATE TABLE sync_sweep (source_fk {int} NOT NULL REFERENCES rbac_source (id), pass {text} NOT NULL, \
     place {int} NOT NULL, started {instant}, verified_since {instant}, PRIMARY KEY (source_fk, pass))",
    "CREATE TABLE sync_run (run_id {text} PRIMARY KEY, run_trigger {text} NOT NULL, mode {text} NOT NULL, \
     source {text} NOT NULL, dry_run {bool} NOT NULL, started {instant} NOT NULL, finished {instant} NOT NULL, \
     success {bool} NOT NULL, processed {int} NOT NULL, duration_ms {int} NOT NULL, levels {text} NOT NULL, error {text})",
    "CREATE INDEX sync_run_started ON sync_run (started)",
    "CREATE TABLE sync_control (name {text} PRIMARY KEY, value {text} NOT NULL)",
    "CREATE TABLE sync_lock (token {text} NOT NULL, holder {text} NOT NULL, since {instant})",
    "INSERT INTO sync_lock (token, holder) VALUES ('', '')",
    "INSERT INTO sync_sequence (next_id) VALUES (1)",
    "INSERT INTO sync_schema (version) VALUES (1)",
];

fn spell(dialect: Dialect, statement: &str) -> String {
    // A time of the source is kept to the millisecond; the cursor needs the source's full resolution.
    let types = match dialect {
        Dialect::Postgres => [
            ("{int}", "bigint"),
            ("{text}", "text"),
            ("{bool}", "boolean"),
            ("{time}", "timestamp(3)"),
            ("{fine_time}", "timestamp(6)"),
            ("{instant}", "timestamptz(3)"),
        ],
        Dialect::Sqlite => [
            ("{int}", "INTEGER"),
            ("{text}", "TEXT"),
            ("{bool}", "INTEGER"),
            ("{time}", "TEXT"),
            ("{fine_time}", "TEXT"),
            ("{instant}", "TEXT"),
        ],
    };
    types.iter().fold(statement.to_owned(), |text, (brace, name)| text.replace(brace, name))
}

/// Which of this program's tables exist.
async fn existing(session: &mut Session) -> Result<Vec<String>, Error> {
    let sql = match session.dialect() {
        Dialect::Postgres => "SELECT name FROM unnest($1::text[]) name WHERE to_regclass(name) IS NOT NULL",
        Dialect::Sqlite => {
            "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name IN (SELECT value FROM json_each($1))"
        }
    };
    session.fetch(&sql.into(), &[Param::Texts(TABLES.to_vec())], |cells| cells.name(0)).await
}

/// What stands in the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Installed {
    /// No table of this program.
    Nothing,
    /// The tables that this program reads and writes.
    Current,
}

/// Looks which tables stand in the target.
///
/// # Errors
/// Tables of the same names that this program did not make, or a newer version; or the database failed.
pub(super) async fn look(session: &mut Session) -> Result<Installed, Error> {
    let permanent = |text: String| Error::new(Side::Target, Class::Permanent, text);
    let tables = existing(session).await?;
    if !tables.iter().any(|table| table == "sync_schema") {
        if let Some(foreign) = tables.first() {
            return Err(permanent(format!(
                "a table {foreign} exists that rbac-sync did not make; give [target] a database or schema of its own"
            )));
        }
        return Ok(Installed::Nothing);
    }
    let version = session.fetch(&"SELECT version FROM sync_schema".into(), &[], |cells| cells.key(0)).await?;
    match version.first() {
        Some(&VERSION) => match TABLES.iter().find(|name| !tables.iter().any(|table| table == *name)) {
            Some(missing) => {
                Err(permanent(format!("its table {missing} is missing: restore the target from a backup")))
            }
            None => Ok(Installed::Current),
        },
        Some(version) if *version > VERSION => Err(permanent(format!(
            "its tables have version {version}, this program knows {VERSION}: install the newer rbac-sync again"
        ))),
        _ => Err(permanent("its table sync_schema is damaged: restore the target from a backup".to_owned())),
    }
}

/// Whether this login may make tables.
///
/// # Errors
/// It may not; or the database failed.
pub(super) async fn may_create(session: &mut Session) -> Result<(), Error> {
    let sql = match session.dialect() {
        Dialect::Postgres => {
            "SELECT current_schema()::text, \
             CAST(coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)::int AS bigint)"
        }
        Dialect::Sqlite => return Ok(()),
    };
    let rows = session.fetch(&sql.into(), &[], |cells| Ok((cells.text(0)?, cells.flag(1)?))).await?;
    let text = match rows.into_iter().next() {
        Some((Some(_), true)) => return Ok(()),
        Some((Some(schema), false)) => {
            format!("the login may not create tables: GRANT CREATE ON SCHEMA {schema} to it")
        }
        _ => "there is no schema to create tables in: see the login's search_path".to_owned(),
    };
    Err(Error::new(Side::Target, Class::Permanent, text))
}

/// Makes the tables if there are none.
///
/// # Errors
/// As [`look`].
pub(super) async fn install(session: &mut Session) -> Result<(), Error> {
    if look(session).await? == Installed::Current {
        return Ok(());
    }
    may_create(session).await?;
    session.begin_write().await?;
    for statement in VERSION_1 {
        let statement = spell(session.dialect(), statement);
        session.command(&statement).await?;
    }
    session.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_name_in_every_dialect() {
        for dialect in [Dialect::Postgres, Dialect::Sqlite] {
            for statement in VERSION_1 {
                assert!(!spell(dialect, statement).contains('{'), "{statement}");
            }
        }
    }

    #[test]
    fn every_table_made_is_known_as_ours() {
        let made: Vec<_> =
            VERSION_1.iter().filter_map(|s| s.strip_prefix("CREATE TABLE ")?.split(' ').next()).collect();
        assert_eq!(made.len(), TABLES.len());
        assert!(made.iter().all(|table| TABLES.contains(table)));
    }
}
