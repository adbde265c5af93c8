//! When the next scheduled run of one source is due.
//!
//! ```text
//!           begin (the run due now begins, or its time has passed during another one)
//!         +-------+
//!         v       |
//!   due at a tick of the plan + jitter  --retry (a run failed)-->  due after the backoff
//!         ^                                                                |
//!         +------------------------- begin --------------------------------+
//! ```
//!
//! Ticks of an interval are a fixed rate of the monotonic clock. Those of a cron expression are times of
//! day: the clock on the wall may be set, so [`Timer::follow`] must be called now and then.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

use super::{Plan, after_interval_change, next_due};

/// A clock that runs a little faster or slower than the other is no clock that was set.
const DRIFT: Duration = Duration::from_secs(1);
/// A clock that was set back by more than this has times ahead again that have been served already;
/// by less, the run that is due comes a little later.
const SET_BACK: Duration = Duration::from_secs(60);

/// One moment by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Monotonic.
    pub now: Instant,
    /// On the wall.
    pub at: DateTime<Utc>,
}

impl Moment {
    /// The monotonic time of a time of day; one that has passed is now.
    fn instant(self, at: DateTime<Utc>) -> Instant {
        self.now + (at - self.at).to_std().unwrap_or_default()
    }
}

/// A random part that is added to each due time.
#[derive(Clone, Copy, Debug)]
pub struct Jitter {
    /// Its longest.
    pub most: Duration,
    /// A random number from 0 to below 1.
    pub chance: f64,
}

impl Jitter {
    /// Shorter than `gap`, so that no run is later than the next one.
    #[must_use]
    pub fn within(self, gap: Duration) -> Duration {
        self.most.min(gap).mul_f64(self.chance.clamp(0.0, 1.0))
    }
}

/// What a timer needs to know of the world each time.
#[derive(Clone, Debug)]
pub struct Timing {
    /// The plan in effect.
    pub plan: Plan,
    /// The present.
    pub moment: Moment,
    /// For the next due time.
    pub jitter: Jitter,
}

/// When the next run is due.
#[derive(Clone, Debug)]
pub struct Timer {
    due: Instant,
    /// The tick of an interval that it is due at, without jitter.
    base: Instant,
    /// The tick of a cron expression, and that with jitter.
    wall: Option<(DateTime<Utc>, DateTime<Utc>)>,
    retrying: bool,
}

impl Timer {
    /// The first run: at once under an interval, at the next time of a cron expression.
    #[must_use]
    pub fn new(timing: &Timing) -> Self {
        let now = timing.moment.now;
        let mut timer = Self { due: now, base: now, wall: None, retrying: false };
        timer.restart(timing, None);
        timer
    }

    /// When the run is due; in the past while something holds it back.
    #[must_use]
    pub fn due(&self) -> Instant {
        self.due
    }

    /// The same as a time of day, if it is one.
    #[must_use]
    pub fn due_at(&self) -> Option<DateTime<Utc>> {
        self.wall.map(|(_, due_at)| due_at)
    }

    /// Whether it has to be asked to [`Timer::follow`] the clock on the wall.
    #[must_use]
    pub fn is_by_the_wall(&self) -> bool {
        self.wall.is_some()
    }

    /// Whether it is due for another attempt, and not because of the plan.
    #[must_use]
    pub fn is_retrying(&self) -> bool {
        self.retrying
    }

    /// The run that is due begins: on to the next tick. Ticks that were missed coalesce.
    pub fn begin(&mut self, timing: &Timing) {
        let Timing { plan, moment, jitter } = timing;
        self.retrying = false;
        match plan {
            Plan::Interval(interval) => {
                self.base = next_due(moment.now, self.base, *interval);
                self.due = self.base + jitter.within(*interval);
                self.wall = None;
            }
            Plan::Cron(_) => {
                // The clock on the wall may be a little behind the tick that it was rung for.
                let served = self.wall.map_or(moment.at, |(tick, _)| moment.at.max(tick));
                self.await_cron(timing, served);
            }
        }
    }

    /// A run failed: due again after `wait`, whatever the plan says.
    pub fn retry(&mut self, now: Instant, wait: Duration) {
        (self.due, self.base) = (now + wait, now + wait);
        self.wall = None;
        self.retrying = true;
    }

    /// The plan is another one from now on. `last_start`: of the latest scheduled run.
    pub fn restart(&mut self, timing: &Timing, last_start: Option<Instant>) {
        self.retrying = false;
        match &timing.plan {
            Plan::Interval(interval) => {
                self.base = after_interval_change(timing.moment.now, last_start, *interval);
                self.due = self.base + timing.jitter.within(*interval);
                self.wall = None;
            }
            Plan::Cron(_) => self.await_cron(timing, timing.moment.at),
        }
    }

    /// The clock on the wall may have been set meanwhile. True if that moved the due time.
    pub fn follow(&mut self, timing: &Timing) -> bool {
        let Some((_, due_at)) = self.wall else { return false };
        let due = timing.moment.instant(due_at);
        let earlier = self.due.saturating_duration_since(due);
        let later = due.saturating_duration_since(self.due.max(timing.moment.now));
        if earlier.max(later) <= DRIFT {
            return false;
        }
        if later > SET_BACK {
            self.await_cron(timing, timing.moment.at);
        } else {
            self.due = due;
        }
        true
    }

