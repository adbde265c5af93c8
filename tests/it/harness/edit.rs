//! Statements behind the changes of an archive: names in place, access control IDs, deletes, re-imports.

use std::collections::BTreeSet;

use super::archive::{Archive, Val};
use super::names;
use super::store::{self, Batch, access_column, child_table};

/// Changes the name that the row points to in place, or gives it one. The bump is the caller's.
pub(crate) async fn rename(archive: &mut Archive, table: &str, pk: i64, link: &str) {
    let number = archive.next_key();
    let name = names::person(&mut archive.random, number);
    let known = archive.pick(&format!("SELECT {link} FROM {table} WHERE pk = {pk} AND {link} IS NOT NULL")).await;
    if let Some(known) = known {
        let fields: Vec<(&str, Val)> = store::name_fields(&name).into_iter().collect();
        archive.update("person_name", known, &fields).await;
    } else {
        let mut batch = Batch::default();
        let new = batch.name(archive, &name);
        batch.write(archive).await;
        archive.update(table, pk, &[(link, Val::Int(new))]).await;
    }
}

/// New access control IDs for some studies or series, in the form of the archive.
pub(crate) async fn change_access(archive: &mut Archive, level: &str, count: usize, bumped: bool) -> Option<()> {
    let mut ids = names::access_ids(&mut archive.random);
    if archive.shape.table(child_table(level)).is_none() {
        archive.shape.column(level, "access_control_id")?;
        ids.truncate(1);
    }
    for _ in 0..count {
        let pk = archive.pick(&format!("SELECT pk FROM {level}")).await?;
        archive.update(level, pk, &[("access_control_id", access_column(&ids))]).await;
        if archive.shape.table(child_table(level)).is_some() {
            archive.db.run(&format!("DELETE FROM {} WHERE {level}_fk = {pk}", child_table(level))).await;
            let mut batch = Batch::default();
            ids.iter().for_each(|id| batch.access_child(level, pk, id));
            batch.write(archive).await;
        }
        if bumped {
            archive.bump(level, pk).await;
        }
    }
    Some(())
}

/// Series that match, with what hangs on them.
pub(crate) async fn delete_series(archive: &mut Archive, condition: &str) {
    let keys = archive.db.numbers(&format!("SELECT pk FROM series WHERE {condition}")).await;
    if !keys.is_empty() {
        let list = list(&keys.into_iter().collect());
        let instances = archive.db.numbers(&format!("SELECT pk FROM instance WHERE series_fk IN ({list})")).await;
        delete_instances(archive, &instances).await;
    }
    delete_rows(archive, "series", condition).await;
}

/// Instances by key.
pub(crate) async fn delete_instances(archive: &mut Archive, pks: &[i64]) {
    for pks in pks.chunks(1000) {
        let list = list(&pks.iter().copied().collect());
        archive.db.run(&format!("DELETE FROM instance WHERE pk IN ({list})")).await;
    }
}

/// The instances of a series purged to metadata: their rows go, and the series is marked.
pub(crate) async fn purge(archive: &mut Archive, series: i64) {
    let pks = archive.db.numbers(&format!("SELECT pk FROM instance WHERE series_fk = {series}")).await;
    archive.update("series", series, &[("inst_purge_state", Val::Int(1))]).await;
    delete_instances(archive, &pks).await;
}

/// Studies that match, with their series.
pub(crate) async fn delete_studies(archive: &mut Archive, condition: &str) {
    delete_series(archive, &format!("study_fk IN (SELECT pk FROM study WHERE {condition})")).await;
    delete_rows(archive, "study", condition).await;
}

/// Rows of a level with their access control IDs, by key as the archive does: by condition MariaDB locks
/// every row that it looks at.
async fn delete_rows(archive: &mut Archive, level: &str, condition: &str) {
    let keys = archive.db.numbers(&format!("SELECT pk FROM {level} WHERE {condition}")).await;
    if keys.is_empty() {
        return;
    }
    let list = list(&keys.into_iter().collect());
    if archive.shape.table(child_table(level)).is_some() {
        archive.db.run(&format!("DELETE FROM {} WHERE {level}_fk IN ({list})", child_table(level))).await;
    }
    archive.db.run(&format!("DELETE FROM {level} WHERE pk IN ({list})")).await;
}

/// A patient with all that are merged into it, their identifiers and their studies.
pub(crate) async fn delete_patient(archive: &mut Archive) -> Option<()> {
    let mut gone = BTreeSet::from([archive.pick("SELECT pk FROM patient").await?]);
    loop {
        let list = list(&gone);
        let merged = archive.db.numbers(&format!("SELECT pk FROM patient WHERE merge_fk IN ({list})")).await;
        let before = gone.len();
        gone.extend(merged);
        if gone.len() == before {
            break;
        }
    }
    let list = list(&gone);
    delete_studies(archive, &format!("patient_fk IN ({list})")).await;
    if archive.shape.has("patient_id", "patient_fk") {
        archive.db.run(&format!("DELETE FROM patient_id WHERE patient_fk IN ({list})")).await;
    }
    archive.db.run(&format!("UPDATE patient SET merge_fk = NULL WHERE pk IN ({list})")).await;
    archive.db.run(&format!("DELETE FROM patient WHERE pk IN ({list})")).await;
    Some(())
}

/// A study deleted and stored again: the same UIDs, new keys, new times.
pub(crate) async fn reimport(archive: &mut Archive) -> Option<()> {
    let study = archive.pick("SELECT pk FROM study").await?;
    let rows = archive.db.rows(&format!("SELECT study_iuid, patient_fk FROM study WHERE pk = {study}")).await;
    let row = rows.into_iter().next()?;
    let uid = row["study_iuid"].clone()?;
    let patient: i64 = row["patient_fk"].as_ref()?.parse().ok()?;
    let series = archive.db.rows(&format!("SELECT series_iuid FROM series WHERE study_fk = {study} ORDER BY pk")).await;
    let instances = format!(
        "SELECT e.series_iuid, i.sop_iuid FROM instance i JOIN series e ON e.pk = i.series_fk \
         WHERE e.study_fk = {study} ORDER BY i.pk"
    );
    let instances = archive.db.rows(&instances).await;
    delete_studies(archive, &format!("pk = {study}")).await;
    let mut batch = Batch::default();
    let study = batch.study(archive, patient, &uid);
    for row in series {
        let uid = row["series_iuid"].as_deref()?;
        let pk = batch.series(archive, study, uid);
        for row in instances.iter().filter(|row| row["series_iuid"].as_deref() == Some(uid)) {
            batch.instance(archive, pk, row["sop_iuid"].as_deref()?);
        }
    }
    batch.write(archive).await;
    Some(())
}

fn list(keys: &BTreeSet<i64>) -> String {
    keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
