//! Merges of patients: the written-out cases, beside the random ones of the other scenarios.

use crate::harness::archive::Val;
use crate::harness::edit;
use crate::harness::random;
use crate::harness::shape::{Dialect, Shape};
use crate::harness::site::Site;
use crate::harness::store::{Batch, Entity};

/// Patients with an identifier and a study each.
async fn patients(site: &mut Site, count: usize) -> Vec<i64> {
    let mut batch = Batch::default();
    let mut patients = Vec::new();
    for number in 0..count {
        let entity = Entity { id: Some("ADT1".to_owned()), uid: None };
        let patient = batch.patient(&mut site.archive, &[(format!("M-{number}"), entity)]);
        let uid = site.archive.next_uid();
        batch.study(&mut site.archive, patient, &uid);
        patients.push(patient);
    }
    batch.write(&mut site.archive).await;
    patients
}

async fn merge(site: &mut Site, from: i64, into: Option<i64>) {
    site.archive.update("patient", from, &[("merge_fk", into.map_or(Val::Null, Val::Int))]).await;
    site.archive.bump("patient", from).await;
}

/// Lets time pass and syncs, so that a delta reads nothing of what was before; `bystander` is bumped.
async fn out_of_overlap(site: &mut Site, bystander: i64) {
    let later = site.archive.tick() + chrono::Duration::hours(1);
    site.archive.set_clock(later);
    site.archive.bump("patient", bystander).await;
    site.sync(&[]).await;
}

/// `source_pk` of the patient that it is merged into.
async fn merged_into(site: &Site, patient: i64) -> Option<i64> {
    let query = format!(
        "SELECT s.source_pk FROM rbac_patient p LEFT JOIN rbac_patient s ON s.id = p.merged_into_fk \
         WHERE p.source_pk = {patient}"
    );
    site.target().await.value(&query).await.map(|pk| pk.parse().unwrap())
}

/// `source_pk` of the patient that the study of `patient` (in the archive) belongs to.
async fn owner(site: &mut Site, patient: i64) -> i64 {
    let study = site.archive.pick(&format!("SELECT pk FROM study WHERE patient_fk = {patient}")).await.unwrap();
    let query = format!(
        "SELECT p.source_pk FROM rbac_study s JOIN rbac_patient p ON p.id = s.patient_fk WHERE s.source_pk = {study}"
    );
    site.target().await.numbers(&query).await[0]
}

#[tokio::test]
async fn a_chain_ends_at_its_last_patient_also_when_it_grows() {
    for dialect in Dialect::SERVERS {
        let mut site = Site::within(dialect, Shape::release("5.35.0"), random::seed(61)).await;
        let p = patients(&mut site, 4).await;
        merge(&mut site, p[0], Some(p[1])).await;
        site.sync(&[]).await;
        assert_eq!(merged_into(&site, p[0]).await, Some(p[1]));
        assert_eq!(owner(&mut site, p[0]).await, p[1], "a study left behind belongs to the survivor");
        // Only the middle of the chain is touched; what hangs on it follows.
        out_of_overlap(&mut site, p[3]).await;
        merge(&mut site, p[1], Some(p[2])).await;
        site.sync(&["--mode", "delta"]).await;
        assert_eq!(merged_into(&site, p[0]).await, Some(p[2]));
        assert_eq!(merged_into(&site, p[1]).await, Some(p[2]));
        assert_eq!(merged_into(&site, p[2]).await, None);
        assert_eq!(owner(&mut site, p[0]).await, p[2]);
        site.assert_in_step("after the chain grew").await;
        out_of_overlap(&mut site, p[3]).await;
        merge(&mut site, p[1], None).await;
        site.sync(&["--mode", "delta"]).await;
        assert_eq!(merged_into(&site, p[0]).await, Some(p[1]));
        assert_eq!(owner(&mut site, p[0]).await, p[1]);
        site.assert_in_step("after the chain was cut").await;
    }
}

