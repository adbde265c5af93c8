//! Places for requests that take their time, such as streams of events: a limited number, shared between the senders.
//!
//! Whoever comes first has as many as are free. When none is, a newcomer takes the oldest place of the sender that
//! has the most, as long as that one still has as many as the newcomer then: so one sender, however many requests
//! it makes, shuts out no other, and two that want all places share them evenly.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::guests::Guest;
use crate::history::Actor;

/// A limited number of places.
#[derive(Clone, Debug)]
pub(super) struct Places {
    limit: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    /// By their age.
    holders: BTreeMap<u64, Holder>,
}

#[derive(Debug)]
struct Holder {
    sender: Actor,
    guest: Arc<Guest>,
    lost: CancellationToken,
}

impl Places {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, taken: Arc::default() }
    }

    /// A place for a request of this sender on this connection. `None`: none is free, and nobody has more than
    /// the sender's fair share. A connection that loses its place does not count as served any more.
    pub(super) fn take(&self, sender: &Actor, guest: &Arc<Guest>) -> Option<Place> {
        let mut taken = self.taken();
        if taken.holders.len() >= self.limit {
            let loser = taken.oldest_of_the_greediest(sender)?;
            let loser = taken.holders.remove(&loser)?;
            loser.lost.cancel();
            loser.guest.release();
        }
        taken.next += 1;
        let (number, lost) = (taken.next, CancellationToken::new());
        let holder = Holder { sender: sender.clone(), guest: guest.clone(), lost: lost.clone() };
        taken.holders.insert(number, holder);
        Some(Place { places: self.clone(), number, lost })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// The number of the place that a newcomer may have.
    fn oldest_of_the_greediest(&self, newcomer: &Actor) -> Option<u64> {
        let mut counts: HashMap<&Actor, usize> = HashMap::new();
        self.holders.values().for_each(|holder| *counts.entry(&holder.sender).or_default() += 1);
        let own = counts.get(newcomer).copied().unwrap_or(0);
        let (greediest, most) = counts.into_iter().max_by_key(|(_, count)| *count)?;
        if most < own + 2 {
            return None;
        }
        let oldest = self.holders.iter().find(|(_, holder)| holder.sender == *greediest);
        oldest.map(|(number, _)| *number)
    }
}

/// One place; free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    number: u64,
    lost: CancellationToken,
}

impl Place {
    /// Ends when another sender has it.
    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().holders.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Peer;
    use crate::api::guests::Guests;
    use crate::api::local::Local;
    use crate::config::Role;

    const SOMEBODY: u32 = 1000;

    fn enter(guests: &Arc<Guests>) -> Arc<Guest> {
        guests.enter(Peer::Unix(Local::new(SOMEBODY, Role::Viewer)))
    }

    fn take(places: &Places, sender: &str) -> Option<Place> {
        places.take(&Actor::named(sender), &enter(&Arc::default()))
    }

    fn is_lost(place: &Place) -> bool {
        place.lost.is_cancelled()
    }

    #[test]
    fn a_newcomer_takes_the_oldest_place_of_whoever_has_the_most() {
        let places = Places::new(5);
        let hog = [(); 4].map(|()| take(&places, "hog").expect("free"));
        let other = take(&places, "other").expect("free");
        let new = take(&places, "new").expect("the hog has more than its share");
        let lost: Vec<bool> = hog.iter().map(is_lost).collect();
        assert_eq!(lost, [true, false, false, false]);
        assert!(!is_lost(&other) && !is_lost(&new));
    }

    #[test]
    fn two_who_want_all_share_evenly_and_neither_takes_from_itself() {
        let places = Places::new(6);
        let hog: Vec<Place> = (0..6).map_while(|_| take(&places, "hog")).collect();
        assert_eq!(hog.len(), 6, "alone it may have all");
        assert!(take(&places, "hog").is_none(), "and no more");
        let other: Vec<Place> = (0..6).map_while(|_| take(&places, "other")).collect();
        assert_eq!(other.len(), 3);
        assert!(take(&places, "hog").is_none() && take(&places, "other").is_none());
        assert_eq!(hog.iter().filter(|place| is_lost(place)).count(), 3);
        assert!(take(&places, "third").is_some());
    }

    #[test]
    fn a_place_that_was_given_back_or_lost_is_free_once() {
        let places = Places::new(2);
        let (first, second) = (take(&places, "hog").expect("free"), take(&places, "hog").expect("free"));
        let other = take(&places, "other").expect("taken from the hog");
        assert!(is_lost(&first));
        drop(first);
        assert!(take(&places, "third").is_none(), "what was lost is not given back again");
        drop(second);
        assert!(take(&places, "third").is_some());
        drop(other);
        assert!(take(&Places::new(0), "nobody").is_none());
    }

    #[test]
    fn a_connection_that_loses_its_place_may_be_asked_to_leave() {
        let (guests, places) = (Arc::new(Guests::default()), Places::new(2));
        let (one, two) = (enter(&guests), enter(&guests));
        let _served = [one.served(), two.served()];
        let _held = [&one, &two].map(|guest| places.take(&Actor::named("hog"), guest).expect("free"));
        assert!(guests.make_room().is_none(), "both are being served");
        let _place = take(&places, "other").expect("taken from the hog");
        assert!(guests.make_room().is_some());
        assert!(guests.make_room().is_none(), "the one that has kept its place stays");
    }
}
