//! The tables of the target, and how they come to be.

use super::stepwise;
use crate::config::Dialect;
use crate::database::{Class, Error, Param, Session, Side};

/// The version of the tables that this program reads and writes: what each version adds.
const VERSIONS: [&[&str]; 2] = [&VERSION_1, &VERSION_2];
const VERSION: i64 = VERSIONS.len() as i64;

/// Version 1. In braces stand types whose names differ between dialects; `{key}` is a text in a key, and
/// `{row_key}` a column that a dialect adds. Foreign keys stand behind the columns, for MySQL does not
/// read them beside one. `id` is assigned from `sync_sequence` and never used twice, also not after a
/// removal: other tables may refer to it.
const VERSION_1: [&str; 20] = [
    "CREATE TABLE sync_schema (version {int} PRIMARY KEY)",
    "CREATE TABLE sync_sequence (next_id {int} PRIMARY KEY)",
    "CREATE TABLE rbac_source (id {int} PRIMARY KEY, name {key} NOT NULL UNIQUE)",
    "CREATE TABLE rbac_institution (id {int} PRIMARY KEY, source_fk {int} NOT NULL, institution_code {text} NOT NULL, \
     institution_name {key} NOT NULL, UNIQUE (source_fk, institution_name), \
     FOREIGN KEY (source_fk) REFERENCES rbac_source (id))",
    "CREATE TABLE rbac_patient (id {int} PRIMARY KEY, source_fk {int} NOT NULL, source_pk {int} NOT NULL, \
     patient_id {text}, issuer {text}, patient_name {text}, birth_date {text}, sex {text}, merged_into_fk {int}, \
     created_time {time}, updated_time {time}, synced_at {instant} NOT NULL, deleted_at {instant}, \
     UNIQUE (source_fk, source_pk), FOREIGN KEY (source_fk) REFERENCES rbac_source (id), \
     FOREIGN KEY (merged_into_fk) REFERENCES rbac_patient (id))",
    "CREATE INDEX rbac_patient_merged_into_fk ON rbac_patient (merged_into_fk)",
    "CREATE TABLE rbac_patient_identifier ({row_key}patient_fk {int} NOT NULL, patient_id {key} NOT NULL, \
     issuer {text}, FOREIGN KEY (patient_fk) REFERENCES rbac_patient (id))",
    "CREATE INDEX rbac_patient_identifier_patient_fk ON rbac_patient_identifier (patient_fk)",
    "CREATE INDEX rbac_patient_identifier_patient_id ON rbac_patient_identifier (patient_id)",
    "CREATE TABLE rbac_study (id {int} PRIMARY KEY, source_fk {int} NOT NULL, source_pk {int} NOT NULL, \
     study_uid {key} NOT NULL, patient_fk {int} NOT NULL, study_date {text}, study_time {text}, study_desc {text}, \
     accession_no {text}, accession_issuer {text}, referring_physician {text}, modalities {text}, \
     institutions {text}, access_control_ids {text}, rejection_state {int}, created_time {time}, \
     updated_time {time}, synced_at {instant} NOT NULL, deleted_at {instant}, UNIQUE (source_fk, study_uid), \
     FOREIGN KEY (source_fk) REFERENCES rbac_source (id), FOREIGN KEY (patient_fk) REFERENCES rbac_patient (id))",
    "CREATE INDEX rbac_study_source_pk ON rbac_study (source_fk, source_pk)",
    "CREATE INDEX rbac_study_patient_fk ON rbac_study (patient_fk)",
    "CREATE TABLE rbac_series (id {int} PRIMARY KEY, source_pk {int} NOT NULL, study_fk {int} NOT NULL, \
     series_uid {key} NOT NULL, series_desc {text}, modality {text}, body_part {text}, station_name {text}, \
     institution_fk {int}, institution {text}, department {text}, sending_aet {text}, receiving_aet {text}, \
     access_control_ids {text}, rejection_state {int}, created_time {time}, updated_time {time}, \
     synced_at {instant} NOT NULL, deleted_at {instant}, UNIQUE (study_fk, series_uid), \
     FOREIGN KEY (study_fk) REFERENCES rbac_study (id), \
     FOREIGN KEY (institution_fk) REFERENCES rbac_institution (id))",
    "CREATE INDEX rbac_series_institution_fk ON rbac_series (institution_fk)",
    "CREATE TABLE sync_cursor (source_fk {int} NOT NULL, level {key} NOT NULL, updated_time {fine_time}, \
     load_pk {int}, moved_at {instant} NOT NULL, PRIMARY KEY (source_fk, level), \
     FOREIGN KEY (source_fk) REFERENCES rbac_source (id))",
    "CREATE TABLE sync_sweep (source_fk {int} NOT NULL, pass {key} NOT NULL, place {int} NOT NULL, \
     started {instant}, verified_since {instant}, PRIMARY KEY (source_fk, pass), \
     FOREIGN KEY (source_fk) REFERENCES rbac_source (id))",
    "CREATE TABLE sync_run (run_id {key} PRIMARY KEY, run_trigger {text} NOT NULL, mode {text} NOT NULL, \
     source {text} NOT NULL, dry_run {bool} NOT NULL, started {instant} NOT NULL, finished {instant} NOT NULL, \
     success {bool} NOT NULL, processed {int} NOT NULL, duration_ms {int} NOT NULL, levels {text} NOT NULL, error {text})",
    "CREATE INDEX sync_run_started ON sync_run (started)",
    "CREATE TABLE sync_control (name {key} PRIMARY KEY, value {text} NOT NULL)",
    "CREATE TABLE sync_lock (token {key} PRIMARY KEY, holder {text} NOT NULL, since {instant})",
];

