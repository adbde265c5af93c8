//! The control routes: one router for the Unix socket and for TCP.
//!
//! Owns HTTP: listeners, limits, who may ask, and the JSON that goes in and out. Decides nothing
//! about runs: a change is a command through the [`Handle`], a read is the latest snapshot.
//!
//! ```text
//! Listener -> serve (connections) -> router (guard, route, 404/405, role) -> handlers -> Handle
//!                                                                           |
//!                                       wire (JSON)  <-  problem (errors) <-+
//! ```

mod access;
mod bare;
mod condition;
mod denials;
mod events;
mod guard;
mod guests;
mod handlers;
mod health;
mod input;
mod line;
mod listen;
mod local;
mod openapi;
mod places;
pub mod problem;
mod router;
mod serve;
mod stall;
mod stay;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tls;
pub mod wire;

use std::net::IpAddr;

pub use events::CONTENT as EVENT_STREAM;
pub use input::{duration, log_level_body, pause_body};
pub use listen::Listener;
pub use local::Local;
pub use serve::serve;

use crate::config::Digest;
use crate::history::Via;
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
    Unix(Local),
    /// Somebody on the network or on this host.
    Tcp {
        /// The address that the connection comes from.
        remote: IpAddr,
        /// The certificate that was shown and was valid when the connection began.
        certificate: Option<Certificate>,
    },
}

/// A client's certificate, from a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its fingerprint.
    pub fingerprint: Digest,
    /// Over the authorities of which one has issued it.
    pub authorities: Digest,
}

impl Peer {
    /// The way that it came, for the audit.
    pub(super) fn via(self) -> Via {
        match self {
            Self::Unix(_) => Via::Socket,
            Self::Tcp { remote, .. } => Via::Http(remote),
        }
    }

    /// The name of the listener in metrics and in the log.
    #[must_use]
    pub fn listener(self) -> &'static str {
        match self {
            Self::Unix(_) => "socket",
            Self::Tcp { .. } => "http",
        }
    }
}
