//! The judge: what every resource table must hold, computed from the raw tables of an archive.
//!
//! Written against the description of the tables, independent of the program: nothing of its library is
//! used. The tables are read whole, column by column as far as they exist.

use std::collections::{BTreeMap, BTreeSet};

use super::db::{Cells, Db};
use super::shape::NAME_COLUMNS;

/// Column to value, `None` for NULL.
pub(crate) type Values = BTreeMap<&'static str, Option<String>>;

/// A patient's identifiers: (`patient_id`, `issuer`).
pub(crate) type Identifiers = BTreeSet<(Option<String>, Option<String>)>;

/// The live rows of each table by their natural keys; keys of parents stand in for `_fk` columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Name to code; others may remain from before.
    pub(crate) institutions: BTreeMap<String, String>,
    /// By `source_pk`.
    pub(crate) patients: BTreeMap<i64, Values>,
    /// By `source_pk` of the patient.
    pub(crate) identifiers: BTreeMap<i64, Identifiers>,
    /// By `study_uid`.
    pub(crate) studies: BTreeMap<String, Values>,
    /// By `study_uid` and `series_uid`.
    pub(crate) series: BTreeMap<(String, String), Values>,
    /// By `study_uid`, `series_uid` and `instance_uid`; none: they are not looked at.
    pub(crate) instances: Option<BTreeMap<(String, String, String), Values>>,
    /// Series whose instances are purged to metadata: absent rows are not deleted.
    pub(crate) purged: BTreeSet<(String, String)>,
}

/// The raw tables, rows by primary key.
struct Raw {
    tables: BTreeMap<&'static str, BTreeMap<i64, Cells>>,
    /// By level: children of a row in the table of access control IDs, where there is one.
    access: BTreeMap<&'static str, Option<BTreeMap<i64, Vec<String>>>>,
}

impl Raw {
    async fn read(db: &mut Db) -> Self {
        let mut tables = BTreeMap::new();
        for name in ["patient", "patient_id", "person_name", "study", "series", "issuer", "code", "instance"] {
            let rows = db.table(name).await;
            tables.insert(name, rows.into_iter().map(|row| (key(&row, "pk").expect("a primary key"), row)).collect());
        }
        let known = db.tables().await;
        let mut access = BTreeMap::new();
        for (level, table, parent) in
            [("study", "study_access_control_id", "study_fk"), ("series", "series_access_control_id", "series_fk")]
        {
            let mut children: BTreeMap<i64, Vec<String>> = BTreeMap::new();
            for row in db.table(table).await {
                let id = row["access_control_id"].clone().unwrap_or_default();
                children.entry(key(&row, parent).expect("a parent")).or_default().push(id);
            }
            access.insert(level, known.contains(table).then_some(children));
        }
        Self { tables, access }
    }

    fn table(&self, name: &str) -> &BTreeMap<i64, Cells> {
        &self.tables[name]
    }

    /// The row that a key points to.
    fn follow(&self, row: &Cells, column: &str, table: &str) -> Option<&Cells> {
        self.table(table).get(&key(row, column)?)
    }

    fn access_ids(&self, level: &'static str, pk: i64, row: &Cells) -> Option<String> {
        let ids: Vec<String> = match &self.access[level] {
            Some(children) => children.get(&pk).cloned().unwrap_or_default(),
            None => text(row, "access_control_id").unwrap_or_default().split('\\').map(str::to_owned).collect(),
        };
        joined(ids.into_iter().filter_map(present))
    }

    /// Entity ID, else UID: in the row itself, or before 5.26 in the issuer that it points to.
    fn issuer(&self, row: &Cells, prefix: &str, link: &str) -> Option<String> {
        let of = |row: &Cells, prefix: &str| {
            text(row, &format!("{prefix}entity_id")).or_else(|| text(row, &format!("{prefix}entity_uid")))
        };
        of(row, prefix).or_else(|| of(self.follow(row, link, "issuer")?, ""))
    }

    fn name(&self, row: &Cells, link: &str) -> Option<String> {
        let name = self.follow(row, link, "person_name")?;
        let groups = ["alphabetic_name", "ideographic_name", "phonetic_name"].into_iter().zip(NAME_COLUMNS);
        groups
            .map(|(group, components)| {
                if name.contains_key(group) {
                    return text(name, group).unwrap_or_default();
                }
                components.map(|component| text(name, component).unwrap_or_default()).join("^")
            })
            .map(|group| group.trim_end_matches('^').to_owned())
            .find(|group| !group.is_empty())
    }

