//! Connections: accept, limit, hand to the router, and end in time.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::guests::{Guest, Guests};
use super::listen::{Bound, Listener};
use super::router::{self, Front};
use super::stall::WriteStall;
use super::{App, Peer};

/// What a listener allows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections at a time; past it an idle one makes room for a new one, or the new one is closed.
    pub(super) connections: usize,
    /// Requests at a time that wait for a run.
    pub(super) waits: usize,
    /// Time from the end of one request to the end of the next one's header: idle connections and
    /// half-sent headers end here.
    pub(super) header: Duration,
    /// Time that a reply may wait for its reader.
    pub(super) write: Duration,
    /// Time for requests under way once the daemon stops.
    pub(super) drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            waits: 128,
            header: Duration::from_secs(10),
            write: Duration::from_secs(30),
            drain: Duration::from_secs(5),
        }
    }
}

/// Bytes of a request's header at the most.
const HEADER_LIMIT: usize = 16 * 1024;
/// Rest after a failed accept (usually: out of file descriptors), so that it does not spin.
const ACCEPT_REST: Duration = Duration::from_millis(200);

/// Serves until `stop`, then lets the requests under way finish, for 5 seconds at the most. The file
/// of a Unix socket is removed at the end.
pub async fn serve(listener: Listener, app: App, stop: CancellationToken) {
    serve_within(listener, app, stop, Limits::default()).await;
}

pub(super) async fn serve_within(listener: Listener, app: App, stop: CancellationToken, limits: Limits) {
    match listener.0 {
        Bound::Tcp(listener) => accept_loop(listener, app, stop, limits).await,
        Bound::Unix(listener, _file) => accept_loop(listener, app, stop, limits).await,
    }
}

/// A listener of either kind.
pub(super) trait Accept {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn next(&self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send;
}

impl Accept for TcpListener {
    type Stream = tokio::net::TcpStream;

    async fn next(&self) -> io::Result<(Self::Stream, Peer)> {
        let (stream, remote) = self.accept().await?;
        stream.set_nodelay(true)?;
        let remote: IpAddr = remote.ip();
        Ok((stream, Peer::Tcp { remote }))
    }
}

impl Accept for UnixListener {
    type Stream = tokio::net::UnixStream;

    async fn next(&self) -> io::Result<(Self::Stream, Peer)> {
        self.accept().await.map(|(stream, _)| (stream, Peer::Unix))
    }
}

pub(super) async fn accept_loop(listener: impl Accept, app: App, stop: CancellationToken, limits: Limits) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let guests = Arc::new(Guests::default());
    let waits = Arc::new(Semaphore::new(limits.waits));
    let front = Front { app, stop: stop.clone(), waits };
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.next() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                failing = false;
                let slot = slots.clone().try_acquire_owned().ok();
                if slot.is_none() && !guests.make_room() {
                    front.app.metrics.api_denied("connections");
                    continue;
                }
                let (guest, metrics, slots) = (guests.enter(), front.app.metrics.clone(), slots.clone());
                let connection = connection(stream, peer, &front, &guest, limits, &graceful);
                let conversation = async move {
                    // The one that makes room is about to end.
                    let _slot = match slot {
                        Some(slot) => Ok(slot),
                        None => slots.acquire_owned().await,
                    };
                    connection.await;
                };
                connections.spawn(async move {
                    tokio::select! {
                        () = guest.asked_to_leave() => metrics.api_denied("evicted"),
                        () = conversation => {}
                    }
                });
            }
            Err(error) => {
                if !failing {
                    tracing::warn!("cannot accept connections; trying on: {error}");
                }
                failing = true;
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(limits.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(open = connections.len(), "closing connections whose requests did not end in time");
    }
    connections.shutdown().await;
}

/// One connection from its first request to its end.
fn connection<S>(
    stream: S,
    peer: Peer,
    front: &Front,
    guest: &Arc<Guest>,
    limits: Limits,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + Send + use<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let metrics = front.app.metrics.clone();
    let (front, guest) = (front.clone(), guest.clone());
    let service = service_fn(move |request| {
        let answer = router::answer(front.clone(), guest.clone(), peer, request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(HEADER_LIMIT)
        .half_close(true)
        .serve_connection(TokioIo::new(WriteStall::new(stream, limits.write)), service);
    let connection = graceful.watch(connection);
    async move {
        if let Err(error) = connection.await {
            if error.is_parse() {
                metrics.api_denied("malformed");
            }
            tracing::debug!(listener = peer.listener(), %error, "connection ended");
        }
    }
}
