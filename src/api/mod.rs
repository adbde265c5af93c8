//! The control routes, one router for the Unix socket and for TCP. (Under construction.)

use std::io;

use tokio_util::sync::CancellationToken;

use crate::config::{HttpConfig, SocketConfig};
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

/// A bound listener.
#[derive(Debug)]
pub struct Listener {}

impl Listener {
    /// Binds the TCP listener.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn tcp(config: &HttpConfig) -> io::Result<Self> {
        let _ = config;
        Ok(Self {})
    }

    /// Binds the Unix socket: a stale socket file is replaced, a live one or another kind of file is
    /// an error.
    ///
    /// # Errors
    /// The path cannot be bound.
    pub async fn unix(config: &SocketConfig) -> io::Result<Self> {
        let _ = config;
        Ok(Self {})
    }
}

/// Serves until `stop`, then lets the requests under way finish, for a bounded time.
pub async fn serve(listener: Listener, app: App, stop: CancellationToken) {
    let _ = (listener, app);
    stop.cancelled().await;
}
