//! Looking for changed instances where the source has no index on `instance.updated_time`: a scan in parts, from the
//! largest pk down, over many runs.
//!
//! The table may be so large that one statement over all of it would take longer than any may, and what was stored
//! while nobody looked is found first. A row that changes behind the place of a scan is left for the next one, for
//! the cursor moves no further than the clock stood when the scan began.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chrono::NaiveDateTime;

use super::cursor::{advance, begin_in, hold};
use super::delta::Progress;
use super::sweep::END;
use super::{Error, Run};
use crate::source::Level;

/// Keys of one part: a fraction of a second, and not too many hints even if all of them have changed.
const PART: i64 = 50_000;
/// A run goes on with a scan for so long.
const SLICE: Duration = Duration::from_millis(500);

/// A scan of `updated_time` over all instances, in parts. Pure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scan {
    /// What is still to be read: up to this pk.
    pub(super) upto: i64,
    /// What changed since then is looked for.
    pub(super) since: NaiveDateTime,
    /// The archive's clock when it began.
    now: NaiveDateTime,
    /// How far the cursor may move for what was under way when it began.
    limit: Option<Option<NaiveDateTime>>,
    /// The latest change found so far.
    reached: Option<NaiveDateTime>,
}

impl Scan {
    /// A scan that begins now; `limit` as [`Memory::limit`](super::memory::Memory::limit) has it.
    pub(super) fn new(
        stored: Option<NaiveDateTime>,
        since: NaiveDateTime,
        now: NaiveDateTime,
        limit: Option<Option<NaiveDateTime>>,
    ) -> Self {
        Self { upto: END, since, now, limit, reached: stored }
    }

    /// The keys above `after` are done, and the changes that they showed are applied.
    pub(super) fn done(&mut self, after: i64, changes: impl Iterator<Item = NaiveDateTime>) {
        self.reached = advance(self.reached, changes, self.now);
        self.upto = after;
    }

    /// How far the cursor may move, now that all keys are done.
    pub(super) fn end(self, stored: Option<NaiveDateTime>) -> Option<NaiveDateTime> {
        hold(stored, self.reached, self.limit, self.now)
    }
}

impl Run<'_> {
    /// Goes on with a scan, or begins one, within its share of the time; answers what is left of it. A run that
    /// somebody asked for does all of it.
    pub(super) async fn scan_instances(
        &mut self,
        scan: Option<Scan>,
        progress: &mut Progress,
    ) -> Result<Option<Scan>, Error> {
        let (index, share) = (Level::Instance as usize, self.settings.scan_percent);
        if share.is_some() && !self.memory.may_scan(index, Instant::now()) {
            return Ok(scan);
        }
        let stored = progress.stored[index].updated_time;
        let mut scan = scan.filter(|_| share.is_some()).unwrap_or_else(|| {
            let since = begin_in(self.snapshot.time_zone(), stored, self.settings.overlap, progress.now);
            Scan::new(stored, since, progress.now, self.memory.polls.limit(progress.horizon, index))
        });
        let mut took = Duration::ZERO;
        let ended = loop {
            let begun = Instant::now();
            let Some(upto) = self.snapshot.newest_instance_upto(scan.upto).await? else { break true };
            let after = upto.saturating_sub(PART);
            let hints = self.snapshot.instances_changed(after, upto, scan.since).await?;
            took += begun.elapsed();
            let series: BTreeSet<i64> = hints.iter().map(|hint| hint.look_at).collect();
            self.instances(&Vec::from_iter(series)).await?;
            self.delete_if_many().await?;
            scan.done(after, hints.iter().map(|hint| hint.updated_time));
            self.commit().await?;
            if share.is_some() && took >= SLICE {
                break false;
            }
        };
        if let Some(percent) = share {
            self.memory.scanned(index, took, percent, Instant::now());
        }
        if ended {
            progress.reached[index] = scan.end(stored);
        }
        Ok(Some(scan).filter(|_| !ended))
    }
}
