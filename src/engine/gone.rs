//! Rows that are gone from the source: collected during a run, deleted at its end behind the brake.
//!
//! While anything waits here no cursor moves, so that a run which ends early finds it again.

use std::collections::BTreeMap;
use std::fmt;

use super::{Class, Error, Mode, Run, Settings, Side};
use crate::config::MaxDeletes;
use crate::source::Level;
use crate::target::Candidate;

/// Rows that are checked and deleted in one transaction.
const BATCH: usize = 1000;
/// A run that may delete without limit does so as soon as this many rows wait.
const ENOUGH: usize = 10_000;

/// Rows that a run would delete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) patients: u64,
    pub(super) studies: u64,
    pub(super) series: u64,
}

impl Tally {
    fn rows(self) -> u64 {
        self.patients + self.studies + self.series
    }

    fn levels(self) -> [(Level, u64); 3] {
        [(Level::Patient, self.patients), (Level::Study, self.studies), (Level::Series, self.series)]
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} patients, {} studies and {} series", self.patients, self.studies, self.series)
    }
}

/// What is gone, as far as this run has seen.
#[derive(Debug, Default)]
pub(super) struct Gone {
    patients: BTreeMap<i64, Candidate>,
    studies: BTreeMap<i64, Candidate>,
    series: BTreeMap<i64, Candidate>,
    /// Series that go with their study.
    with_studies: u64,
    /// Rows that were counted and not kept, because the brake holds them anyway.
    beyond: Tally,
    /// Rows worth keeping.
    room: usize,
}

impl Gone {
    pub(super) fn new(settings: &Settings) -> Self {
        Self::default().for_run(settings)
    }

    /// Goes on with what an earlier run found.
    pub(super) fn for_run(self, settings: &Settings) -> Self {
        let most = usize::try_from(settings.max_deletes.rows).unwrap_or(usize::MAX);
        let room = if settings.allow_deletes { usize::MAX } else { most.saturating_add(1) };
        Self { room, ..self }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tally().rows() == 0
    }

    fn kept(&self) -> usize {
        self.patients.len() + self.studies.len() + self.series.len()
    }

    /// Adds live rows of the target that are gone from the source.
    pub(super) fn add(&mut self, level: Level, candidates: impl Iterator<Item = Candidate>) {
        for candidate in candidates {
            let full = self.kept() >= self.room;
            let (kept, beyond) = match level {
                Level::Patient => (&mut self.patients, &mut self.beyond.patients),
                Level::Study => (&mut self.studies, &mut self.beyond.studies),
                Level::Series => (&mut self.series, &mut self.beyond.series),
            };
            if full && !kept.contains_key(&candidate.id) {
                *beyond += 1;
            } else {
                kept.insert(candidate.id, candidate);
            }
        }
    }

    fn tally(&self) -> Tally {
        // A series that goes with its study is counted there.
        let alone = self.series.values().filter(|series| !self.studies.contains_key(&series.study_id));
        Tally {
            patients: self.patients.len() as u64 + self.beyond.patients,
            studies: self.studies.len() as u64 + self.beyond.studies,
            series: alone.count() as u64 + self.with_studies + self.beyond.series,
        }
    }

    fn level(&mut self, level: Level) -> &mut BTreeMap<i64, Candidate> {
        match level {
            Level::Patient => &mut self.patients,
            Level::Study => &mut self.studies,
            Level::Series => &mut self.series,
        }
    }

    fn take(&mut self) -> [(Level, Vec<Candidate>); 3] {
        self.with_studies = 0;
        self.beyond = Tally::default();
        // Children first.
        [
            (Level::Series, std::mem::take(&mut self.series).into_values().collect()),
            (Level::Study, std::mem::take(&mut self.studies).into_values().collect()),
            (Level::Patient, std::mem::take(&mut self.patients).into_values().collect()),
        ]
    }
}

/// Whether so many rows may go.
fn within_rows(tally: Tally, limit: MaxDeletes) -> bool {
    tally.rows() <= limit.rows
}

