//! When a scheduled run is due. Pure: the clock is passed in.

use std::time::Duration;

use tokio::time::Instant;

/// The first wait after a failure: long enough for a restarting server, short enough to go unnoticed.
const FIRST_RETRY: Duration = Duration::from_secs(5);
/// The longest wait: an operator who repairs a database sees it used within a minute.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// The next tick of a fixed rate: `last_due` plus a whole number of intervals, strictly later than
/// `now`. Ticks that were missed meanwhile coalesce into this one.
#[must_use]
pub(super) fn next_due(now: Instant, last_due: Instant, interval: Duration) -> Instant {
    let interval = interval.max(Duration::from_millis(1));
    let Some(late) = now.checked_duration_since(last_due) else {
        return last_due + interval;
    };
    let into_tick = late.as_nanos() % interval.as_nanos();
    let into_tick = Duration::from_nanos(u64::try_from(into_tick).unwrap_or(0));
    now + (interval - into_tick)
}

/// When the next run is due after the interval was changed: one new interval after the latest start,
/// at once if that is over. `last_start` is `None` before the first scheduled run, which is due at once.
#[must_use]
pub(super) fn after_interval_change(now: Instant, last_start: Option<Instant>, interval: Duration) -> Instant {
    last_start.map_or(now, |start| start + interval).max(now)
}

/// How long to wait after `failures` failures in a row (at least one), whatever the interval is: a
/// short interval does not hammer a broken server, a long one does not delay the recovery.
#[must_use]
pub fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST_RETRY.saturating_mul(1 << doublings).min(LONGEST_RETRY)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_run_that_ends_in_time_does_not_shift_the_rate() {
        let start = Instant::now();
        assert_eq!(next_due(start + SECOND * 2, start, SECOND * 5), start + SECOND * 5);
    }

    #[test]
    fn missed_ticks_coalesce_into_the_next_one() {
        let start = Instant::now();
        assert_eq!(next_due(start + SECOND * 17, start, SECOND * 5), start + SECOND * 20);
        assert_eq!(next_due(start + SECOND * 15, start, SECOND * 5), start + SECOND * 20);
    }

    #[test]
    fn shortening_the_interval_never_makes_a_run_due_in_the_past() {
        let start = Instant::now();
        assert_eq!(after_interval_change(start + SECOND * 30, Some(start), SECOND), start + SECOND * 30);
        assert_eq!(after_interval_change(start + SECOND * 3, Some(start), SECOND * 60), start + SECOND * 60);
    }

    #[test]
    fn backoff_doubles_up_to_a_minute() {
        let seconds: Vec<u64> = (1..=6).map(|n| backoff(n).as_secs()).collect();
        assert_eq!(seconds, [5, 10, 20, 40, 60, 60]);
        assert_eq!(backoff(u32::MAX), LONGEST_RETRY);
    }

    proptest! {
        #[test]
        fn the_next_tick_is_on_the_grid_and_strictly_later(late_ms in 0u64..1_000_000_000, interval_s in 1u64..86_400) {
            let due = Instant::now();
            let (now, interval) = (due + Duration::from_millis(late_ms), Duration::from_secs(interval_s));
            let next = next_due(now, due, interval);
            prop_assert!(next > now);
            prop_assert!(next <= now + interval);
            prop_assert_eq!((next - due).as_nanos() % interval.as_nanos(), 0);
        }
    }
}
