//! What operators say about the schedule: pause, resume, interval.

use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::Instant;

use super::outside::Outside;
use super::{PauseRequest, Schedule, ScheduleOrigin, Supervisor};
use crate::history::Actor;
use crate::schedule::Pause;
use crate::telemetry::message;

impl<O: Outside> Supervisor<O> {
    /// The interval in effect.
    pub(super) fn interval(&self) -> Duration {
        self.intent.interval(self.config.interval).0
    }

    pub(super) fn schedule(&self) -> Schedule {
        let (interval, overridden) = self.intent.interval(self.config.interval);
        let origin = if overridden { ScheduleOrigin::Api } else { ScheduleOrigin::File };
        Schedule { interval_sec: interval.as_secs(), origin }
    }

    pub(super) fn set_interval(&mut self, interval: Option<Duration>, actor: &Actor) -> Schedule {
        tracing::info!(%actor, interval_sec = interval.map(|set| set.as_secs()), "{}", match interval {
            Some(_) => "the interval is set",
            None => "the interval is the file's again",
        });
        let before = self.interval();
        self.intent.set_interval(interval, self.config.interval);
        self.interval_may_differ(before);
        self.schedule()
    }

    pub(super) fn interval_may_differ(&mut self, before: Duration) {
        let (now, interval) = (Instant::now(), self.interval());
        if interval != before {
            tracing::info!(interval_sec = interval.as_secs(), "the interval has changed");
            self.lanes.iter_mut().for_each(|lane| lane.reschedule(now, interval));
        }
    }

    pub(super) fn pause(&mut self, request: PauseRequest, actor: Actor) -> Pause {
        let since = self.outside.now();
        let length = request.duration.and_then(|length| TimeDelta::from_std(length).ok());
        let until = length.and_then(|length| since.checked_add_signed(length));
        let pause = Pause { reason: request.reason, actor: Some(actor), since, until };
        tracing::info!(
            message_id = message::PAUSED,
            actor = pause.actor.as_ref().map(Actor::as_str),
            until = until.map(|until| until.to_rfc3339()),
            "paused"
        );
        self.intent.set_pause(Some(pause.clone()));
        pause
    }

    pub(super) fn resume(&mut self, actor: &Actor) {
        if self.intent.pause().is_some() {
            tracing::info!(message_id = message::RESUMED, %actor, "resumed");
        }
        self.intent.set_pause(None);
    }

    pub(super) fn end_pause_in_time(&mut self) {
        if self.intent.pause().is_some_and(|pause| pause.is_over(self.outside.now())) {
            tracing::info!(message_id = message::PAUSE_EXPIRED, "the pause is over by itself; resumed");
            self.intent.set_pause(None);
        }
    }

    pub(super) fn pause_ends_in(&self) -> Option<Duration> {
        let until = self.intent.pause()?.until?;
        Some((until - self.outside.now()).to_std().unwrap_or_default())
    }
}
