//! The deltas of one source that have ended: what they could not have seen decides how far a cursor may move, and
//! where new rows are looked for. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use chrono::NaiveDateTime;

use super::cursor::advance;
use crate::source::{Horizon, LEVELS};

/// Polls that are remembered at the most; forgetting one in the middle only makes a cursor move later.
const POLLS: usize = 64;

/// A delta that has ended: how far it had read, and what it could not have seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Poll {
    /// When it was.
    pub(super) at: Instant,
    /// The view that it read, where the database can tell.
    pub(super) horizon: Option<Horizon>,
    /// The archive's clock at its beginning.
    pub(super) now: NaiveDateTime,
    /// Up to which `updated_time` each level had been read; what begins later writes nothing older.
    pub(super) reached: [Option<NaiveDateTime>; LEVELS],
    /// The largest pk of each level at that time; none where an index made it needless.
    pub(super) newest_pk: [Option<i64>; LEVELS],
}

/// Those that still matter, the latest last.
#[derive(Debug, Default)]
pub(super) struct Polls(VecDeque<Poll>);

impl Polls {
    /// Remembers a delta that has ended. What it did not scan had been read as far as at the poll before.
    pub(super) fn add(&mut self, mut poll: Poll) {
        if let Some(before) = self.0.back() {
            for (reached, before) in poll.reached.iter_mut().zip(before.reached) {
                *reached = advance((*reached).max(before), std::iter::empty(), poll.now);
            }
        }
        if self.0.len() == POLLS {
            self.0.remove(POLLS / 2);
        }
        self.0.push_back(poll);
    }

    /// Forgets the polls that no longer matter after a run that has read `horizon` now: all but the latest
    /// settled one and the one before it. Where the database cannot tell which transactions are under
    /// way, a poll counts as settled after `overlap`.
    pub(super) fn settle(&mut self, horizon: Option<Horizon>, overlap: Duration, now: Instant) {
        let settled = self.0.iter().rposition(|poll| match (poll.horizon, horizon) {
            (Some(then), Some(now)) => then.xmax <= now.xmin,
            _ => now.duration_since(poll.at) >= overlap,
        });
        if let Some(settled) = settled {
            self.0.drain(..settled.saturating_sub(1));
        }
    }

    /// How far a cursor may move while transactions are under way. Those that `horizon` does not show
    /// began after the latest poll whose `xmax` is not above its `xmin`, so what they write is not older
    /// than what that poll reached. `None`: no limit; `Some(None)`: not at all.
    pub(super) fn limit(&self, horizon: Option<Horizon>, level: usize) -> Option<Option<NaiveDateTime>> {
        let horizon = horizon.filter(|horizon| horizon.xmin < horizon.xmax)?;
        let settled = |poll: &&Poll| poll.horizon.is_some_and(|then| then.xmax <= horizon.xmin);
        Some(self.0.iter().rev().find(settled).and_then(|poll| poll.reached[level]))
    }

    /// Behind which pk rows may be new since the polls that are settled; `None` before the first poll.
    /// A pk is drawn shortly before its transaction gets an ID, hence one poll more than settled.
    pub(super) fn new_behind(&self, level: usize) -> Option<i64> {
        self.0.front()?.newest_pk[level]
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn at(second: u32) -> NaiveDateTime {
        chrono::NaiveDate::from_ymd_opt(2026, 1, 1).unwrap().and_hms_opt(0, 0, second).unwrap()
    }

    fn horizon(xmin: i64, xmax: i64) -> Option<Horizon> {
        Some(Horizon { xmin, xmax })
    }

    pub(in super::super) fn poll(horizon: Option<Horizon>, second: u32) -> Poll {
        let newest_pk = [Some(i64::from(second) * 100); LEVELS];
        Poll { at: Instant::now(), horizon, now: at(second), reached: [Some(at(second)); LEVELS], newest_pk }
    }

    #[test]
    fn nothing_under_way_sets_no_limit() {
        assert_eq!(Polls::default().limit(horizon(7, 7), 0), None);
    }

    #[test]
    fn a_transaction_from_before_the_first_poll_stops_the_cursor() {
        assert_eq!(Polls::default().limit(horizon(5, 9), 0), Some(None));
    }

    #[test]
    fn a_long_transaction_holds_the_cursor_at_the_last_poll_before_it() {
        let mut polls = Polls::default();
        polls.add(poll(horizon(10, 10), 1));
        // Transaction 10 begins here and stays.
        polls.add(poll(horizon(10, 12), 2));
        polls.add(poll(horizon(10, 15), 3));
        assert_eq!(polls.limit(horizon(10, 20), 1), Some(Some(at(1))));
        // It ends; 16 is under way.
        assert_eq!(polls.limit(horizon(16, 20), 1), Some(Some(at(3))));
    }

    #[test]
    fn many_polls_under_a_long_transaction_take_bounded_memory_and_keep_both_ends() {
        let mut polls = Polls::default();
        polls.add(poll(horizon(1, 1), 0));
        for xmax in 2..5000 {
            polls.settle(horizon(1, xmax), Duration::ZERO, Instant::now());
            polls.add(poll(horizon(1, xmax), 1));
        }
        assert_eq!(polls.0.len(), POLLS);
        assert_eq!(polls.limit(horizon(1, 5000), 0), Some(Some(at(0))));
        assert_eq!(polls.limit(horizon(4999, 5001), 0), Some(Some(at(1))));
    }

    #[test]
    fn new_rows_are_looked_for_behind_the_poll_before_the_settled_one() {
        let mut polls = Polls::default();
        assert_eq!(polls.new_behind(0), None);
        for (second, xmax) in [(1, 10), (2, 20), (3, 30)] {
            polls.add(poll(horizon(xmax, xmax), second));
        }
        polls.settle(horizon(25, 40), Duration::ZERO, Instant::now());
        assert_eq!(polls.new_behind(0), Some(100));
        polls.settle(horizon(40, 40), Duration::ZERO, Instant::now());
        assert_eq!(polls.new_behind(0), Some(200));
    }

    #[test]
    fn a_row_that_was_under_way_is_looked_for_by_the_poll_that_sees_it_and_not_only_before() {
        let mut polls = Polls::default();
        let mut ended = |horizon, second| {
            let behind = polls.new_behind(0);
            polls.settle(horizon, Duration::ZERO, Instant::now());
            polls.add(poll(horizon, second));
            behind
        };
        for (second, xmax) in [(1, 10), (2, 20)] {
            ended(horizon(xmax, xmax), second);
        }
        // Transaction 20 is under way, has drawn key 250, and is passed by others.
        for (second, xmax) in [(3, 30), (4, 40), (5, 50)] {
            ended(horizon(20, xmax), second);
        }
        // It has committed.
        assert!(ended(horizon(60, 60), 6) < Some(250));
        ended(horizon(60, 60), 7);
        assert!(ended(horizon(60, 60), 8) > Some(250), "later polls begin behind it");
    }

    #[test]
    fn without_snapshots_a_poll_is_settled_after_the_overlap() {
        let mut polls = Polls::default();
        let begin = Instant::now();
        for second in 1..=3 {
            polls.add(Poll { at: begin + Duration::from_secs(second), ..poll(None, second as u32) });
        }
        polls.settle(None, Duration::from_secs(60), begin + Duration::from_secs(30));
        assert_eq!(polls.new_behind(0), Some(100));
        polls.settle(None, Duration::from_secs(60), begin + Duration::from_secs(63));
        assert_eq!(polls.new_behind(0), Some(200));
    }
}
