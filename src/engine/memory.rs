//! What the runs of one source remember of each other while the process lives.
//!
//! All of it can be lost: the next run then reads more than it had to. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, NaiveDateTime, Utc};

use super::cursor::advance;
use super::gone::{Gone, Tally};
use super::institutions::Codes;
use super::orphans::Orphans;
use super::scan::Scan;
use super::sweep::{END, START};
use super::{Kind, Settings};
use crate::source::{Horizon, LEVELS};
use crate::target::{Candidate, Pass, Passes};

/// Polls that are remembered at the most; forgetting one in the middle only makes a cursor move later.
const POLLS: usize = 64;
/// Looks that find rows gone: the passes of the rolling comparison, and the run's own.
pub(super) const LOOKS: usize = OWN + 1;
/// The index of the run's own look: a delta or a full run.
pub(super) const OWN: usize = Kind::ALL.len();
/// The rolling comparison begins with pages of this many patients or studies.
const FIRST_PAGE: usize = 200;
/// Smaller pages cost more in round trips than in rows.
const SMALLEST_PAGE: usize = 50;
/// Larger ones hold a transaction of the target for long.
const LARGEST_PAGE: usize = 2000;

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

/// The memory of one source.
#[derive(Debug)]
pub struct Memory {
    /// The time of serving a target in which all this was learned.
    tenure: Option<Arc<str>>,
    /// Whether the target has not kept all that the passes below were told: while a run is under way, and after
    /// one that was dropped, cancelled or failed by the target.
    doubtful: bool,
    polls: VecDeque<Poll>,
    /// When the next scan of `updated_time` without an index may begin, by level.
    scan_due: [Option<Instant>; LEVELS],
    /// The scan of the instances that is under way, in parts.
    pub(super) scan: Option<Scan>,
    /// The passes of the rolling comparison; none: not read from the target yet.
    pub(super) passes: Option<Passes>,
    /// The passes as the target has them. One that is complete there is held by the brake.
    pub(super) stored: Passes,
    /// What each look has found gone: the passes over many runs, the run's own anew each time.
    pub(super) gone: [Gone; LOOKS],
    /// Patients that the brake has let go, and that wait for the last of their studies to go.
    pub(super) waiting: BTreeMap<i64, Candidate>,
    /// Studies whose patients do not exist.
    pub(super) orphans: Orphans,
    /// In which order the passes have their turn.
    pub(super) turns: Vec<Kind>,
    /// What the passes that the brake holds had found gone, while they are made anew.
    counted: [Tally; OWN],
    /// The codes that the pass over the studies has seen; none: it did not begin in this process, and so
    /// not all are known.
    pub(super) codes: Option<Codes>,
    /// When the passes were last written to the target.
    pub(super) passes_kept: Option<Instant>,
    /// Rows of one page of each pass.
    pub(super) page: [usize; OWN],
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            tenure: None,
            doubtful: false,
            polls: VecDeque::new(),
            scan_due: [None; LEVELS],
            scan: None,
            passes: None,
            stored: Default::default(),
            gone: Default::default(),
            waiting: BTreeMap::new(),
            orphans: Orphans::default(),
            turns: Vec::new(),
            counted: Default::default(),
            codes: None,
            passes_kept: None,
            page: [FIRST_PAGE; OWN],
        }
    }
}

impl Memory {
    /// What was learned of another target, or before somebody else served this one, is void; and what the latest
    /// run had not brought to the target was not done.
    pub(super) fn serve(&mut self, tenure: Option<Arc<str>>) {
        if self.tenure != tenure {
            *self = Self { tenure, ..Self::default() };
        } else if self.doubtful {
            self.passes = None;
            self.gone = Default::default();
            self.waiting = BTreeMap::new();
            self.codes = None;
            self.scan = None;
            self.doubtful = false;
        }
    }

    /// A run begins to write.
    pub(super) fn begin(&mut self) {
        self.doubtful = true;
    }

    /// The run has ended, and the target has kept what it was told.
    pub(super) fn kept(&mut self) {
        self.doubtful = false;
    }

    /// Remembers a delta that has ended. What it did not scan had been read as far as at the poll before.
    pub(super) fn polled(&mut self, mut poll: Poll) {
        if let Some(before) = self.polls.back() {
            for (reached, before) in poll.reached.iter_mut().zip(before.reached) {
                *reached = advance((*reached).max(before), std::iter::empty(), poll.now);
            }
        }
        if self.polls.len() == POLLS {
            self.polls.remove(POLLS / 2);
        }
        self.polls.push_back(poll);
    }

