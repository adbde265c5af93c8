//! TLS of the HTTP listener: the handshake, with the certificate of the configuration in effect.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Certificate;
use crate::config::{Digest, TlsConfig};

/// Handshakes at a time, half of the connections: strangers who begin one and stay silent leave room for those who are
/// through it. Past it the oldest one makes room, so that they keep no newcomer out either.
pub(super) const HANDSHAKES: usize = 128;
/// Time for a handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);

/// Does the handshake. Beside the stream: the client's certificate, which one of the configured authorities has
/// issued.
pub(super) async fn handshake<S>(stream: S, tls: &TlsConfig) -> io::Result<(TlsStream<S>, Option<Certificate>)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = TlsAcceptor::from(tls.server.clone()).accept(stream);
    let stream = timeout(HANDSHAKE_TIME, handshake).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let certificates = stream.get_ref().1.peer_certificates();
    let fingerprint = certificates.and_then(<[_]>::first).map(|certificate| Digest::of(certificate));
    // Without authorities none is asked for.
    let certificate = fingerprint.zip(tls.authorities);
    let certificate = certificate.map(|(fingerprint, authorities)| Certificate { fingerprint, authorities });
    Ok((stream, certificate))
}
