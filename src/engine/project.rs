//! Looking at patients and studies again: the one path from the source's rows to the target's.
//!
//! A page of rows is read from the source ([`reader`](super::reader)) while the page before it is written to the
//! target ([`apply`](super::apply)): the two never wait for each other inside a transaction. The futures of both are
//! boxed, for they are large and lie deep: a thread has little stack.

use std::collections::{HashMap, HashSet};

use super::apply::{Apply, Keep, PatientPage, StudyPage};
use super::reader::Reader;
use super::{Class, Error, Run, Side};
use crate::model::Links;
use crate::source::Snapshot;

/// Studies that are looked at in one go, with all their series.
const STUDIES: usize = 1000;
/// So many rows of a level are remembered as looked at, by who comes to each row once anyway.
const SEEN: usize = 50_000;
/// Rows whose pks are worth collecting, so that there is a next page to read ahead.
pub(super) const AHEAD: usize = 10_000;

/// What has been looked at in the present view of the source: once is enough.
#[derive(Debug, Default)]
pub(super) struct Seen {
    patients: HashSet<i64>,
    studies: HashSet<i64>,
    /// Series whose instances have been looked at.
    pub(super) series: HashSet<i64>,
}

impl Seen {
    /// Forgets what would take much memory. Only for who comes to each row once anyway: in a dry run a row that is
    /// looked at twice counts twice.
    pub(super) fn limit(&mut self) {
        for set in [&mut self.patients, &mut self.studies, &mut self.series] {
            if set.len() > SEEN {
                *set = HashSet::new();
            }
        }
    }
}

impl Run<'_> {
    /// The two sides of a run, for use at the same time.
    pub(super) fn split(&mut self) -> (&mut Reader<Snapshot>, Apply<'_>) {
        let apply = Apply {
            target: &mut self.target,
            institutions: &mut self.institutions,
            memory: &mut self.memory,
            look: self.look,
            uncommitted: &mut self.uncommitted,
            progress: self.progress,
            pens: self.pens.as_mut(),
        };
        (&mut self.snapshot, apply)
    }

    /// Looks at patients again, and first at those that they were merged into. The last transaction is left open.
    pub(super) async fn patients(&mut self, pks: &[i64]) -> Result<(), Error> {
        let pks: Vec<i64> = pks.iter().copied().filter(|pk| self.seen.patients.insert(*pk)).collect();
        self.pages::<PatientPage>(&pks).await
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
        // On the heap: looks call looks, and all of them together are too much for the stack of a thread.
        let handed_over = Box::pin(self.pages::<StudyPage>(&pks)).await;
        let written = self.split().1.all_written().await;
        handed_over.and(written)?;
        for pks in pks.chunks(STUDIES) {
            Box::pin(self.follow_instances(pks)).await?;
        }
        Ok(())
    }

    /// Page by page, each read while the one before it is written. The last transaction is left open.
    async fn pages<P: Page>(&mut self, pks: &[i64]) -> Result<(), Error> {
        let mut pages = pks.chunks(P::SIZE).peekable();
        let mut ahead = None;
        while let Some(pks) = pages.next() {
            self.check_cancelled()?;
            let page = match ahead.take() {
                Some(page) => page,
                None => {
                    self.keep_rows().await?;
                    Box::pin(P::read(&mut self.snapshot, pks)).await?
                }
            };
            let ids = self.require_patients(page.patients()).await?;
            let next = pages.peek().map(|pks| pks.to_vec());
            let keep = if next.is_some() { Keep::Commit } else { Keep::Open };
            let (reader, apply) = self.split();
            let write = Box::pin(page.write(apply, ids, keep));
            ahead = match next {
                Some(pks) => {
                    let read = reader.overlap(write, |view| Box::pin(async move { P::read(view, &pks).await }));
                    Some(read.await?)
                }
                None => return write.await,
            };
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

/// Rows of one view of the source that are read, and written, together.
trait Page: Sized + Send + 'static {
    /// Rows that are looked at in one go.
    const SIZE: usize;

    /// Reads the rows with these pks, and what belongs to them.
    fn read(snapshot: &mut Snapshot, pks: &[i64]) -> impl Future<Output = Result<Self, Error>> + Send;

    /// The pks of the patients that must be live in the target before it is written.
    fn patients(&self) -> Vec<i64>;

    /// Writes it; `ids` has the `id` by pk of those patients.
    async fn write(self, apply: Apply<'_>, ids: HashMap<i64, i64>, keep: Keep) -> Result<(), Error>;
}

impl Page for PatientPage {
    const SIZE: usize = 2000;

    async fn read(snapshot: &mut Snapshot, pks: &[i64]) -> Result<Self, Error> {
        let found = snapshot.patients(pks).await?;
        let mut links: Links = found.iter().filter_map(|p| Some((p.row.source_pk, p.merge_fk?))).collect();
        let next: Vec<i64> = links.values().copied().collect();
        snapshot.follow_merges(next, &mut links).await?;
        Ok(Self { looked_at: pks.to_vec(), found, links })
    }

    fn patients(&self) -> Vec<i64> {
        self.survivors_elsewhere()
    }

    async fn write(self, mut apply: Apply<'_>, ids: HashMap<i64, i64>, keep: Keep) -> Result<(), Error> {
        apply.patients(self, ids, keep).await
    }
}

/// With all their series.
impl Page for StudyPage {
    const SIZE: usize = STUDIES;

    async fn read(snapshot: &mut Snapshot, pks: &[i64]) -> Result<Self, Error> {
        let (deleting, found): (Vec<_>, Vec<_>) =
            snapshot.studies(pks).await?.into_iter().partition(|study| study.deleting);
        let found_pks: Vec<i64> = found.iter().map(|study| study.row.source_pk).collect();
        let series = snapshot.series_of(&found_pks).await?;
        let patients: HashSet<i64> = found.iter().map(|study| study.patient_pk).collect();
        let mut links = Links::new();
        snapshot.follow_merges(patients, &mut links).await?;
        Ok(Self::new(pks.to_vec(), deleting, found, series, links))
    }

    fn patients(&self) -> Vec<i64> {
        self.survivors()
    }

    async fn write(self, mut apply: Apply<'_>, ids: HashMap<i64, i64>, keep: Keep) -> Result<(), Error> {
        apply.studies(self, ids, keep).await
    }
}