#[tokio::test]
async fn of_a_circle_the_lowest_key_survives() {
    for dialect in Dialect::SERVERS {
        let mut site = Site::within(dialect, Shape::release("5.29.2"), random::seed(62)).await;
        let p = patients(&mut site, 6).await;
        for (from, into) in [(p[1], p[2]), (p[2], p[3]), (p[3], p[1]), (p[4], p[3]), (p[0], p[0])] {
            merge(&mut site, from, Some(into)).await;
        }
        site.sync(&[]).await;
        assert_eq!(merged_into(&site, p[1]).await, None);
        for merged in [p[2], p[3], p[4]] {
            assert_eq!(merged_into(&site, merged).await, Some(p[1]));
            assert_eq!(owner(&mut site, merged).await, p[1]);
        }
        assert_eq!(merged_into(&site, p[0]).await, None, "merged into itself");
        site.assert_in_step("after the circle").await;
        out_of_overlap(&mut site, p[5]).await;
        merge(&mut site, p[1], None).await;
        merge(&mut site, p[2], Some(p[0])).await;
        site.sync(&["--mode", "delta"]).await;
        site.assert_in_step("after the circle was opened").await;
    }
}

#[tokio::test]
async fn a_patient_merged_into_itself_keeps_its_studies() {
    for dialect in Dialect::SERVERS {
        let mut site = Site::within(dialect, Shape::release("5.35.0"), random::seed(66)).await;
        let p = patients(&mut site, 3).await;
        merge(&mut site, p[1], Some(p[0])).await;
        out_of_overlap(&mut site, p[2]).await;
        merge(&mut site, p[0], Some(p[0])).await;
        site.sync(&["--mode", "delta"]).await;
        assert_eq!(merged_into(&site, p[0]).await, None);
        assert_eq!(merged_into(&site, p[1]).await, Some(p[0]));
        assert_eq!((owner(&mut site, p[0]).await, owner(&mut site, p[1]).await), (p[0], p[0]));
        site.assert_in_step("after the merge into itself").await;
        merge(&mut site, p[0], Some(p[2])).await;
        site.sync(&["--mode", "delta"]).await;
        site.assert_in_step("after it was merged into another").await;
    }
}

#[tokio::test]
async fn a_merged_patient_keeps_its_identifiers() {
    for dialect in Dialect::SERVERS {
        let mut site = Site::within(dialect, Shape::release("5.35.0"), random::seed(63)).await;
        let p = patients(&mut site, 2).await;
        merge(&mut site, p[0], Some(p[1])).await;
        site.sync(&[]).await;
        for (patient, id) in [(p[0], "M-0"), (p[1], "M-1")] {
            let query = format!(
                "SELECT i.patient_id FROM rbac_patient_identifier i JOIN rbac_patient p ON p.id = i.patient_fk \
             WHERE p.source_pk = {patient}"
            );
            assert_eq!(site.target().await.value(&query).await.as_deref(), Some(id));
        }
        site.assert_in_step("after the merge").await;
    }
}

#[tokio::test]
async fn a_study_deleted_from_a_merged_patient_is_noticed_by_a_delta() {
    for dialect in Dialect::SERVERS {
        let mut site = Site::within(dialect, Shape::release("5.35.0"), random::seed(64)).await;
        let p = patients(&mut site, 3).await;
        merge(&mut site, p[0], Some(p[1])).await;
        out_of_overlap(&mut site, p[2]).await;
        // The archive bumps the patient that it knows; in the target the study belongs to the survivor.
        edit::delete_studies(&mut site.archive, &format!("patient_fk = {}", p[0])).await;
        site.archive.bump("patient", p[0]).await;
        site.sync(&["--mode", "delta"]).await;
        site.assert_in_step("after the delete").await;
    }
}

#[tokio::test]
async fn a_study_deleted_from_a_patient_that_was_unmerged_is_noticed_by_a_delta() {
    for dialect in Dialect::SERVERS {
        let mut site = Site::within(dialect, Shape::release("5.35.0"), random::seed(65)).await;
        let p = patients(&mut site, 3).await;
        merge(&mut site, p[0], Some(p[1])).await;
        out_of_overlap(&mut site, p[2]).await;
        edit::delete_studies(&mut site.archive, &format!("patient_fk = {}", p[0])).await;
        merge(&mut site, p[0], None).await;
        site.sync(&["--mode", "delta"]).await;
        site.assert_in_step("after the delete").await;
    }
}
