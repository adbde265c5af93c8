//! Reading the configuration again: load, prove, then apply all of it or nothing.
//!
//! Loading and proving happen in a child task on a copy; applying is one step of the loop. Any failure
//! keeps the old configuration whole. A run under way keeps the settings that it started with.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::audit::Asker;
use super::lane::Lane;
use super::outside::Outside;
use super::{Denied, Done, ReloadEdge, ReloadOutcome, ReloadTrigger, Supervisor};
use crate::config::{self, Change, Config, Effect, Loaded, SourceConfig, SourceName};
use crate::engine::{Class, Error, Side};
use crate::history::Actor;
use crate::telemetry::message;

/// The time that a database has to prove that it can be used: somebody waits for the outcome.
const PROOF: Duration = Duration::from_secs(10);

/// Somebody who waits for an outcome.
type Reply = oneshot::Sender<Result<ReloadOutcome, Denied>>;

/// The reload under way, and those who asked after it began: they get one more, for the file may have
/// changed since it was read.
#[derive(Default)]
pub(super) struct Reloads {
    under_way: Option<Asked>,
    next: Option<Asked>,
}

/// One reload with all who asked for it; the first of them counts as its actor.
struct Asked {
    trigger: ReloadTrigger,
    askers: Vec<Asker>,
    replies: Vec<Reply>,
}

/// A configuration that passed, with everything that it needs, connected.
pub(super) struct Proposal<O: Outside> {
    loaded: Loaded,
    /// Sources that are new or reached in another way.
    sources: Vec<(SourceName, Arc<O::Source>)>,
    /// Another target.
    target: Option<Arc<O::Target>>,
}

/// Loads and proves. `None`: it is the running one.
async fn propose<O: Outside>(
    outside: Arc<O>,
    running: Arc<Config>,
    hash: String,
) -> Result<Option<Box<Proposal<O>>>, Vec<String>> {
    let problems = |problems: Vec<config::Problem>| problems.iter().map(ToString::to_string).collect::<Vec<_>>();
    let loaded = outside.load().await.map_err(problems)?;
    if loaded.hash == hash {
        return Ok(None);
    }
    let before = |name: &SourceName| running.sources.iter().find(|source| source.name == *name);
    let changed: Vec<_> = loaded.config.sources.iter().filter(|new| before(&new.name) != Some(*new)).collect();
    let sources: Vec<_> =
        changed.iter().map(|config| (config.name.clone(), Arc::new(outside.source(config)))).collect();
    let other_target = loaded.config.target.endpoint != running.target.endpoint;
    let target = other_target.then(|| Arc::new(outside.target(&loaded.config.target)));

    // What was not read before must be proved to be readable.
    let differs =
        |old: &SourceConfig, new: &SourceConfig| old.endpoint != new.endpoint || (new.instances && !old.instances);
    let unproved = changed.iter().map(|new| before(&new.name).is_none_or(|old| differs(old, new)));
    let proofs = sources.iter().zip(unproved).filter(|(_, unproved)| *unproved).map(|((name, source), _)| {
        let proof = proved(Side::Source, outside.prove_source(source));
        async move { proof.await.map_err(|error| format!("source \"{name}\": {error}")) }
    });
    let (of_sources, of_target) = tokio::join!(join_all(proofs), async {
        match &target {
            Some(target) => proved(Side::Target, outside.prove_target(target)).await.map_err(|error| error.with_side()),
            None => Ok(()),
        }
    });
    let errors: Vec<_> = of_sources.into_iter().chain([of_target]).filter_map(Result::err).collect();
    if errors.is_empty() { Ok(Some(Box::new(Proposal { loaded, sources, target }))) } else { Err(errors) }
}