    /// Forgets the polls that no longer matter after a run that has read `horizon` now: all but the latest
    /// settled one and the one before it. Where the database cannot tell which transactions are under
    /// way, a poll counts as settled after `overlap`.
    pub(super) fn settle(&mut self, horizon: Option<Horizon>, overlap: Duration, now: Instant) {
        let settled = self.polls.iter().rposition(|poll| match (poll.horizon, horizon) {
            (Some(then), Some(now)) => then.xmax <= now.xmin,
            _ => now.duration_since(poll.at) >= overlap,
        });
        if let Some(settled) = settled {
            self.polls.drain(..settled.saturating_sub(1));
        }
    }

    /// How far a cursor may move while transactions are under way. Those that `horizon` does not show
    /// began after the latest poll whose `xmax` is not above its `xmin`, so what they write is not older
    /// than what that poll reached. `None`: no limit; `Some(None)`: not at all.
    pub(super) fn limit(&self, horizon: Option<Horizon>, level: usize) -> Option<Option<NaiveDateTime>> {
        let horizon = horizon.filter(|horizon| horizon.xmin < horizon.xmax)?;
        let settled = |poll: &&Poll| poll.horizon.is_some_and(|then| then.xmax <= horizon.xmin);
        Some(self.polls.iter().rev().find(settled).and_then(|poll| poll.reached[level]))
    }

    /// Behind which pk rows may be new since the polls that are settled; `None` before the first poll.
    /// A pk is drawn shortly before its transaction gets an ID, hence one poll more than settled.
    pub(super) fn new_behind(&self, level: usize) -> Option<i64> {
        self.polls.front()?.newest_pk[level]
    }

    /// Whether a scan may begin, so that scans take at most their share of the time.
    pub(super) fn may_scan(&self, level: usize, now: Instant) -> bool {
        self.scan_due[level].is_none_or(|due| due <= now)
    }

    /// Remembers what a scan took.
    pub(super) fn scanned(&mut self, level: usize, took: Duration, percent: f64, now: Instant) {
        let pause = took.mul_f64((100.0 / percent - 1.0).max(0.0));
        self.scan_due[level] = now.checked_add(pause);
    }

    /// Takes over the passes from the target. One that is held there is made anew, for nobody remembers what
    /// it found.
    pub(super) fn recall(&mut self, stored: Passes) {
        self.stored = stored;
        self.passes = Some(stored.map(|pass| if pass.position == END { anew(pass) } else { pass }));
    }

    /// A pass; the number is that of its [`Kind`].
    pub(super) fn pass(&self, pass: usize) -> Pass {
        self.passes.map_or_else(Pass::default, |passes| passes[pass])
    }

    /// Whether a pass has been through all rows, and is to be ended.
    pub(super) fn is_complete(&self, pass: usize) -> bool {
        self.pass(pass).position == END
    }

    /// Whether the brake has held a pass, and has not lifted since.
    pub(super) fn is_held(&self, pass: usize) -> bool {
        self.stored[pass].position == END
    }

    /// Whether the brake holds anything from an earlier run.
    pub(super) fn holds(&self) -> bool {
        (0..OWN).any(|pass| self.is_held(pass))
    }

    /// Whether the brake holds, or would hold, rows of which not all are known or kept: those of a pass that it
    /// holds, and of one that is not complete.
    pub(super) fn may_hold_more(&self) -> bool {
        self.holds() || (0..OWN).any(|pass| !self.is_complete(pass) && !self.gone[pass].is_empty())
    }

    /// Whether a pass that the brake holds is being made anew: until it is complete nobody knows what is gone.
    pub(super) fn recounts(&self) -> bool {
        (0..OWN).any(|pass| self.is_held(pass) && !self.is_complete(pass))
    }

    /// The passes as they are to be kept: a place does not pass a row that waits, and a hold stays. One that is
    /// complete is not shown so: in the target that means that it is held.
    pub(super) fn to_store(&self) -> Passes {
        let stays = |pass: usize| self.is_complete(pass) || self.is_held(pass) || !self.gone[pass].is_empty();
        std::array::from_fn(|pass| if stays(pass) { self.stored[pass] } else { self.pass(pass) })
    }

    /// The passes as they are to be kept now that the brake holds: what is complete and has found rows gone
    /// is held.
    pub(super) fn with_holds(&self) -> Passes {
        let held = |pass: usize| self.is_complete(pass) && !self.gone[pass].is_empty();
        let kept = self.to_store();
        std::array::from_fn(|pass| if held(pass) { self.pass(pass) } else { kept[pass] })
    }

