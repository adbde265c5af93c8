//! The control routes: one router for the Unix socket and for TCP.
//!
//! Owns HTTP: listeners, limits, who may ask, and the JSON that goes in and out. Decides nothing
//! about runs: a change is a command through the [`Handle`], a read is the latest snapshot.
//!
//! ```text
//! Listener -> serve (connections) -> router (guard, route, 404/405) -> handlers -> Handle
//!                                                                           |
//!                                       wire (JSON)  <-  problem (errors) <-+
//! ```

mod guard;
mod guests;
mod handlers;
mod health;
mod input;
mod listen;
mod openapi;
pub mod problem;
mod router;
mod serve;
mod stall;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod wire;

use std::net::IpAddr;

pub use input::{duration, pause_body};
pub use listen::Listener;
pub use serve::serve;

use crate::history::Actor;
use crate::metrics::Metrics;
use crate::supervisor::Handle;

/// What the routes need; clones are cheap.
#[derive(Clone, Debug)]
pub struct App {
    /// The supervisor.
    pub handle: Handle,
    /// The metrics.
    pub metrics: Metrics,
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Somebody whom the mode of the socket file let in.
    Unix,
    /// Somebody on the network or on this host.
    Tcp {
        /// The address that the connection comes from.
        remote: IpAddr,
    },
}

impl Peer {
    /// Who asks, as far as the listener knows.
    pub(super) fn actor(self) -> Actor {
        Actor::named(self.listener())
    }

    /// The name of the listener in metrics and in the log.
    #[must_use]
    pub fn listener(self) -> &'static str {
        match self {
            Self::Unix => "socket",
            Self::Tcp { .. } => "http",
        }
    }
}
