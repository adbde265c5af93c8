//! What an order leads to: the deed, its answer, and its record.

use tokio::sync::oneshot;

use super::audit::{self, Asker, Deed};
use super::outside::Outside;
use super::{Command, Denied, Order, Supervisor};

impl<O: Outside> Supervisor<O> {
    pub(super) fn order(&mut self, Order { actor, via, command }: Order) {
        if self.drain_until.is_some() {
            // Without its reply the asker learns that the daemon is stopping.
            return;
        }
        let (asker, deed) = (Asker { actor: actor.clone(), via }, Deed::of(&command));
        let Some(command) = self.refuse_as_standby(command) else {
            return audit::line(&asker, &deed, "denied: standby");
        };
        let before = self.intent.control().clone();
        let denied = match command {
            Command::Run(request, reply) => {
                let admitted = self.admit(&request, &actor);
                self.answer(reply, admitted)
            }
            Command::Cancel(reply) => {
                let cancelled = self.cancel();
                self.answer(reply, cancelled)
            }
            Command::Pause(request, reply) => {
                let pause = self.pause(request, actor);
                self.answer(reply, Ok(pause))
            }
            Command::Resume(reply) => {
                self.resume();
                self.answer(reply, Ok(()))
            }
            Command::SetSchedule(request, reply) => {
                let schedule = self.set_schedule(request);
                self.answer(reply, schedule)
            }
            Command::SetLogLevel(request, reply) => {
                let level = self.set_log_level(request, &actor);
                self.answer(reply, Ok(level))
            }
            // Its outcome comes later, and is noted then.
            Command::Reload(trigger, reply) => return self.ask_reload(trigger, asker, reply),
        };
        audit::line(&asker, &deed, &audit::result(denied.as_ref()));
        let changed = deed.changes_by_itself() || *self.intent.control() != before;
        if denied.is_none() && changed {
            self.note(&asker, deed);
        }
    }

    /// Who got an answer finds it true in the next snapshot that it reads. Gives back why it is a refusal.
    pub(super) fn answer<T>(
        &mut self,
        reply: oneshot::Sender<Result<T, Denied>>,
        answer: Result<T, Denied>,
    ) -> Option<Denied> {
        self.publish();
        let denied = answer.as_ref().err().cloned();
        drop(reply.send(answer));
        denied
    }
}
