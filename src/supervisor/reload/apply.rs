//! A configuration that passed takes effect: one step of the loop, without a wait.

use std::sync::Arc;

use tokio::time::Instant;

use super::Proposal;
use crate::config::{self, Change, Config, Effect, SourceName};
use crate::engine::{Class, Error, Side};
use crate::supervisor::Supervisor;
use crate::supervisor::lane::Lane;
use crate::supervisor::outside::Outside;

impl<O: Outside> Supervisor<O> {
    /// Swaps the configuration; answers what differs.
    pub(super) fn apply(&mut self, proposal: Proposal<O>) -> Vec<Change> {
        let Proposal { loaded, sources, target } = proposal;
        for warning in &loaded.warnings {
            tracing::warn!("configuration: {warning}");
        }
        self.config_hash = loaded.hash;
        self.config_status.hash = loaded.file_hash;
        Arc::make_mut(&mut self.provenance).origins = loaded.origins;
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
