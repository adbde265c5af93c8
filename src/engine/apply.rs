//! Writing what was looked at to the target: one page of patients, or of studies with all their series, is
//! compared with the target's rows, and what differs is written. Nothing here knows the source's session.

use std::collections::{HashMap, HashSet};

use tokio::sync::watch;

use super::institutions::Institutions;
use super::memory::Memory;
use super::pens::Pens;
use super::plan::plan;
use super::sheet::{Sheet, Written, by_id};
use super::{Error, Levels};
use crate::model::{Links, Patient, REJECTED, Study, joined, survivor};
use crate::source::{Level, SourcePatient, SourceSeries, SourceStudy};
use crate::target::{Candidate, TargetSession};

/// Patients of one view of the source.
pub(super) struct PatientPage {
    /// The pks that were asked for.
    pub(super) looked_at: Vec<i64>,
    pub(super) found: Vec<SourcePatient>,
    /// The chains of merges that begin at them.
    pub(super) links: Links,
}

impl PatientPage {
    /// Survivors of the chains of merges that are not in the page themselves.
    pub(super) fn survivors_elsewhere(&self) -> Vec<i64> {
        let here: HashSet<i64> = self.found.iter().map(|patient| patient.row.source_pk).collect();
        let survivors: HashSet<i64> = self.links.keys().map(|pk| survivor(*pk, &self.links)).collect();
        survivors.difference(&here).copied().collect()
    }
}

/// Studies of one view of the source, with all their series.
pub(super) struct StudyPage {
    /// The pks that were asked for.
    pub(super) looked_at: Vec<i64>,
    /// Those that the archive is deleting.
    pub(super) deleting: Vec<SourceStudy>,
    /// The others, with modalities and institutions of their series.
    pub(super) found: Vec<SourceStudy>,
    /// The series of those found, those of one study together.
    pub(super) series: Vec<SourceSeries>,
    /// The chains of merges that begin at their patients.
    pub(super) links: Links,
}

impl StudyPage {
    /// Puts together what was read.
    pub(super) fn new(
        looked_at: Vec<i64>,
        deleting: Vec<SourceStudy>,
        mut found: Vec<SourceStudy>,
        series: Vec<SourceSeries>,
        links: Links,
    ) -> Self {
        let together = series.chunk_by(|one, next| one.study_pk == next.study_pk);
        let series_of: HashMap<i64, &[SourceSeries]> = together.map(|own| (own[0].study_pk, own)).collect();
        for study in &mut found {
            let own = series_of.get(&study.row.source_pk).copied().unwrap_or_default();
            let shown = || own.iter().filter(|series| series.row.rejection_state != Some(REJECTED));
            study.row.modalities = joined(shown().filter_map(|series| series.row.modality.as_deref()));
            study.row.institutions = joined(shown().filter_map(|series| series.row.institution.as_deref()));
        }
        Self { looked_at, deleting, found, series, links }
    }

    /// The pks of the surviving patients, each once.
    pub(super) fn survivors(&self) -> Vec<i64> {
        let survivors: HashSet<i64> = self.found.iter().map(|study| survivor(study.patient_pk, &self.links)).collect();
        survivors.into_iter().collect()
    }
}

/// What becomes of the transaction behind a page.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// It ends with the page.
    Commit,
    /// It is left open, for what belongs to these rows: a cursor. Where pens write it ends all the same.
    Open,
}

/// The target's side of a run.
pub(super) struct Apply<'r> {
    pub(super) target: &'r mut TargetSession,
    pub(super) institutions: &'r mut Institutions,
    pub(super) memory: &'r mut Memory,
    /// The index of the look under way, in [`Memory::gone`].
    pub(super) look: usize,
    /// Counts of the transaction under way.
    pub(super) uncommitted: &'r mut Levels,
    pub(super) progress: &'r watch::Sender<Levels>,
    /// Write studies; none: this session does.
    pub(super) pens: Option<&'r mut Pens>,
}