/// How many live rows a level must have so that `count` of them are within the limit; none: no number
/// is enough.
fn live_needed(count: u64, limit: MaxDeletes) -> Option<u64> {
    if count == 0 {
        return Some(0);
    }
    let needed = count as f64 * 100.0 / limit.percent;
    needed.is_finite().then_some(needed.ceil() as u64)
}

impl Run<'_> {
    /// Adds studies that are gone, and counts the series that go with them.
    pub(super) async fn studies_gone(&mut self, studies: Vec<Candidate>) -> Result<(), Error> {
        let new: Vec<i64> =
            studies.iter().map(|study| study.id).filter(|id| !self.gone.studies.contains_key(id)).collect();
        if !new.is_empty() {
            self.gone.with_studies += self.target.live_series_count(&new).await?;
        }
        self.gone.add(Level::Study, studies.into_iter());
        Ok(())
    }

    /// In a run that may pass the brake: deletes now when much waits.
    pub(super) async fn delete_if_many(&mut self) -> Result<(), Error> {
        if self.settings.allow_deletes && self.gone.kept() >= ENOUGH {
            self.delete_gone().await?;
            self.commit().await?;
        }
        Ok(())
    }

    /// Looks once more whether each row is still gone, for the run may have been long; then deletes, or
    /// fails at the brake. The last transaction is left open for the cursors.
    pub(super) async fn delete_gone(&mut self) -> Result<(), Error> {
        if self.gone.is_empty() {
            return Ok(());
        }
        self.commit().await?;
        self.renew().await?;
        self.drop_those_that_came_back().await?;
        if !self.settings.allow_deletes {
            self.brake().await?;
        }
        for (level, candidates) in self.gone.take() {
            for candidates in candidates.chunks(BATCH) {
                self.commit().await?;
                self.delete(level, candidates).await?;
            }
        }
        Ok(())
    }

    async fn drop_those_that_came_back(&mut self) -> Result<(), Error> {
        let before = self.gone.kept();
        for level in Level::ALL {
            let candidates: Vec<Candidate> = self.gone.level(level).values().cloned().collect();
            for candidates in candidates.chunks(BATCH) {
                for id in self.alive(level, candidates).await? {
                    self.gone.level(level).remove(&id);
                }
            }
        }
        if self.gone.kept() < before {
            // What was only counted may be back as well: a later run finds out.
            self.gone.beyond = Tally::default();
            let studies: Vec<i64> = self.gone.studies.keys().copied().collect();
            self.gone.with_studies = self.target.live_series_count(&studies).await?;
        }
        Ok(())
    }

    /// `id` of the candidates that are in the source after all.
    async fn alive(&mut self, level: Level, candidates: &[Candidate]) -> Result<Vec<i64>, Error> {
        let found = |alive: &dyn Fn(&Candidate) -> bool| {
            candidates.iter().filter(|candidate| alive(candidate)).map(|candidate| candidate.id).collect()
        };
        Ok(match level {
            Level::Patient => {
                let pks: Vec<i64> = candidates.iter().map(|candidate| candidate.source_pk).collect();
                let alive = self.snapshot.patients_alive(&pks).await?;
                found(&|candidate| alive.contains(&candidate.source_pk))
            }
            Level::Study => {
                let uids = candidates.iter().map(|candidate| candidate.study_uid.as_str()).collect();
                let alive = self.snapshot.studies_by_uid(uids).await?;
                found(&|candidate| alive.contains_key(&candidate.study_uid))
            }
            Level::Series => {
                let mut uids: Vec<&str> = candidates.iter().map(|candidate| candidate.study_uid.as_str()).collect();
                uids.dedup();
                let alive = self.snapshot.series_alive(uids).await?;
                found(&|series| alive.contains(&(series.study_uid.clone(), series.series_uid.clone())))
            }
        })
    }

    async fn brake(&mut self) -> Result<(), Error> {
        let (tally, limit) = (self.gone.tally(), self.settings.max_deletes);
        let mut passes = within_rows(tally, limit);
        for (level, count) in tally.levels() {
            passes = passes
                && match live_needed(count, limit) {
                    Some(0) => true,
                    Some(needed) => self.target.has_live(level, needed).await?,
                    None => false,
                };
        }
        if passes {
            return Ok(());
        }
        let text = format!(
            "the brake on deletes: {tally} are gone from the source, more than target.max_deletes lets go in one run \
             ({} rows, {} % of a level); none was deleted{}. \
             If the source is right, confirm with: rbac-sync run{} --allow-deletes",
            limit.rows,
            limit.percent,
            if self.settings.dry_run { "" } else { ", everything else was applied" },
            if self.settings.mode == Mode::Full { " --mode full" } else { "" },
        );
        Err(Error::new(Side::Run, Class::Permanent, text))
    }

    async fn delete(&mut self, level: Level, candidates: &[Candidate]) -> Result<(), Error> {
        let ids = self.target.still_live(level, candidates).await?;
        let deletes = self.settings.deletes;
        match level {
            Level::Patient => self.uncommitted.patient.deleted += self.target.delete_patients(&ids, deletes).await?,
            Level::Study => {
                let (studies, series) = self.target.delete_studies(&ids, deletes).await?;
                self.uncommitted.study.deleted += studies;
                self.uncommitted.series.deleted += series;
            }
            Level::Series => self.uncommitted.series.deleted += self.target.delete_series(&ids, deletes).await?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(patients: u64, studies: u64, series: u64) -> Tally {
        Tally { patients, studies, series }
    }

    fn limit(rows: u64, percent: f64) -> MaxDeletes {
        MaxDeletes { rows, percent }
    }

    #[test]
    fn rows_of_all_levels_count_together() {
        assert!(within_rows(tally(1, 2, 7), limit(10, 100.0)));
        assert!(!within_rows(tally(1, 2, 8), limit(10, 100.0)));
    }

    #[test]
    fn percent_is_of_the_live_rows_of_a_level() {
        assert_eq!(live_needed(5, limit(500, 5.0)), Some(100));
        assert_eq!(live_needed(1, limit(500, 3.0)), Some(34));
        assert_eq!(live_needed(7, limit(500, 100.0)), Some(7));
    }

    #[test]
    fn zero_percent_lets_nothing_go() {
        assert_eq!(live_needed(1, limit(500, 0.0)), None);
        assert_eq!(live_needed(0, limit(500, 0.0)), Some(0));
    }

    fn gone(rows: u64, allow_deletes: bool) -> Gone {
        Gone::new(&Settings {
            source: crate::config::SourceName::new("main").unwrap(),
            mode: super::super::Mode::Full,
            dry_run: false,
            allow_deletes,
            overlap: std::time::Duration::ZERO,
            deletes: crate::config::Deletes::Tombstone,
            max_deletes: limit(rows, 100.0),
            sweep_every: std::time::Duration::ZERO,
            sweep_budget: std::time::Duration::ZERO,
            scan_percent: None,
        })
    }

    fn candidates(ids: std::ops::Range<i64>) -> impl Iterator<Item = Candidate> {
        ids.map(|id| Candidate {
            id,
            source_pk: id,
            study_id: 7000,
            study_uid: String::new(),
            series_uid: String::new(),
        })
    }

    #[test]
    fn a_row_that_is_found_gone_twice_counts_once() {
        let mut gone = gone(100, false);
        gone.add(Level::Series, candidates(0..5));
        gone.add(Level::Series, candidates(3..6));
        assert_eq!(gone.tally(), tally(0, 0, 6));
    }

    #[test]
    fn past_the_brake_rows_are_counted_but_not_kept() {
        let mut gone = gone(10, false);
        gone.add(Level::Study, candidates(0..1000));
        assert_eq!(gone.tally(), tally(0, 1000, 0));
        assert_eq!(gone.kept(), 11);
    }
}
