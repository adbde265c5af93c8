//! The supervisor's link to the target: opening it, and what is on its way into its bookkeeping.
//!
//! Pure state. One child task at a time opens, one at a time writes, and while the lock on the target is
//! held, one waits for its loss.
//!
//! ```text
//! closed --> opening --> open      this daemon serves the target
//!    ^          |          |
//!    +--failed--+----------+
//!               +--------> standby another process does; asked again and again
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Reachability;
use super::lane::Complaints;
use crate::engine::Error;
use crate::history::{Change, RunRecord};
use crate::schedule;

/// Wait after a failed write of the bookkeeping.
const WRITE_AGAIN: Duration = Duration::from_secs(5);
/// Records that wait for a target that is down; with one failure a minute half a day's worth.
const MOST_UNRECORDED: usize = 1000;
/// How often a standby asks: the longest time without a daemon after the other one has ended.
const STANDBY_EVERY: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { again: Instant },
    Opening,
    Open,
    Standby { again: Instant },
}

/// The target and the state of the link.
#[derive(Debug)]
pub(super) struct Link<T> {
    pub(super) target: Arc<T>,
    /// The target before this one, until it is given back: it may be the same database.
    former: Option<Arc<T>>,
    /// Counts the targets of this process: an answer about an earlier one is void.
    pub(super) number: u64,
    pub(super) reach: Reachability,
    pub(super) complaints: Complaints,
    state: State,
    failures: u32,
    unrecorded: VecDeque<Arc<RunRecord>>,
    unnoted: VecDeque<Arc<Change>>,
    writing: bool,
    write_again: Instant,
    /// A child task waits for the loss of the lock.
    holding: bool,
    /// Who serves the target in our place.
    served_by: Option<String>,
}

impl<T> Link<T> {
    /// A target that is to be opened at once.
    pub(super) fn new(target: Arc<T>, now: Instant) -> Self {
        Self {
            target,
            former: None,
            number: 1,
            reach: Reachability { reachable: None, error: None, since: None },
            complaints: Complaints::default(),
            state: State::Closed { again: now },
            failures: 0,
            unrecorded: VecDeque::new(),
            unnoted: VecDeque::new(),
            writing: false,
            write_again: now,
            holding: false,
            served_by: None,
        }
    }

    /// Another target from now on; what is not recorded yet goes there.
    pub(super) fn replace(&mut self, target: Arc<T>, now: Instant) {
        let unrecorded = std::mem::take(&mut self.unrecorded);
        let unnoted = std::mem::take(&mut self.unnoted);
        let former = Some(self.former.take().unwrap_or_else(|| self.target.clone()));
        *self = Self { number: self.number + 1, unrecorded, unnoted, former, ..Self::new(target, now) };
    }

    /// The target that is to be given back before this one is opened.
    pub(super) fn take_former(&mut self) -> Option<Arc<T>> {
        self.former.take()
    }

    /// Whether runs can use it.
    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// When it is to be opened; `None` while it is open or being opened.
    pub(super) fn opens_at(&self) -> Option<Instant> {
        match self.state {
            State::Closed { again } | State::Standby { again } => Some(again),
            State::Opening | State::Open => None,
        }
    }

    /// Somebody wants a run: do not wait for the next attempt.
    pub(super) fn hurry(&mut self, now: Instant) {
        if let State::Closed { again } = &mut self.state {
            *again = now;
        }
    }

    /// An attempt begins.
    pub(super) fn opening(&mut self) {
        self.state = State::Opening;
    }

    /// An attempt succeeded.
    pub(super) fn opened(&mut self, now: Instant) {
        self.state = State::Open;
        self.served_by = None;
        self.failures = 0;
        self.write_again = now;
        self.complaints.over();
    }

