//! Reading the configuration again: load, prove, then apply all of it or nothing.
//!
//! Loading and proving happen in a child task on a copy ([`proposal`]); applying is one step of the loop
//! ([`apply`]). Any failure keeps the old configuration whole. A run under way keeps the settings that it
//! started with.
//!
//! ```text
//! asked for --> under way --> accepted
//!                 ^     |---> refused: the watch waits for another file
//!                 |     +---> refused, for a database is down
//!                 +--- again by itself, silently ---+
//! ```

mod again;
mod apply;
mod proposal;

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::audit::Asker;
use super::outside::Outside;
use super::{Denied, Done, ReloadEdge, ReloadOutcome, ReloadTrigger, Supervisor};
use crate::config::{self, Change, Effect};
use crate::history::Actor;
use crate::telemetry::message;
use again::Again;
pub(super) use proposal::Proposed;
use proposal::{Proposal, Refusal, propose};

/// Somebody who waits for an outcome.
type Reply = oneshot::Sender<Result<ReloadOutcome, Denied>>;

/// The reload under way, and those who asked after it began: they get one more, for the file may have
/// changed since it was read.
#[derive(Default)]
pub(super) struct Reloads {
    under_way: Option<Asked>,
    next: Option<Asked>,
    again: Option<Again>,
}

impl Reloads {
    /// When one is tried again by itself.
    pub(super) fn again_at(&self) -> Option<Instant> {
        self.again.as_ref().map(|again| again.due)
    }
}

/// One reload with all who asked for it; the first of them counts as its actor.
struct Asked {
    trigger: ReloadTrigger,
    askers: Vec<Asker>,
    replies: Vec<Reply>,
    /// How often it was refused already for a reason that passes.
    attempt: u32,
}

/// The record in the log: one line, behind one for each error.
fn log(outcome: &ReloadOutcome) {
    let of = |effect: Effect| {
        let changes = outcome.changes.iter().filter(|change| change.effect == effect);
        changes.map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let ReloadOutcome { trigger, actor, generation, hash, .. } = outcome;
    let trigger = trigger.as_str();
    for error in &outcome.errors {
        tracing::error!(message_id = message::RELOAD_REFUSED, trigger, %actor, "configuration refused: {error}");
    }
    if !outcome.success {
        let until = if outcome.retrying { "; tried again until the database answers" } else { "" };
        tracing::warn!(
            trigger,
            %actor,
            config_generation = generation,
            hash,
            "the old configuration stays in effect{until}"
        );
        return;
    }
    let what = if outcome.changes.is_empty() { "read again; nothing has changed" } else { "reloaded" };
    tracing::info!(
        message_id = message::RELOADED,
        trigger,
        %actor,
        config_generation = generation,
        hash,
        changed = of(Effect::Hot),
        waits_for_restart = of(Effect::Restart),
        restart_required = outcome.restart_required.join(", "),
        "configuration {what}"
    );
}

impl<O: Outside> Supervisor<O> {
    pub(super) fn ask_reload(&mut self, trigger: ReloadTrigger, asker: Asker, reply: Reply) {
        if self.reloads.under_way.is_some() {
            let none = || Asked { trigger, askers: Vec::new(), replies: Vec::new(), attempt: 0 };
            let next = self.reloads.next.get_or_insert_with(none);
            next.askers.push(asker);
            next.replies.push(reply);
        } else {
            self.begin_reload(Asked { trigger, askers: vec![asker], replies: vec![reply], attempt: 0 });
        }
    }

    /// Tries a refused configuration again once its time has come.
    pub(super) fn reload_again_in_time(&mut self) {
        if self.reloads.under_way.is_none()
            && let Some(again) = self.reloads.again.take_if(|again| again.due <= Instant::now())
        {
            self.begin_reload(again.asked);
        }
    }

    fn begin_reload(&mut self, asked: Asked) {
        // Whatever was to be tried again: this reload reads the same files.
        self.reloads.again = None;
        if asked.attempt == 0 {
            // Nobody listens without a service manager.
            let _ = self.edges.send(ReloadEdge::Begin);
        }
        self.reloads.under_way = Some(asked);
        let work = propose(self.outside.clone(), self.config.clone(), self.config_hash.clone());
        self.spawn(work, |proposed| Done::Proposed(proposed.unwrap_or_else(Proposed::panicked)));
    }

    pub(super) fn reload_ended(&mut self, proposed: Proposed<O>) {
        // Without askers the daemon began to stop meanwhile.
        let Some(asked) = self.reloads.under_way.take() else { return };
        let Proposed { companions, warnings, outcome } = proposed;
        let before = self.config_status.generation;
        if let Some(companions) = companions.filter(|new| *new != self.provenance.companions) {
            Arc::make_mut(&mut self.provenance).companions = companions;
        }
        let (changes, refusal) = match outcome {
            Ok(proposal) => (proposal.map(|proposal| self.apply(*proposal)).unwrap_or_default(), None),
            Err(refusal) => (Vec::new(), Some(refusal)),
        };
        let passes = refusal.as_ref().is_some_and(|refusal| refusal.passes);
        if passes {
            self.reloads.again = Some(Again::behind(&asked, Instant::now()));
        }
        // An attempt by itself that meets a database still down is no news.
        if !(passes && asked.attempt > 0) {
            let outcome = self.outcome(&asked, changes, warnings, refusal);
            self.report(asked, &outcome, before);
        }
        if let Some(asked) = self.reloads.next.take() {
            self.begin_reload(asked);
        }
    }

    /// The one record, for everybody who wants to know.
    fn report(&mut self, asked: Asked, outcome: &ReloadOutcome, generation_before: u64) {
        let Asked { trigger, askers, replies, attempt } = asked;
        // A file that stays bad is saved again, or touched: to report it once is enough.
        let known = trigger == ReloadTrigger::File && !outcome.success && self.config_status.errors == outcome.errors;
        self.config_status.last_reload_successful = outcome.success;
        self.config_status.errors.clone_from(&outcome.errors);
        if !known {
            log(outcome);
        }
        Arc::make_mut(&mut self.provenance).last_reload = Some(outcome.clone());
        self.metrics.reloaded(trigger, outcome);
        if attempt == 0 {
            // Whoever hears of it finds it in the next snapshot.
            self.publish();
            let _ = self.edges.send(ReloadEdge::End);
        }
        askers.iter().for_each(|asker| self.note_reload(asker, outcome, generation_before));
        for reply in replies {
            self.answer(reply, Ok(outcome.clone()));
        }
    }

    fn outcome(
        &self,
        asked: &Asked,
        changes: Vec<Change>,
        warnings: Vec<String>,
        refusal: Option<Refusal>,
    ) -> ReloadOutcome {
        let success = refusal.is_none();
        let (errors, retrying) = refusal.map(|refusal| (refusal.errors, refusal.passes)).unwrap_or_default();
        ReloadOutcome {
            success,
            trigger: asked.trigger,
            actor: asked.askers.first().map_or_else(Actor::daemon, |asker| asker.actor.clone()),
            finished: self.outside.now(),
            generation: self.config_status.generation,
            hash: self.config_status.hash.clone(),
            changed: config::names(&changes, Effect::Hot),
            changes,
            restart_required: self.config_status.restart_required.clone(),
            warnings,
            errors,
            retrying,
        }
    }
}
