//! The end of the daemon: runs under way are told to end, and what can be written is written.

use tokio::time::Instant;

use super::outside::Outside;
use super::reload::Reloads;
use super::standby::Release;
use super::{DRAIN, Supervisor};
use crate::engine::{Class, Error, Side};
use crate::telemetry::message;

impl<O: Outside> Supervisor<O> {
    pub(super) fn begin_drain(&mut self) {
        self.drain_until = Some(Instant::now() + DRAIN);
        self.reloads = Reloads::default();
        let mut under_way = 0;
        for lane in &self.lanes {
            if let Some(active) = &lane.active {
                active.cancel.cancel();
                under_way += 1;
            }
        }
        tracing::info!(message_id = message::STOPPING, runs_under_way = under_way, "stopping");
        for index in 0..self.lanes.len() {
            let error = Error::new(Side::Run, Class::Cancelled, "cancelled: the daemon stopped before the run began");
            self.withdraw(index, &error);
        }
    }

    pub(super) fn drained(&self) -> bool {
        let Some(until) = self.drain_until else { return false };
        let running = self.lanes.iter().filter(|lane| lane.active.is_some()).count();
        if Instant::now() >= until {
            tracing::warn!(runs_under_way = running, "gave up waiting; what is not committed is done by the next run");
            return true;
        }
        // What could be written is being written since `tend`; what failed is not tried again.
        self.is_quiet() && self.release == Release::Done
    }
}
