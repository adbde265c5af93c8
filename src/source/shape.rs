//! What this archive's database really has: tables, columns, grants and indexes.
//!
//! There is no schema version to ask for, and upgrades leave old columns behind. Everything is decided
//! by the columns found; of an old and a new form that stand side by side the new one counts.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use super::Level;
use crate::config::Dialect;
use crate::database::{Class, Error, Param, Session, Side};

/// The tables that may be read.
const TABLES: [&str; 10] = [
    "patient",
    "patient_id",
    "person_name",
    "issuer",
    "study",
    "study_access_control_id",
    "series",
    "series_access_control_id",
    "code",
    INSTANCE,
];

/// The table that is read only where the instance level is switched on; otherwise it counts as not there.
const INSTANCE: &str = "instance";
const INSTANCE_REQUIRED: (&str, &[&str]) =
    (INSTANCE, &["pk", "series_fk", "sop_iuid", "sop_cuid", "inst_no", "updated_time"]);
const INSTANCE_OPTIONAL: [(&str, &[&str]); 2] = [(INSTANCE, &["created_time"]), ("series", &["inst_purge_state"])];

/// Columns without which this is no archive that can be read.
const REQUIRED: [(&str, &[&str]); 5] = [
    ("patient", &["pk", "updated_time", "merge_fk", "pat_name_fk", "pat_birthdate", "pat_sex"]),
    ("patient_id", &["pk", "pat_id"]),
    ("person_name", &["pk"]),
    (
        "study",
        &["pk", "study_iuid", "patient_fk", "updated_time", "study_date", "study_time", "study_desc", "accession_no"],
    ),
    (
        "series",
        &[
            "pk",
            "study_fk",
            "series_iuid",
            "updated_time",
            "series_desc",
            "modality",
            "institution",
            "department",
            "station_name",
            "body_part",
        ],
    ),
];

/// Columns that are read where they exist; of each group the first that exists.
const OPTIONAL: [(&str, &[&str]); 25] = [
    ("patient", &["created_time"]),
    ("patient_id", &["entity_id", "issuer_fk"]),
    ("patient_id", &["entity_uid", "issuer_fk"]),
    ("issuer", &["pk"]),
    ("issuer", &["entity_id"]),
    ("issuer", &["entity_uid"]),
    ("study", &["created_time"]),
    ("study", &["rejection_state"]),
    ("study", &["study_deleting"]),
    ("study", &["ref_phys_name_fk"]),
    ("study", &["accno_entity_id", "accno_issuer_fk"]),
    ("study", &["accno_entity_uid", "accno_issuer_fk"]),
    ("study_access_control_id", &["study_fk"]),
    ("study_access_control_id", &["access_control_id"]),
    ("series", &["created_time"]),
    ("series", &["rejection_state"]),
    ("series", &["sending_aet", "src_aet"]),
    ("series", &["receiving_aet"]),
    ("series", &["inst_code_fk"]),
    ("series_access_control_id", &["series_fk"]),
    ("series_access_control_id", &["access_control_id"]),
    ("code", &["pk"]),
    ("code", &["code_value"]),
    ("person_name", &["ideographic_name", "i_family_name"]),
    ("person_name", &["phonetic_name", "p_family_name"]),
];

/// Columns of which the first that exists is needed.
const EITHER: [[(&str, &str); 2]; 3] = [
    [("patient_id", "patient_fk"), ("patient", "patient_id_fk")],
    [("person_name", "alphabetic_name"), ("person_name", "family_name")],
    [("study_access_control_id", "access_control_id"), ("study", "access_control_id")],
];

/// One column as the database describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ColumnFacts {
    /// The type's name without length.
    pub(super) kind: String,
    /// Whether this login may read it.
    pub(super) readable: bool,
    /// Whether an index begins with it.
    pub(super) indexed: bool,
}

/// What was found, by table and column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    /// Whether the instance level is switched on.
    instances: bool,
    tables: BTreeMap<String, BTreeMap<String, ColumnFacts>>,
}

