//! A request that stays: one that waits for a run, or follows the events. Others are over at once; this one has to
//! notice what changes meanwhile around it.
//!
//! It ends before its time when the daemon stops, when the configuration in effect would not let it in any more, and
//! when another sender needs its place. A client that has closed its half of the connection may still read the
//! answer or may be gone, which nobody can know: it is served on, but keeps no place from others.

use std::sync::Arc;

use hyper::http::request::Parts;
use tokio::sync::watch;

use super::guests::Guest;
use super::places::{Place, Places};
use super::problem::Problem;
use super::router::Front;
use super::{Peer, guard};
use crate::config::Config;
use crate::history::Actor;
use crate::supervisor::Snapshot;

/// One such request, as it came.
pub(super) struct Stay {
    front: Front,
    guest: Arc<Guest>,
    peer: Peer,
    head: Parts,
    place: Option<Place>,
    /// The configuration that let it in.
    config: Arc<Config>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
}

impl Stay {
    /// Begins in one of the places. `None`: there is none for this sender.
    pub(super) fn begin(
        front: &Front,
        places: &Places,
        (guest, peer, sender): (&Arc<Guest>, Peer, &Actor),
        head: &Parts,
        config: &Arc<Config>,
    ) -> Option<Self> {
        let place = places.take(sender, guest)?;
        guest.watch_out(true);
        Some(Self {
            front: front.clone(),
            guest: guest.clone(),
            peer,
            head: head.clone(),
            place: Some(place),
            config: config.clone(),
            snapshots: front.app.handle.watch(),
        })
    }

    /// Ends when the request has to. May be dropped while it waits, and asked again.
    pub(super) async fn over(&mut self) {
        loop {
            let place = self.place.as_ref();
            let lost = async {
                match place {
                    Some(place) => place.lost().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.front.stop.cancelled() => return,
                () = lost => {
                    self.front.app.metrics.api_denied("evicted");
                    return;
                }
                () = self.guest.half_closed(), if place.is_some() => {
                    self.place = None;
                    self.guest.release();
                }
                changed = self.snapshots.changed() => match changed {
                    Ok(()) if self.refused().is_some() => return,
                    Ok(()) => {}
                    // The supervisor has ended; whoever serves this daemon ends us soon.
                    Err(_) => self.front.stop.cancelled().await,
                }
            }
        }
    }

    /// Why the configuration in effect would not let the request in.
    pub(super) fn refused(&mut self) -> Option<Problem> {
        let config = self.snapshots.borrow_and_update().config.clone();
        if Arc::ptr_eq(&config, &self.config) {
            return None;
        }
        let refused = guard::check(&self.head, self.peer, config.http.as_ref(), false).err();
        if refused.is_none() {
            self.config = config;
        }
        refused
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.guest.watch_out(false);
    }
}
