//! Looking at everything, by pk: the first load, and the full run.

use std::collections::HashMap;
use std::time::Duration;

use chrono::Utc;

use super::cursor::begin;
use super::pens::Pens;
use super::project::AHEAD;
use super::{Error, Mode, Run};
use crate::source::{Key, LEVELS, Level};
use crate::target::{Candidate, Cursor, Sample};

/// Rows of the target that are compared with the keys of the source in one go.
const TARGET_PAGE: usize = 10_000;
/// No transaction of an archive is older than this; its application server ends them after minutes.
pub(super) const LONGEST_TRANSACTION: Duration = Duration::from_secs(60 * 60);
/// Before every pk.
pub(super) const START: i64 = i64::MIN;
/// Behind every pk.
pub(super) const END: i64 = i64::MAX;

/// Up to where a page of at most `size` keys reaches: one that is not full is the last.
pub(super) fn page_end(pks: &[i64], size: usize) -> i64 {
    pks.last().copied().filter(|_| pks.len() == size).unwrap_or(END)
}

/// How far a level has grown in a load since its statistics were taken.
#[derive(Debug)]
pub(super) struct Growth {
    keys: usize,
    due: usize,
}

impl Growth {
    /// Nothing was loaded.
    pub(super) const NONE: Self = Self { keys: 0, due: 1 };

    /// Whether the statistics are to be taken again with so many keys more: after the first ones, and then each time
    /// there are four times as many.
    fn is_due(&mut self, more: usize) -> bool {
        self.keys += more;
        let due = self.keys >= self.due;
        if due {
            self.due = self.keys * 4;
        }
        due
    }
}

