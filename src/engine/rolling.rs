//! The rolling comparison: finds what leaves no trace in `updated_time`.
//!
//! Passes go round by pk, each run a part of them within its budget. `Access` compares access
//! control IDs, the marks of studies being deleted and the mere presence of studies and series, which is
//! quick, and begins anew every minute; `Patients` and `Studies` look at every row again, and where that level is
//! switched on `Instances` does, by series.
//!
//! A pass is a full run in slices. What it finds different is written at once; what it finds gone waits
//! until the pass is complete, so that the [brake](super::brake) sees all of it. The place that is kept in the
//! target does not pass a row that waits. A pass that the brake holds goes round all the same.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::institutions::{Codes, note};
use super::memory::OWN;
use super::sweep::{END, START, page_end};
use super::{Error, Kind, Run};
use crate::source::{AccessMap, Level};
use crate::target::{Pass, Passes};

/// A pass over the access control IDs begins no more often than this.
const ACCESS_EVERY: Duration = Duration::from_secs(60);
/// Studies whose access control IDs are compared cost as much as one that is looked at whole.
const ACCESS_FACTOR: usize = 10;
/// On an archive where nothing changes the place is written this often, and not with every run.
const KEEP_EVERY: Duration = Duration::from_secs(60);

impl Run<'_> {
    /// Goes on with the passes for as long as the budget lasts.
    pub(super) async fn roll(&mut self) -> Result<(), Error> {
        let budget = self.settings.sweep_budget;
        if budget.is_zero() || self.settings.dry_run {
            return Ok(());
        }
        let begun = Instant::now();
        if self.memory.turns.is_empty() {
            self.memory.turns = Kind::active(self.settings.instances).to_vec();
        }
        // They stay until the end: a pass that fails does not lose those behind it their turn.
        let order = self.memory.turns.clone();
        let mut served = 0;
        for &kind in &order {
            let now = Instant::now();
            if served > 0 && now >= begun + budget {
                break;
            }
            let share = if kind == Kind::Access { budget / 2 } else { budget };
            self.look = kind as usize;
            let result = self.roll_pass(kind, (begun + budget).min(now + share)).await;
            self.look = OWN;
            result?;
            served += 1;
        }
        self.memory.turns = turns_after(order, served);
        Ok(())
    }

    async fn roll_pass(&mut self, kind: Kind, until: Instant) -> Result<(), Error> {
        let now = Utc::now();
        let every =
            if kind == Kind::Access { ACCESS_EVERY.min(self.settings.sweep_every) } else { self.settings.sweep_every };
        let waits = self.memory.is_complete(kind as usize) && self.memory.is_held(kind as usize);
        if waits && is_due(self.memory.pass(kind as usize).started, every, now) {
            // The brake holds deletes, and nothing else.
            self.memory.begin_anew(kind as usize, self.settings);
        }
        let mut pass = self.memory.pass(kind as usize);
        if pass.started.is_none() {
            if !self.memory.is_held(kind as usize) && !is_due(pass.verified_since, every, now) {
                return Ok(());
            }
            pass = Pass { position: START, started: Some(now), ..pass };
            if kind == Kind::Studies {
                self.memory.codes = Some(Codes::default());
            }
        }
        while pass.position < END {
            let begun = Instant::now();
            pass.position = self.roll_page(kind, pass.position).await?;
            self.memory.passes.get_or_insert_default()[kind as usize] = pass;
            self.keep_passes(false).await?;
            self.commit().await?;
            let took = begun.elapsed();
            self.memory.paged(kind as usize, took, self.settings.sweep_budget);
            if Instant::now() + took > until {
                break;
            }
        }
        if pass.position == END {
            if let Some(codes) = self.memory.codes.take_if(|_| kind == Kind::Studies) {
                self.institutions.settle(&codes, &mut self.target, &mut self.uncommitted).await?;
            }
            self.commit().await?;
        }
        Ok(())
    }

    /// Compares the rows behind `after`; answers up to where.
    async fn roll_page(&mut self, kind: Kind, after: i64) -> Result<i64, Error> {
        let level = match kind {
            Kind::Patients => Level::Patient,
            Kind::Access | Kind::Studies => Level::Study,
            Kind::Instances => Level::Series,
        };
        let size = self.memory.page[kind as usize] * if kind == Kind::Access { ACCESS_FACTOR } else { 1 };
        let keys = self.snapshot.keys_after(level, after, size).await?;
        let pks: Vec<i64> = keys.iter().map(|key| key.pk).collect();
        let upto = page_end(&pks, size);
        match kind {
            Kind::Access => {
                let source = self.snapshot.access(after, upto).await?;
                let target = self.target.access(after, upto).await?;
                self.studies(&differing(&source, &target)).await?;
            }
            Kind::Patients => self.patients(&pks).await?,
            Kind::Studies => {
                self.studies(&pks).await?;
                let seen = self.institutions.take_seen();
                if let Some(codes) = &mut self.memory.codes {
                    seen.iter().for_each(|(name, code)| note(codes, name, code.as_ref()));
                }
            }
            Kind::Instances => {
                self.instances(&pks).await?;
                // Series that are gone are found by the other passes.
                return Ok(upto);
            }
        }
        self.find_gone(level, after, upto, keys).await?;
        Ok(upto)
    }

    /// Ends the passes that are complete and of which nothing waits any more.
    pub(super) async fn end_passes(&mut self) -> Result<(), Error> {
        if self.settings.dry_run {
            return Ok(());
        }
        let mut lifted = false;
        for pass in 0..OWN {
            if self.memory.is_complete(pass) && self.memory.gone[pass].is_empty() {
                lifted |= self.memory.end_pass(pass);
            }
        }
        self.keep_passes(lifted).await
    }

    /// Keeps the passes in the target when they must be, when the transaction writes anyway, and now and then.
    async fn keep_passes(&mut self, must: bool) -> Result<(), Error> {
        let passes = self.memory.to_store();
        let overdue = self.memory.passes_kept.is_none_or(|kept| kept.elapsed() >= KEEP_EVERY);
        if must || (passes != self.memory.stored && (overdue || self.target.is_writing())) {
            self.set_passes(&passes).await?;
            self.memory.stored = passes;
            self.memory.passes_kept = Some(Instant::now());
        }
        Ok(())
    }

    /// A full run is a complete pass of every kind, which began at `begun`.
    pub(super) async fn all_verified(&mut self, begun: DateTime<Utc>) -> Result<(), Error> {
        let mut passes = Passes::default();
        for kind in Kind::active(self.settings.instances) {
            passes[*kind as usize].verified_since = Some(begun);
        }
        self.set_passes(&passes).await?;
        if !self.settings.dry_run {
            self.memory.recall(passes);
            self.memory.gone = Default::default();
            self.memory.codes = None;
        }
        Ok(())
    }

    /// Keeps the passes of the levels that are mirrored in the target.
    pub(super) async fn set_passes(&mut self, passes: &Passes) -> Result<(), Error> {
        self.target.set_passes(&passes[..Kind::active(self.settings.instances).len()]).await
    }

    /// Every row has been compared since then; none: not yet.
    pub(super) fn verified_since(&self) -> Option<DateTime<Utc>> {
        let passes = self.memory.passes?;
        let since = passes[..Kind::active(self.settings.instances).len()]
            .iter()
            .map(|pass| pass.verified_since)
            .collect::<Option<Vec<_>>>();
        since?.into_iter().min()
    }
}

