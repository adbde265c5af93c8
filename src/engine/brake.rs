//! The brake on deletes: what the looks of a run have found gone is judged together before the first row of
//! it is deleted. That is what a delta finds, and what the passes of the rolling comparison have found so far,
//! also in earlier runs. Past the brake nothing of the source is deleted.
//!
//! While the brake holds a pass, each run looks at its rows once more: when they are back, the brake lifts
//! itself. The pass is made anew as often as any other, for what it finds different is written in any case. The
//! bookkeeping of the target shows it as complete and not ended, so that a daemon which is started again deletes
//! nothing before the pass has been made anew.

use std::collections::HashSet;
use std::ops::Range;

use chrono::{DateTime, Utc};

use super::gone::{Gone, Tally, live_needed, within_rows};
use super::memory::{LOOKS, OWN};
use super::{Class, Error, Mode, Run, Settings, Side};
use crate::source::Level;
use crate::target::Candidate;

/// Rows that are checked and deleted in one transaction.
const BATCH: usize = 1000;
/// A run that may delete without limit does so as soon as this many rows wait.
const ENOUGH: usize = 10_000;

impl Run<'_> {
    /// What the look under way has found gone.
    pub(super) fn gone(&mut self) -> &mut Gone {
        &mut self.memory.gone[self.look]
    }

    /// In a run that may pass the brake: deletes now when much waits.
    pub(super) async fn delete_if_many(&mut self) -> Result<(), Error> {
        if self.settings.allow_deletes && self.gone().kept() >= ENOUGH {
            self.look_once_more(self.look..self.look + 1).await?;
            self.delete_found(self.look).await?;
            self.commit().await?;
        }
        Ok(())
    }

    /// The end of a look at everything, which began at `begun`: deletes what it found gone, or fails at the
    /// brake. The last transaction is left open.
    pub(super) async fn settle_full(&mut self, begun: DateTime<Utc>) -> Result<(), Error> {
        let own = OWN..OWN + 1;
        self.look_once_more(own.clone()).await?;
        if let Err(error) = self.brake(own).await {
            if !self.settings.dry_run {
                self.memory.hold_full(begun);
                self.hold().await?;
            }
            return Err(error);
        }
        self.delete_found(OWN).await?;
        self.delete_waiting().await
    }

    /// The end of a delta: deletes what it and the passes that are complete have found gone, or fails at the
    /// brake, where also what the other passes have found counts. The last transaction is left open for the
    /// cursors.
    pub(super) async fn settle(&mut self) -> Result<(), Error> {
        let complete = (0..OWN).filter(|pass| self.memory.is_complete(*pass));
        let ends: Vec<usize> = complete.filter(|_| !self.settings.dry_run).chain([OWN]).collect();
        let waits = ends.iter().any(|look| !self.memory.gone[*look].is_empty());
        if waits || self.memory.holds() {
            self.look_once_more(0..LOOKS).await?;
            if let Err(error) = self.brake(0..LOOKS).await {
                self.end_passes().await?;
                self.hold().await?;
                return Err(error);
            }
            for look in ends {
                self.delete_found(look).await?;
            }
        }
        self.delete_waiting().await?;
        self.end_passes().await
    }

    /// Remembers in the target which passes are held, and begins those anew that no longer tell what is gone.
    async fn hold(&mut self) -> Result<(), Error> {
        if self.settings.dry_run {
            return Ok(());
        }
        let stored = self.memory.with_holds();
        if stored != self.memory.stored {
            self.target.set_passes(&stored).await?;
        }
        self.commit().await?;
        self.memory.stored = stored;
        self.memory.begin_outdated_anew(self.settings);
        Ok(())
    }

    /// Drops the rows that are back in the source by now, and those that were deleted or written since they
    /// were found.
    async fn look_once_more(&mut self, looks: Range<usize>) -> Result<(), Error> {
        if self.memory.gone[looks.clone()].iter().all(Gone::is_empty) {
            return Ok(());
        }
        self.commit().await?;
        self.renew().await?;
        for look in looks {
            let before = self.memory.gone[look].kept();
            for level in Level::ALL {
                let candidates: Vec<Candidate> = self.memory.gone[look].of(level).values().cloned().collect();
                for candidates in candidates.chunks(BATCH) {
                    let back: HashSet<i64> = self.alive(level, candidates).await?.into_iter().collect();
                    let live: HashSet<i64> = self.target.still_live(level, candidates).await?.into_iter().collect();
                    let dropped = |row: &&Candidate| back.contains(&row.id) || !live.contains(&row.id);
                    for row in candidates.iter().filter(dropped) {
                        self.memory.gone[look].remove(level, row.id);
                    }
                }
            }
            let gone = &self.memory.gone[look];
            if gone.kept() < before && !gone.has_uncertain() {
                let series = self.target.live_series_count(&gone.ids(Level::Study)).await?;
                self.memory.gone[look].with_studies = series;
            }
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

    /// Fails unless all that these looks have found may go.
    async fn brake(&mut self, looks: Range<usize>) -> Result<(), Error> {
        if self.settings.allow_deletes {
            return Ok(());
        }
        match self.judge(looks).await? {
            Some((why, tally)) => Err(Error::new(Side::Run, Class::Permanent, wording(why, tally, self.settings))),
            None => Ok(()),
        }
    }

    /// Why what these looks have found gone may not go, and how much that is.
    async fn judge(&mut self, looks: Range<usize>) -> Result<Option<(Why, Tally)>, Error> {
        let found = &self.memory.gone[looks.clone()];
        let uncertain = found.iter().any(Gone::has_uncertain);
        let mut union = Gone::union(found);
        union.with_studies = self.target.live_series_count(&union.ids(Level::Study)).await?;
        let found = &self.memory.gone[looks.clone()];
        let mut tally = found.iter().map(Gone::tally).fold(union.tally(), Tally::max);
        let recounts = looks.contains(&0) && self.memory.recounts();
        if recounts {
            tally = self.memory.counted_before().fold(tally, Tally::max);
        }
        let why = match self.is_within(tally).await? {
            false => Why::TooMany,
            true if recounts => Why::Recounts,
            true if uncertain => Why::Uncertain,
            true => return Ok(None),
        };
        Ok(Some((why, tally)))
    }

    async fn is_within(&mut self, tally: Tally) -> Result<bool, Error> {
        let limit = self.settings.max_deletes;
        let mut within = within_rows(tally, limit);
        for (level, count) in tally.levels() {
            within = within
                && match live_needed(count, limit) {
                    Some(0) => true,
                    Some(needed) => self.target.has_live(level, needed).await?,
                    None => false,
                };
        }
        Ok(within)
    }

    /// Deletes what a look has found. Patients with studies that are still live wait for them.
    async fn delete_found(&mut self, look: usize) -> Result<(), Error> {
        for (level, candidates) in self.memory.gone[look].take() {
            for candidates in candidates.chunks(BATCH) {
                self.commit().await?;
                self.delete(level, candidates).await?;
            }
        }
        Ok(())
    }

    /// Deletes the patients whose studies have gone by now; one that is back in the source is let be.
    async fn delete_waiting(&mut self) -> Result<(), Error> {
        let waiting: Vec<Candidate> = self.memory.waiting.values().cloned().collect();
        if waiting.is_empty() || self.settings.dry_run {
            return Ok(());
        }
        self.commit().await?;
        self.renew().await?;
        for mut candidates in waiting.chunks(BATCH).map(<[Candidate]>::to_vec) {
            let back: HashSet<i64> = self.alive(Level::Patient, &candidates).await?.into_iter().collect();
            candidates.retain(|patient| !back.contains(&patient.id));
            self.memory.waiting.retain(|id, _| !back.contains(id));
            self.commit().await?;
            self.delete(Level::Patient, &candidates).await?;
        }
        Ok(())
    }

    async fn delete(&mut self, level: Level, candidates: &[Candidate]) -> Result<(), Error> {
        let ids = self.target.still_live(level, candidates).await?;
        let deletes = self.settings.deletes;
        match level {
            Level::Patient => {
                self.uncommitted.patient.deleted += self.target.delete_patients(&ids, deletes).await?;
                self.keep_waiting(candidates).await?;
            }
            Level::Study => {
                let (studies, series) = self.target.delete_studies(&ids, deletes).await?;
                self.uncommitted.study.deleted += studies;
                self.uncommitted.series.deleted += series;
            }
            Level::Series => self.uncommitted.series.deleted += self.target.delete_series(&ids, deletes).await?,
        }
        Ok(())
    }

    /// Of these patients, those that are still live wait for their last study.
    async fn keep_waiting(&mut self, candidates: &[Candidate]) -> Result<(), Error> {
        if self.settings.dry_run {
            return Ok(());
        }
        let live: HashSet<i64> = self.target.still_live(Level::Patient, candidates).await?.into_iter().collect();
        for patient in candidates {
            if live.contains(&patient.id) {
                self.memory.waiting.insert(patient.id, patient.clone());
            } else {
                self.memory.waiting.remove(&patient.id);
            }
        }
        Ok(())
    }
}

/// Why the brake holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// More is gone than may go.
    TooMany,
    /// What an earlier run had found is not known, and being looked for again.
    Recounts,
    /// Rows were counted and not kept, and of those that were kept some are back.
    Uncertain,
}

