//! What operators say about the schedule: pause, resume, the plan of runs.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

use super::outside::Outside;
use super::{Denied, Origin, PauseRequest, Schedule, ScheduleRequest, Supervisor};
use crate::history::Actor;
use crate::schedule::{Jitter, Moment, Pause, Plan, Timing};

/// The wait between two runs that the present falls into, worked out once for as long as it lasts.
#[derive(Debug, Default)]
pub(super) struct Gap(Option<Known>);

#[derive(Debug)]
struct Known {
    plan: Plan,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
    gap: Duration,
}

impl Gap {
    fn of(&mut self, plan: Plan, at: DateTime<Utc>) -> Duration {
        match &self.0 {
            Some(known) if known.plan == plan && (known.from..known.until).contains(&at) => known.gap,
            _ => {
                let (gap, until) = plan.gap(at);
                self.0 = Some(Known { plan, from: at, until, gap });
                gap
            }
        }
    }
}

/// The present, and a new random number.
pub(super) fn timing<O: Outside>(outside: &O, plan: Plan, jitter: Duration) -> Timing {
    let moment = Moment { now: Instant::now(), at: outside.now() };
    Timing { plan, moment, jitter: Jitter { most: jitter, chance: outside.chance() } }
}

impl<O: Outside> Supervisor<O> {
    /// The plan in effect.
    pub(super) fn plan(&self) -> Plan {
        self.intent.plan().unwrap_or(&self.config.schedule.plan).clone()
    }

    pub(super) fn timing(&self) -> Timing {
        timing(&*self.outside, self.plan(), self.config.schedule.jitter)
    }

    /// The wait between two runs.
    pub(super) fn gap(&mut self) -> Duration {
        self.gap.of(self.plan(), self.outside.now())
    }

    pub(super) fn schedule(&self) -> Schedule {
        match self.intent.plan() {
            Some(plan) => Schedule::new(plan, Origin::Api),
            None => Schedule::new(&self.config.schedule.plan, Origin::File),
        }
    }

    pub(super) fn set_schedule(&mut self, request: ScheduleRequest) -> Result<Schedule, Denied> {
        let seen = request.expected.is_none_or(|tags| tags.contains(&self.schedule().tag()));
        if !seen {
            return Err(Denied::ScheduleChanged);
        }
        let before = self.plan();
        self.intent.set_plan(request.plan, &self.config.schedule.plan);
        self.plan_may_differ(&before);
        Ok(self.schedule())
    }

    pub(super) fn plan_may_differ(&mut self, before: &Plan) {
        let plan = self.plan();
        if plan != *before {
            tracing::info!("the schedule has changed: a run {plan}");
            for index in 0..self.lanes.len() {
                let timing = self.timing();
                self.lanes[index].reschedule(&timing);
            }
        }
    }

    /// Times of day stay what they are when the clock on the wall is set.
    pub(super) fn follow_the_clock(&mut self) {
        for index in 0..self.lanes.len() {
            if self.lanes[index].timer.is_by_the_wall() {
                let timing = self.timing();
                if self.lanes[index].timer.follow(&timing) {
                    tracing::info!(source = %self.lanes[index].config.name, "the clock was set; the next run follows it");
                }
            }
        }
    }

    /// A pause during another one replaces it, reason, actor, times and all.
    pub(super) fn pause(&mut self, request: PauseRequest, actor: Actor) -> Pause {
        let since = self.outside.now();
        let length = request.duration.and_then(|length| TimeDelta::from_std(length).ok());
        let until = length.and_then(|length| since.checked_add_signed(length));
        let pause = Pause { reason: request.reason, actor: Some(actor), since, until };
        self.intent.set_pause(Some(pause.clone()));
        pause
    }

    pub(super) fn resume(&mut self) {
        self.intent.set_pause(None);
    }

    pub(super) fn end_pause_in_time(&mut self) {
        if self.intent.pause().is_some_and(|pause| pause.is_over(self.outside.now())) {
            self.intent.set_pause(None);
            self.note_end("resume");
        }
    }

    pub(super) fn pause_ends_in(&self) -> Option<Duration> {
        let until = self.intent.pause()?.until?;
        Some((until - self.outside.now()).to_std().unwrap_or_default())
    }
}
