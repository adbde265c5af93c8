//! A model of what concurrent transactions and polls do to each other: whatever their history, no committed
//! row is lost by the deltas.
//!
//! Times are seconds of a day around a change of the clocks. A transaction gets its ID when it begins,
//! writes a row by the clock of its node, and is seen by the polls after its commit.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chrono::{DateTime, NaiveDateTime, TimeZone as _};
use chrono_tz::Tz;
use proptest::prelude::*;

use super::cursor::{advance, begin, begin_in, hold};
use super::polls::{Poll, Polls};
use super::scan::Scan;
use super::sweep::LONGEST_TRANSACTION;
use crate::source::{Horizon, LEVELS};

const OVERLAP: i64 = 60;
/// Clocks of nodes are ahead or behind by less than the overlap.
const SKEW: i64 = 50;
const HOUR: i64 = 3600;

/// A transaction that writes one row.
#[derive(Clone, Copy, Debug)]
struct Transaction {
    begin: i64,
    /// When it writes, on the clock of its node.
    stamp: i64,
    commit: i64,
}

/// A poll.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: i64,
    /// The daemon was started again before it.
    restarted: bool,
    /// A scan is due; the first poll of a daemon scans in any case.
    scans: bool,
}

#[derive(Clone, Copy, Debug)]
struct World {
    zone: Tz,
    /// The UTC second that model time 0 stands for.
    epoch: i64,
    /// Whether the database tells which transactions are under way.
    tells: bool,
    /// A poll that scans reads so many keys, from the largest down; none: all.
    part: Option<i64>,
}

impl World {
    fn local(&self, second: i64) -> NaiveDateTime {
        let utc = DateTime::from_timestamp(self.epoch + second, 0).unwrap().naive_utc();
        self.zone.from_utc_datetime(&utc).naive_local()
    }

    /// The transactions that no poll has read.
    fn lost(&self, transactions: &[Transaction], looks: &[Look]) -> Vec<Transaction> {
        let (read, _) = self.play(transactions, looks);
        (0..transactions.len()).filter(|tx| !read.contains(tx)).map(|tx| transactions[tx]).collect()
    }

    /// The transactions that were read, and the cursor in the end; `transactions` in the order of their begin.
    fn play(&self, transactions: &[Transaction], looks: &[Look]) -> (BTreeSet<usize>, Option<NaiveDateTime>) {
        let mut read = BTreeSet::new();
        let mut cursor = None;
        let (mut polls, start) = (Polls::default(), Instant::now());
        let mut scan = None;
        for (number, look) in looks.iter().enumerate() {
            if look.restarted {
                polls = Polls::default();
                scan = None;
            }
            let (now, instant) = (self.local(look.at), start + Duration::from_secs(look.at.unsigned_abs()));
            let xmax = transactions.iter().filter(|tx| tx.begin < look.at).count();
            let xmin = transactions[..xmax].iter().position(|tx| tx.commit >= look.at).unwrap_or(xmax);
            let horizon = self.tells.then_some(Horizon { xmin: xmin as i64, xmax: xmax as i64 });
            let visible: Vec<(usize, NaiveDateTime)> = (0..xmax)
                .filter(|tx| transactions[*tx].commit < look.at)
                .map(|tx| (tx, self.local(transactions[tx].stamp)))
                .collect();
            if number == 0 {
                read.extend(visible.iter().map(|(tx, _)| *tx));
                let newest = advance(visible.iter().map(|(_, time)| *time).max(), std::iter::empty(), now);
                let under_way = horizon.is_some_and(|horizon| horizon.xmin < horizon.xmax);
                cursor = newest.map(|time| if under_way { begin(Some(time), LONGEST_TRANSACTION) } else { time });
                continue;
            }
            let overlap = Duration::from_secs(OVERLAP.unsigned_abs());
            let mut reached = cursor;
            let since = begin_in(self.zone, cursor, overlap, now);
            // The last poll is one that somebody asked for.
            let in_parts = self.part.filter(|_| number + 1 < looks.len());
            if let Some(part) = in_parts {
                if look.scans {
                    let begun = scan.unwrap_or_else(|| Scan::new(cursor, since, now, polls.limit(horizon, 0)));
                    let (left, found) = scan_part(begun, part, &visible);
                    read.extend(found);
                    scan = left.ok();
                    reached = left.err().map_or(cursor, |ended| ended.end(cursor));
                }
            } else if look.scans || polls.new_behind(0).is_none() {
                let found: Vec<(usize, NaiveDateTime)> =
                    visible.into_iter().filter(|(_, time)| *time >= since).collect();
                read.extend(found.iter().map(|(tx, _)| *tx));
                reached = advance(cursor, found.iter().map(|(_, time)| *time), now);
            }
            cursor = hold(cursor, reached, polls.limit(horizon, 0), now);
            polls.settle(horizon, overlap, instant);
            polls.add(Poll { at: instant, horizon, now, reached: [reached; LEVELS], newest_pk: [Some(0); LEVELS] });
        }
        (read, cursor)
    }
}

