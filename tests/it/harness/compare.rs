//! Compares a target with what the judge expects, row by row and column by column.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Write};

use super::db::{Cells, Db};
use super::oracle::{Expected, Identifiers, Values, milliseconds};

/// What becomes of rows that are gone from the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    Tombstoned,
    Removed,
}

/// One thing that is not as it must be. The data are made up, so values may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) table: &'static str,
    pub(crate) key: String,
    pub(crate) what: String,
}

/// The keys of all rows that a target has been told of, live or gone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    patients: BTreeSet<i64>,
    studies: BTreeSet<String>,
    series: BTreeSet<(String, String)>,
    instances: BTreeSet<(String, String, String)>,
}

impl Seen {
    pub(crate) fn add(&mut self, expected: &Expected) {
        self.patients.extend(expected.patients.keys());
        self.studies.extend(expected.studies.keys().cloned());
        self.series.extend(expected.series.keys().cloned());
        self.instances.extend(expected.instances.iter().flat_map(BTreeMap::keys).cloned());
    }
}

/// All differences between the rows of one source in the target and what they must be.
pub(crate) async fn differences(
    target: &mut Db,
    source: &str,
    expected: &Expected,
    seen: &Seen,
    gone: Gone,
) -> Vec<Difference> {
    let mut judge = Judge { gone, found: Vec::new() };
    let sources = target.table("rbac_source").await;
    let ids: Vec<&String> = sources.iter().filter(|row| cell(row, "name") == source).map(id).collect();
    let [source] = ids[..] else {
        judge.report("rbac_source", source, format!("{} rows instead of one", ids.len()));
        return judge.found;
    };
    let institutions = judge.institutions(rows_of(target, "rbac_institution", source).await, expected);
    let patients = by_id(rows_of(target, "rbac_patient", source).await);
    judge.patients(&patients, expected, seen);
    judge.identifiers(&target.table("rbac_patient_identifier").await, &patients, expected);
    let studies = by_id(rows_of(target, "rbac_study", source).await);
    judge.studies(&studies, &patients, expected, seen);
    let all_studies: BTreeSet<String> = target.table("rbac_study").await.iter().map(|row| id(row).clone()).collect();
    let series = target.table("rbac_series").await;
    judge.series(series.clone(), &studies, &all_studies, &institutions, expected, seen);
    if let Some(instances) = &expected.instances {
        let rows = target.table("rbac_instance").await;
        judge.instances(rows, &by_id(series), &studies, expected, instances, seen);
    }
    judge.found
}

/// Counts by table and kind first, then the differences themselves.
pub(crate) fn describe(differences: &[Difference]) -> String {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for difference in differences {
        let kind = difference.what.split(':').next().unwrap_or_default();
        *counts.entry((difference.table, kind)).or_default() += 1;
    }
    let mut text = format!("{} differences\n", differences.len());
    for ((table, kind), count) in counts {
        writeln!(text, "  {count:>6}  {table}: {kind}").unwrap();
    }
    for Difference { table, key, what } in differences.iter().take(40) {
        writeln!(text, "{table} {key}: {what}").unwrap();
    }
    text
}

struct Judge {
    gone: Gone,
    found: Vec<Difference>,
}

impl Judge {
    fn report(&mut self, table: &'static str, key: impl Debug, what: impl Into<String>) {
        self.found.push(Difference { table, key: format!("{key:?}"), what: what.into() });
    }

    /// Every expected one is there with its code, each only once. Gives back the names by ID.
    fn institutions(&mut self, rows: Vec<Cells>, expected: &Expected) -> BTreeMap<String, String> {
        const TABLE: &str = "rbac_institution";
        let mut codes: BTreeMap<String, Option<String>> = BTreeMap::new();
        let mut names = BTreeMap::new();
        for row in rows {
            let name = cell(&row, "institution_name");
            if codes.insert(name.clone(), row["institution_code"].clone()).is_some() {
                self.report(TABLE, &name, "twice");
            }
            names.insert(id(&row).clone(), name);
        }
        for (name, code) in &expected.institutions {
            match codes.get(name) {
                None => self.report(TABLE, name, "missing"),
                Some(found) if found.as_ref() != Some(code) => {
                    self.report(TABLE, name, format!("institution_code: {found:?} instead of {code:?}"));
                }
                Some(_) => {}
            }
        }
        names
    }