/// Version 2: who asked for a run, and what else was changed by whom.
const VERSION_2: [&str; 2] = [
    "ALTER TABLE sync_run ADD COLUMN actor {text}",
    "CREATE TABLE sync_audit (change_id {key} PRIMARY KEY, at {instant} NOT NULL, actor {text} NOT NULL, \
     via {text} NOT NULL, action {text} NOT NULL, detail {text} NOT NULL)",
];

/// The table of the instance level. It is made when that level is first switched on, whatever the version, and
/// stays when it is switched off.
const INSTANCE_TABLE: &str = "rbac_instance";
const INSTANCES: &str = "CREATE TABLE rbac_instance (id {int} PRIMARY KEY, source_pk {int} NOT NULL, \
     series_fk {int} NOT NULL, instance_uid {key} NOT NULL, sop_class_uid {text}, instance_number {int}, \
     created_time {time}, updated_time {time}, synced_at {instant} NOT NULL, deleted_at {instant}, \
     UNIQUE (series_fk, instance_uid), FOREIGN KEY (series_fk) REFERENCES rbac_series (id))";

/// The first rows, beside the version. Only with the version the tables count as made.
const FIRST_ROWS: [&str; 2] =
    ["INSERT INTO sync_lock (token, holder) VALUES ('', '')", "INSERT INTO sync_sequence (next_id) VALUES (1)"];

/// The statements after `from` versions, up to the present one.
fn statements_after(from: usize) -> impl Iterator<Item = &'static str> {
    VERSIONS.into_iter().skip(from).flatten().copied()
}

/// The tables of a version; a table of somebody else is never touched.
fn tables_of(version: i64) -> Vec<&'static str> {
    let versions = usize::try_from(version).unwrap_or_default();
    let statements = VERSIONS.into_iter().take(versions).flatten();
    statements.filter_map(|statement| statement.strip_prefix("CREATE TABLE ")?.split(' ').next()).collect()
}

fn spell(dialect: Dialect, statement: &str) -> String {
    // A time of the source is kept to the millisecond; the cursor needs the source's full resolution.
    let types = match dialect {
        Dialect::Postgres => [
            ("{int}", "bigint"),
            ("{text}", "text"),
            ("{key}", "text"),
            ("{row_key}", ""),
            ("{bool}", "boolean"),
            ("{time}", "timestamp(3)"),
            ("{fine_time}", "timestamp(6)"),
            ("{instant}", "timestamptz(3)"),
        ],
        Dialect::Mysql => [
            ("{int}", "bigint"),
            // As long as texts of the archive can be joined to; a key has a length, the archive's.
            ("{text}", "text"),
            ("{key}", "varchar(255)"),
            // Replication finds rows by a primary key, and clusters insist on one.
            ("{row_key}", "row_no bigint AUTO_INCREMENT PRIMARY KEY, "),
            ("{bool}", "boolean"),
            ("{time}", "datetime(3)"),
            ("{fine_time}", "datetime(6)"),
            ("{instant}", "datetime(3)"),
        ],
        Dialect::Sqlite => [
            ("{int}", "INTEGER"),
            ("{text}", "TEXT"),
            ("{key}", "TEXT"),
            ("{row_key}", ""),
            ("{bool}", "INTEGER"),
            ("{time}", "TEXT"),
            ("{fine_time}", "TEXT"),
            ("{instant}", "TEXT"),
        ],
    };
    types.iter().fold(statement.to_owned(), |text, (brace, name)| text.replace(brace, name))
}