/// The order of the next run, when in this one time was left for so many passes: those that had no turn come
/// first, but the access control IDs before them unless they alone took all the time.
fn turns_after(mut order: Vec<Kind>, served: usize) -> Vec<Kind> {
    if served == order.len() {
        order.sort();
        return order;
    }
    let access_alone = order[..served] == [Kind::Access];
    order.rotate_left(served);
    if !access_alone {
        order.sort_by_key(|kind| *kind != Kind::Access);
    }
    order
}

/// Whether a pass is due, of which the last one began at `since`. A clock that was set back makes it due.
fn is_due(since: Option<DateTime<Utc>>, every: Duration, now: DateTime<Utc>) -> bool {
    since.is_none_or(|since| (now - since).to_std().is_ok_and(|age| age >= every) || since > now)
}

/// Studies of the source that stand otherwise in the target; what is only in the target is found by pk.
fn differing(source: &AccessMap, target: &AccessMap) -> Vec<i64> {
    let differs = |(pk, ids): &(&i64, &crate::source::AccessIds)| match target.get(pk) {
        Some(there) => *ids != there,
        None => !ids.deleting,
    };
    source.iter().filter(differs).map(|(pk, _)| *pk).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::AccessIds;

    fn study(ids: Option<&str>, deleting: bool, series: &[(i64, Option<&str>)]) -> AccessIds {
        let series = series.iter().map(|(pk, ids)| (*pk, ids.map(str::to_owned))).collect();
        AccessIds { deleting, ids: ids.map(str::to_owned), series }
    }

    #[test]
    fn equal_studies_do_not_differ() {
        let map = AccessMap::from([(1, study(Some("A\\B"), false, &[(2, None)]))]);
        assert!(differing(&map, &map).is_empty());
    }

    #[test]
    fn ids_of_study_or_series_a_series_and_the_mark_make_a_difference() {
        let there = study(Some("A"), false, &[(2, Some("X"))]);
        for source in [
            study(None, false, &[(2, Some("X"))]),
            study(Some("A"), true, &[(2, Some("X"))]),
            study(Some("A"), false, &[(2, None)]),
            study(Some("A"), false, &[]),
            study(Some("A"), false, &[(2, Some("X")), (3, None)]),
        ] {
            let (source, target) = (AccessMap::from([(1, source)]), AccessMap::from([(1, there.clone())]));
            assert_eq!(differing(&source, &target), [1]);
        }
    }

    #[test]
    fn a_study_that_is_not_there_differs_unless_it_is_being_deleted() {
        let source = AccessMap::from([(1, study(None, false, &[])), (2, study(None, true, &[]))]);
        assert_eq!(differing(&source, &AccessMap::new()), [1]);
    }

    #[test]
    fn no_pass_starves_whichever_of_them_use_the_time_up() {
        for active in [Kind::active(false), Kind::active(true)] {
            for greedy in 0..1 << active.len() {
                let uses_up = |kind: Kind| greedy & (1 << kind as usize) != 0;
                let (mut order, mut waited) = (active.to_vec(), [0; OWN]);
                for run in 0..30 {
                    let last = order.iter().position(|kind| uses_up(*kind)).map_or(active.len(), |greedy| greedy + 1);
                    for kind in active {
                        let pass = *kind as usize;
                        waited[pass] = if order[..last].contains(kind) { 0 } else { waited[pass] + 1 };
                    }
                    let most = 2 * active.len() - 2;
                    assert!(waited.iter().all(|runs| *runs < most), "{greedy:04b} in run {run}: {waited:?}");
                    order = turns_after(order, last);
                }
            }
        }
    }

    #[test]
    fn access_control_ids_come_first_unless_they_took_all_the_time() {
        use Kind::{Access, Patients, Studies};
        let after = |served| turns_after(vec![Access, Patients, Studies], served);
        assert_eq!(after(3), [Access, Patients, Studies]);
        assert_eq!(after(2), [Access, Studies, Patients]);
        assert_eq!(after(1), [Patients, Studies, Access]);
    }

    #[test]
    fn a_pass_is_due_after_its_time_and_when_the_clock_was_set_back() {
        let at = |second| DateTime::from_timestamp(second, 0).unwrap();
        let every = Duration::from_secs(60);
        assert!(is_due(None, every, at(0)));
        assert!(!is_due(Some(at(0)), every, at(59)));
        assert!(is_due(Some(at(0)), every, at(60)));
        assert!(is_due(Some(at(100)), every, at(60)));
    }
}
