//! The statements that read an archive, written for the columns that it has. Pure.

use std::sync::Arc;

use super::instances::Statements;
use super::shape::Shape;
use super::{LEVELS, Level, NameForm};
use crate::config::Dialect;
use crate::database::{any, bigint};

/// Every statement, with `$1`-style parameters.
#[derive(Debug)]
pub(super) struct Queries {
    pub(super) clock: Arc<str>,
    pub(super) horizon: Option<Arc<str>>,
    /// Whether an index begins with `updated_time`, by level.
    pub(super) indexed: [bool; LEVELS],
    pub(super) names: NameForm,
    pub(super) newest: [Arc<str>; LEVELS],
    pub(super) changed: [Arc<str>; LEVELS],
    pub(super) newest_pk: [Arc<str>; LEVELS],
    pub(super) added: [Arc<str>; LEVELS],
    pub(super) keys_after: [Arc<str>; 3],
    pub(super) patients: Arc<str>,
    pub(super) identifiers: Arc<str>,
    pub(super) merges: Arc<str>,
    pub(super) merged_into: Arc<str>,
    pub(super) studies: Arc<str>,
    pub(super) study_ids: Option<Arc<str>>,
    pub(super) studies_of_patients: Arc<str>,
    pub(super) studies_by_uid: Arc<str>,
    pub(super) series: Arc<str>,
    pub(super) series_ids: Option<Arc<str>>,
    pub(super) series_alive: Arc<str>,
    pub(super) patients_alive: Arc<str>,
    pub(super) access_studies: Arc<str>,
    pub(super) access_study_ids: Option<Arc<str>>,
    pub(super) access_series: Arc<str>,
    pub(super) access_series_ids: Option<Arc<str>>,
    pub(super) instances: Statements,
}

impl Queries {
    /// Writes the statements for one archive.
    pub(super) fn new(dialect: Dialect, shape: &Shape) -> Self {
        let write = Writer { dialect, shape };
        let levels = Level::ALL;
        Self {
            clock: write.clock(),
            horizon: write.horizon(),
            indexed: levels.map(|level| shape.column(level.table(), "updated_time").is_some_and(|facts| facts.indexed)),
            names: if shape.has("person_name", "alphabetic_name") { NameForm::Groups } else { NameForm::Components },
            newest: levels
                .map(|level| format!("SELECT max(updated_time) FROM {} WHERE updated_time <= $1", level.table()).into()),
            changed: levels.map(|level| write.changed(level)),
            newest_pk: levels.map(|level| format!("SELECT max(pk) FROM {}", level.table()).into()),
            added: levels.map(|level| {
                let (table, study) = (level.table(), look_at(level));
                format!("SELECT pk, {study} FROM {table} WHERE pk > $1 ORDER BY pk LIMIT $2").into()
            }),
            keys_after: [("''", "patient"), ("study_iuid", "study"), ("series_iuid", "series")]
                .map(|(uid, table)| format!("SELECT pk, {uid} FROM {table} WHERE pk > $1 ORDER BY pk LIMIT $2").into()),
            patients: write.patients(),
            identifiers: write.identifiers(),
            merges: format!("SELECT pk, merge_fk FROM patient WHERE {} AND merge_fk IS NOT NULL", write.any("pk"))
                .into(),
            merged_into: format!("SELECT pk FROM patient WHERE {}", write.any("merge_fk")).into(),
            studies: write.studies(),
            study_ids: write.access_control_ids("study"),
            studies_of_patients: format!("SELECT pk, study_iuid FROM study WHERE {} ORDER BY pk", write.any("patient_fk"))
                .into(),
            studies_by_uid: format!(
                "SELECT study_iuid, pk, {} FROM study s WHERE {}",
                write.flag("s", "study", "study_deleting"),
                write.any("study_iuid")
            )
            .into(),
            series: write.series(),
            series_ids: write.access_control_ids("series"),
            series_alive: format!(
                "SELECT s.study_iuid, e.series_iuid FROM series e JOIN study s ON s.pk = e.study_fk WHERE {} AND {} = 0",
                write.any("s.study_iuid"),
                write.flag("s", "study", "study_deleting"),
            )
            .into(),
            patients_alive: format!("SELECT pk FROM patient WHERE {}", write.any("pk")).into(),
            access_studies: format!(
                "SELECT s.pk, {}, {} FROM study s WHERE s.pk > $1 AND s.pk <= $2",
                write.flag("s", "study", "study_deleting"),
                write.ids_column("s", "study"),
            )
            .into(),
            access_study_ids: write.access_lists(
                "study_access_control_id",
                "SELECT a.study_fk, a.access_control_id FROM study_access_control_id a \
                 WHERE a.study_fk > $1 AND a.study_fk <= $2 AND a.access_control_id IS NOT NULL",
            ),
            access_series: format!(
                "SELECT e.study_fk, e.pk, {} FROM series e WHERE e.study_fk > $1 AND e.study_fk <= $2",
                write.ids_column("e", "series"),
            )
            .into(),
            access_series_ids: write.access_lists(
                "series_access_control_id",
                "SELECT a.series_fk, a.access_control_id FROM series e \
                 JOIN series_access_control_id a ON a.series_fk = e.pk \
                 WHERE e.study_fk > $1 AND e.study_fk <= $2 AND a.access_control_id IS NOT NULL",
            ),
            instances: Statements::new(&write),
        }
    }
}