    fn await_cron(&mut self, timing: &Timing, after: DateTime<Utc>) {
        let Some(cron) = timing.plan.cron() else { return };
        let tick = cron.next(after);
        let gap = (cron.next(tick) - tick).to_std().unwrap_or_default();
        let jitter = TimeDelta::from_std(timing.jitter.within(gap)).unwrap_or_default();
        let due_at = tick + jitter;
        self.wall = Some((tick, due_at));
        self.due = timing.moment.instant(due_at);
        self.base = self.due;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::schedule::Cron;

    const SECOND: Duration = Duration::from_secs(1);
    const NO_JITTER: Jitter = Jitter { most: Duration::ZERO, chance: 0.5 };

    /// A world whose clocks a test moves.
    struct World {
        timing: Timing,
    }

    impl World {
        fn new(plan: Plan) -> Self {
            let at = "2026-11-24T12:00:00Z".parse().expect("RFC 3339");
            Self { timing: Timing { plan, moment: Moment { now: Instant::now(), at }, jitter: NO_JITTER } }
        }

        fn pass(&mut self, time: Duration) {
            self.timing.moment.now += time;
            self.timing.moment.at += time;
        }

        fn due_in(&self, timer: &Timer) -> u64 {
            timer.due().saturating_duration_since(self.timing.moment.now).as_secs()
        }
    }

    fn cron(text: &str) -> Plan {
        Plan::Cron(Arc::new(Cron::new(text, chrono_tz::UTC).expect("valid")))
    }

    #[test]
    fn the_first_run_is_at_once_under_an_interval_and_at_its_time_under_cron() {
        let world = World::new(Plan::Interval(SECOND * 5));
        assert_eq!(world.due_in(&Timer::new(&world.timing)), 0);
        let world = World::new(cron("*/5 * * * *"));
        assert_eq!(world.due_in(&Timer::new(&world.timing)), 300);
    }

    #[test]
    fn a_time_of_day_is_served_once_also_if_the_clock_is_a_little_behind() {
        let mut world = World::new(cron("*/5 * * * *"));
        let mut timer = Timer::new(&world.timing);
        world.pass(SECOND * 300);
        world.timing.moment.at -= TimeDelta::milliseconds(20);
        timer.begin(&world.timing);
        assert_eq!(world.due_in(&timer), 300);
    }

    #[test]
    fn a_clock_that_is_set_forward_makes_up_what_was_missed_once() {
        let mut world = World::new(cron("*/5 * * * *"));
        let mut timer = Timer::new(&world.timing);
        world.timing.moment.at += TimeDelta::hours(2);
        assert!(timer.follow(&world.timing));
        assert_eq!(world.due_in(&timer), 0);
        timer.begin(&world.timing);
        assert_eq!(world.due_in(&timer), 300);
        assert!(!timer.follow(&world.timing));
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_stop_the_schedule() {
        let mut world = World::new(cron("*/5 * * * *"));
        let mut timer = Timer::new(&world.timing);
        world.timing.moment.at -= TimeDelta::seconds(7210);
        assert!(timer.follow(&world.timing));
        assert_eq!(world.due_in(&timer), 10, "10:00, though 12:05 was awaited");
        world.timing.moment.at -= TimeDelta::seconds(30);
        assert!(timer.follow(&world.timing));
        assert_eq!(world.due_in(&timer), 40);
    }

    #[test]
    fn a_due_time_that_is_held_back_stays_due() {
        let mut world = World::new(cron("*/5 * * * *"));
        let mut timer = Timer::new(&world.timing);
        world.pass(SECOND * 1000);
        assert!(!timer.follow(&world.timing));
        assert_eq!(world.due_in(&timer), 0);
    }

    #[test]
    fn after_a_retry_the_plan_goes_on() {
        for (plan, later) in [(Plan::Interval(SECOND * 60), 60), (cron("*/5 * * * *"), 295)] {
            let mut world = World::new(plan);
            let mut timer = Timer::new(&world.timing);
            timer.retry(world.timing.moment.now, SECOND * 5);
            assert_eq!(world.due_in(&timer), 5);
            world.pass(SECOND * 5);
            timer.begin(&world.timing);
            assert_eq!(world.due_in(&timer), later);
        }
    }

    proptest! {
        /// Whatever the jitter, each tick has one run, and none of them is later than the next tick.
        #[test]
        fn jitter_moves_a_run_by_less_than_itself_and_less_than_the_gap(
            seconds in 1u64..4000, most in 0u64..10_000, chances in prop::collection::vec(0.0f64..1.0, 1..20), by_cron: bool,
        ) {
            let plan = if by_cron { cron("*/5 * * * *") } else { Plan::Interval(Duration::from_secs(seconds)) };
            let gap = Duration::from_secs(if by_cron { 300 } else { seconds });
            let mut world = World::new(plan);
            let mut timer = Timer::new(&world.timing);
            let mut tick = timer.due();
            for chance in chances {
                world.pass(timer.due() - world.timing.moment.now);
                world.timing.jitter = Jitter { most: Duration::from_secs(most), chance };
                timer.begin(&world.timing);
                tick += gap;
                prop_assert!(timer.due() > world.timing.moment.now);
                let late = timer.due() - tick;
                prop_assert!(late.is_zero() || late < gap && late < Duration::from_secs(most), "{late:?}");
            }
        }
    }
}