impl Run<'_> {
    /// The first load. The times up to which later deltas need not read are taken before its first row
    /// is read, and kept with the place that it has come to, so that it goes on there when it is
    /// interrupted.
    pub(super) async fn load(&mut self, cursors: [Option<Cursor>; LEVELS]) -> Result<(), Error> {
        let begun = Utc::now();
        let levels = Level::mirrored(self.settings.instances);
        let mut places = [Cursor::default(); LEVELS];
        for (&level, cursor) in levels.iter().zip(cursors) {
            let newest = match (level, cursor) {
                (_, Some(_)) => None,
                // Instances are stored with their series or later, and are too many to be asked for the latest.
                (Level::Instance, None) => places[Level::Series as usize].updated_time,
                (_, None) => self.newest(level).await?,
            };
            let place = &mut places[level as usize];
            *place = match cursor {
                Some(cursor) if cursor.load_pk.is_some() && self.settings.mode == Mode::Delta => cursor,
                Some(cursor) => Cursor { load_pk: Some(START), ..cursor },
                None => Cursor { updated_time: newest, load_pk: Some(START) },
            };
            if cursor != Some(*place) {
                self.target.set_cursor(level, *place).await?;
            }
        }
        self.commit().await?;
        self.sweep(Level::Patient, Some(places[Level::Patient as usize])).await?;
        if self.target.has_many_writers() {
            self.pens = Pens::open(&self.target).await;
        }
        self.sweep(Level::Study, Some(places[Level::Study as usize])).await?;
        self.pens = None;
        if self.settings.instances {
            self.sweep_instances(Some(places[Level::Instance as usize])).await?;
        }
        self.settle_full(begun).await?;
        for &level in levels {
            self.target.set_cursor(level, Cursor { load_pk: None, ..places[level as usize] }).await?;
        }
        // A load that was interrupted did not look for deletes in its first part again.
        if places[..levels.len()].iter().all(|place| place.load_pk == Some(START)) {
            self.all_verified(begun).await?;
        }
        self.commit().await?;
        for &level in levels.iter().filter(|level| **level != Level::Series) {
            self.target.take_statistics(level, Sample::Usual).await?;
        }
        Ok(())
    }

    /// Takes the statistics of a level that has grown much in a load.
    pub(super) async fn grown(&mut self, level: Level, growth: &mut Growth, keys: usize) -> Result<(), Error> {
        if growth.is_due(keys) { self.target.take_statistics(level, Sample::Quick).await } else { Ok(()) }
    }

    /// A run over everything that leaves the cursors alone.
    pub(super) async fn full(&mut self) -> Result<(), Error> {
        let begun = Utc::now();
        // A patient goes after its last study: where deletes do not wait for the end, few patients have to wait.
        self.sweep(Level::Study, None).await?;
        self.sweep(Level::Patient, None).await?;
        if self.settings.instances {
            self.sweep_instances(None).await?;
        }
        let codes = self.institutions.take_seen();
        self.institutions.settle(&codes, &mut self.target, &mut self.uncommitted).await?;
        self.commit().await?;
        self.settle_full(begun).await?;
        self.all_verified(begun).await?;
        self.commit().await
    }

    /// The largest `updated_time` of a level, but not past the clock; none of an empty table. While
    /// transactions are under way it is taken as much earlier as they can be old: there is no earlier run
    /// to tell when they began.
    async fn newest(&mut self, level: Level) -> Result<Option<chrono::NaiveDateTime>, Error> {
        self.keep_rows().await?;
        let under_way = self.snapshot.horizon().await?.is_some_and(|horizon| horizon.xmin < horizon.xmax);
        let now = self.snapshot.now().await?;
        let newest = self.snapshot.newest(level, now).await?;
        Ok(newest.map(|time| if under_way { begin(Some(time), LONGEST_TRANSACTION) } else { time }))
    }

    /// Looks at every patient, or every study, behind the place where it was interrupted.
    async fn sweep(&mut self, level: Level, place: Option<Cursor>) -> Result<(), Error> {
        let mut after = place.and_then(|place| place.load_pk).unwrap_or(START);
        let mut growth = Growth::NONE;
        while after < END {
            let keys = self.snapshot.keys_after(level, after, AHEAD).await?;
            let pks: Vec<i64> = keys.iter().map(|key| key.pk).collect();
            let upto = page_end(&pks, AHEAD);
            match level {
                Level::Patient => self.patients(&pks).await?,
                Level::Study | Level::Series | Level::Instance => self.studies(&pks).await?,
            }
            self.find_gone(level, after, upto, keys).await?;
            if let Some(place) = place.filter(|_| self.gone().is_empty() && self.memory.waiting.is_empty()) {
                self.target.set_cursor(level, Cursor { load_pk: Some(upto), ..place }).await?;
            }
            self.commit().await?;
            if place.is_some() {
                self.grown(level, &mut growth, pks.len()).await?;
            }
            self.delete_if_many().await?;
            self.seen.limit();
            after = upto;
        }
        Ok(())
    }

    /// Live rows of the target between `after` and `upto` that are not among `keys`.
    pub(super) async fn find_gone(
        &mut self,
        level: Level,
        mut after: i64,
        upto: i64,
        keys: Vec<Key>,
    ) -> Result<(), Error> {
        let uids: HashMap<i64, &str> = keys.iter().map(|key| (key.pk, key.uid.as_str())).collect();
        loop {
            let there = |pk: i64, uid: &str| uids.get(&pk) == Some(&uid);
            let (missing, last) = self.target.missing_between(level, after, upto, TARGET_PAGE, there).await?;
            match level {
                Level::Patient => self.gone().add(level, missing.into_iter()),
                Level::Study | Level::Series | Level::Instance => self.studies_missing(missing).await?,
            }
            self.delete_if_many().await?;
            match last {
                Some(last) => after = last,
                None => return Ok(()),
            }
        }
    }

    /// Studies that are not where they were: imported again under a new pk, or gone.
    pub(super) async fn studies_missing(&mut self, missing: Vec<Candidate>) -> Result<(), Error> {
        if missing.is_empty() {
            return Ok(());
        }
        self.keep_rows().await?;
        let uids = missing.iter().map(|study| study.study_uid.as_str()).collect();
        let elsewhere = self.snapshot.studies_by_uid(uids).await?;
        let pks: Vec<i64> = elsewhere.values().copied().collect();
        self.studies(&pks).await?;
        let gone = missing.into_iter().filter(|study| !elsewhere.contains_key(&study.study_uid));
        self.split().1.studies_gone(gone.collect()).await
    }
}

/// What a row of the target, a patient or a study, stands for.
pub(super) fn key_of(candidate: &Candidate) -> Key {
    Key { pk: candidate.source_pk, uid: candidate.study_uid.clone() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Rows that come and go while the pages are read make no difference to those that stay.
        #[test]
        fn every_key_lies_in_exactly_one_page_whatever_their_sizes(
            stay in prop::collection::btree_set(any::<i64>().prop_filter("a key", |pk| *pk != START), 0..60),
            others in prop::collection::vec(prop::collection::btree_set(any::<i64>(), 0..5), 100),
            sizes in prop::collection::vec(1usize..9, 100),
        ) {
            let mut after = START;
            let mut read = Vec::new();
            let mut pages = Vec::new();
            for number in 0.. {
                let size = sizes[number % sizes.len()];
                let now: BTreeSet<i64> = stay.union(&others[number % others.len()]).copied().collect();
                let pks: Vec<i64> = now.into_iter().filter(|pk| *pk > after).take(size).collect();
                let upto = page_end(&pks, size);
                prop_assert!(upto > after, "a page reaches further than the one before");
                read.extend(pks.into_iter().filter(|pk| stay.contains(pk)));
                pages.push((after, upto));
                if upto == END {
                    break;
                }
                after = upto;
            }
            prop_assert_eq!(read, stay.into_iter().collect::<Vec<_>>());
            prop_assert!(pages.windows(2).all(|pair| pair[0].1 == pair[1].0), "no gap and no overlap");
        }
    }
}
