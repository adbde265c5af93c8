//! Room for those who ask: a listener that is full parts with a connection that has asked for nothing, so that silent
//! and slow clients keep nobody out. Of whoever has the most of these it is the one that has been idle for the longest
//! time: so a host or a user with many connections pushes out its own ones, not those of others.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::Peer;

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
    leave: BTreeMap<Turn, (Origin, CancellationToken)>,
}

/// Where a connection comes from, as far as that is known before it asks for anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Origin {
    /// A host. Of an address of IPv6 the network counts, for each host has a whole one.
    Host(IpAddr),
    /// A user of this host; none where the kernel does not say which.
    User(Option<u32>),
}

impl Origin {
    fn of(peer: Peer) -> Self {
        match peer {
            Peer::Unix(local) => Self::User(local.uid()),
            Peer::Tcp { remote, .. } => Self::Host(match remote.to_canonical() {
                IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
                address @ IpAddr::V4(_) => address,
            }),
        }
    }
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
    pub(super) fn enter(self: &Arc<Self>, peer: Peer) -> Arc<Guest> {
        let (origin, leave) = (Origin::of(peer), CancellationToken::new());
        let turn = Mutex::new(Some(self.idle().add(true, origin, leave.clone())));
        let (is_watched, half_closed) = (AtomicBool::new(false), CancellationToken::new());
        Arc::new(Guest { guests: self.clone(), origin, leave, turn, is_watched, half_closed })
    }

    /// As [`Guests::enter`]; where more than so many are idle then, one of them leaves.
    pub(super) fn crowd_in(self: &Arc<Self>, peer: Peer, most: usize) -> Arc<Guest> {
        let guest = self.enter(peer);
        let mut idle = self.idle();
        if idle.leave.len() > most
            && let Some(leave) = idle.next_to_leave()
        {
            leave.cancel();
        }
        drop(idle);
        guest
    }

    /// Ends a connection that is idle; its place is for whoever holds the promise. `None`: all are being served.
    pub(super) fn make_room(self: &Arc<Self>) -> Option<Promise> {
        let mut idle = self.idle();
        let leave = idle.next_to_leave()?;
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
    fn add(&mut self, is_idle: bool, origin: Origin, leave: CancellationToken) -> Turn {
        self.next += 1;
        let turn = Turn { is_idle, number: self.next };
        self.leave.insert(turn, (origin, leave));
        turn
    }

    fn next_to_leave(&mut self) -> Option<CancellationToken> {
        let mut counts: HashMap<Origin, usize> = HashMap::new();
        self.leave.values().for_each(|(origin, _)| *counts.entry(*origin).or_default() += 1);
        let most = counts.values().copied().max()?;
        let next = self.leave.iter().find(|(_, (origin, _))| counts.get(origin) == Some(&most));
        let turn = next.map(|(turn, _)| *turn)?;
        self.leave.remove(&turn).map(|(_, leave)| leave)
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
    origin: Origin,
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
            *turn = Some(self.guests.idle().add(is_idle, self.origin, self.leave.clone()));
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
    use crate::api::local::Local;
    use crate::config::Role;

    fn user(uid: u32) -> Peer {
        Peer::Unix(Local::new(uid, Role::Viewer))
    }

    fn host(address: &str) -> Peer {
        Peer::Tcp { remote: address.parse().expect("an address"), certificate: None }
    }

    #[test]
    fn whoever_has_the_most_idle_ones_parts_with_its_own() {
        let guests = Arc::new(Guests::default());
        let good = guests.enter(host("10.0.0.1"));
        let flood = [(); 3].map(|()| guests.enter(host("10.0.0.2")));
        for bad in &flood[..2] {
            assert!(guests.make_room().is_some() && bad.leave.is_cancelled() && !good.leave.is_cancelled());
        }
        assert!(guests.make_room().is_some() && good.leave.is_cancelled(), "equal ones by their time");
    }

    #[test]
    fn a_host_of_ipv6_is_one_whatever_its_address() {
        let origin = |address| Origin::of(host(address));
        assert_eq!(origin("2001:db8:1:2::1"), origin("2001:db8:1:2:ffff::7"));
        assert_ne!(origin("2001:db8:1:2::1"), origin("2001:db8:1:3::1"));
        assert_eq!(origin("::ffff:10.0.0.1"), origin("10.0.0.1"));
        assert_ne!(origin("10.0.0.1"), origin("10.0.0.2"));
        assert_ne!(Origin::of(user(0)), Origin::of(user(1)));
    }

    #[test]
    fn the_one_that_has_been_idle_for_the_longest_time_leaves_first() {
        let guests = Arc::new(Guests::default());
        let [first, second, third] = [(); 3].map(|()| guests.enter(user(0)));
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
        let guest = guests.enter(user(0));
        drop(guests.enter(user(0)));
        let served = guest.served();
        assert!(guests.make_room().is_none());
        drop(served);
        assert!(guests.make_room().is_some() && guest.leave.is_cancelled());
    }

    #[test]
    fn one_too_many_makes_the_first_leave() {
        let guests = Arc::new(Guests::default());
        let [first, second, third] = [(); 3].map(|()| guests.crowd_in(user(0), 2));
        assert!(first.leave.is_cancelled() && !second.leave.is_cancelled() && !third.leave.is_cancelled());
        drop(second);
        let _fourth = guests.crowd_in(user(0), 2);
        assert!(!third.leave.is_cancelled(), "there was a free place");
    }

    #[test]
    fn one_that_was_released_leaves_first_and_once() {
        let guests = Arc::new(Guests::default());
        let [idle, guest] = [(); 2].map(|()| guests.enter(user(0)));
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
        let _idle = [(); 2].map(|()| guests.enter(user(0)));
        assert!(!guests.owes_room());
        let (first, second) = (guests.make_room(), guests.make_room());
        drop(first);
        assert!(guests.owes_room());
        drop(second);
        assert!(!guests.owes_room());
    }
}
