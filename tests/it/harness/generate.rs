//! Fills an archive: patients, studies and series in all the habits of a real one.

use super::archive::{Archive, Val};
use super::names;
use super::store::{Batch, Entity};

/// Rows that are collected before they are written.
const BATCH: usize = 4000;

/// Adds `studies` studies with their patients (about two studies each) and series (about two each), then
/// merges, rejects and marks some.
pub(crate) async fn fill(archive: &mut Archive, studies: u32) {
    let mut batch = Batch::default();
    prepare(archive, &mut batch).await;
    let mut patients: Vec<i64> = Vec::new();
    let mut shared: Vec<String> = Vec::new();
    for _ in 0..studies {
        let patient = if patients.is_empty() || archive.random.chance(50) {
            let ids = identifiers(archive);
            let patient = batch.patient(archive, &ids);
            patients.push(patient);
            patient
        } else {
            *archive.random.choose(&patients)
        };
        let uid = archive.next_uid();
        let study = batch.study(archive, patient, &uid);
        let mut copies = shared.len();
        for _ in 0..archive.random.below(5) {
            // A UID once copied into a second study: unique within a study only.
            let uid = if copies > 0 && archive.random.chance(3) {
                copies -= 1;
                shared[copies].clone()
            } else {
                archive.next_uid()
            };
            batch.series(archive, study, &uid);
            if shared.len() < 8 && archive.random.chance(10) && !shared.contains(&uid) {
                shared.push(uid);
            }
        }
        if batch.len() >= BATCH {
            batch.write(archive).await;
        }
    }
    batch.write(archive).await;
    entangle(archive, &patients).await;
    archive.db.run("UPDATE study SET rejection_state = 2 WHERE pk % 41 = 0").await;
    if archive.shape.has("study", "study_deleting") {
        archive.db.run("UPDATE study SET study_deleting = (1 = 1) WHERE pk % 53 = 0").await;
    }
    if archive.shape.name == "upgraded" {
        // The old link stays as the upgrade left it: right, but no longer kept.
        archive
            .db
            .run(
                "UPDATE patient SET patient_id_fk = \
                 (SELECT min(pk) FROM patient_id WHERE patient_id.patient_fk = patient.pk) WHERE pk % 2 = 0",
            )
            .await;
    }
}

/// Adds up to `most` instances to each series.
pub(crate) async fn fill_instances(archive: &mut Archive, most: u64) {
    let mut batch = Batch::default();
    for series in archive.db.numbers("SELECT pk FROM series ORDER BY pk").await {
        for _ in 0..archive.random.below(most + 1) {
            let uid = archive.next_uid();
            batch.instance(archive, series, &uid);
        }
        if batch.len() >= BATCH {
            batch.write(archive).await;
        }
    }
    batch.write(archive).await;
}

/// Codes of institutions, and shared issuers where the archive has them.
async fn prepare(archive: &mut Archive, batch: &mut Batch) {
    if !archive.codes.is_empty() {
        return;
    }
    for (institution, value) in names::INSTITUTIONS.into_iter().zip(["R1", "R2", "SNUH", "*"]) {
        let code = batch.code(archive, value);
        archive.codes.insert(institution, code);
    }
    if archive.shape.table("issuer").is_some() {
        for name in names::ISSUERS {
            let issuer = batch.issuer(archive, Entity { id: Some(name.to_owned()), uid: Some("1.2.3.9".to_owned()) });
            archive.issuers.push(issuer);
        }
        let issuer = batch.issuer(archive, Entity { id: None, uid: Some("1.2.3.4".to_owned()) });
        archive.issuers.push(issuer);
    }
    batch.write(archive).await;
}

/// None to three identifiers with their issuers, mostly one.
pub(crate) fn identifiers(archive: &mut Archive) -> Vec<(String, Entity)> {
    let count = [0, 1, 1, 1, 1, 1, 2, 2, 3][usize::try_from(archive.random.below(9)).unwrap()];
    (0..count)
        .map(|_| {
            let number = archive.next_key();
            (format!("PID-{number}-x"), Entity::any(archive))
        })
        .collect()
}

/// Merges as they are found in the field: plain ones, a chain, a circle, one into itself.
async fn entangle(archive: &mut Archive, patients: &[i64]) {
    if patients.len() < 12 {
        return;
    }
    let merge = async |archive: &mut Archive, from: i64, into: i64, moves: bool| {
        archive.update("patient", from, &[("merge_fk", Val::Int(into))]).await;
        if moves {
            archive.db.run(&format!("UPDATE study SET patient_fk = {into} WHERE patient_fk = {from}")).await;
        }
    };
    let p = &patients[..10];
    for (from, into, moves) in [
        (p[0], p[1], true),
        (p[1], p[2], true),
        (p[3], p[2], false),
        (p[4], p[4], false),
        (p[6], p[5], false),
        (p[5], p[6], false),
        (p[7], p[6], true),
        (p[8], p[4], true),
    ] {
        merge(archive, from, into, moves).await;
    }
    for pair in patients[10..].chunks(25).filter(|chunk| chunk.len() > 1) {
        merge(archive, pair[0], pair[1], true).await;
    }
}
