//! Looking at patients and studies again: the one path from the source's rows to the target's.

use std::collections::{HashMap, HashSet};

use super::plan::plan;
use super::{Error, Run};
use crate::model::{Links, Patient, REJECTED, Series, Study, joined, survivor};
use crate::source::{Level, SourceSeries, SourceStudy};
use crate::target::Candidate;

/// Studies that are looked at in one go, with all their series.
pub(super) const STUDIES: usize = 1000;
/// Patients that are looked at in one go.
pub(super) const PATIENTS: usize = 2000;

/// What has been looked at in the present view of the source: once is enough.
#[derive(Debug, Default)]
pub(super) struct Seen {
    patients: HashSet<i64>,
    studies: HashSet<i64>,
    /// Series whose instances have been looked at.
    pub(super) series: HashSet<i64>,
}

impl Run<'_> {
    /// Looks at patients again, and first at those that they were merged into.
    pub(super) async fn patients(&mut self, pks: &[i64]) -> Result<(), Error> {
        let pks: Vec<i64> = pks.iter().copied().filter(|pk| self.seen.patients.insert(*pk)).collect();
        for pks in pks.chunks(PATIENTS) {
            self.patient_batch(pks).await?;
        }
        Ok(())
    }

    async fn patient_batch(&mut self, pks: &[i64]) -> Result<(), Error> {
        self.keep_rows().await?;
        let found = self.snapshot.patients(pks).await?;
        let mut links: Links = found.iter().filter_map(|p| Some((p.row.source_pk, p.merge_fk?))).collect();
        let next: Vec<i64> = links.values().copied().collect();
        self.snapshot.follow_merges(next, &mut links).await?;

        let here: HashSet<i64> = found.iter().map(|patient| patient.row.source_pk).collect();
        let elsewhere: Vec<i64> =
            links.keys().map(|pk| survivor(*pk, &links)).filter(|pk| !here.contains(pk)).collect();
        let mut ids = self.require_patients(elsewhere).await?;

        let existing = self.target.patients(pks).await?;
        ids.extend(existing.iter().map(|patient| (patient.row.source_pk, patient.id)));
        let new: Vec<i64> = here.iter().copied().filter(|pk| !ids.contains_key(pk)).collect();
        if !new.is_empty() {
            let first = self.target.allocate(new.len()).await?;
            ids.extend(new.into_iter().zip(first..));
        }

        let mut wanted: Vec<Patient> = found
            .into_iter()
            .map(|patient| {
                let end = survivor(patient.row.source_pk, &links);
                let merged_into_fk = if end == patient.row.source_pk { None } else { ids.get(&end).copied() };
                Patient { merged_into_fk, ..patient.row }
            })
            .collect();
        // Those that others refer to come first.
        wanted.sort_by_key(|patient| patient.merged_into_fk.is_some());
        let plan = plan(wanted, existing, |patient| patient.source_pk);
        self.uncommitted.patient += plan.counts();
        let inserted: Vec<_> = plan.insert.iter().map(|patient| (ids[&patient.source_pk], patient)).collect();
        self.target.insert(&inserted).await?;
        self.target.add_identifiers(&inserted).await?;
        let updated = by_id(&plan.update);
        self.target.upsert(&updated).await?;
        self.target.set_identifiers(&updated).await?;
        Ok(())
    }

    /// `id` by pk of patients that others refer to; those that are not live in the target are looked at
    /// now.
    async fn require_patients(&mut self, pks: Vec<i64>) -> Result<HashMap<i64, i64>, Error> {
        if pks.is_empty() {
            return Ok(HashMap::new());
        }
        let ids = self.target.live_patients(&pks).await?;
        let missing: Vec<i64> = pks.iter().copied().filter(|pk| !ids.contains_key(pk)).collect();
        if missing.is_empty() {
            return Ok(ids);
        }
        for pk in &missing {
            self.seen.patients.remove(pk);
        }
        Box::pin(self.patients(&missing)).await?;
        self.target.live_patients(&pks).await
    }

    /// Looks at studies again, each with all its series.
    pub(super) async fn studies(&mut self, pks: &[i64]) -> Result<(), Error> {
        let pks: Vec<i64> = pks.iter().copied().filter(|pk| self.seen.studies.insert(*pk)).collect();
        for pks in pks.chunks(STUDIES) {
            self.study_batch(pks).await?;
            self.follow_instances(pks).await?;
        }
        Ok(())
    }

    /// Looks once more at the studies that had no patient.
    pub(super) async fn orphans(&mut self) -> Result<(), Error> {
        let pks = self.memory.orphans.pks();
        self.studies(&pks).await
    }

    async fn study_batch(&mut self, pks: &[i64]) -> Result<(), Error> {
        self.keep_rows().await?;
        let (deleting, found): (Vec<_>, Vec<_>) =
            self.snapshot.studies(pks).await?.into_iter().partition(|study| study.deleting);
        self.studies_being_deleted(&deleting).await?;
        let found_pks: Vec<i64> = found.iter().map(|study| study.row.source_pk).collect();
        let series = self.snapshot.series_of(&found_pks).await?;
        let (found, patients) = self.studies_with_patients(pks, found).await?;
        let mut series_of: HashMap<i64, Vec<SourceSeries>> = HashMap::new();
        for series in series {
            series_of.entry(series.study_pk).or_default().push(series);
        }
        series_of.retain(|study, _| patients.contains_key(study));
        let wanted = wanted_studies(found, &patients, &series_of);
        let series = series_of.values().flatten();
        self.institutions.ensure(series, &mut self.target, &mut self.uncommitted).await?;

        let existing = self.target.studies(wanted.iter().map(|study| study.study_uid.as_str()).collect()).await?;
        let existing_ids: Vec<i64> = existing.iter().map(|study| study.id).collect();
        let plan = plan(wanted, existing, |study| study.study_uid.clone());
        self.uncommitted.study += plan.counts();
        let first = if plan.insert.is_empty() { 0 } else { self.target.allocate(plan.insert.len()).await? };
        let inserted: Vec<(i64, &Study)> = (first..).zip(&plan.insert).collect();
        let updated = by_id(&plan.update);
        self.target.insert(&inserted).await?;
        self.target.upsert(&updated).await?;

        let all: Vec<(i64, &Study)> = [inserted, updated, by_id(&plan.unchanged)].concat();
        let series = all.iter().flat_map(|&(id, study)| {
            let own = series_of.remove(&study.source_pk).unwrap_or_default();
            own.into_iter().map(move |series| Series { study_fk: id, ..series.row })
        });
        let series = series.collect();
        let uids = all.iter().map(|(id, study)| (*id, study.study_uid.as_str())).collect();
        self.series(series, &existing_ids, &uids).await
    }

    /// The studies that have a patient, and `id` of the surviving patient by the pk of the study.
    async fn studies_with_patients(
        &mut self,
        looked_at: &[i64],
        found: Vec<SourceStudy>,
    ) -> Result<(Vec<SourceStudy>, HashMap<i64, i64>), Error> {
        let patient_pks: HashSet<i64> = found.iter().map(|study| study.patient_pk).collect();
        let mut links = Links::new();
        self.snapshot.follow_merges(patient_pks.iter().copied(), &mut links).await?;
        let survivors: HashSet<i64> = patient_pks.iter().map(|pk| survivor(*pk, &links)).collect();
        let ids = self.require_patients(survivors.into_iter().collect()).await?;
        let patient_of = |study: &SourceStudy| {
            let id = ids.get(&survivor(study.patient_pk, &links))?;
            Some((study.row.source_pk, *id))
        };
        let patients: HashMap<i64, i64> = found.iter().filter_map(patient_of).collect();
        let (found, orphans): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|study| patients.contains_key(&study.row.source_pk));
        let orphans: Vec<i64> = orphans.iter().map(|study| study.row.source_pk).collect();
        self.memory.orphans.note(looked_at, &orphans);
        Ok((found, patients))
    }

    /// Writes all series of some studies; `study_ids` are those of the studies that were there before,
    /// `uids` the UIDs of all of them.
    async fn series(
        &mut self,
        mut wanted: Vec<Series>,
        study_ids: &[i64],
        uids: &HashMap<i64, &str>,
    ) -> Result<(), Error> {
        for series in &mut wanted {
            series.institution_fk = self.institutions.id(series.institution.as_deref());
        }
        let existing = if study_ids.is_empty() { Vec::new() } else { self.target.series_of(study_ids).await? };
        let plan = plan(wanted, existing, |series| (series.study_fk, series.series_uid.clone()));
        self.uncommitted.series += plan.counts();
        let first = if plan.insert.is_empty() { 0 } else { self.target.allocate(plan.insert.len()).await? };
        let inserted: Vec<(i64, &Series)> = (first..).zip(&plan.insert).collect();
        self.target.insert(&inserted).await?;
        self.target.upsert(&by_id(&plan.update)).await?;
        let absent = plan.absent.into_iter().map(|series| Candidate {
            id: series.id,
            source_pk: series.row.source_pk,
            study_id: series.row.study_fk,
            study_uid: uids.get(&series.row.study_fk).copied().unwrap_or_default().to_owned(),
            series_uid: series.row.series_uid,
            ..Candidate::default()
        });
        self.gone().add(Level::Series, absent);
        Ok(())
    }

    /// A study that the archive is deleting is no longer accessible: it counts as gone.
    async fn studies_being_deleted(&mut self, deleting: &[SourceStudy]) -> Result<(), Error> {
        if deleting.is_empty() {
            return Ok(());
        }
        let uids = deleting.iter().map(|study| study.row.study_uid.as_str()).collect();
        let live = self.target.studies(uids).await?.into_iter().filter(|study| !study.deleted);
        let gone = live.map(|study| Candidate {
            id: study.id,
            source_pk: study.row.source_pk,
            study_id: study.id,
            study_uid: study.row.study_uid,
            ..Candidate::default()
        });
        self.studies_gone(gone.collect()).await
    }
}

pub(super) fn by_id<T>(rows: &[(i64, T)]) -> Vec<(i64, &T)> {
    rows.iter().map(|(id, row)| (*id, row)).collect()
}

/// Completes studies with what depends on other rows.
fn wanted_studies(
    found: Vec<SourceStudy>,
    patients: &HashMap<i64, i64>,
    series_of: &HashMap<i64, Vec<SourceSeries>>,
) -> Vec<Study> {
    let complete = found.into_iter().map(|study| {
        let own = series_of.get(&study.row.source_pk).map_or(&[][..], Vec::as_slice);
        let shown = || own.iter().filter(|series| series.row.rejection_state != Some(REJECTED));
        Study {
            patient_fk: patients[&study.row.source_pk],
            modalities: joined(shown().filter_map(|series| series.row.modality.as_deref())),
            institutions: joined(shown().filter_map(|series| series.row.institution.as_deref())),
            ..study.row
        }
    });
    complete.collect()
}
