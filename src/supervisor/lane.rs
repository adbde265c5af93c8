//! One source on its way through the daemon: its runs, its schedule, its failures.
//!
//! Pure state; the supervisor moves it on and does what it says.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::admission::{Slots, Ticket};
use super::publish::Shown;
use super::{Backoff, Reachability, Running};
use crate::config::SourceConfig;
use crate::engine::{Class, Error, Levels, RunReport, Side};
use crate::history::{RunRecord, RunState, Trigger};
use crate::schedule::{self, Moment, Timer, Timing};

/// A repeated failure is logged again at most this often: a database that is down for a night leaves
/// a line a minute, not one for each attempt.
const REPEAT_EVERY: Duration = Duration::from_secs(60);

/// A source with all that the supervisor knows of it.
#[derive(Debug)]
pub(super) struct Lane<S> {
    pub(super) config: SourceConfig,
    pub(super) source: Arc<S>,
    pub(super) slots: Slots,
    pub(super) active: Option<Active>,
    /// When the next scheduled run is due.
    pub(super) timer: Timer,
    pub(super) shown_due: Shown,
    /// Start of the latest scheduled run.
    pub(super) last_start: Option<Instant>,
    pub(super) failures: u32,
    /// What kind the latest of them was.
    pub(super) last_failure: Option<(Side, Class)>,
    pub(super) last_success: Option<DateTime<Utc>>,
    /// Every row has been compared since then.
    pub(super) verified_since: Option<DateTime<Utc>>,
    pub(super) reach: Reachability,
    /// Gone from the configuration; waits only for its run to end.
    pub(super) leaving: bool,
    pub(super) complaints: Complaints,
}

/// A run under way.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) ticket: Ticket,
    pub(super) started: DateTime<Utc>,
    pub(super) since: Instant,
    /// The number of the link to the target that it uses.
    pub(super) link: u64,
    pub(super) span: tracing::Span,
    pub(super) progress: watch::Receiver<Levels>,
    pub(super) cancel: CancellationToken,
}

impl<S> Lane<S> {
    /// A source without a past.
    pub(super) fn new(config: SourceConfig, source: Arc<S>, timing: &Timing) -> Self {
        Self {
            config,
            source,
            slots: Slots::default(),
            active: None,
            timer: Timer::new(timing),
            shown_due: Shown::default(),
            last_start: None,
            failures: 0,
            last_failure: None,
            last_success: None,
            verified_since: None,
            reach: Reachability { reachable: None, error: None, since: None },
            leaving: false,
            complaints: Complaints::default(),
        }
    }

    /// The run that is to start now, if one is. `scheduled` says whether the schedule may start one.
    pub(super) fn next(&mut self, timing: &Timing, scheduled: bool) -> Option<Ticket> {
        if let Some(ticket) = self.slots.start_waiting() {
            return Some(ticket);
        }
        let now = timing.moment.now;
        if !scheduled || self.leaving || self.timer.due() > now {
            return None;
        }
        // Under a cron expression the first run is no different from the others.
        let at_start = self.last_start.is_none() && !self.timer.is_by_the_wall();
        let trigger = if at_start { Trigger::Start } else { Trigger::Schedule };
        let ticket = self.slots.start_scheduled(Ticket::scheduled(trigger))?;
        self.timer.begin(timing);
        self.last_start = Some(now);
        Some(ticket)
    }

    /// The run under way has ended: what that means for the schedule and for the source.
    pub(super) fn ended(&mut self, ticket: &Ticket, error: Option<&Error>, timing: &Timing) {
        let Moment { now, at } = timing.moment;
        let scheduled = matches!(ticket.trigger, Trigger::Schedule | Trigger::Start);
        if scheduled && self.timer.due() <= now {
            self.timer.begin(timing);
        }
        if ticket.dry_run || error.is_some_and(|error| error.class == Class::Cancelled) {
            return;
        }
        let Some(error) = error else {
            self.failures = 0;
            self.last_failure = None;
            self.last_success = Some(at);
            return;
        };
        self.failures = self.failures.saturating_add(1);
        self.last_failure = Some((error.side, error.class));
        // The brake stops deletes; everything else goes on at its pace.
        if error.side != Side::Run {
            self.timer.retry(now, schedule::backoff(self.failures));
        }
    }

    /// The plan is another one from now on. A source that waits for another attempt keeps its backoff.
    pub(super) fn reschedule(&mut self, timing: &Timing) {
        if !self.timer.is_retrying() {
            self.timer.restart(timing, self.last_start);
        }
    }

    /// The failures since the latest success as status shows them.
    pub(super) fn backoff(&self, next_attempt: Option<DateTime<Utc>>) -> Option<Backoff> {
        let (side, class) = self.last_failure?;
        Some(Backoff {
            consecutive_failures: self.failures,
            next_attempt,
            side: side.to_string(),
            class: class.as_str().to_owned(),
        })
    }