    /// An attempt found that another process serves the target. True if that is news.
    #[must_use]
    pub(super) fn stand_by(&mut self, holder: String, now: Instant) -> bool {
        self.state = State::Standby { again: now + STANDBY_EVERY };
        self.failures = 0;
        self.complaints.over();
        let before = self.served_by.replace(holder);
        before != self.served_by
    }

    /// Who serves the target in our place, as far as is known.
    pub(super) fn served_by(&self) -> Option<&str> {
        self.served_by.as_deref()
    }

    /// Whether a child task is needed that waits for the loss of the lock; from now on there is one.
    #[must_use]
    pub(super) fn needs_holding(&mut self) -> bool {
        !std::mem::replace(&mut self.holding, true)
    }

    /// The lock is lost.
    pub(super) fn lock_lost(&mut self, now: Instant) {
        self.holding = false;
        if self.is_open() {
            self.failed(now);
        }
    }

    /// An attempt failed, or a run says that the target failed: open it again after a while, as it may
    /// be another database by then.
    pub(super) fn failed(&mut self, now: Instant) {
        if let State::Closed { .. } = self.state {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        self.state = State::Closed { again: now + schedule::backoff(self.failures) };
    }

    /// An ended run is to be recorded. True if the oldest one had to go for it.
    #[must_use]
    pub(super) fn push(&mut self, record: Arc<RunRecord>) -> bool {
        self.unrecorded.push_back(record);
        let full = self.unrecorded.len() > MOST_UNRECORDED;
        if full {
            self.unrecorded.pop_front();
        }
        full
    }

    /// A change is to be recorded. True if the oldest one had to go for it.
    #[must_use]
    pub(super) fn push_change(&mut self, change: Arc<Change>) -> bool {
        self.unnoted.push_back(change);
        let full = self.unnoted.len() > MOST_UNRECORDED;
        if full {
            self.unnoted.pop_front();
        }
        full
    }

    /// The change that is to be written next.
    pub(super) fn unnoted(&self) -> Option<&Arc<Change>> {
        self.unnoted.front()
    }

    /// That change needs no further attempt.
    pub(super) fn noted(&mut self, change: &Change) {
        self.unnoted.retain(|unnoted| unnoted.change_id != change.change_id);
    }

    /// When a write may begin; `None` while one is under way or the target is not open.
    pub(super) fn writes_at(&self) -> Option<Instant> {
        (self.is_open() && !self.writing).then_some(self.write_again)
    }

    /// The record that is to be written next.
    pub(super) fn unrecorded(&self) -> Option<&Arc<RunRecord>> {
        self.unrecorded.front()
    }

    /// A write begins.
    pub(super) fn writing(&mut self) {
        self.writing = true;
    }

    /// A write ended.
    pub(super) fn written(&mut self, error: Option<&Error>, now: Instant) {
        self.writing = false;
        if error.is_some() {
            self.write_again = now + WRITE_AGAIN;
        }
    }

    /// That record needs no further attempt.
    pub(super) fn settled(&mut self, record: &RunRecord) {
        self.unrecorded.retain(|unrecorded| unrecorded.run_id != record.run_id);
    }

    /// Whether a write is under way.
    pub(super) fn is_writing(&self) -> bool {
        self.writing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_to_open_back_off_and_a_success_forgets_that() {
        let (mut link, now) = (Link::new(Arc::new(()), Instant::now()), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..3 {
            link.opening();
            link.failed(now);
            waits.push((link.opens_at().unwrap() - now).as_secs());
        }
        assert_eq!(waits, [5, 10, 20]);
        link.opening();
        link.opened(now);
        link.failed(now);
        assert_eq!((link.opens_at().unwrap() - now).as_secs(), 5);
    }

    #[test]
    fn several_runs_that_fail_together_count_as_one_failure() {
        let (mut link, now) = (Link::new(Arc::new(()), Instant::now()), Instant::now());
        link.opening();
        link.opened(now);
        (0..4).for_each(|_| link.failed(now));
        assert_eq!((link.opens_at().unwrap() - now).as_secs(), 5);
    }
}
