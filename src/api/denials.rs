//! The audit's lines about requests that were turned away for who sent them. What was carried out is noted by the
//! supervisor.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use hyper::Method;

use super::Peer;
use super::problem::Kind;
use crate::history::Actor;

/// Lines in a window at the most: somebody who guesses must not fill the disk.
const MOST: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);

/// Counts the lines of a listener. Strangers, who may guess as often as they like, take no line from those who
/// are known and asked for more than they may.
#[derive(Debug, Default)]
pub(super) struct Denials {
    strangers: Mutex<Window>,
    known: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    said: u32,
    unsaid: u32,
}

impl Denials {
    pub(super) fn tell(&self, peer: Peer, actor: Option<&Actor>, method: &Method, route: &'static str, kind: Kind) {
        let unsaid = {
            let window = if actor.is_some() { &self.known } else { &self.strangers };
            let mut window = window.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let Some(unsaid) = window.hear(Instant::now()) else { return };
            unsaid
        };
        let actor = actor.map_or("unknown", Actor::as_str);
        let remote = peer.via().remote().map(tracing::field::display);
        let (listener, result, action) = (peer.listener(), kind.name(), format!("{} {route}", known(method)));
        if unsaid > 0 {
            tracing::warn!(target: "rbac_sync::audit", listener, "{unsaid} more refusals were not logged");
        }
        tracing::warn!(
            target: "rbac_sync::audit",
            actor, listener, remote, action, result, "denied: {action} by {actor}: {result}"
        );
    }
}

impl Window {
    /// Whether to say it, and how many were not said before.
    fn hear(&mut self, now: Instant) -> Option<u32> {
        if self.began.is_none_or(|began| now.duration_since(began) >= WINDOW) {
            let unsaid = self.unsaid;
            *self = Self { began: Some(now), said: 1, unsaid: 0 };
            return Some(unsaid);
        }
        if self.said < MOST {
            self.said += 1;
            return Some(0);
        }
        self.unsaid = self.unsaid.saturating_add(1);
        None
    }
}

/// Never a word that the client made up.
fn known(method: &Method) -> &str {
    let standard =
        [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH];
    if standard.contains(method) { method.as_str() } else { "?" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_leaves_ten_lines_a_minute_and_their_number() {
        let (mut window, start) = (Window::default(), Instant::now());
        let said = (0..1000).filter(|_| window.hear(start).is_some()).count();
        assert_eq!(said, 10);
        assert_eq!(window.hear(start + WINDOW), Some(990));
        assert_eq!(window.hear(start + WINDOW), Some(0));
    }

    #[test]
    fn a_method_that_the_client_made_up_is_not_repeated() {
        assert_eq!(known(&Method::DELETE), "DELETE");
        assert_eq!(known(&Method::from_bytes(b"HUNTER2").expect("a token")), "?");
    }
}
