//! Room for those who ask: a listener that is full parts with the connection that has asked for nothing for the
//! longest time, so that silent and slow clients keep nobody out.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// The connections of a listener that are not being served: silent ones, those that are still sending their
/// request, those that do not read their answer. A stream of events is being served until it ends: it is quiet
/// because nothing happens. Whatever can take long has limited places ([`Places`](super::places::Places)), fewer than
/// there are connections, so that some are always free or idle.
#[derive(Debug, Default)]
pub(super) struct Guests(Mutex<Idle>);

#[derive(Debug, Default)]
struct Idle {
    next: u64,
    /// Places that connections which were asked to leave will free, and that newcomers wait for.
    promised: usize,
    /// By the order in which they leave.
    leave: BTreeMap<Turn, CancellationToken>,
}

/// When a connection leaves: those first of which nobody knows whether they are still wanted, then those that became
/// idle first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    is_idle: bool,
    number: u64,
}

impl Guests {
    /// A connection that has not asked for anything yet.
    pub(super) fn enter(self: &Arc<Self>) -> Arc<Guest> {
        let leave = CancellationToken::new();
        let turn = Mutex::new(Some(self.idle().add(true, leave.clone())));
        let (is_watched, half_closed) = (AtomicBool::new(false), CancellationToken::new());
        Arc::new(Guest { guests: self.clone(), leave, turn, is_watched, half_closed })
    }

    /// As [`Guests::enter`]; where more than so many are idle then, the one that has been for the longest time leaves.
    pub(super) fn crowd_in(self: &Arc<Self>, most: usize) -> Arc<Guest> {
        let guest = self.enter();
        let mut idle = self.idle();
        if idle.leave.len() > most
            && let Some((_, leave)) = idle.leave.pop_first()
        {
            leave.cancel();
        }
        drop(idle);
        guest
    }

    /// Ends the connection that has been idle for the longest time; its place is for whoever holds the promise.
    /// `None`: all are being served.
    pub(super) fn make_room(self: &Arc<Self>) -> Option<Promise> {
        let mut idle = self.idle();
        let (_, leave) = idle.leave.pop_first()?;
        leave.cancel();
        idle.promised += 1;
        Some(Promise(self.clone()))
    }

    /// Whether the next place that becomes free is somebody's already: who takes it without a promise would
    /// leave that one waiting for a connection that nobody has asked to leave.
    pub(super) fn owes_room(&self) -> bool {
        self.idle().promised > 0
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    fn add(&mut self, is_idle: bool, leave: CancellationToken) -> Turn {
        self.next += 1;
        let turn = Turn { is_idle, number: self.next };
        self.leave.insert(turn, leave);
        turn
    }
}

/// A place to come; dropped once it was taken or is not wanted any more.
#[derive(Debug)]
pub(super) struct Promise(Arc<Guests>);

impl Drop for Promise {
    fn drop(&mut self) {
        self.0.idle().promised -= 1;
    }
}

/// One connection. It is idle but for the time of [`Guest::served`].
#[derive(Debug)]
pub(super) struct Guest {
    guests: Arc<Guests>,
    leave: CancellationToken,
    /// When it leaves; `None` while it is being served.
    turn: Mutex<Option<Turn>>,
    is_watched: AtomicBool,
    half_closed: CancellationToken,
}

impl Guest {
    /// Ends when the connection has to make room.
    pub(super) async fn asked_to_leave(&self) {
        self.leave.cancelled().await;
    }

    /// The whole request is there: while the value lives, the connection is not asked to leave, unless it is
    /// released.
    pub(super) fn served(self: &Arc<Self>) -> Served {
        self.takes_no_turn();
        Served(self.clone())
    }

    /// Leaves before the idle ones from now on, although it is still being served.
    pub(super) fn release(&self) {
        self.takes_turn(false);
    }

    fn takes_turn(&self, is_idle: bool) {
        let mut turn = self.turn();
        if turn.is_none() {
            *turn = Some(self.guests.idle().add(is_idle, self.leave.clone()));
        }
    }

    fn takes_no_turn(&self) {
        if let Some(turn) = self.turn().take() {
            self.guests.idle().leave.remove(&turn);
        }
    }

    /// Whether somebody wants to know, while a request is being served, that the client leaves.
    pub(super) fn watch_out(&self, wanted: bool) {
        self.is_watched.store(wanted, Ordering::Relaxed);
    }

    pub(super) fn is_watched(&self) -> bool {
        self.is_watched.load(Ordering::Relaxed)
    }

    /// The client sends nothing any more.
    pub(super) fn closes_its_half(&self) {
        self.half_closed.cancel();
    }

    /// Ends when the client sends nothing any more; known only while it is watched.
    pub(super) async fn half_closed(&self) {
        self.half_closed.cancelled().await;
    }

    fn turn(&self) -> MutexGuard<'_, Option<Turn>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.takes_no_turn();
    }
}

/// See [`Guest::served`].
pub(super) struct Served(Arc<Guest>);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.takes_turn(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_has_been_idle_for_the_longest_time_leaves_first() {
        let guests = Arc::new(Guests::default());
        let [first, second, third] = [(); 3].map(|()| guests.enter());
        drop(first.served());
        assert!(guests.make_room().is_some());
        assert!(second.leave.is_cancelled() && !first.leave.is_cancelled() && !third.leave.is_cancelled());
        assert!(guests.make_room().is_some() && third.leave.is_cancelled());
        assert!(guests.make_room().is_some() && first.leave.is_cancelled());
        assert!(guests.make_room().is_none(), "nobody is left");
    }

    #[test]
    fn one_that_is_served_or_gone_is_not_asked() {
        let guests = Arc::new(Guests::default());
        let guest = guests.enter();
        drop(guests.enter());
        let served = guest.served();
        assert!(guests.make_room().is_none());
        drop(served);
        assert!(guests.make_room().is_some() && guest.leave.is_cancelled());
    }

    #[test]
    fn one_too_many_makes_the_first_leave() {
        let guests = Arc::new(Guests::default());
        let [first, second, third] = [(); 3].map(|()| guests.crowd_in(2));
        assert!(first.leave.is_cancelled() && !second.leave.is_cancelled() && !third.leave.is_cancelled());
        drop(second);
        let _fourth = guests.crowd_in(2);
        assert!(!third.leave.is_cancelled(), "there was a free place");
    }

    #[test]
    fn one_that_was_released_leaves_first_and_once() {
        let guests = Arc::new(Guests::default());
        let [idle, guest] = [(); 2].map(|()| guests.enter());
        let served = guest.served();
        guest.release();
        assert!(guests.make_room().is_some() && guest.leave.is_cancelled() && !idle.leave.is_cancelled());
        drop(served);
        assert!(guests.make_room().is_some() && idle.leave.is_cancelled());
        assert!(guests.make_room().is_none());
    }

    #[test]
    fn a_place_is_owed_until_whoever_waits_for_it_has_it_or_gives_up() {
        let guests = Arc::new(Guests::default());
        let _idle = [(); 2].map(|()| guests.enter());
        assert!(!guests.owes_room());
        let (first, second) = (guests.make_room(), guests.make_room());
        drop(first);
        assert!(guests.owes_room());
        drop(second);
        assert!(!guests.owes_room());
    }
}