    fn patients(&mut self, rows: &BTreeMap<String, Cells>, expected: &Expected, seen: &Seen) {
        let resolved = rows.values().map(|row| {
            let mut row = row.clone();
            resolve(&mut row, "merged_into_fk", |id| live(rows.get(id)?).then(|| cell(&rows[id], "source_pk")));
            (number(&row, "source_pk"), row)
        });
        self.level("rbac_patient", resolved.collect(), &expected.patients, &seen.patients);
    }

    fn identifiers(&mut self, rows: &[Cells], patients: &BTreeMap<String, Cells>, expected: &Expected) {
        const TABLE: &str = "rbac_patient_identifier";
        let mut sets: BTreeMap<i64, Identifiers> = BTreeMap::new();
        for row in rows {
            let Some(patient) = patients.get(&cell(row, "patient_fk")).filter(|patient| live(patient)) else {
                continue;
            };
            let patient = number(patient, "source_pk");
            if !sets.entry(patient).or_default().insert((row["patient_id"].clone(), row["issuer"].clone())) {
                self.report(TABLE, patient, "twice");
            }
        }
        for (patient, set) in &expected.identifiers {
            let found = sets.remove(patient).unwrap_or_default();
            if found != *set {
                self.report(TABLE, patient, format!("set: {found:?} instead of {set:?}"));
            }
        }
    }

    fn studies(
        &mut self,
        rows: &BTreeMap<String, Cells>,
        patients: &BTreeMap<String, Cells>,
        expected: &Expected,
        seen: &Seen,
    ) {
        const TABLE: &str = "rbac_study";
        let mut resolved = Vec::new();
        for row in rows.values() {
            let uid = cell(row, "study_uid");
            let parent = row["patient_fk"].as_ref().and_then(|id| patients.get(id));
            if live(row) && !parent.is_some_and(live) {
                self.report(TABLE, &uid, "parent: live under a patient that is not");
            }
            let mut row = row.clone();
            resolve(&mut row, "patient_fk", |_| Some(cell(parent?, "source_pk")));
            resolved.push((uid, row));
        }
        self.level(TABLE, resolved, &expected.studies, &seen.studies);
    }

    fn series(
        &mut self,
        rows: Vec<Cells>,
        studies: &BTreeMap<String, Cells>,
        all_studies: &BTreeSet<String>,
        institutions: &BTreeMap<String, String>,
        expected: &Expected,
        seen: &Seen,
    ) {
        const TABLE: &str = "rbac_series";
        let mut resolved = Vec::new();
        for mut row in rows {
            let parent = cell(&row, "study_fk");
            if !all_studies.contains(&parent) {
                self.report(TABLE, cell(&row, "series_uid"), "parent: no such study");
            }
            // Series of another source's studies are not judged here.
            let Some(study) = studies.get(&parent) else { continue };
            let uids = (cell(study, "study_uid"), cell(&row, "series_uid"));
            if live(&row) && !live(study) {
                self.report(TABLE, &uids, "parent: live under a study that is not");
            }
            resolve(&mut row, "institution_fk", |id| institutions.get(id).cloned());
            resolved.push((uids, row));
        }
        self.level(TABLE, resolved, &expected.series, &seen.series);
    }

