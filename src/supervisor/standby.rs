//! Two daemons on one target: what a daemon does that does not serve it, and how it gives it back.

use tokio::time::Instant;

use super::intent::Intent;
use super::outside::Outside;
use super::{Command, Denied, Done, Supervisor};
use crate::engine::{Class, Error, Side};

/// Giving the target back at the end of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Release {
    No,
    UnderWay,
    Done,
}

impl<O: Outside> Supervisor<O> {
    /// What a standby was told would be lost: the daemon that serves the target does not hear of it. Gives
    /// back what this daemon may do.
    pub(super) fn refuse_as_standby(&mut self, command: Command) -> Option<Command> {
        let Some(holder) = self.link.served_by() else { return Some(command) };
        let denied = Denied::Standby(holder.to_owned());
        let _ = match command {
            Command::Run(_, reply) => self.answer(reply, Err(denied)),
            Command::Pause(_, reply) => self.answer(reply, Err(denied)),
            Command::Resume(reply) => self.answer(reply, Err(denied)),
            Command::SetSchedule(_, reply) => self.answer(reply, Err(denied)),
            allowed @ (Command::Cancel(_) | Command::Reload(..) | Command::SetLogLevel(..)) => return Some(allowed),
        };
        None
    }

    /// Another process serves the target.
    pub(super) fn stand_by(&mut self, holder: String, now: Instant) {
        let denied = Error::new(Side::Target, Class::Transient, format!("another daemon serves this target: {holder}"));
        if self.link.stand_by(holder, now) {
            tracing::info!(served_by = self.link.served_by(), "standby: another daemon serves this target");
        }
        // Operators talk to the other one now; what it was told counts, not what this one knew.
        let before = self.plan();
        self.intent = Intent::default();
        self.plan_may_differ(&before);
        for index in 0..self.lanes.len() {
            self.withdraw(index, &denied);
        }
    }

    /// The lock is gone, though nobody gave it back.
    pub(super) fn lock_lost(&mut self, error: &Error) {
        // If the target is not open, what went wrong has been said already.
        if self.drain_until.is_none() && self.link.is_open() {
            tracing::warn!(side = "target", "the lock on the target is lost; this daemon asks for it again: {error}");
            self.link.reach.seen(Some(error), self.outside.now());
        }
        self.link.lock_lost(Instant::now());
    }

    /// Lets somebody else serve the target, at the end of a drain.
    pub(super) fn release_target(&mut self) {
        let (outside, target, number) = (self.outside.clone(), self.link.target.clone(), self.link.number);
        let work = async move { outside.release(&target).await };
        self.spawn(work, move |_| Done::Released { link: number });
    }
}
