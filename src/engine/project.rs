//! Looking at patients and studies again: the one path from the source's rows to the target's.
//!
//! A page of rows is read from the source while the page before it is written to the target ([`apply`](super::apply)):
//! the two never wait for each other inside a transaction.

use std::collections::{HashMap, HashSet};
use std::pin::pin;

use super::apply::{Apply, Keep, PatientPage, StudyPage};
use super::{Class, Error, Run, Side};
use crate::model::Links;
use crate::source::Snapshot;

/// Studies that are looked at in one go, with all their series.
const STUDIES: usize = 1000;
/// Patients that are looked at in one go.
const PATIENTS: usize = 2000;
/// Rows whose pks are worth collecting, so that there is a next page to read ahead.
pub(super) const AHEAD: usize = 10_000;

/// What has been looked at in the present view of the source: once is enough.
#[derive(Debug, Default)]
pub(super) struct Seen {
    patients: HashSet<i64>,
    studies: HashSet<i64>,
}

impl<'a> Run<'a> {
    /// The two sides of a run, for use at the same time.
    pub(super) fn split(&mut self) -> (&mut Snapshot<'a>, Apply<'_, 'a>) {
        let apply = Apply {
            target: &mut self.target,
            institutions: &mut self.institutions,
            memory: &mut self.memory,
            look: self.look,
            uncommitted: &mut self.uncommitted,
            progress: self.progress,
        };
        (&mut self.snapshot, apply)
    }

    /// Looks at patients again, and first at those that they were merged into. The last transaction is left open.
    pub(super) async fn patients(&mut self, pks: &[i64]) -> Result<(), Error> {
        let pks: Vec<i64> = pks.iter().copied().filter(|pk| self.seen.patients.insert(*pk)).collect();
        let mut pages = pks.chunks(PATIENTS).peekable();
        let mut ahead = None;
        while let Some(pks) = pages.next() {
            self.check_cancelled()?;
            let page = match ahead.take() {
                Some(page) => page,
                None => {
                    self.keep_rows().await?;
                    read_patients(&mut self.snapshot, pks).await?
                }
            };
            let ids = self.require_patients(page.survivors_elsewhere()).await?;
            let (snapshot, mut apply) = self.split();
            let Some(next) = pages.peek() else { return apply.patients(page, ids, Keep::Open).await };
            ahead = Some(overlap(apply.patients(page, ids, Keep::Commit), read_patients(snapshot, next)).await?);
        }
        Ok(())
    }

    /// `id` by pk of patients that others refer to; those that are not live in the target are looked at now.
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

    /// Looks at studies again, each with all its series. The last transaction is left open.
    pub(super) async fn studies(&mut self, pks: &[i64]) -> Result<(), Error> {
        let pks: Vec<i64> = pks.iter().copied().filter(|pk| self.seen.studies.insert(*pk)).collect();
        let mut pages = pks.chunks(STUDIES).peekable();
        let mut ahead = None;
        while let Some(pks) = pages.next() {
            self.check_cancelled()?;
            let page = match ahead.take() {
                Some(page) => page,
                None => {
                    self.keep_rows().await?;
                    read_studies(&mut self.snapshot, pks).await?
                }
            };
            let ids = self.require_patients(page.patients()).await?;
            let (snapshot, mut apply) = self.split();
            let Some(next) = pages.peek() else { return apply.studies(page, ids, Keep::Open).await };
            ahead = Some(overlap(apply.studies(page, ids, Keep::Commit), read_studies(snapshot, next)).await?);
        }
        Ok(())
    }

    /// Looks once more at the studies that had no patient.
    pub(super) async fn orphans(&mut self) -> Result<(), Error> {
        let pks = self.memory.orphans.pks();
        self.studies(&pks).await
    }

    pub(super) fn check_cancelled(&self) -> Result<(), Error> {
        if self.cancel.is_cancelled() {
            return Err(Error::new(Side::Run, Class::Cancelled, "cancelled"));
        }
        Ok(())
    }
}

/// Writes a page while the next one is read. What the source fails with comes after the page is written; what the
/// target fails with does not wait for the source.
async fn overlap<T>(
    write: impl Future<Output = Result<(), Error>>,
    read: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let (mut write, mut read) = (pin!(write), pin!(read));
    tokio::select! {
        written = &mut write => {
            written?;
            read.await
        }
        page = &mut read => {
            write.await?;
            page
        }
    }
}

async fn read_patients(snapshot: &mut Snapshot<'_>, pks: &[i64]) -> Result<PatientPage, Error> {
    let found = snapshot.patients(pks).await?;
    let mut links: Links = found.iter().filter_map(|p| Some((p.row.source_pk, p.merge_fk?))).collect();
    let next: Vec<i64> = links.values().copied().collect();
    snapshot.follow_merges(next, &mut links).await?;
    Ok(PatientPage { looked_at: pks.to_vec(), found, links })
}

async fn read_studies(snapshot: &mut Snapshot<'_>, pks: &[i64]) -> Result<StudyPage, Error> {
    let (deleting, found): (Vec<_>, Vec<_>) =
        snapshot.studies(pks).await?.into_iter().partition(|study| study.deleting);
    let found_pks: Vec<i64> = found.iter().map(|study| study.row.source_pk).collect();
    let series = snapshot.series_of(&found_pks).await?;
    let patients: HashSet<i64> = found.iter().map(|study| study.patient_pk).collect();
    let mut links = Links::new();
    snapshot.follow_merges(patients, &mut links).await?;
    Ok(StudyPage { looked_at: pks.to_vec(), deleting, found, series, links })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{pending, ready};

    use super::*;

    fn failure(side: Side) -> Error {
        Error::new(side, Class::Transient, "down")
    }

    #[tokio::test]
    async fn a_page_is_written_whole_though_the_source_fails_meanwhile() {
        let written = Cell::new(false);
        let write = async {
            tokio::task::yield_now().await;
            written.set(true);
            Ok(())
        };
        let error = overlap(write, ready(Err::<(), _>(failure(Side::Source)))).await.unwrap_err();
        assert_eq!((error.side, written.get()), (Side::Source, true));
    }

    #[tokio::test]
    async fn a_target_that_fails_is_told_though_the_source_does_not_answer() {
        let error = overlap(ready(Err(failure(Side::Target))), pending::<Result<(), Error>>()).await.unwrap_err();
        assert_eq!(error.side, Side::Target);
    }
}