/// Goes on with a scan by one part, the keys being the numbers of the transactions; answers what is left of it, or
/// the scan that has ended, and what it found.
fn scan_part(mut scan: Scan, part: i64, visible: &[(usize, NaiveDateTime)]) -> (Result<Scan, Scan>, Vec<usize>) {
    let left = visible.iter().filter(|(tx, _)| *tx as i64 <= scan.upto);
    let Some(newest) = left.clone().map(|(tx, _)| *tx as i64).max() else { return (Err(scan), Vec::new()) };
    let after = newest - part;
    let found: Vec<(usize, NaiveDateTime)> =
        left.filter(|(tx, time)| *tx as i64 > after && *time >= scan.since).copied().collect();
    scan.done(after, found.iter().map(|(_, time)| *time));
    (Ok(scan), found.into_iter().map(|(tx, _)| tx).collect())
}

/// Transactions that take up to `longest` seconds, by their begin.
fn transactions(longest: i64) -> impl Strategy<Value = Vec<Transaction>> {
    let one = (0..4 * HOUR, 0..=longest, 0..=100i64, -SKEW..=SKEW).prop_map(|(begin, took, share, skew)| Transaction {
        begin,
        stamp: begin + took * share / 100 + skew,
        commit: begin + took,
    });
    prop::collection::vec(one, 1..40).prop_map(|mut all| {
        all.sort_by_key(|tx| tx.begin);
        all
    })
}

/// Polls at any time, often close to each other, and one after all transactions.
fn looks() -> impl Strategy<Value = Vec<Look>> {
    let pause = prop_oneof![4 => 1..30i64, 2 => 30..300i64, 1 => 300..2 * HOUR];
    let one = (pause, prop::bool::weighted(0.1), prop::bool::weighted(0.5));
    (0..HOUR, prop::collection::vec(one, 0..120)).prop_map(|(first, pauses)| {
        let mut at = first;
        let mut looks = vec![Look { at, restarted: false, scans: true }];
        for (pause, restarted, scans) in pauses {
            at += pause;
            looks.push(Look { at, restarted, scans });
        }
        looks.push(Look { at: at.max(6 * HOUR) + 1, restarted: false, scans: true });
        looks
    })
}

/// Two hours before the clocks of Berlin are set back, set forward, and on any other day.
fn days() -> impl Strategy<Value = (Tz, i64)> {
    let at = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().timestamp() - 2 * HOUR;
    let [back, forward, other] = ["2026-10-25T01:00:00Z", "2026-03-29T01:00:00Z", "2026-07-01T12:00:00Z"].map(at);
    prop::sample::select(vec![back, forward, other]).prop_map(|epoch| (chrono_tz::Europe::Berlin, epoch))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn with_snapshots_no_row_is_lost_however_late_it_commits(
        (zone, epoch) in days(), transactions in transactions(HOUR - 2 * SKEW), looks in looks()
    ) {
        let lost = World { zone, epoch, tells: true, part: None }.lost(&transactions, &looks);
        prop_assert!(lost.is_empty(), "{lost:?}");
    }

    #[test]
    fn without_snapshots_no_row_is_lost_that_commits_within_the_overlap(
        (zone, epoch) in days(), transactions in transactions(OVERLAP - SKEW), looks in looks()
    ) {
        let lost = World { zone, epoch, tells: false, part: None }.lost(&transactions, &looks);
        prop_assert!(lost.is_empty(), "{lost:?}");
    }

    #[test]
    fn scans_in_parts_lose_no_row_either(
        (zone, epoch) in days(), late in transactions(HOUR - 2 * SKEW), quick in transactions(OVERLAP - SKEW),
        looks in looks(), part in 1..30i64,
    ) {
        for (tells, transactions) in [(true, late), (false, quick)] {
            let lost = World { zone, epoch, tells, part: Some(part) }.lost(&transactions, &looks);
            prop_assert!(lost.is_empty(), "{lost:?}");
        }
    }
}

#[test]
fn the_model_loses_what_commits_later_than_the_overlap_where_nothing_tells() {
    let world = World { zone: chrono_tz::UTC, epoch: 0, tells: false, part: None };
    let late = Transaction { begin: 100, stamp: 100, commit: 500 };
    let quick = Transaction { begin: 450, stamp: 450, commit: 451 };
    let looks = [90, 460, 600].map(|at| Look { at, restarted: false, scans: true });
    assert_eq!(world.lost(&[late, quick], &looks).len(), 1);
    assert!(World { tells: true, ..world }.lost(&[late, quick], &looks).is_empty());
}

#[test]
fn transactions_that_never_pause_do_not_stop_the_cursor() {
    let world = World { zone: chrono_tz::UTC, epoch: 0, tells: true, part: None };
    let transactions: Vec<Transaction> =
        (0..400).map(|number| Transaction { begin: number * 5, stamp: number * 5, commit: number * 5 + 8 }).collect();
    for every in [1, 2, 7] {
        let look = |number| Look { at: number * 20, restarted: false, scans: number % every == 0 };
        let looks: Vec<Look> = (1..100).map(look).collect();
        let (_, cursor) = world.play(&transactions, &looks);
        assert!(cursor > Some(world.local(99 * 20 - 2 * every * 20 - 40)), "a scan in {every} polls: {cursor:?}");
    }
}