    /// The run under way as status shows it.
    pub(super) fn running(&self) -> Option<Running> {
        self.active.as_ref().map(|active| Running {
            run_id: active.ticket.run_id,
            source: self.config.name.to_string(),
            started: active.started,
            processed: active.progress.borrow().processed(),
        })
    }

    /// The run under way and the one that waits, as records.
    pub(super) fn open_runs(&self) -> impl Iterator<Item = RunRecord> {
        let running = self.active.as_ref().map(|active| {
            let levels = *active.progress.borrow();
            RunRecord {
                state: RunState::Running,
                started: Some(active.started),
                processed: levels.processed(),
                levels,
                ..queued(&active.ticket, &self.config)
            }
        });
        let waiting = self.slots.waiting().map(|ticket| queued(ticket, &self.config));
        running.into_iter().chain(waiting)
    }

    /// The record of a run that ends now. One that never started has no `active`.
    pub(super) fn record(
        &self,
        ticket: &Ticket,
        active: Option<&Active>,
        report: &RunReport,
        now: DateTime<Utc>,
    ) -> RunRecord {
        let took = active.map_or(Duration::ZERO, |active| active.since.elapsed());
        RunRecord {
            state: RunState::Finished,
            mode: report.mode,
            started: Some(active.map_or(now, |active| active.started)),
            finished: Some(now),
            success: Some(report.error.is_none()),
            processed: report.levels.processed(),
            levels: report.levels,
            duration_ms: Some(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
            error: report.error.as_ref().map(Error::with_side),
            ..queued(ticket, &self.config)
        }
    }
}

fn queued(ticket: &Ticket, source: &SourceConfig) -> RunRecord {
    RunRecord {
        run_id: ticket.run_id,
        state: RunState::Queued,
        trigger: ticket.trigger,
        actor: Some(ticket.actor.clone()),
        mode: ticket.mode,
        source: source.name.to_string(),
        dry_run: ticket.dry_run,
        started: None,
        finished: None,
        success: None,
        processed: 0,
        levels: Levels::default(),
        duration_ms: None,
        error: None,
    }
}

/// How loud a failure is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loudness {
    /// Something new.
    Error,
    /// Still the same, so many times since the last line.
    Repeated(u32),
    /// Still the same, and said less than a minute ago.
    Silent,
}

/// Folds the repetitions of one failure.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    last: Option<(String, Instant)>,
    unsaid: u32,
}

impl Complaints {
    /// A failure with that text.
    pub(super) fn heard(&mut self, text: &str, now: Instant) -> Loudness {
        match &mut self.last {
            Some((last, said)) if last == text => {
                self.unsaid += 1;
                if now.duration_since(*said) < REPEAT_EVERY {
                    return Loudness::Silent;
                }
                *said = now;
                Loudness::Repeated(std::mem::take(&mut self.unsaid))
            }
            last => {
                *last = Some((text.to_owned(), now));
                self.unsaid = 0;
                Loudness::Error
            }
        }
    }

    /// A success: the next failure is news again. True if there was one before.
    pub(super) fn over(&mut self) -> bool {
        self.unsaid = 0;
        self.last.take().is_some()
    }
}

impl Reachability {
    /// What a database answered when it was asked last.
    pub(super) fn seen(&mut self, error: Option<&Error>, now: DateTime<Utc>) {
        // A server that says what it lacks has answered.
        let reachable = error.is_none_or(|error| error.class == Class::Permanent);
        if self.reachable != Some(reachable) {
            self.reachable = Some(reachable);
            self.since = Some(now);
        }
        self.error = error.map(ToString::to_string);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Side;

    #[test]
    fn the_same_failure_is_said_once_a_minute_and_another_one_at_once() {
        let (mut complaints, start) = (Complaints::default(), Instant::now());
        let at = |second| start + Duration::from_secs(second);
        assert_eq!(complaints.heard("refused", at(0)), Loudness::Error);
        assert_eq!(complaints.heard("refused", at(5)), Loudness::Silent);
        assert_eq!(complaints.heard("refused", at(65)), Loudness::Repeated(2));
        assert_eq!(complaints.heard("no grant", at(66)), Loudness::Error);
        assert!(complaints.over());
        assert!(!complaints.over());
        assert_eq!(complaints.heard("no grant", at(67)), Loudness::Error);
    }

    #[test]
    fn a_database_that_says_what_it_lacks_is_reachable() {
        let mut reach = Reachability { reachable: None, error: None, since: None };
        let (early, late) = (DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH + Duration::from_secs(9));
        reach.seen(Some(&Error::new(Side::Source, Class::Transient, "refused")), early);
        assert_eq!((reach.reachable, reach.since), (Some(false), Some(early)));
        reach.seen(Some(&Error::new(Side::Source, Class::Permanent, "no table")), late);
        assert_eq!((reach.reachable, reach.since, reach.error.as_deref()), (Some(true), Some(late), Some("no table")));
    }
}
