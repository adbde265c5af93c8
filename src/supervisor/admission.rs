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
mod tests {
    use proptest::prelude::*;

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

    #[derive(Clone, Debug)]
    enum Step {
        Ask { full: bool, dry_run: bool, allow_deletes: bool },
        Due,
        Start,
        End,
        Withdraw,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => any::<(bool, bool, bool)>()
                .prop_map(|(full, dry_run, allow_deletes)| Step::Ask { full, dry_run, allow_deletes }),
            2 => Just(Step::Due),
            2 => Just(Step::Start),
            2 => Just(Step::End),
            1 => Just(Step::Withdraw),
        ]
    }

    proptest! {
        /// Whatever happens in whatever order: a run starts only when none is under way, only once, and
        /// with options that do what each of its requests asked; no admitted run is lost.
        #[test]
        fn every_admitted_request_is_served_by_one_run_that_does_what_it_asked(
            steps in prop::collection::vec(step(), 1..80)
        ) {
            let mut slots = Slots::default();
            let mut promised: Vec<(Uuid, RunRequest)> = Vec::new();
            let mut seen: Vec<Uuid> = Vec::new();
            let mut running = None;
            for step in steps {
                let started = match step {
                    Step::Ask { full, dry_run, allow_deletes } => {
                        let request = request(if full { Mode::Full } else { Mode::Delta }, dry_run, allow_deletes);
                        let before = slots.waiting().cloned();
                        match slots.admit(&request, &Actor::daemon()) {
                            Ok(run) => promised.push((run, request)),
                            Err(_) => prop_assert_eq!(slots.waiting(), before.as_ref(), "a denial changes nothing"),
                        }
                        None
                    }
                    Step::Due => slots.start_scheduled(Ticket::scheduled(Trigger::Schedule)),
                    Step::Start => slots.start_waiting(),
                    Step::End => {
                        prop_assert_eq!(slots.end().map(|t| t.run_id), running.take());
                        None
                    }
                    Step::Withdraw => {
                        if let Some(ticket) = slots.withdraw() {
                            promised.retain(|(run, _)| *run != ticket.run_id);
                        }
                        None
                    }
                };
                if let Some(ticket) = started {
                    prop_assert!(running.is_none(), "one at a time");
                    prop_assert!(!seen.contains(&ticket.run_id), "a run starts once");
                    for (_, request) in promised.iter().filter(|(run, _)| *run == ticket.run_id) {
                        prop_assert!(ticket.mode == Mode::Full || request.mode == Mode::Delta);
                        prop_assert_eq!(ticket.dry_run, request.dry_run);
                        prop_assert_eq!(ticket.allow_deletes, request.allow_deletes);
                    }
                    seen.push(ticket.run_id);
                    running = Some(ticket.run_id);
                }
            }
            slots.end();
            seen.extend(slots.start_waiting().map(|ticket| ticket.run_id));
            prop_assert!(promised.iter().all(|(run, _)| seen.contains(run)), "no admitted run is lost");
        }
    }
}
