//! A listener in memory, for tests that let the time stand still: every wait of a server that has nothing to do
//! is over at once then.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::encryption::Encryption;
use crate::api::local::Local;
use crate::api::serve::{Accept, Limits, accept_loop};
use crate::api::{App, Peer};
use crate::config::Role;

/// A connection that is open after this time, which costs none, stays open for ever: the longest wait for a run
/// is an hour, and there are a hundred requests in one message at the most.
const LONGEST: Duration = Duration::from_secs(10 * 24 * 3600);

/// The server's end: the number of connections so far, of which every second one counts as TCP.
struct Streams<const ENCRYPTED: bool>(Mutex<(u64, mpsc::Receiver<DuplexStream>)>);

impl<const ENCRYPTED: bool> Accept for Streams<ENCRYPTED> {
    type Stream = DuplexStream;
    const MAY_ENCRYPT: bool = ENCRYPTED;

    async fn next(&self) -> std::io::Result<(Self::Stream, Peer)> {
        let mut streams = self.0.lock().await;
        let Some(stream) = streams.1.recv().await else { std::future::pending().await };
        streams.0 += 1;
        let tcp = Peer::Tcp { remote: IpAddr::V4(Ipv4Addr::LOCALHOST), certificate: None };
        Ok((stream, if streams.0.is_multiple_of(2) { tcp } else { Peer::Unix(Local::new(0, Role::Operator)) }))
    }
}

/// A server and the way to it.
pub(super) struct InMemory {
    streams: mpsc::Sender<DuplexStream>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
    encryption: Option<Encryption>,
}

impl InMemory {
    pub(super) fn serve(app: App) -> Self {
        Self::serve_as::<false>(app, None)
    }

    /// Behind TLS, which must be that of the configuration in effect.
    pub(super) fn serve_encrypted(app: App, encryption: &Encryption) -> Self {
        Self::serve_as::<true>(app, Some(encryption.clone()))
    }

    fn serve_as<const ENCRYPTED: bool>(app: App, encryption: Option<Encryption>) -> Self {
        let (streams, queue) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let listener = Streams::<ENCRYPTED>(Mutex::new((0, queue)));
        let serving = tokio::spawn(accept_loop(listener, app, stop.clone(), Limits::default()));
        Self { streams, stop, serving, encryption }
    }

    /// Sends the bytes, encrypted where the server is, then closes its half or stays silent, and reads to the end.
    pub(super) async fn exchange(&self, bytes: &[u8], close: bool) -> Vec<u8> {
        let stream = self.connect().await;
        match &self.encryption {
            None => talk(stream, bytes, close).await,
            Some(encryption) => {
                talk(encryption.connect(stream).await.expect("a handshake in memory succeeds"), bytes, close).await
            }
        }
    }

    /// As [`InMemory::exchange`], in the clear wherever it is.
    pub(super) async fn exchange_in_the_clear(&self, bytes: &[u8], close: bool) -> Vec<u8> {
        talk(self.connect().await, bytes, close).await
    }

    async fn connect(&self) -> DuplexStream {
        let (ours, theirs) = duplex(1024);
        self.streams.send(theirs).await.expect("the listener lives");
        ours
    }

    pub(super) fn is_serving(&self) -> bool {
        !self.serving.is_finished()
    }

    pub(super) async fn end(self) {
        self.stop.cancel();
        self.serving.await.expect("no panic");
    }
}

async fn talk(stream: impl AsyncRead + AsyncWrite, bytes: &[u8], close: bool) -> Vec<u8> {
    let (mut reading, mut writing) = tokio::io::split(stream);
    let mut answer = Vec::new();
    let write = async {
        // The server may end the connection before it has read all.
        let _ = writing.write_all(bytes).await;
        let _ = if close { writing.shutdown().await } else { writing.flush().await };
    };
    let talk = async { tokio::join!(write, reading.read_to_end(&mut answer)) };
    let end = tokio::time::timeout(LONGEST, talk).await;
    let ((), end) = end.unwrap_or_else(|_| panic!("the server never ends it: {}", bytes.escape_ascii()));
    // Whom the server sends away for being silent has no farewell of TLS either.
    let cut = end.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::UnexpectedEof);
    assert!(cut || end.is_ok(), "{end:?}");
    answer
}