    /// A pass that is complete, and whose rows are deleted, waits for its next time. Answers whether the brake
    /// had held it.
    pub(super) fn end_pass(&mut self, pass: usize) -> bool {
        let (done, held) = (self.pass(pass), self.is_held(pass));
        let done = Pass { position: START, started: None, verified_since: done.started };
        self.passes.get_or_insert_default()[pass] = done;
        if held {
            self.stored[pass] = done;
        }
        held
    }

    /// The brake holds what a full run has found, which began at `begun`: it stands as found by passes.
    pub(super) fn hold_full(&mut self, begun: DateTime<Utc>) {
        let (patients, instances, rest) = std::mem::take(&mut self.gone[OWN]).split();
        for (kind, gone) in [(Kind::Patients, patients), (Kind::Instances, instances), (Kind::Access, rest)] {
            if !gone.is_empty() {
                let pass = Pass { position: END, started: Some(begun), ..self.pass(kind as usize) };
                self.passes.get_or_insert_default()[kind as usize] = pass;
                self.gone[kind as usize] = gone;
            }
        }
    }

    /// Passes that are held, and of whose rows some are back, begin anew: not all of their rows were kept.
    pub(super) fn begin_outdated_anew(&mut self, settings: &Settings) {
        for pass in 0..OWN {
            if self.is_held(pass) && self.gone[pass].is_outdated() {
                self.begin_anew(pass, settings);
                self.counted[pass] = Tally::default();
            }
        }
    }

    /// A pass goes round once more. It is held no less for that, and what it had found gone is still told.
    pub(super) fn begin_anew(&mut self, pass: usize, settings: &Settings) {
        self.counted[pass] = self.gone[pass].tally();
        self.gone[pass] = Gone::new(settings);
        self.passes.get_or_insert_default()[pass] = anew(self.pass(pass));
    }

    /// What the passes that are being made anew had found gone.
    pub(super) fn counted_before(&self) -> impl Iterator<Item = Tally> {
        (0..OWN).filter(|pass| self.is_held(*pass) && !self.is_complete(*pass)).map(|pass| self.counted[pass])
    }

    /// Adapts the size of a page of a pass to what the last one took, so that it fits a budget.
    pub(super) fn paged(&mut self, pass: usize, took: Duration, budget: Duration) {
        let page = &mut self.page[pass];
        if took > budget / 2 {
            *page = (*page / 2).max(SMALLEST_PAGE);
        } else if took < budget / 8 {
            *page = (*page * 2).min(LARGEST_PAGE);
        }
    }
}

/// The same pass, not begun.
fn anew(pass: Pass) -> Pass {
    Pass { position: START, started: None, ..pass }
}

#[cfg(test)]
mod tests {
    use super::super::gone::tests::{candidates, settings};
    use super::*;
    use crate::source::Level;

    fn at(second: u32) -> NaiveDateTime {
        chrono::NaiveDate::from_ymd_opt(2026, 1, 1).unwrap().and_hms_opt(0, 0, second).unwrap()
    }

    fn horizon(xmin: i64, xmax: i64) -> Option<Horizon> {
        Some(Horizon { xmin, xmax })
    }

    fn poll(horizon: Option<Horizon>, second: u32) -> Poll {
        let newest_pk = [Some(i64::from(second) * 100); LEVELS];
        Poll { at: Instant::now(), horizon, now: at(second), reached: [Some(at(second)); LEVELS], newest_pk }
    }

    #[test]
    fn after_a_run_that_was_dropped_or_that_the_target_failed_the_passes_are_asked_for_again() {
        let mut memory = found([70, 80, 90], 1);
        memory.polled(poll(None, 1));
        memory.begin();
        memory.kept();
        memory.serve(None);
        assert!(memory.passes.is_some() && !memory.gone[ACCESS].is_empty());
        memory.begin();
        memory.serve(None);
        assert!(memory.passes.is_none() && memory.gone[ACCESS].is_empty());
        assert_eq!(memory.new_behind(0), Some(100), "the source is known as well as before");
    }

    #[test]
    fn another_target_or_another_time_of_serving_it_makes_all_void() {
        let mut memory = found([70, 80, 90], 1);
        memory.polled(poll(None, 1));
        memory.serve(Some("another".into()));
        assert!(memory.passes.is_none() && memory.gone[ACCESS].is_empty());
        assert_eq!(memory.new_behind(0), None);
    }