/// Which of these tables exist.
async fn existing(session: &mut Session, names: Vec<&str>) -> Result<Vec<String>, Error> {
    let sql = match session.dialect() {
        Dialect::Postgres => "SELECT name FROM unnest($1::text[]) name WHERE to_regclass(name) IS NOT NULL",
        Dialect::Mysql => {
            "SELECT table_name FROM information_schema.tables WHERE table_schema = database() AND table_name IN ($1)"
        }
        Dialect::Sqlite => {
            "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name IN (SELECT value FROM json_each($1))"
        }
    };
    session.fetch(&sql.into(), &[Param::Texts(names)], |cells| cells.name(0)).await
}

/// What stands in the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Installed {
    /// No table of this program.
    Nothing,
    /// Some tables, and no row: an installation was interrupted, where DDL is not transactional.
    Partly,
    /// The tables of an earlier version, with the same rows of the archive; see [`install`].
    Older(i64),
    /// The tables that this program reads and writes.
    Current,
}

impl Installed {
    /// Whether the tables of the archive's rows are there.
    pub(super) fn has_rows(self) -> bool {
        matches!(self, Self::Older(_) | Self::Current)
    }
}

/// Looks which tables stand in the target.
///
/// # Errors
/// Tables of the same names that this program did not make, or a newer version; or the database failed.
pub(super) async fn look(session: &mut Session) -> Result<Installed, Error> {
    let permanent = |text: String| Error::new(Side::Target, Class::Permanent, text);
    let mut names = tables_of(VERSION);
    names.push(INSTANCE_TABLE);
    let tables = existing(session, names).await?;
    // It is the first table that is made, so what stands beside it is this program's.
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
        Some(&version) if (1..=VERSION).contains(&version) => {
            match tables_of(version).into_iter().find(|name| !tables.iter().any(|table| table == name)) {
                Some(missing) => {
                    Err(permanent(format!("its table {missing} is missing: restore the target from a backup")))
                }
                None if version == VERSION => Ok(Installed::Current),
                None => Ok(Installed::Older(version)),
            }
        }
        Some(version) if *version > VERSION => Err(permanent(format!(
            "its tables have version {version}, this program knows {VERSION}: install the newer rbac-sync again"
        ))),
        None if session.dialect() == Dialect::Mysql && !has_rows(session, &tables).await? => Ok(Installed::Partly),
        _ => Err(permanent("its table sync_schema is damaged: restore the target from a backup".to_owned())),
    }
}

/// Whether the table of the instance level is there.
///
/// # Errors
/// The database failed.
pub(super) async fn has_instances(session: &mut Session) -> Result<bool, Error> {
    Ok(!existing(session, vec![INSTANCE_TABLE]).await?.is_empty())
}

/// Makes the table of the instance level. The tables of this version must be there, that one must not.
///
/// # Errors
/// As [`may_create`].
pub(super) async fn make_instances(session: &mut Session) -> Result<(), Error> {
    may_create(session).await?;
    let statement = spell(session.dialect(), INSTANCES);
    match session.dialect() {
        Dialect::Mysql => stepwise::make_tables(session, &[statement]).await,
        Dialect::Postgres | Dialect::Sqlite => session.command(&statement).await,
    }
}