async fn proved(side: Side, proof: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    timeout(PROOF, proof)
        .await
        .unwrap_or_else(|_| Err(Error::new(side, Class::Transient, format!("no answer within {} s", PROOF.as_secs()))))
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
        tracing::warn!(trigger, %actor, config_generation = generation, hash, "the old configuration stays in effect");
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
            let none = || Asked { trigger, askers: Vec::new(), replies: Vec::new() };
            let next = self.reloads.next.get_or_insert_with(none);
            next.askers.push(asker);
            next.replies.push(reply);
        } else {
            self.begin_reload(Asked { trigger, askers: vec![asker], replies: vec![reply] });
        }
    }

    fn begin_reload(&mut self, asked: Asked) {
        self.reloads.under_way = Some(asked);
        // Nobody listens without a service manager.
        let _ = self.edges.send(ReloadEdge::Begin);
        let work = propose(self.outside.clone(), self.config.clone(), self.config_hash.clone());
        self.spawn(work, |result| {
            Done::Proposed(result.unwrap_or_else(|| Err(vec!["the reload panicked; see the log for where".to_owned()])))
        });
    }

    pub(super) fn reload_ended(&mut self, result: Result<Option<Box<Proposal<O>>>, Vec<String>>) {
        // Without askers the daemon began to stop meanwhile.
        let Some(Asked { trigger, askers, replies }) = self.reloads.under_way.take() else { return };
        let before = self.config_status.generation;
        let (changes, errors) = match result {
            Ok(proposal) => (proposal.map(|proposal| self.apply(*proposal)).unwrap_or_default(), Vec::new()),
            Err(errors) => (Vec::new(), errors),
        };
        // A file that stays bad is saved again, or touched: to report it once is enough.
        let known = trigger == ReloadTrigger::File && !errors.is_empty() && self.config_status.errors == errors;
        self.config_status.last_reload_successful = errors.is_empty();
        self.config_status.errors.clone_from(&errors);
        let actor = askers.first().map_or_else(Actor::daemon, |asker| asker.actor.clone());
        let outcome = self.outcome(trigger, actor, changes, errors);
        if !known {
            log(&outcome);
        }
        Arc::make_mut(&mut self.provenance).last_reload = Some(outcome.clone());
        self.metrics.reloaded(trigger, &outcome);
        let _ = self.edges.send(ReloadEdge::End);
        askers.iter().for_each(|asker| self.note_reload(asker, &outcome, before));
        for reply in replies {
            self.answer(reply, Ok(outcome.clone()));
        }
        if let Some(asked) = self.reloads.next.take() {
            self.begin_reload(asked);
        }
    }

    fn outcome(
        &self,
        trigger: ReloadTrigger,
        actor: Actor,
        changes: Vec<Change>,
        errors: Vec<String>,
    ) -> ReloadOutcome {
        ReloadOutcome {
            success: errors.is_empty(),
            trigger,
            actor,
            finished: self.outside.now(),
            generation: self.config_status.generation,
            hash: self.config_status.hash.clone(),
            changed: config::names(&changes, Effect::Hot),
            changes,
            restart_required: self.config_status.restart_required.clone(),
            errors,
        }
    }

    /// Swaps the configuration; answers what differs.
    fn apply(&mut self, proposal: Proposal<O>) -> Vec<Change> {
        let Proposal { loaded, sources, target } = proposal;
        for warning in &loaded.warnings {
            tracing::warn!("configuration: {warning}");
        }
        self.config_hash = loaded.hash;
        self.config_status.hash = loaded.file_hash;
        let provenance = Arc::make_mut(&mut self.provenance);
        provenance.origins = loaded.origins;
        provenance.companions = loaded.companions;
        if loaded.config == *self.config {
            return Vec::new();
        }
        let plan = self.plan();
        let old = std::mem::replace(&mut self.config, Arc::new(loaded.config));
        let new = self.config.clone();
        self.config_status.generation += 1;
        self.config_status.loaded = self.outside.now();
        let mut pending = config::diff(&self.config_at_start, &new);
        pending.retain(|change| change.effect == Effect::Restart);
        self.config_status.restart_required = config::names(&pending, Effect::Restart);
        Arc::make_mut(&mut self.provenance).pending = pending;

        if new.log.level != old.log.level {
            self.configured_log_level(&new.log.level);
        }
        if self.intent.drop_outdated_override(&new.schedule.plan) {
            tracing::info!("the file has another schedule: the one set through the API is over");
        }
        self.plan_may_differ(&plan);
        self.history.set_keep(new.history_keep);
        self.textfile.due = Instant::now();
        if let Some(target) = target {
            self.link.replace(target, Instant::now());
            self.residents.set(Vec::new());
            self.lanes.iter_mut().for_each(|lane| lane.verified_since = None);
        }
        self.rearrange_lanes(&new, sources);
        self.residents.tell(&new);
        config::diff(&old, &new)
    }

    /// Lanes in the order of the configuration: kept, connected anew, new; behind them those that leave.
    fn rearrange_lanes(&mut self, new: &Config, mut sources: Vec<(SourceName, Arc<O::Source>)>) {
        let mut old = std::mem::take(&mut self.lanes);
        for config in &new.sources {
            let source = sources.iter().position(|(name, _)| *name == config.name).map(|at| sources.swap_remove(at).1);
            let lane = old.iter().position(|lane| lane.config.name == config.name).map(|at| old.remove(at));
            let lane = match (lane, source) {
                (Some(lane), source) => {
                    Lane { config: config.clone(), source: source.unwrap_or(lane.source), leaving: false, ..lane }
                }
                (None, Some(source)) => Lane::new(config.clone(), source, &self.timing()),
                (None, None) => unreachable!("a source without a lane is new, so the proposal brought it"),
            };
            self.lanes.push(lane);
        }
        let staying = self.lanes.len();
        self.lanes.append(&mut old);
        for index in staying..self.lanes.len() {
            let lane = &mut self.lanes[index];
            lane.leaving = true;
            if let Some(active) = &lane.active {
                active.cancel.cancel();
            }
            let gone =
                Error::new(Side::Run, Class::Cancelled, "cancelled: the source was taken out of the configuration");
            self.withdraw(index, &gone);
        }
    }
}