    #[test]
    fn nothing_under_way_sets_no_limit() {
        assert_eq!(Memory::default().limit(horizon(7, 7), 0), None);
    }

    #[test]
    fn a_transaction_from_before_the_first_poll_stops_the_cursor() {
        assert_eq!(Memory::default().limit(horizon(5, 9), 0), Some(None));
    }

    #[test]
    fn a_long_transaction_holds_the_cursor_at_the_last_poll_before_it() {
        let mut memory = Memory::default();
        memory.polled(poll(horizon(10, 10), 1));
        // Transaction 10 begins here and stays.
        memory.polled(poll(horizon(10, 12), 2));
        memory.polled(poll(horizon(10, 15), 3));
        assert_eq!(memory.limit(horizon(10, 20), 1), Some(Some(at(1))));
        // It ends; 16 is under way.
        assert_eq!(memory.limit(horizon(16, 20), 1), Some(Some(at(3))));
    }

    #[test]
    fn many_polls_under_a_long_transaction_take_bounded_memory_and_keep_both_ends() {
        let mut memory = Memory::default();
        memory.polled(poll(horizon(1, 1), 0));
        for xmax in 2..5000 {
            memory.settle(horizon(1, xmax), Duration::ZERO, Instant::now());
            memory.polled(poll(horizon(1, xmax), 1));
        }
        assert_eq!(memory.polls.len(), POLLS);
        assert_eq!(memory.limit(horizon(1, 5000), 0), Some(Some(at(0))));
        assert_eq!(memory.limit(horizon(4999, 5001), 0), Some(Some(at(1))));
    }

    #[test]
    fn new_rows_are_looked_for_behind_the_poll_before_the_settled_one() {
        let mut memory = Memory::default();
        assert_eq!(memory.new_behind(0), None);
        for (second, xmax) in [(1, 10), (2, 20), (3, 30)] {
            memory.polled(poll(horizon(xmax, xmax), second));
        }
        memory.settle(horizon(25, 40), Duration::ZERO, Instant::now());
        assert_eq!(memory.new_behind(0), Some(100));
        memory.settle(horizon(40, 40), Duration::ZERO, Instant::now());
        assert_eq!(memory.new_behind(0), Some(200));
    }

    #[test]
    fn a_row_that_was_under_way_is_looked_for_by_the_poll_that_sees_it_and_not_only_before() {
        let mut memory = Memory::default();
        let mut ended = |horizon, second| {
            let behind = memory.new_behind(0);
            memory.settle(horizon, Duration::ZERO, Instant::now());
            memory.polled(poll(horizon, second));
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
        let mut memory = Memory::default();
        let begin = Instant::now();
        for second in 1..=3 {
            memory.polled(Poll { at: begin + Duration::from_secs(second), ..poll(None, second as u32) });
        }
        memory.settle(None, Duration::from_secs(60), begin + Duration::from_secs(30));
        assert_eq!(memory.new_behind(0), Some(100));
        memory.settle(None, Duration::from_secs(60), begin + Duration::from_secs(63));
        assert_eq!(memory.new_behind(0), Some(200));
    }

    #[test]
    fn scans_take_their_share_of_the_time() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        assert!(memory.may_scan(1, now));
        memory.scanned(1, Duration::from_secs(2), 10.0, now);
        assert!(!memory.may_scan(1, now + Duration::from_secs(17)));
        assert!(memory.may_scan(1, now + Duration::from_secs(19)));
        assert!(memory.may_scan(0, now));
    }

    #[test]
    fn a_page_shrinks_when_it_takes_too_long_and_grows_when_it_is_quick() {
        let mut memory = Memory::default();
        memory.paged(ACCESS, Duration::from_millis(300), Duration::from_millis(500));
        assert_eq!(memory.page[..2], [FIRST_PAGE / 2, FIRST_PAGE], "each pass has its own");
        memory.paged(ACCESS, Duration::from_millis(1), Duration::from_millis(500));
        assert_eq!(memory.page[ACCESS], FIRST_PAGE);
    }

    const ACCESS: usize = Kind::Access as usize;

    fn under_way(position: i64) -> Pass {
        Pass { position, started: Some(DateTime::UNIX_EPOCH), verified_since: None }
    }

    /// Passes at these places, and the one over the instances not begun.
    fn passes([access, patients, studies]: [i64; 3]) -> Passes {
        [under_way(access), under_way(patients), under_way(studies), Pass::default()]
    }

