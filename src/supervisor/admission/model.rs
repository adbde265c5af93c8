//! The admission beside a model that remembers every request by itself: whatever comes in whatever order, each
//! request that was admitted is served by exactly one run, and by one that does what it asked.

use std::collections::HashMap;

use proptest::prelude::*;
use uuid::Uuid;

use super::{Slots, Ticket};
use crate::engine::Mode;
use crate::history::{Actor, Trigger};
use crate::supervisor::{Denied, RunRequest};

/// What somebody asks for.
#[derive(Clone, Copy, Debug)]
struct Wish {
    full: bool,
    dry_run: bool,
    allow_deletes: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Ask(Wish),
    Due,
    Start,
    End,
    Withdraw,
}

fn step() -> impl Strategy<Value = Step> {
    let wish = any::<(bool, bool, bool)>();
    let wish = wish.prop_map(|(full, dry_run, allow_deletes)| Wish { full, dry_run, allow_deletes });
    prop_oneof![
        5 => wish.prop_map(Step::Ask),
        2 => Just(Step::Due),
        3 => Just(Step::Start),
        3 => Just(Step::End),
        1 => Just(Step::Withdraw),
    ]
}

/// Who joined the run that waits, the first one in front, and all that is over.
#[derive(Debug, Default)]
struct Model {
    waiting: Option<(Uuid, Vec<(usize, Wish)>)>,
    running: Option<Uuid>,
    /// By request: the run that it was promised, and how often that began or was given up.
    promised: HashMap<usize, (Uuid, u32)>,
    seen: Vec<Uuid>,
}

impl Model {
    fn settle(&mut self, run: Uuid) {
        self.promised.values_mut().filter(|(promised, _)| *promised == run).for_each(|(_, times)| *times += 1);
    }

    fn ask(&mut self, slots: &mut Slots, number: usize, wish: Wish) -> Result<(), TestCaseError> {
        let mode = if wish.full { Mode::Full } else { Mode::Delta };
        let Wish { dry_run, allow_deletes, .. } = wish;
        let request = RunRequest { trigger: Trigger::Api, source: None, mode, dry_run, allow_deletes, key: None };
        let before = slots.waiting().cloned();
        let check = slots.check(&request);
        let answer = slots.admit(&request, &Actor::named(&format!("asker {number}")));
        prop_assert_eq!(check.err(), answer.clone().err(), "the check says what the admission does");
        match (&mut self.waiting, answer) {
            (None, Ok(run)) => {
                prop_assert!(!self.seen.contains(&run), "an ID is used once");
                self.seen.push(run);
                self.waiting = Some((run, vec![(number, wish)]));
                self.promised.insert(number, (run, 0));
            }
            (Some((waiting, wishes)), Ok(run)) => {
                prop_assert_eq!(*waiting, run, "one waits, the others join it");
                let first = wishes[0].1;
                prop_assert_eq!((first.dry_run, first.allow_deletes), (dry_run, allow_deletes), "never mixed");
                wishes.push((number, wish));
                self.promised.insert(number, (run, 0));
            }
            (Some((_, wishes)), Err(denied)) => {
                let first = wishes[0].1;
                prop_assert_ne!((first.dry_run, first.allow_deletes), (dry_run, allow_deletes), "denied without need");
                prop_assert_eq!(denied, Denied::QueueTaken);
                prop_assert_eq!(slots.waiting(), before.as_ref(), "a denial changes nothing");
            }
            (None, Err(denied)) => prop_assert!(false, "nothing waits, and yet: {denied}"),
        }
        Ok(())
    }

    /// The waiting run begins, or `None` does.
    fn start(&mut self, started: Option<Ticket>) -> Result<(), TestCaseError> {
        if self.running.is_some() || self.waiting.is_none() {
            prop_assert_eq!(started, None, "one at a time, and only what waits");
            return Ok(());
        }
        let (run, wishes) = self.waiting.take().expect("just seen");
        let ticket = started.expect("it waits and nothing is under way");
        prop_assert_eq!(ticket.run_id, run);
        let is_full = wishes.iter().any(|(_, wish)| wish.full);
        prop_assert_eq!(ticket.mode == Mode::Full, is_full, "full if and only if somebody asked for it");
        prop_assert!(wishes.iter().all(|(_, wish)| wish.dry_run == ticket.dry_run));
        prop_assert!(wishes.iter().all(|(_, wish)| wish.allow_deletes == ticket.allow_deletes));
        prop_assert_eq!(ticket.actor, Actor::named(&format!("asker {}", wishes[0].0)), "of who asked first");
        self.settle(run);
        self.running = Some(run);
        Ok(())
    }
}

proptest! {
    #[test]
    fn whatever_happens_each_admitted_request_is_served_once_and_as_asked(
        steps in prop::collection::vec(step(), 1..120)
    ) {
        let (mut slots, mut model) = (Slots::default(), Model::default());
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Ask(wish) => model.ask(&mut slots, number, wish)?,
                Step::Start => model.start(slots.start_waiting())?,
                Step::Due => {
                    let idle = model.running.is_none() && model.waiting.is_none();
                    let started = slots.start_scheduled(Ticket::scheduled(Trigger::Schedule));
                    prop_assert_eq!(started.is_some(), idle, "the schedule waits for those who asked");
                    if let Some(ticket) = started {
                        prop_assert!(!ticket.dry_run && !ticket.allow_deletes && ticket.mode == Mode::Delta);
                        prop_assert!(!model.seen.contains(&ticket.run_id), "an ID is used once");
                        model.seen.push(ticket.run_id);
                        model.running = Some(ticket.run_id);
                    }
                }
                Step::End => prop_assert_eq!(slots.end().map(|ticket| ticket.run_id), model.running.take()),
                Step::Withdraw => {
                    let withdrawn = slots.withdraw().map(|ticket| ticket.run_id);
                    prop_assert_eq!(withdrawn, model.waiting.take().map(|(run, _)| run));
                    withdrawn.into_iter().for_each(|run| model.settle(run));
                }
            }
            prop_assert_eq!(slots.waiting().map(|ticket| ticket.run_id), model.waiting.as_ref().map(|(run, _)| *run));
        }
        slots.end();
        model.running = None;
        model.start(slots.start_waiting())?;
        for (number, (run, times)) in model.promised {
            prop_assert_eq!(times, 1, "request {} was promised {}", number, run);
        }
    }
}