static POSTGRES: LazyLock<Arc<str>> = LazyLock::new(|| {
    "SELECT c.relname::text, a.attname::text, format_type(a.atttypid, NULL), \
     CAST(has_column_privilege(c.oid, a.attnum, 'SELECT')::int AS bigint), \
     CAST(EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL \
     AND i.indkey[0] = a.attnum)::int AS bigint) \
     FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid \
     WHERE c.oid IN (SELECT to_regclass(name) FROM unnest($1::text[]) name) AND a.attnum > 0 AND NOT a.attisdropped"
        .into()
});

/// Only what the login may read is in this catalogue.
static MYSQL: LazyLock<Arc<str>> = LazyLock::new(|| {
    "SELECT c.table_name, c.column_name, c.data_type, \
     CASE WHEN find_in_set('select', c.privileges) > 0 THEN 1 ELSE 0 END, \
     CASE WHEN i.column_name IS NULL THEN 0 ELSE 1 END \
     FROM information_schema.columns c LEFT JOIN (SELECT DISTINCT s.table_name, s.column_name \
     FROM information_schema.statistics s WHERE s.table_schema = database() AND s.table_name IN ($1) \
     AND s.seq_in_index = 1) i ON i.table_name = c.table_name AND i.column_name = c.column_name \
     WHERE c.table_schema = database() AND c.table_name IN ($1)"
        .into()
});

static SQLITE: LazyLock<Arc<str>> = LazyLock::new(|| {
    "SELECT t.value, c.name, lower(c.type), 1, EXISTS (SELECT 1 FROM pragma_index_list(t.value) l \
     JOIN pragma_index_info(l.name) i WHERE i.seqno = 0 AND i.name = c.name AND l.partial = 0) \
     FROM json_each($1) t JOIN pragma_table_info(t.value) c"
        .into()
});

impl Shape {
    /// Asks the database; about table `instance` only where that level is switched on.
    pub(super) async fn read(session: &mut Session, instances: bool) -> Result<Self, Error> {
        let sql = match session.dialect() {
            Dialect::Postgres => &POSTGRES,
            Dialect::Mysql => &MYSQL,
            Dialect::Sqlite => &SQLITE,
        };
        let tables = TABLES.into_iter().filter(|table| instances || *table != INSTANCE).collect();
        let rows = session
            .fetch(sql, &[Param::Texts(tables)], |cells| {
                let facts = ColumnFacts { kind: cells.name(2)?, readable: cells.flag(3)?, indexed: cells.flag(4)? };
                Ok((cells.name(0)?, cells.name(1)?, facts))
            })
            .await?;
        let mut shape = Self { instances, ..Self::default() };
        for (table, column, facts) in rows {
            shape.tables.entry(table).or_default().insert(column, facts);
        }
        if !session.sees_all_tables().await? {
            return Err(shape.hidden());
        }
        shape.demand()?;
        Ok(shape)
    }

    /// What is known of a column; `None`: this archive has no such column.
    pub(super) fn column(&self, table: &str, column: &str) -> Option<&ColumnFacts> {
        self.tables.get(table)?.get(column)
    }

    /// Whether this archive has the column.
    pub(super) fn has(&self, table: &str, column: &str) -> bool {
        self.column(table, column).is_some()
    }

    fn demand(&self) -> Result<(), Error> {
        let absent = self.absent();
        let denied = self.denied();
        if absent.is_empty() && denied.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        if !absent.is_empty() {
            text.push_str(&format!(
                "this does not look like a dcm4chee archive, or the login may not use its schema: missing {}",
                absent.join(", ")
            ));
        }
        if !denied.is_empty() {
            let separator = if text.is_empty() { "" } else { "; " };
            text.push_str(&format!(
                "{separator}the login may not read {}: GRANT SELECT on it to the login of rbac-sync",
                denied.join(", ")
            ));
        }
        Err(Error::new(Side::Source, Class::Permanent, text))
    }