    /// A memory whose passes stand at these places, here and in the target, and whose first has found that
    /// many studies gone where two may go.
    fn found(places: [i64; 3], rows: i64) -> Memory {
        let mut memory = Memory::default();
        memory.recall(Passes::default());
        memory.passes = Some(passes(places));
        memory.gone[ACCESS] = Gone::new(&settings(2, false));
        memory.gone[ACCESS].add(Level::Study, candidates(0..rows));
        memory
    }

    #[test]
    fn a_place_does_not_pass_a_row_that_waits() {
        let memory = found([70, 80, 90], 1);
        assert_eq!(memory.to_store()[..3], [Pass::default(), under_way(80), under_way(90)]);
    }

    #[test]
    fn a_complete_pass_that_the_brake_holds_stays_so_in_the_target_until_it_is_ended() {
        let mut memory = found([END, 80, 90], 1);
        memory.stored = memory.with_holds();
        assert_eq!(memory.stored, passes([END, 80, 90]));
        assert!(memory.holds() && !memory.recounts());
        assert_eq!(memory.to_store()[ACCESS], under_way(END));
        memory.gone[ACCESS] = Gone::default();
        assert!(memory.end_pass(ACCESS));
        assert!(!memory.holds());
        assert_eq!(memory.to_store()[ACCESS].verified_since, Some(DateTime::UNIX_EPOCH));
    }

    #[test]
    fn a_complete_pass_that_found_nothing_gone_never_looks_held() {
        let mut memory = found([END, 80, 90], 0);
        assert_eq!(memory.to_store()[..3], [Pass::default(), under_way(80), under_way(90)]);
        assert_eq!(memory.with_holds(), memory.to_store());
        assert!(!memory.end_pass(ACCESS), "the brake did not hold it");
        assert_eq!(memory.to_store()[ACCESS].verified_since, Some(DateTime::UNIX_EPOCH));
    }

    #[test]
    fn a_pass_that_is_not_complete_is_not_held_but_may_find_more_than_it_has() {
        let memory = found([70, 80, 90], 9);
        assert_eq!(memory.with_holds()[ACCESS], Pass::default());
        assert!(!memory.holds() && memory.may_hold_more());
        assert!(!found([70, 80, 90], 0).may_hold_more(), "it has found nothing gone");
        assert!(!found([END, 80, 90], 9).may_hold_more(), "it knows all");
    }

    #[test]
    fn another_process_makes_a_held_pass_anew_and_knows_nothing_before_it_is_complete() {
        let mut memory = Memory::default();
        memory.recall(passes([END, 80, 90]));
        assert_eq!(memory.pass(ACCESS), Pass::default());
        assert!(memory.holds() && memory.recounts());
        memory.passes = Some(passes([5, 80, 90]));
        assert!(memory.recounts());
        assert_eq!(memory.to_store()[ACCESS], under_way(END), "a place on the way does not end the hold");
        memory.passes = Some(passes([END, 80, 90]));
        assert!(!memory.recounts());
    }

    #[test]
    fn a_held_pass_that_only_counted_some_rows_begins_anew_once_others_are_back() {
        let mut memory = found([END, 80, 90], 9);
        memory.stored = memory.with_holds();
        memory.begin_outdated_anew(&settings(2, false));
        assert!(memory.is_complete(ACCESS), "nothing is back");
        memory.gone[ACCESS].remove(Level::Study, 0);
        memory.begin_outdated_anew(&settings(2, false));
        assert!(memory.recounts() && memory.gone[ACCESS].is_empty());
    }

    #[test]
    fn a_held_pass_that_goes_round_again_stays_held_and_is_counted_as_before() {
        let mut memory = found([END, 80, 90], 9);
        memory.stored = memory.with_holds();
        assert_eq!(memory.counted_before().count(), 0, "it is complete");
        memory.begin_anew(ACCESS, &settings(2, false));
        assert!(memory.recounts() && memory.gone[ACCESS].is_empty());
        assert_eq!(memory.counted_before().map(Tally::rows).sum::<u64>(), 9);
        assert_eq!(memory.to_store()[ACCESS], under_way(END));
    }

    #[test]
    fn what_a_full_run_found_and_the_brake_held_holds_the_deltas_after_it() {
        let mut memory = found([70, 80, 90], 0);
        memory.gone[OWN] = Gone::new(&settings(2, false));
        memory.gone[OWN].add(Level::Study, candidates(0..9));
        memory.hold_full(DateTime::UNIX_EPOCH);
        memory.stored = memory.with_holds();
        assert!(memory.is_held(ACCESS) && memory.gone[OWN].is_empty());
        assert!(!memory.is_held(Kind::Patients as usize), "no patient is gone");
    }
}
