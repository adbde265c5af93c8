//! What the runs of one source remember of each other while the process lives.
//!
//! All of it can be lost: the next run then reads more than it had to. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::gone::{Gone, Tally};
use super::institutions::Codes;
use super::orphans::Orphans;
use super::polls::Polls;
use super::scan::Scan;
use super::sweep::{END, START};
use super::{Kind, Settings};
use crate::source::LEVELS;
use crate::target::{Candidate, Pass, Passes};

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

/// The memory of one source.
#[derive(Debug)]
pub struct Memory {
    /// The time of serving a target in which all this was learned.
    tenure: Option<Arc<str>>,
    /// Whether the target has not kept all that the passes below were told: while a run is under way, and after
    /// one that was dropped, cancelled or failed by the target.
    doubtful: bool,
    /// The deltas that have ended.
    pub(super) polls: Polls,
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
            polls: Polls::default(),
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
    use super::super::polls::tests::poll;
    use super::*;
    use crate::source::Level;

    #[test]
    fn after_a_run_that_was_dropped_or_that_the_target_failed_the_passes_are_asked_for_again() {
        let mut memory = found([70, 80, 90], 1);
        memory.polls.add(poll(None, 1));
        memory.begin();
        memory.kept();
        memory.serve(None);
        assert!(memory.passes.is_some() && !memory.gone[ACCESS].is_empty());
        memory.begin();
        memory.serve(None);
        assert!(memory.passes.is_none() && memory.gone[ACCESS].is_empty());
        assert_eq!(memory.polls.new_behind(0), Some(100), "the source is known as well as before");
    }

    #[test]
    fn another_target_or_another_time_of_serving_it_makes_all_void() {
        let mut memory = found([70, 80, 90], 1);
        memory.polls.add(poll(None, 1));
        memory.serve(Some("another".into()));
        assert!(memory.passes.is_none() && memory.gone[ACCESS].is_empty());
        assert_eq!(memory.polls.new_behind(0), None);
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