/// The column that names what to look at again when a row of this level changes.
fn look_at(level: Level) -> &'static str {
    match level {
        Level::Patient | Level::Study => "pk",
        Level::Series => "study_fk",
        Level::Instance => "series_fk",
    }
}

pub(super) struct Writer<'a> {
    dialect: Dialect,
    pub(super) shape: &'a Shape,
}

impl Writer<'_> {
    pub(super) fn any(&self, column: &str) -> String {
        any(self.dialect, column)
    }

    fn text(&self, alias: &str, table: &str, column: &str) -> String {
        if self.shape.has(table, column) { format!("{alias}.{column}") } else { "NULL".to_owned() }
    }

    /// `expression` as a whole number.
    pub(super) fn bigint(&self, expression: &str) -> String {
        bigint(self.dialect, expression)
    }

    pub(super) fn int(&self, alias: &str, table: &str, column: &str) -> String {
        bigint(self.dialect, &self.text(alias, table, column))
    }

    pub(super) fn time(&self, alias: &str, table: &str, column: &str) -> String {
        match self.dialect {
            Dialect::Postgres => format!("CAST({} AS timestamp)", self.text(alias, table, column)),
            Dialect::Mysql | Dialect::Sqlite => self.text(alias, table, column),
        }
    }

    /// 1 or 0; 0 where the archive has no such column.
    pub(super) fn flag(&self, alias: &str, table: &str, column: &str) -> String {
        let value = match self.shape.column(table, column) {
            None => "0".to_owned(),
            Some(facts) if facts.kind == "boolean" => format!("CASE WHEN {alias}.{column} THEN 1 ELSE 0 END"),
            Some(_) => format!("CASE WHEN {alias}.{column} <> 0 THEN 1 ELSE 0 END"),
        };
        bigint(self.dialect, &value)
    }

    fn clock(&self) -> Arc<str> {
        match self.dialect {
            Dialect::Postgres => "SELECT clock_timestamp() AT TIME ZONE 'UTC'",
            Dialect::Mysql => "SELECT UTC_TIMESTAMP(6)",
            Dialect::Sqlite => "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')",
        }
        .into()
    }

    /// Which transactions are not visible; the old names of these functions stand in every release.
    fn horizon(&self) -> Option<Arc<str>> {
        match self.dialect {
            Dialect::Postgres => {
                Some("SELECT txid_snapshot_xmin(s), txid_snapshot_xmax(s) FROM txid_current_snapshot() s".into())
            }
            Dialect::Mysql | Dialect::Sqlite => None,
        }
    }

    /// The column of access control IDs, unless a child table holds them.
    fn ids_column(&self, alias: &str, table: &str) -> String {
        if self.shape.has(&format!("{table}_access_control_id"), &format!("{table}_fk")) {
            "NULL".to_owned()
        } else {
            self.text(alias, table, "access_control_id")
        }
    }

    /// A statement on a child table of access control IDs, where the archive has it.
    fn access_lists(&self, table: &str, sql: &str) -> Option<Arc<str>> {
        self.shape.has(table, "access_control_id").then(|| sql.into())
    }

    fn changed(&self, level: Level) -> Arc<str> {
        let (table, study) = (level.table(), look_at(level));
        // The first condition alone lets an index on updated_time be used.
        format!(
            "SELECT pk, {study}, updated_time FROM {table} \
             WHERE updated_time >= $1 AND (updated_time > $1 OR pk > $2) ORDER BY updated_time, pk LIMIT $3"
        )
        .into()
    }

    /// The columns of a person name, behind a comma.
    fn names(&self, alias: &str) -> String {
        let columns: Vec<String> = if self.shape.has("person_name", "alphabetic_name") {
            ["alphabetic_name", "ideographic_name", "phonetic_name"].map(|c| self.text(alias, "person_name", c)).into()
        } else {
            let components = ["family_name", "given_name", "middle_name", "name_prefix", "name_suffix"];
            ["", "i_", "p_"]
                .iter()
                .flat_map(|group| components.map(|component| format!("{group}{component}")))
                .map(|column| self.text(alias, "person_name", &column))
                .collect()
        };
        columns.join(", ")
    }

    fn patients(&self) -> Arc<str> {
        format!(
            "SELECT p.pk, {merge}, p.pat_birthdate, p.pat_sex, {created}, {updated}, {names} \
             FROM patient p LEFT JOIN person_name n ON n.pk = p.pat_name_fk WHERE {any} ORDER BY p.pk",
            merge = self.int("p", "patient", "merge_fk"),
            created = self.time("p", "patient", "created_time"),
            updated = self.time("p", "patient", "updated_time"),
            names = self.names("n"),
            any = self.any("p.pk"),
        )
        .into()
    }

    /// `entity_id`, `entity_uid` of an issuer, and the join that they need.
    fn issuer(&self, alias: &str, table: &str, prefix: &str, foreign_key: &str) -> (String, String) {
        let (id, uid) = (format!("{prefix}entity_id"), format!("{prefix}entity_uid"));
        if self.shape.has(table, &id) || !self.shape.has(table, foreign_key) || !self.shape.has("issuer", "pk") {
            let columns = format!("{}, {}", self.text(alias, table, &id), self.text(alias, table, &uid));
            return (columns, String::new());
        }
        let columns = format!("{}, {}", self.text("u", "issuer", "entity_id"), self.text("u", "issuer", "entity_uid"));
        (columns, format!(" LEFT JOIN issuer u ON u.pk = {alias}.{foreign_key}"))
    }

    fn identifiers(&self) -> Arc<str> {
        let (issuer, issuer_join) = self.issuer("i", "patient_id", "", "issuer_fk");
        if self.shape.has("patient_id", "patient_fk") {
            format!(
                "SELECT i.patient_fk, i.pat_id, {issuer} FROM patient_id i{issuer_join} \
                 WHERE {} ORDER BY i.patient_fk, i.pk",
                self.any("i.patient_fk")
            )
        } else {
            format!(
                "SELECT p.pk, i.pat_id, {issuer} FROM patient p JOIN patient_id i ON i.pk = p.patient_id_fk{issuer_join} \
                 WHERE {} ORDER BY p.pk, i.pk",
                self.any("p.pk")
            )
        }
        .into()
    }

    fn studies(&self) -> Arc<str> {
        let (issuer, issuer_join) = self.issuer("s", "study", "accno_", "accno_issuer_fk");
        let (names, name_join) = if self.shape.has("study", "ref_phys_name_fk") {
            (self.names("n"), " LEFT JOIN person_name n ON n.pk = s.ref_phys_name_fk")
        } else {
            (self.names("n"), " LEFT JOIN person_name n ON 1 = 0")
        };
        format!(
            "SELECT s.pk, s.study_iuid, s.patient_fk, {deleting}, s.study_date, s.study_time, s.study_desc, \
             s.accession_no, {issuer}, {ids}, {rejection}, {created}, {updated}, {names} \
             FROM study s{name_join}{issuer_join} WHERE {any} ORDER BY s.pk",
            deleting = self.flag("s", "study", "study_deleting"),
            ids = self.ids_column("s", "study"),
            rejection = self.int("s", "study", "rejection_state"),
            created = self.time("s", "study", "created_time"),
            updated = self.time("s", "study", "updated_time"),
            any = self.any("s.pk"),
        )
        .into()
    }

    fn series(&self) -> Arc<str> {
        let has_code = self.shape.has("series", "inst_code_fk") && self.shape.has("code", "code_value");
        let (code, code_join) =
            if has_code { ("c.code_value", " LEFT JOIN code c ON c.pk = e.inst_code_fk") } else { ("NULL", "") };
        let sending = if self.shape.has("series", "sending_aet") { "sending_aet" } else { "src_aet" };
        format!(
            "SELECT e.pk, e.study_fk, e.series_iuid, e.series_desc, e.modality, e.body_part, e.station_name, \
             e.institution, e.department, {sending}, {receiving}, {ids}, {rejection}, {code}, {created}, {updated} \
             FROM series e{code_join} WHERE {any} ORDER BY e.study_fk, e.pk",
            sending = self.text("e", "series", sending),
            receiving = self.text("e", "series", "receiving_aet"),
            ids = self.ids_column("e", "series"),
            rejection = self.int("e", "series", "rejection_state"),
            created = self.time("e", "series", "created_time"),
            updated = self.time("e", "series", "updated_time"),
            any = self.any("e.study_fk"),
        )
        .into()
    }

    /// Access control IDs from the child table of `study` or `series`, by the pk of the study.
    fn access_control_ids(&self, owner: &str) -> Option<Arc<str>> {
        let (table, foreign_key) = (format!("{owner}_access_control_id"), format!("{owner}_fk"));
        if !self.shape.has(&table, &foreign_key) {
            return None;
        }
        Some(
            if owner == "study" {
                format!(
                    "SELECT a.study_fk, a.access_control_id FROM {table} a WHERE {} AND a.access_control_id IS NOT NULL",
                    self.any("a.study_fk")
                )
            } else {
                format!(
                    "SELECT a.series_fk, a.access_control_id FROM series e JOIN {table} a ON a.series_fk = e.pk \
                     WHERE {} AND a.access_control_id IS NOT NULL",
                    self.any("e.study_fk")
                )
            }
            .into(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::shape::tests::oldest;
    use super::*;

    #[test]
    fn an_old_archive_is_read_through_its_old_columns() {
        let mut shape = oldest();
        shape.add("series", "src_aet");
        shape.add("issuer", "pk");
        shape.add("issuer", "entity_id");
        let queries = Queries::new(Dialect::Postgres, &shape);
        assert!(queries.series.contains("e.src_aet, NULL,"), "{}", queries.series);
        assert!(queries.identifiers.contains("JOIN patient_id i ON i.pk = p.patient_id_fk"), "{}", queries.identifiers);
        assert!(queries.identifiers.contains("LEFT JOIN issuer u ON u.pk = i.issuer_fk"), "{}", queries.identifiers);
        assert!(queries.patients.contains("n.family_name"), "{}", queries.patients);
        assert!(queries.study_ids.is_none());
    }

    #[test]
    fn the_new_form_counts_where_both_exist() {
        let mut shape = oldest();
        for (table, column) in [
            ("person_name", "alphabetic_name"),
            ("patient_id", "patient_fk"),
            ("patient_id", "entity_id"),
            ("issuer", "pk"),
            ("study_access_control_id", "study_fk"),
            ("series", "src_aet"),
            ("series", "sending_aet"),
        ] {
            shape.add(table, column);
        }
        let queries = Queries::new(Dialect::Sqlite, &shape);
        assert!(queries.identifiers.contains("i.entity_id") && !queries.identifiers.contains("issuer u"));
        assert!(queries.identifiers.contains("i.patient_fk IN (SELECT value FROM json_each($1))"));
        assert!(queries.patients.contains("n.alphabetic_name") && !queries.patients.contains("family_name"));
        assert!(queries.studies.contains("NULL, CAST(NULL AS bigint)"), "{}", queries.studies);
        assert!(queries.series.contains("e.sending_aet") && !queries.series.contains("src_aet"));
        assert!(queries.study_ids.is_some());
    }
}
