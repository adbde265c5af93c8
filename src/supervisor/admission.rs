//! "May this run happen now?" for one source. Pure: no clock, no task, no channel.
//!
//! ```text
//!            admit                start                 end
//!   (asked) ------> waiting: one ------> running: one ------> (over)
//!                     ^ further requests join it, or are denied
//! ```

use uuid::Uuid;

use super::{Denied, RunRequest};
use crate::engine::Mode;
use crate::history::{Actor, Trigger};

/// A run that was admitted: who wanted it first, and with which options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) run_id: Uuid,
    pub(super) trigger: Trigger,
    pub(super) actor: Actor,
    pub(super) mode: Mode,
    pub(super) dry_run: bool,
    pub(super) allow_deletes: bool,
}

impl Ticket {
    /// A ticket of its own for a request.
    pub(super) fn new(request: &RunRequest, actor: &Actor) -> Self {
        Self {
            run_id: Uuid::now_v7(),
            trigger: request.trigger,
            actor: actor.clone(),
            mode: request.mode,
            dry_run: request.dry_run,
            allow_deletes: request.allow_deletes,
        }
    }

    /// A run of the schedule.
    pub(super) fn scheduled(trigger: Trigger) -> Self {
        let actor = Actor::daemon();
        Self { run_id: Uuid::now_v7(), trigger, actor, mode: Mode::Delta, dry_run: false, allow_deletes: false }
    }
}

/// The runs of one source: at most one under way, at most one that waits.
#[derive(Debug, Default)]
pub(super) struct Slots {
    running: Option<Ticket>,
    waiting: Option<Ticket>,
}

impl Slots {
    /// The run that waits.
    pub(super) fn waiting(&self) -> Option<&Ticket> {
        self.waiting.as_ref()
    }

    /// Whether [`Slots::admit`] would take the request.
    ///
    /// A full run does all that a delta does, so the two can share one. A dry run and a run past the
    /// brake on deletes can be shared only with their like: joining another would do what nobody
    /// asked for, or not do what was asked.
    pub(super) fn check(&self, request: &RunRequest) -> Result<(), Denied> {
        match &self.waiting {
            Some(waiting) if waiting.dry_run != request.dry_run || waiting.allow_deletes != request.allow_deletes => {
                Err(Denied::QueueTaken)
            }
            _ => Ok(()),
        }
    }

    /// Queues a run, or joins the one that waits; answers the ID of the run that serves the request.
    pub(super) fn admit(&mut self, request: &RunRequest, actor: &Actor) -> Result<Uuid, Denied> {
        self.check(request)?;
        let waiting = self.waiting.get_or_insert_with(|| Ticket::new(request, actor));
        if request.mode == Mode::Full {
            waiting.mode = Mode::Full;
        }
        Ok(waiting.run_id)
    }

    /// Starts the run that waits, unless one is under way.
    pub(super) fn start_waiting(&mut self) -> Option<Ticket> {
        if self.running.is_none() {
            self.running = self.waiting.take();
            return self.running.clone();
        }
        None
    }

    /// Starts a run of the schedule, unless one is under way or one that somebody asked for waits.
    pub(super) fn start_scheduled(&mut self, ticket: Ticket) -> Option<Ticket> {
        if self.running.is_some() || self.waiting.is_some() {
            return None;
        }
        self.running = Some(ticket);
        self.running.clone()
    }

    /// The run under way is over.
    pub(super) fn end(&mut self) -> Option<Ticket> {
        self.running.take()
    }

    /// Gives up the run that waits.
    pub(super) fn withdraw(&mut self) -> Option<Ticket> {
        self.waiting.take()
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use super::*;

    fn request(mode: Mode, dry_run: bool, allow_deletes: bool) -> RunRequest {
        RunRequest { trigger: Trigger::Api, source: None, mode, dry_run, allow_deletes, key: None }
    }

    #[test]
    fn a_second_request_joins_the_first_while_it_waits() {
        let mut slots = Slots::default();
        let first = slots.admit(&request(Mode::Delta, false, false), &Actor::daemon()).unwrap();
        assert_eq!(slots.admit(&request(Mode::Delta, false, false), &Actor::daemon()), Ok(first));
        assert_eq!(slots.start_waiting().unwrap().run_id, first);
        let second = slots.admit(&request(Mode::Delta, false, false), &Actor::daemon()).unwrap();
        assert_ne!(second, first, "a run under way may have passed what was asked for");
        assert_eq!(slots.start_waiting(), None, "one at a time");
    }

    #[test]
    fn a_full_run_upgrades_a_queued_delta_and_a_delta_joins_a_queued_full_run() {
        let mut slots = Slots::default();
        let first = slots.admit(&request(Mode::Delta, false, false), &Actor::daemon()).unwrap();
        assert_eq!(slots.admit(&request(Mode::Full, false, false), &Actor::daemon()), Ok(first));
        assert_eq!(slots.admit(&request(Mode::Delta, false, false), &Actor::daemon()), Ok(first));
        assert_eq!(slots.waiting().unwrap().mode, Mode::Full);
    }

    #[test]
    fn runs_that_differ_in_what_they_write_never_share() {
        let mut slots = Slots::default();
        slots.admit(&request(Mode::Delta, true, false), &Actor::daemon()).unwrap();
        assert_eq!(slots.admit(&request(Mode::Delta, false, false), &Actor::daemon()), Err(Denied::QueueTaken));
        assert_eq!(slots.admit(&request(Mode::Delta, true, true), &Actor::daemon()), Err(Denied::QueueTaken));
    }
}