    fn instances(
        &mut self,
        rows: Vec<Cells>,
        series: &BTreeMap<String, Cells>,
        studies: &BTreeMap<String, Cells>,
        expected: &Expected,
        instances: &BTreeMap<(String, String, String), Values>,
        seen: &Seen,
    ) {
        const TABLE: &str = "rbac_instance";
        let mut resolved = Vec::new();
        for row in rows {
            let Some(parent) = series.get(&cell(&row, "series_fk")) else {
                self.report(TABLE, cell(&row, "instance_uid"), "parent: no such series");
                continue;
            };
            // Instances of another source's studies are not judged here.
            let Some(study) = studies.get(&cell(parent, "study_fk")) else { continue };
            let pair = (cell(study, "study_uid"), cell(parent, "series_uid"));
            let uids = (pair.0.clone(), pair.1.clone(), cell(&row, "instance_uid"));
            if live(&row) && !live(parent) {
                self.report(TABLE, &uids, "parent: live under a series that is not");
            }
            let kept = live(&row) && expected.purged.contains(&pair) && !instances.contains_key(&uids);
            if !kept {
                resolved.push((uids, row));
            }
        }
        let mut seen = seen.instances.clone();
        // Those that stay because of a purge were left out above.
        seen.retain(|(study, series, _)| !expected.purged.contains(&(study.clone(), series.clone())));
        self.level(TABLE, resolved, instances, &seen);
    }

    /// What holds for every level: no key twice, live rows as expected, rows that are gone marked or absent.
    fn level<K: Ord + Clone + Debug>(
        &mut self,
        table: &'static str,
        rows: Vec<(K, Cells)>,
        expected: &BTreeMap<K, Values>,
        seen: &BTreeSet<K>,
    ) {
        let mut by_key: BTreeMap<K, Cells> = BTreeMap::new();
        for (key, row) in rows {
            if by_key.insert(key.clone(), row).is_some() {
                self.report(table, key, "twice");
            }
        }
        for (key, row) in &by_key {
            match expected.get(key) {
                _ if row["synced_at"].is_none() => self.report(table, key, "synced_at: NULL"),
                None if live(row) => self.report(table, key, "live: but gone from the source"),
                None if self.gone == Gone::Removed => self.report(table, key, "tombstone: instead of being removed"),
                Some(_) if !live(row) => self.report(table, key, "deleted: but in the source"),
                Some(values) => self.values(table, key, row, values),
                None => {}
            }
        }
        for key in expected.keys().filter(|key| !by_key.contains_key(key)) {
            self.report(table, key, "missing");
        }
        let lost = seen.iter().filter(|key| !by_key.contains_key(key) && !expected.contains_key(key));
        if self.gone == Gone::Tombstoned {
            lost.for_each(|key| self.report(table, key, "removed: instead of a tombstone"));
        }
    }

    fn values(&mut self, table: &'static str, key: &impl Debug, row: &Cells, values: &Values) {
        for (column, value) in values {
            let found = match row.get(*column) {
                None => {
                    self.report(table, key, format!("{column}: no such column"));
                    continue;
                }
                Some(found) if column.ends_with("_time") && *column != "study_time" => {
                    found.as_deref().map(milliseconds)
                }
                Some(found) => found.clone(),
            };
            if found != *value {
                self.report(table, key, format!("{column}: {found:?} instead of {value:?}"));
            }
        }
    }
}

/// A `_fk` becomes the natural key of its row; one that points nowhere stays visible as such.
fn resolve(row: &mut Cells, column: &str, natural: impl Fn(&str) -> Option<String>) {
    if let Some(Some(value)) = row.get_mut(column) {
        *value = natural(value).unwrap_or_else(|| format!("dangling {value}"));
    }
}

async fn rows_of(target: &mut Db, table: &str, source: &str) -> Vec<Cells> {
    let rows = target.table(table).await;
    rows.into_iter().filter(|row| cell(row, "source_fk") == *source).collect()
}

fn by_id(rows: Vec<Cells>) -> BTreeMap<String, Cells> {
    rows.into_iter().map(|row| (id(&row).clone(), row)).collect()
}

fn id(row: &Cells) -> &String {
    row["id"].as_ref().expect("an id")
}

fn live(row: &Cells) -> bool {
    row["deleted_at"].is_none()
}

fn cell(row: &Cells, column: &str) -> String {
    row.get(column).unwrap_or_else(|| panic!("no column {column}")).clone().unwrap_or_default()
}

fn number(row: &Cells, column: &str) -> i64 {
    cell(row, column).parse().expect("a number")
}