impl Apply<'_> {
    /// Keeps what was written so far, if anything, and tells what it was.
    pub(super) async fn commit(&mut self) -> Result<(), Error> {
        self.target.commit().await?;
        let batch = std::mem::take(self.uncommitted);
        self.progress.send_modify(|levels| *levels += batch);
        Ok(())
    }

    async fn end(&mut self, keep: Keep) -> Result<(), Error> {
        if keep == Keep::Commit { self.commit().await } else { Ok(()) }
    }

    /// Writes patients; `ids` has the `id` by pk of the survivors that are not in the page.
    pub(super) async fn patients(
        &mut self,
        page: PatientPage,
        mut ids: HashMap<i64, i64>,
        keep: Keep,
    ) -> Result<(), Error> {
        let PatientPage { looked_at, found, links } = page;
        let existing = self.target.patients(&looked_at).await?;
        ids.extend(existing.iter().map(|patient| (patient.row.source_pk, patient.id)));
        let here = found.iter().map(|patient| patient.row.source_pk);
        let new: Vec<i64> = here.filter(|pk| !ids.contains_key(pk)).collect();
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
        let plan = plan(wanted, existing);
        self.uncommitted.patient += plan.counts();
        let inserted: Vec<_> = plan.insert.iter().map(|patient| (ids[&patient.source_pk], patient)).collect();
        self.target.insert(&inserted).await?;
        self.target.add_identifiers(&inserted).await?;
        let updated = by_id(&plan.update);
        self.target.upsert(&updated).await?;
        self.target.set_identifiers(&updated).await?;
        self.end(keep).await
    }

    /// Writes studies and their series, or gives them to a pen; `ids` has the `id` of the surviving patients by their
    /// pk. Studies whose patient is not among them are left as they are and remembered.
    pub(super) async fn studies(&mut self, page: StudyPage, ids: HashMap<i64, i64>, keep: Keep) -> Result<(), Error> {
        let StudyPage { looked_at, deleting, found, mut series, links } = page;
        self.studies_being_deleted(&deleting).await?;
        let studies = self.with_patients(&looked_at, found, &links, &ids);
        let pks: HashSet<i64> = studies.iter().map(|study| study.source_pk).collect();
        series.retain(|series| pks.contains(&series.study_pk));
        self.institutions.ensure(series.iter(), self.target, self.uncommitted).await?;
        for series in &mut series {
            series.row.institution_fk = self.institutions.id(series.row.institution.as_deref());
        }
        let sheet = Sheet { studies, series };
        if let Some(pens) = self.pens.take() {
            return self.hand_over(sheet, pens).await;
        }
        let written = sheet.write(self.target).await?;
        *self.uncommitted += written.levels;
        self.note_absent(written.absent);
        self.end(keep).await
    }

    /// Has a pen write a sheet, when what its rows refer to is kept.
    async fn hand_over(&mut self, sheet: Sheet, pens: &mut Pens) -> Result<(), Error> {
        let first_id = self.target.allocate(sheet.rows()).await?;
        self.commit().await?;
        let written = pens.ready().await?;
        self.kept(written);
        if sheet.rows() > 0 {
            pens.write(sheet, first_id);
        }
        Ok(())
    }

    /// Waits until the pens have written all that they were given, also when one of them fails.
    pub(super) async fn all_written(&mut self) -> Result<(), Error> {
        let Some(pens) = self.pens.take() else { return Ok(()) };
        let mut outcome = Ok(());
        loop {
            match pens.ended().await {
                Ok(None) => return outcome,
                Ok(written) => self.kept(written),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
    }

    /// A pen has kept its rows.
    fn kept(&mut self, written: Option<Written>) {
        let written = written.unwrap_or_default();
        self.progress.send_modify(|levels| *levels += written.levels);
        self.note_absent(written.absent);
    }

    fn note_absent(&mut self, series: Vec<Candidate>) {
        self.memory.gone[self.look].add(Level::Series, series.into_iter());
    }

    /// The studies that have a patient, complete with its `id`, or that of its survivor.
    fn with_patients(
        &mut self,
        looked_at: &[i64],
        found: Vec<SourceStudy>,
        links: &Links,
        ids: &HashMap<i64, i64>,
    ) -> Vec<Study> {
        let (mut wanted, mut orphans) = (Vec::with_capacity(found.len()), Vec::new());
        for study in found {
            match ids.get(&survivor(study.patient_pk, links)) {
                Some(&patient_fk) => wanted.push(Study { patient_fk, ..study.row }),
                None => orphans.push(study.row.source_pk),
            }
        }
        self.memory.orphans.note(looked_at, &orphans);
        wanted
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

    /// Adds studies that are gone, and counts the series that go with them.
    pub(super) async fn studies_gone(&mut self, studies: Vec<Candidate>) -> Result<(), Error> {
        let gone = &mut self.memory.gone[self.look];
        let new: Vec<i64> =
            studies.iter().map(|study| study.id).filter(|id| !gone.of(Level::Study).contains_key(id)).collect();
        gone.add(Level::Study, studies.into_iter());
        if !new.is_empty() {
            let series = self.target.live_series_count(&new).await?;
            self.memory.gone[self.look].with_studies += series;
        }
        Ok(())
    }
}