async fn has_rows(session: &mut Session, tables: &[String]) -> Result<bool, Error> {
    for table in tables {
        let sql = format!("SELECT 1 FROM {table} LIMIT 1");
        if !session.fetch(&sql.into(), &[], |cells| cells.key(0)).await?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
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
        // MySQL says it when the first table is made; before, a grant to a role cannot be told from none.
        Dialect::Mysql | Dialect::Sqlite => return Ok(()),
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

/// Whether this login may change the rows of the tables that are there.
///
/// # Errors
/// It may not; or the database failed.
pub(super) async fn may_write(session: &mut Session) -> Result<(), Error> {
    // As in `may_create`, MySQL cannot say it; of SQLite the file says it.
    if session.dialect() != Dialect::Postgres {
        return Ok(());
    }
    let mut names = tables_of(VERSION);
    names.push(INSTANCE_TABLE);
    // Of a table that is not there the answer is null. Several privileges in one question would be "any of them".
    let sql = "SELECT name FROM unnest($1::text[]) name WHERE NOT (has_table_privilege(to_regclass(name), 'SELECT') \
               AND has_table_privilege(to_regclass(name), 'INSERT') \
               AND has_table_privilege(to_regclass(name), 'UPDATE') \
               AND has_table_privilege(to_regclass(name), 'DELETE'))";
    let closed = session.fetch(&sql.into(), &[Param::Texts(names)], |cells| cells.name(0)).await?;
    if closed.is_empty() {
        return Ok(());
    }
    let names = closed.join(", ");
    let text = format!("the login may not write its tables: GRANT SELECT, INSERT, UPDATE, DELETE ON {names} to it");
    Err(Error::new(Side::Target, Class::Permanent, text))
}

/// Makes the tables if there are none, or what is missing after an interruption, and brings older ones up
/// to date. Where DDL is not transactional every step can be repeated, and the version comes last.
///
/// # Errors
/// As [`look`], [`may_create`].
pub(super) async fn install(session: &mut Session) -> Result<(), Error> {
    let from = match look(session).await? {
        Installed::Current => return Ok(()),
        Installed::Nothing | Installed::Partly => 0,
        Installed::Older(version) => version,
    };
    may_create(session).await?;
    let dialect = session.dialect();
    let steps = statements_after(usize::try_from(from).unwrap_or_default()).map(|step| spell(dialect, step));
    if dialect == Dialect::Mysql {
        stepwise::make_tables(session, &steps.collect::<Vec<_>>()).await?;
        session.begin_write().await?;
    } else {
        session.begin_write().await?;
        for step in steps {
            session.command(&step).await?;
        }
    }
    if from == 0 {
        for statement in FIRST_ROWS {
            session.command(statement).await?;
        }
        session.command(&format!("INSERT INTO sync_schema (version) VALUES ({VERSION})")).await?;
    } else {
        session.command(&format!("UPDATE sync_schema SET version = {VERSION}")).await?;
        tracing::info!(from, to = VERSION, "the target's tables are upgraded to version {VERSION}");
    }
    session.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_name_in_every_dialect() {
        for dialect in [Dialect::Postgres, Dialect::Mysql, Dialect::Sqlite] {
            for statement in statements_after(0).chain([INSTANCES]) {
                assert!(!spell(dialect, statement).contains('{'), "{statement}");
            }
        }
    }

    /// MySQL takes a key beside a column and does not make it.
    #[test]
    fn every_foreign_key_stands_behind_the_columns() {
        for statement in statements_after(0).chain([INSTANCES]) {
            let keys = statement.matches("FOREIGN KEY").count();
            assert_eq!(statement.matches("REFERENCES").count(), keys, "{statement}");
        }
    }

    #[test]
    fn the_first_table_made_is_the_one_that_tells_whose_they_are() {
        assert_eq!(tables_of(1).first(), Some(&"sync_schema"));
    }

    #[test]
    fn every_table_has_a_prefix_of_this_program() {
        let all = tables_of(VERSION);
        assert!(all.iter().all(|table| table.starts_with("rbac_") || table.starts_with("sync_")), "{all:?}");
        assert_eq!(all.len(), tables_of(1).len() + 1);
    }

    #[tokio::test]
    async fn tables_of_version_1_are_upgraded_once_and_keep_their_rows() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("t.db").display());
        let endpoint = crate::config::Endpoint { dialect: Dialect::Sqlite, url, password: None };
        let mut session = Session::connect(&endpoint, Side::Target, crate::database::Access::ReadWrite).await.unwrap();
        for statement in VERSION_1 {
            session.command(&spell(Dialect::Sqlite, statement)).await.unwrap();
        }
        let run = "INSERT INTO sync_run (run_id, run_trigger, mode, source, dry_run, started, finished, success, \
                   processed, duration_ms, levels) VALUES ('r', 'api', 'full', 's', 0, '', '', 1, 0, 0, '{}')";
        for row in [FIRST_ROWS[0], FIRST_ROWS[1], "INSERT INTO sync_schema (version) VALUES (1)", run] {
            session.command(row).await.unwrap();
        }
        assert_eq!(look(&mut session).await.unwrap(), Installed::Older(1));
        install(&mut session).await.unwrap();
        assert_eq!(look(&mut session).await.unwrap(), Installed::Current);
        install(&mut session).await.unwrap();
        let sql = "SELECT run_id FROM sync_run WHERE actor IS NULL".into();
        assert_eq!(session.fetch(&sql, &[], |cells| cells.name(0)).await.unwrap(), ["r"]);
    }
}
