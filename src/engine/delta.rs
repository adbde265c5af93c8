//! Looking at what changed since the last run, level by level: a patient does not bump its studies, a
//! series does not bump its study, and an instance bumps neither.
//!
//! Where `updated_time` has no index a scan reads the whole table, so it is done only as often as its
//! cost allows; rows that are new are found by pk at every run.

use std::collections::HashSet;
use std::time::Instant;

use chrono::NaiveDateTime;

use super::cursor::{advance, begin_in, hold};
use super::polls::Poll;
use super::project::AHEAD;
use super::scan::Scan;
use super::sweep::{START, key_of};
use super::{Error, Run};
use crate::model::{Links, survivor};
use crate::source::{Horizon, Key, LEVELS, Level};
use crate::target::Cursor;

/// Hints that are read in one go: without an index each page is a scan of the whole table, so pages are
/// large; a hint is small.
const HINTS: usize = 50_000;

/// Where a delta stands.
pub(super) struct Progress {
    /// The archive's clock at its beginning.
    pub(super) now: NaiveDateTime,
    /// What its view of the archive does not show.
    pub(super) horizon: Option<Horizon>,
    /// The cursors as they are kept.
    pub(super) stored: [Cursor; LEVELS],
    /// How far each level has been read.
    pub(super) reached: [Option<NaiveDateTime>; LEVELS],
}

