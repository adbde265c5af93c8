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
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::guests::{Guest, Guests};
use super::line::Line;
use super::listen::{Bound, Listener};
use super::local::Door;
use super::places::Places;
use super::problem::Kind;
use super::router::{self, Front};
use super::stall::WriteStall;
use super::{App, Peer, tls};
use crate::config::TlsConfig;

/// What a listener allows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections at a time; past it an idle one makes room for a new one, or the new one is closed.
    pub(super) connections: usize,
    /// Requests at a time that wait for a run. These three together are fewer than the connections, so that
    /// some are always free or idle.
    pub(super) waits: usize,
    /// Requests at a time that wait for the answer to a command.
    pub(super) changes: usize,
    /// Streams of events at a time.
    pub(super) streams: usize,
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
            changes: 64,
            streams: 32,
            header: Duration::from_secs(10),
            write: Duration::from_secs(30),
            drain: Duration::from_secs(5),
        }
    }
}

/// Bytes of a request's header at the most.
const HEADER_LIMIT: usize = 16 * 1024;
/// Milliseconds that sent bytes may go without the peer's acknowledgement.
const VANISHED: u32 = 30_000;
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
        Bound::Unix(listener, door, _file) => accept_loop((listener, door), app, stop, limits).await,
    }
}

/// A listener of either kind.
pub(super) trait Accept {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// Whether `[http.tls]` is for it.
    const MAY_ENCRYPT: bool;

    fn next(&self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send;
}

impl Accept for TcpListener {
    type Stream = tokio::net::TcpStream;
    const MAY_ENCRYPT: bool = true;

    async fn next(&self) -> io::Result<(Self::Stream, Peer)> {
        let (stream, remote) = self.accept().await?;
        stream.set_nodelay(true)?;
        // A peer that vanished without a word would hold an event stream for a quarter of an hour.
        rustix::net::sockopt::set_tcp_user_timeout(&stream, VANISHED)?;
        let remote: IpAddr = remote.ip();
        Ok((stream, Peer::Tcp { remote, certificate: None }))
    }
}

impl Accept for (UnixListener, Door) {
    type Stream = tokio::net::UnixStream;
    const MAY_ENCRYPT: bool = false;

    async fn next(&self) -> io::Result<(Self::Stream, Peer)> {
        let (stream, _) = self.0.accept().await?;
        let caller = self.1.caller(&stream);
        Ok((stream, Peer::Unix(caller)))
    }
}

pub(super) async fn accept_loop<L: Accept>(listener: L, app: App, stop: CancellationToken, limits: Limits) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let guests = Arc::new(Guests::default());
    let handshakes = Arc::new(Guests::default());
    let front = Front {
        app,
        stop: stop.clone(),
        waits: Places::new(limits.waits),
        changes: Places::new(limits.changes),
        streams: Places::new(limits.streams),
        denials: Arc::default(),
    };
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
                let slot = if guests.owes_room() { None } else { slots.clone().try_acquire_owned().ok() };
                let room = match slot {
                    Some(slot) => Ok(slot),
                    None => match guests.make_room() {
                        Some(promise) => Err(promise),
                        None => {
                            front.app.metrics.api_denied("connections");
                            continue;
                        }
                    },
                };
                let (guest, metrics, slots) = (guests.enter(peer), front.app.metrics.clone(), slots.clone());
                let tls = L::MAY_ENCRYPT.then(|| encryption(&front.app)).flatten();
                let handshake = tls.map(|tls| (tls, handshakes.clone()));
                let (front, watcher) = (front.clone(), graceful.watcher());
                let staying = guest.clone();
                let conversation = async move {
                    let _slot = match room {
                        Ok(slot) => Ok(slot),
                        Err(promise) => {
                            // The one that makes room is about to end.
                            let slot = slots.acquire_owned().await;
                            drop(promise);
                            slot
                        }
                    };
                    let stream = WriteStall::new(stream, limits.write);
                    match handshake {
                        None => converse(stream, peer, front, staying, limits, watcher).await,
                        Some(handshake) => encrypted(stream, peer, front, staying, limits, watcher, handshake).await,
                    }
                };
                connections.spawn(async move {
                    // Also in the middle of a handshake: who has not finished one has asked for nothing yet.
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

/// What the configuration in effect says of encryption.
fn encryption(app: &App) -> Option<Arc<TlsConfig>> {
    app.handle.snapshot().config.http.as_ref()?.tls.clone()
}

/// As [`converse`], behind a handshake.
async fn encrypted<S>(
    stream: S,
    peer: Peer,
    front: Front,
    guest: Arc<Guest>,
    limits: Limits,
    watcher: Watcher,
    (tls, handshakes): (Arc<TlsConfig>, Arc<Guests>),
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let place = handshakes.crowd_in(peer, tls::HANDSHAKES);
    let handshake = tokio::select! {
        handshake = tls::handshake(stream, &tls) => handshake,
        () = place.asked_to_leave() => Err(io::Error::other("made room for another one")),
        () = front.stop.cancelled() => return,
    };
    drop(place);
    match (handshake, peer) {
        (Ok((stream, certificate)), Peer::Tcp { remote, .. }) => {
            converse(stream, Peer::Tcp { remote, certificate }, front, guest, limits, watcher).await;
        }
        (Ok((stream, _)), peer) => converse(stream, peer, front, guest, limits, watcher).await,
        (Err(error), _) => {
            front.app.metrics.api_denied("tls");
            tracing::debug!(listener = peer.listener(), %error, "no TLS handshake");
        }
    }
}

/// One connection from its first request to its end.
async fn converse<S>(stream: S, peer: Peer, front: Front, guest: Arc<Guest>, limits: Limits, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (metrics, line) = (front.app.metrics.clone(), Line::new(stream));
    let service = {
        let guest = guest.clone();
        service_fn(move |request| {
            let answer = router::answer(front.clone(), guest.clone(), peer, request);
            async move { Ok::<_, Infallible>(answer.await) }
        })
    };
    // Half-closed clients are answered. Whether one is gone is seen beside hyper, which would not look.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(HEADER_LIMIT)
        .half_close(true)
        .serve_connection(TokioIo::new(line.clone()), service);
    let listener = peer.listener();
    tokio::select! {
        // The request first: it says whether its client is to be watched.
        biased;
        ended = watcher.watch(connection) => if let Err(error) = ended {
            if error.is_parse() {
                let kind = if error.is_parse_too_large() { Kind::HeaderTooLarge } else { Kind::Malformed };
                metrics.api_denied(kind.name());
            }
            tracing::debug!(listener, %error, "connection ended");
            if let Err(error) = line.finish().await {
                tracing::debug!(listener, %error, "the client did not take what was said last");
            }
        },
        error = line.broken(&guest) => tracing::debug!(listener, %error, "the client is gone"),
    }
}