/// What the run says when the brake holds.
fn wording(why: Why, tally: Tally, settings: &Settings) -> String {
    let limit = settings.max_deletes;
    let why = match why {
        Why::TooMany => format!(
            "the brake on deletes: {tally} are gone from the source, more than target.max_deletes lets go in one \
             run ({} rows, {} % of a level)",
            limit.rows, limit.percent,
        ),
        Why::Recounts => format!(
            "the brake on deletes holds since an earlier run, until all rows have been compared again, which a full \
             run does at once; so far {tally} are gone from the source"
        ),
        Why::Uncertain => format!(
            "the brake on deletes: more was gone than target.max_deletes lets go in one run, and some of it is back; \
             the rest, at the most {tally}, is compared again before any goes"
        ),
    };
    format!(
        "{why}; none was deleted{}. If the source is right, confirm with: rbac-sync run{} --allow-deletes",
        if settings.dry_run { "" } else { ", everything else was applied" },
        if settings.mode == Mode::Full { " --mode full" } else { "" },
    )
}

#[cfg(test)]
mod tests {
    use super::super::gone::tests::settings;
    use super::*;

    #[test]
    fn the_brake_says_that_too_much_is_gone_only_where_it_is() {
        let tally = Tally { patients: 0, studies: 7, series: 2 };
        let said = |why| wording(why, tally, &settings(10, false));
        assert!(said(Why::TooMany).contains("7 studies and 2 series are gone from the source, more than"));
        for why in [Why::Recounts, Why::Uncertain] {
            let text = said(why);
            assert!(!text.contains("are gone from the source, more than"), "{text}");
            assert!(text.contains("compared again") && text.contains("7 studies and 2 series"), "{text}");
        }
    }

    #[test]
    fn a_dry_run_does_not_say_that_it_applied_anything() {
        let dry = Settings { dry_run: true, ..settings(10, false) };
        assert!(!wording(Why::TooMany, Tally::default(), &dry).contains("applied"));
        assert!(wording(Why::TooMany, Tally::default(), &settings(10, false)).contains("applied"));
    }
}