    /// The identifiers of each patient in the order of their keys.
    fn identifiers(&self) -> BTreeMap<i64, Vec<&Cells>> {
        let mut owned: BTreeMap<i64, Vec<&Cells>> = BTreeMap::new();
        for id in self.table("patient_id").values() {
            if let Some(owner) = key(id, "patient_fk") {
                owned.entry(owner).or_default().push(id);
            }
        }
        for (pk, patient) in self.table("patient") {
            let id = self.follow(patient, "patient_id_fk", "patient_id");
            // Beside the newer link the older one is a leftover of an upgrade.
            if let Some(id) = id.filter(|id| !id.contains_key("patient_fk")) {
                owned.entry(*pk).or_default().push(id);
            }
        }
        owned
    }

    /// The end of a patient's chain of merges; of a circle the lowest key.
    fn survivor(&self, patient: i64) -> i64 {
        let next = |pk: i64| self.table("patient").get(&pk).and_then(|row| key(row, "merge_fk"));
        let mut path = vec![patient];
        while let Some(into) = next(*path.last().expect("never empty")) {
            if let Some(start) = path.iter().position(|known| *known == into) {
                return *path[start..].iter().min().expect("a circle has members");
            }
            path.push(into);
        }
        *path.last().expect("never empty")
    }
}

impl Expected {
    /// Reads the archive and computes.
    pub(crate) async fn of(db: &mut Db) -> Self {
        let raw = Raw::read(db).await;
        let mut expected = Self::default();
        expected.add_patients(&raw);
        let live = expected.add_studies(&raw);
        let series = expected.add_series(&raw, &live);
        expected.add_instances(&raw, &series);
        expected
    }

    fn add_patients(&mut self, raw: &Raw) {
        let identifiers = raw.identifiers();
        for (&pk, row) in raw.table("patient") {
            let ids = identifiers.get(&pk).map_or(&[][..], Vec::as_slice);
            let both = |id: &&Cells| (text(id, "pat_id"), raw.issuer(id, "", "issuer_fk"));
            let (patient_id, issuer) = ids.first().map(both).unwrap_or_default();
            let survivor = raw.survivor(pk);
            let values = Values::from([
                ("patient_id", patient_id),
                ("issuer", issuer),
                ("patient_name", raw.name(row, "pat_name_fk")),
                ("birth_date", text(row, "pat_birthdate")),
                ("sex", text(row, "pat_sex")),
                ("merged_into_fk", (survivor != pk).then(|| survivor.to_string())),
                ("created_time", time(row, "created_time")),
                ("updated_time", time(row, "updated_time")),
            ]);
            self.patients.insert(pk, values);
            self.identifiers.insert(pk, ids.iter().map(both).collect());
        }
    }

    /// Gives back the UIDs of the live studies by their keys.
    fn add_studies(&mut self, raw: &Raw) -> BTreeMap<i64, String> {
        let mut series: BTreeMap<i64, Vec<&Cells>> = BTreeMap::new();
        for row in raw.table("series").values() {
            series.entry(key(row, "study_fk").expect("series.study_fk")).or_default().push(row);
        }
        let mut live = BTreeMap::new();
        for (&pk, row) in raw.table("study") {
            if is_true(row, "study_deleting") {
                continue;
            }
            let uid = row["study_iuid"].clone().expect("a UID");
            let children = series.get(&pk).map_or(&[][..], Vec::as_slice);
            let counted = children.iter().filter(|series| text(series, "rejection_state").as_deref() != Some("2"));
            let distinct = |column: &str| joined(counted.clone().filter_map(|series| text(series, column)));
            let patient = raw.survivor(key(row, "patient_fk").expect("study.patient_fk"));
            let values = Values::from([
                ("source_pk", Some(pk.to_string())),
                ("patient_fk", Some(patient.to_string())),
                ("study_date", text(row, "study_date")),
                ("study_time", text(row, "study_time")),
                ("study_desc", text(row, "study_desc")),
                ("accession_no", text(row, "accession_no")),
                ("accession_issuer", raw.issuer(row, "accno_", "accno_issuer_fk")),
                ("referring_physician", raw.name(row, "ref_phys_name_fk")),
                ("modalities", distinct("modality")),
                ("institutions", distinct("institution")),
                ("access_control_ids", raw.access_ids("study", pk, row)),
                ("rejection_state", text(row, "rejection_state")),
                ("created_time", time(row, "created_time")),
                ("updated_time", time(row, "updated_time")),
            ]);
            self.studies.insert(uid.clone(), values);
            live.insert(pk, uid);
        }
        live
    }