    /// The error where the catalogue does not show what the login may not read: a table or column that it
    /// hides would pass for one that this archive does not have, and access control IDs would be lost.
    fn hidden(&self) -> Error {
        let absent = self.absent();
        let missing =
            if absent.is_empty() { String::new() } else { format!(" (it does not see {})", absent.join(", ")) };
        let text = format!(
            "the login may read a part of the archive's database only{missing}, and from what it may not read nobody \
             can tell what is not there: GRANT SELECT ON the_database.* to the login of rbac-sync"
        );
        Error::new(Side::Source, Class::Permanent, text)
    }

    /// Columns without which the rows that are wanted cannot be read.
    fn required(&self) -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
        REQUIRED.into_iter().chain(self.instances.then_some(INSTANCE_REQUIRED))
    }

    /// Tables and columns that are needed and not there.
    fn absent(&self) -> Vec<String> {
        let mut absent = Vec::new();
        for (table, columns) in self.required() {
            if self.tables.contains_key(table) {
                let missing = columns.iter().filter(|column| !self.has(table, column));
                absent.extend(missing.map(|column| format!("column {table}.{column}")));
            } else {
                absent.push(format!("table {table}"));
            }
        }
        for alternatives in EITHER {
            if !alternatives.iter().any(|(table, column)| self.has(table, column)) {
                let names = alternatives.map(|(table, column)| format!("{table}.{column}"));
                absent.push(format!("column {}", names.join(" or ")));
            }
        }
        absent
    }

    /// Tables, or columns of tables that can be read in part, that would be read and may not be.
    fn denied(&self) -> Vec<String> {
        let of_instances = INSTANCE_OPTIONAL.iter().filter(|_| self.instances);
        let optional = OPTIONAL.iter().chain(of_instances).filter_map(|(table, columns)| {
            columns.iter().find(|column| self.has(table, column)).map(|column| (*table, *column))
        });
        let either = EITHER.iter().filter_map(|pair| pair.iter().find(|(table, column)| self.has(table, column)));
        let required = self.required().flat_map(|(table, columns)| columns.iter().map(move |column| (table, *column)));
        let unreadable =
            |(table, column): &(&str, &str)| self.column(table, column).is_some_and(|facts| !facts.readable);
        let mut denied: Vec<String> = required
            .chain(optional)
            .chain(either.copied())
            .filter(unreadable)
            .map(|(table, column)| {
                let whole = self.tables.get(table).is_some_and(|columns| columns.values().all(|facts| !facts.readable));
                if whole { format!("table {table}") } else { format!("column {table}.{column}") }
            })
            .collect();
        denied.sort();
        denied.dedup();
        denied
    }

    /// What was decided by the columns found, for people.
    pub(super) fn findings(&self) -> Vec<String> {
        let pick = |what: &str, forms: &[(&str, &str, &str)], otherwise: &str| {
            let form = forms.iter().find(|(table, column, _)| self.has(table, column));
            format!("{what}: {}", form.map_or(otherwise, |(_, _, text)| *text))
        };
        let mut findings = vec![
            pick("person names", &[("person_name", "alphabetic_name", "three groups")], "five components a group"),
            pick(
                "patient IDs",
                &[("patient_id", "patient_fk", "several a patient (patient_id.patient_fk)")],
                "one a patient (patient.patient_id_fk)",
            ),
            pick("issuers", &[("patient_id", "entity_id", "in the row")], "table issuer"),
            pick(
                "access control IDs of studies",
                &[("study_access_control_id", "study_fk", "table study_access_control_id")],
                "column study.access_control_id",
            ),
            pick(
                "access control IDs of series",
                &[
                    ("series_access_control_id", "series_fk", "table series_access_control_id"),
                    ("series", "access_control_id", "column series.access_control_id"),
                ],
                "none",
            ),
            pick("studies being deleted", &[("study", "study_deleting", "study.study_deleting")], "not marked"),
        ];
        if self.instances {
            let purged = [("series", "inst_purge_state", "series.inst_purge_state")];
            findings.push(pick("series purged to metadata", &purged, "not marked"));
        }
        findings
    }

    /// Indexes that would make a delta cheap and are not there.
    pub(super) fn advice(&self, dialect: Dialect) -> Vec<String> {
        // Neither form keeps the archive from writing meanwhile.
        let (concurrently, online) = match dialect {
            Dialect::Postgres => (" CONCURRENTLY", ""),
            Dialect::Mysql => ("", " ALGORITHM=INPLACE LOCK=NONE"),
            Dialect::Sqlite => ("", ""),
        };
        Level::mirrored(self.instances)
            .iter()
            .map(|level| level.table())
            .filter(|table| self.column(table, "updated_time").is_some_and(|facts| !facts.indexed))
            .map(|table| {
                format!(
                    "no index begins with {table}.updated_time: looking for changed rows scans the table, within \
                     scan_percent; this would make it cheap, for about 30 MB a million rows: \
                     CREATE INDEX{concurrently} {table}_updated_time ON {table} (updated_time, pk){online};"
                )
            })
            .collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn facts(kind: &str) -> ColumnFacts {
        ColumnFacts { kind: kind.to_owned(), readable: true, indexed: false }
    }

    /// A shape with the columns that the oldest supported archive has.
    pub(in crate::source) fn oldest() -> Shape {
        let mut shape = Shape::default();
        for (table, columns) in REQUIRED {
            let columns = columns.iter().map(|column| ((*column).to_owned(), facts("character varying")));
            shape.tables.insert(table.to_owned(), columns.collect());
        }
        shape.add("patient", "patient_id_fk");
        shape.add("person_name", "family_name");
        shape.add("study", "access_control_id");
        shape.add("patient_id", "issuer_fk");
        shape
    }

    impl Shape {
        pub(in crate::source) fn add(&mut self, table: &str, column: &str) {
            self.tables.entry(table.to_owned()).or_default().insert(column.to_owned(), facts("character varying"));
        }
    }

    #[test]
    fn the_oldest_archive_is_enough() {
        oldest().demand().unwrap();
    }

    #[test]
    fn table_instance_is_needed_only_where_that_level_is_switched_on() {
        let mut shape = Shape { instances: true, ..oldest() };
        assert!(shape.demand().unwrap_err().to_string().contains("missing table instance"));
        for column in INSTANCE_REQUIRED.1 {
            shape.add(INSTANCE, column);
        }
        shape.demand().unwrap();
        assert!(shape.advice(Dialect::Postgres).iter().any(|line| line.contains("instance.updated_time")));
    }

    #[test]
    fn everything_missing_is_named_at_once() {
        let mut shape = oldest();
        shape.tables.remove("series");
        shape.tables.get_mut("study").unwrap().remove("access_control_id");
        let text = shape.demand().unwrap_err().to_string();
        assert!(text.contains("table series"), "{text}");
        assert!(text.contains("column study_access_control_id.access_control_id or study.access_control_id"), "{text}");
    }

    #[test]
    fn an_optional_table_that_may_not_be_read_is_an_error_not_an_absence() {
        let mut shape = oldest();
        shape.add("study_access_control_id", "study_fk");
        shape.add("study_access_control_id", "access_control_id");
        for facts in shape.tables.get_mut("study_access_control_id").unwrap().values_mut() {
            facts.readable = false;
        }
        let text = shape.demand().unwrap_err().to_string();
        assert!(text.contains("may not read table study_access_control_id:"), "{text}");
    }

    #[test]
    fn an_old_column_beside_its_new_form_needs_no_grant() {
        let mut shape = oldest();
        shape.add("series", "sending_aet");
        shape.add("series", "src_aet");
        shape.tables.get_mut("series").unwrap().get_mut("src_aet").unwrap().readable = false;
        shape.demand().unwrap();
    }
}