impl Run<'_> {
    /// Applies what changed since the cursors, goes on with the rolling comparison, and deletes what both of
    /// them have found gone.
    pub(super) async fn delta(&mut self, stored: [Cursor; LEVELS]) -> Result<(), Error> {
        let begun = Instant::now();
        let horizon = self.snapshot.horizon().await?;
        let now = self.snapshot.now().await?;
        let mut progress = Progress { now, horizon, stored, reached: stored.map(|cursor| cursor.updated_time) };
        let mut newest_pk = [None; LEVELS];
        // It comes back when all that it has found is applied.
        let mut scan = self.memory.scan.take();
        self.orphans().await?;
        for &level in Level::mirrored(self.settings.instances) {
            let index = level as usize;
            let indexed = self.snapshot.is_indexed(level);
            if !indexed {
                newest_pk[index] = Some(self.snapshot.newest_pk(level).await?);
            }
            if level == Level::Instance && !indexed {
                if let Some(pk) = self.memory.polls.new_behind(index) {
                    Box::pin(self.look_at_new(level, pk)).await?;
                }
                scan = Box::pin(self.scan_instances(scan, &mut progress)).await?;
                continue;
            }
            let waits = !indexed && self.settings.scan_percent.is_some() && !self.memory.may_scan(index, begun);
            match self.memory.polls.new_behind(index).filter(|_| waits) {
                Some(pk) => Box::pin(self.look_at_new(level, pk)).await?,
                None => Box::pin(self.look_at_changed(level, indexed, &mut progress)).await?,
            }
        }
        let poll = Poll { at: begun, horizon, now, reached: progress.reached, newest_pk };
        // While rows wait to be deleted the cursors stay, and the brake must have seen what the rolling
        // comparison finds.
        let waits = !self.gone().is_empty();
        if !waits {
            self.end_delta(&mut progress, poll, scan).await?;
        }
        Box::pin(self.roll()).await?;
        self.settle().await?;
        if waits { self.end_delta(&mut progress, poll, scan).await } else { self.commit().await }
    }

    async fn end_delta(&mut self, progress: &mut Progress, poll: Poll, scan: Option<Scan>) -> Result<(), Error> {
        for &level in Level::mirrored(self.settings.instances) {
            self.move_cursor(level, progress).await?;
        }
        self.commit().await?;
        if !self.settings.dry_run {
            // Only now: what was under way at the poll before may have been read in this one.
            self.memory.polls.settle(poll.horizon, self.settings.overlap, poll.at);
            self.memory.polls.add(poll);
            self.memory.scan = scan;
        }
        Ok(())
    }

    /// By `updated_time`, from before the cursor on.
    async fn look_at_changed(&mut self, level: Level, indexed: bool, progress: &mut Progress) -> Result<(), Error> {
        let index = level as usize;
        let cursor = progress.stored[index].updated_time;
        let from = begin_in(self.snapshot.time_zone(), cursor, self.settings.overlap, progress.now);
        let mut position = (from, START);
        loop {
            let begun = Instant::now();
            let hints = self.snapshot.changed(level, position, HINTS).await?;
            if !indexed {
                let percent = self.settings.scan_percent.unwrap_or(100.0);
                self.memory.scanned(index, begun.elapsed(), percent, Instant::now());
            }
            // However many hints of a page name it: each look comes after the page was read.
            let mut looked_at = HashSet::new();
            for batch in hints.chunks(AHEAD) {
                let pks = batch.iter().map(|hint| hint.look_at).filter(|pk| looked_at.insert(*pk));
                self.look_again(level, pks.collect()).await?;
                let times = batch.iter().map(|hint| hint.updated_time);
                progress.reached[index] = advance(progress.reached[index], times, progress.now);
                if self.gone().is_empty() {
                    self.move_cursor(level, progress).await?;
                }
                self.commit().await?;
                self.delete_if_many().await?;
            }
            match hints.last() {
                Some(last) if hints.len() == HINTS => position = (last.updated_time, last.pk),
                _ => break,
            }
        }
        progress.reached[index] = advance(progress.reached[index], std::iter::empty(), progress.now);
        Ok(())
    }

    /// By pk, for rows that are new.
    async fn look_at_new(&mut self, level: Level, behind: i64) -> Result<(), Error> {
        let mut position = behind;
        loop {
            let rows = self.snapshot.added(level, position, HINTS).await?;
            let mut looked_at = HashSet::new();
            for batch in rows.chunks(AHEAD) {
                let pks = batch.iter().map(|(_, look_at)| *look_at).filter(|pk| looked_at.insert(*pk));
                self.look_again(level, pks.collect()).await?;
                self.commit().await?;
                self.delete_if_many().await?;
            }
            match rows.last() {
                Some((pk, _)) if rows.len() == HINTS => position = *pk,
                _ => return Ok(()),
            }
        }
    }

    /// Keeps how far a level has been read, but not past what a transaction under way may still write, nor past
    /// studies that are not remembered.
    async fn move_cursor(&mut self, level: Level, progress: &mut Progress) -> Result<(), Error> {
        let index = level as usize;
        let stored = progress.stored[index];
        if self.memory.orphans.is_full() {
            return Ok(());
        }
        let limit = self.memory.polls.limit(progress.horizon, index);
        let updated_time = hold(stored.updated_time, progress.reached[index], limit, progress.now);
        let cursor = Cursor { updated_time, ..stored };
        if cursor != stored {
            self.target.set_cursor(level, cursor).await?;
            progress.stored[index] = cursor;
        }
        Ok(())
    }

    async fn look_again(&mut self, level: Level, pks: Vec<i64>) -> Result<(), Error> {
        match level {
            Level::Study | Level::Series => return self.studies(&pks).await,
            Level::Instance => return self.instances(&pks).await,
            Level::Patient => {}
        }
        let family = self.family(pks).await?;
        self.patients(&family).await?;
        self.keep_rows().await?;
        let studies = self.snapshot.studies_of_patients(&family).await?;
        let pks: Vec<i64> = studies.iter().map(|study| study.pk).collect();
        self.studies(&pks).await?;
        let there: HashSet<Key> = studies.into_iter().collect();
        let live = self.target.live_studies_of(&family).await?;
        self.studies_missing(live.into_iter().filter(|study| !there.contains(&key_of(study))).collect()).await
    }

    /// Everyone along the chains of merges of these patients, as they are and as the target has them: whom
    /// a chain leads to may have changed for all of them, and in the target their studies belong to the
    /// survivor.
    async fn family(&mut self, mut pks: Vec<i64>) -> Result<Vec<i64>, Error> {
        let mut links = Links::new();
        self.snapshot.follow_merges(pks.iter().copied(), &mut links).await?;
        let former = self.target.survivors_of(&pks).await?;
        let survivors: Vec<i64> = pks.iter().map(|pk| survivor(*pk, &links)).chain(former).collect();
        pks.extend(survivors);
        self.snapshot.with_merged_into(&pks).await
    }
}