    /// Gives back the UIDs of the live series, after those of their studies, by their keys.
    fn add_series(&mut self, raw: &Raw, live: &BTreeMap<i64, String>) -> BTreeMap<i64, (String, String)> {
        let mut uids = BTreeMap::new();
        for (&pk, row) in raw.table("series") {
            let Some(study) = live.get(&key(row, "study_fk").expect("series.study_fk")) else { continue };
            let institution = text(row, "institution");
            if let Some(name) = &institution {
                let code = raw.follow(row, "inst_code_fk", "code").and_then(|code| text(code, "code_value"));
                self.institutions.insert(name.clone(), code.unwrap_or_else(|| name.clone()));
            }
            let sending = text(row, "sending_aet").or_else(|| text(row, "src_aet"));
            let values = Values::from([
                ("source_pk", Some(pk.to_string())),
                ("series_desc", text(row, "series_desc")),
                ("modality", text(row, "modality")),
                ("body_part", text(row, "body_part")),
                ("station_name", text(row, "station_name")),
                ("institution_fk", institution.clone()),
                ("institution", institution),
                ("department", text(row, "department")),
                ("sending_aet", sending),
                ("receiving_aet", text(row, "receiving_aet")),
                ("access_control_ids", raw.access_ids("series", pk, row)),
                ("rejection_state", text(row, "rejection_state")),
                ("created_time", time(row, "created_time")),
                ("updated_time", time(row, "updated_time")),
            ]);
            let pair = (study.clone(), row["series_iuid"].clone().expect("a UID"));
            uids.insert(pk, pair.clone());
            if row.get("inst_purge_state").is_some_and(|state| state.as_deref() == Some("1")) {
                self.purged.insert(pair.clone());
            }
            self.series.insert(pair, values);
        }
        uids
    }

    fn add_instances(&mut self, raw: &Raw, live: &BTreeMap<i64, (String, String)>) {
        let mut instances = BTreeMap::new();
        for (&pk, row) in raw.table("instance") {
            let Some((study, series)) = live.get(&key(row, "series_fk").expect("instance.series_fk")) else { continue };
            let values = Values::from([
                ("source_pk", Some(pk.to_string())),
                ("sop_class_uid", text(row, "sop_cuid")),
                ("instance_number", row["inst_no"].clone()),
                ("created_time", time(row, "created_time")),
                ("updated_time", time(row, "updated_time")),
            ]);
            let uid = row["sop_iuid"].clone().expect("a UID");
            instances.insert((study.clone(), series.clone(), uid), values);
        }
        self.instances = Some(instances);
    }
}

/// What the archive means by a text: `'*'` and the empty one are nothing.
fn present(text: String) -> Option<String> {
    (text != "*" && !text.is_empty()).then_some(text)
}

fn text(row: &Cells, column: &str) -> Option<String> {
    row.get(column)?.clone().and_then(present)
}

fn key(row: &Cells, column: &str) -> Option<i64> {
    Some(row.get(column)?.as_ref()?.parse().expect("a key is a number"))
}

fn is_true(row: &Cells, column: &str) -> bool {
    matches!(row.get(column).and_then(Option::as_deref), Some("t" | "true" | "1"))
}

fn time(row: &Cells, column: &str) -> Option<String> {
    row.get(column)?.as_deref().map(milliseconds)
}

/// `YYYY-MM-DD HH:MM:SS.mmm`, whatever the database writes; what is finer is cut off.
pub(crate) fn milliseconds(text: &str) -> String {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction: String = fraction.chars().take_while(char::is_ascii_digit).chain("000".chars()).take(3).collect();
    format!("{}.{fraction}", seconds.replace('T', " "))
}

/// Distinct, sorted by code point, joined by DICOM's separator.
fn joined(values: impl Iterator<Item = String>) -> Option<String> {
    let set: BTreeSet<String> = values.collect();
    (!set.is_empty()).then(|| set.into_iter().collect::<Vec<_>>().join("\\"))
}
