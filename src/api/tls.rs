//! TLS of the HTTP listener: the handshake, and a new certificate without a restart.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::{Digest, TlsFiles};
use crate::history::{Actor, Via};
use crate::supervisor::{Handle, ReloadTrigger};

/// Handshakes at a time, half of the connections: strangers who begin one and stay silent leave room for those
/// who are through it. Past it new ones are closed.
pub(super) const HANDSHAKES: usize = 128;
/// Time for a handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// How often the files are read. A change counts when it is seen twice, for a certificate and its key are
/// replaced one after the other.
const POLL: Duration = Duration::from_secs(5);

/// Does the handshake. Beside the stream: the fingerprint of the client's certificate, which one of the
/// configured authorities has issued.
pub(super) async fn handshake<S>(
    stream: S,
    server: Arc<ServerConfig>,
    places: &Semaphore,
) -> io::Result<(TlsStream<S>, Option<Digest>)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let _place = places.try_acquire().map_err(io::Error::other)?;
    let handshake = TlsAcceptor::from(server).accept(stream);
    let stream = timeout(HANDSHAKE_TIME, handshake).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let certificates = stream.get_ref().1.peer_certificates();
    let certificate = certificates.and_then(<[_]>::first).map(|certificate| Digest::of(certificate));
    Ok((stream, certificate))
}

/// Asks for a reload whenever the files behind `[http.tls]` have changed. A pair that does not fit is refused by
/// that reload like any other mistake: once, with the old one kept in use.
pub async fn follow(handle: Handle) {
    let handle = handle.by(Actor::file(), Via::File);
    let mut follower = Follower::default();
    loop {
        tokio::time::sleep(POLL).await;
        let (tls, settled) = {
            let snapshot = handle.snapshot();
            let tls = snapshot.config.http.as_ref().and_then(|http| http.tls.clone());
            (tls, snapshot.status.config.last_reload_successful)
        };
        let Some(tls) = tls else { continue };
        let found = read(tls.files.clone()).await;
        if follower.wants_reload(found, settled.then_some(tls.content))
            && let Err(denied) = handle.reload(ReloadTrigger::File).await
        {
            tracing::warn!("the files of [http.tls] have changed, but were not reloaded: {denied}");
            follower = Follower::default();
        }
    }
}

async fn read(files: TlsFiles) -> Option<Digest> {
    // The content of files that cannot be read is none.
    tokio::task::spawn_blocking(move || files.content()).await.ok().flatten()
}

/// What the files held when they were last read, and when a reload was last asked for.
#[derive(Debug, Default)]
struct Follower {
    last: Option<Option<Digest>>,
    asked: Option<Option<Digest>>,
}

impl Follower {
    /// `in_effect`: what is in use, unless the latest reload was refused.
    fn wants_reload(&mut self, found: Option<Digest>, in_effect: Option<Digest>) -> bool {
        let twice = self.last == Some(found);
        self.last = Some(found);
        if found.is_some() && found == in_effect {
            self.asked = None;
            return false;
        }
        let wanted = twice && self.asked != Some(found);
        // Another mistake than one of these files is none of our business.
        let wanted = wanted && (self.asked.is_some() || in_effect.is_some());
        if wanted {
            self.asked = Some(found);
        }
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> Option<Digest> {
        Some(Digest::of(text.as_bytes()))
    }

    #[test]
    fn a_change_counts_when_it_is_seen_twice_and_is_asked_for_once() {
        let mut follower = Follower::default();
        let (old, half, new) = (digest("old"), digest("half"), digest("new"));
        assert!(!follower.wants_reload(old, old));
        assert!(!follower.wants_reload(half, old), "the key may follow");
        assert!(!follower.wants_reload(new, old));
        assert!(follower.wants_reload(new, old));
        assert!(!follower.wants_reload(new, new), "it is in effect");
        assert!(!follower.wants_reload(new, new));
    }

    #[test]
    fn a_refused_pair_is_not_asked_for_again_and_its_repair_is() {
        let mut follower = Follower::default();
        let (old, bad) = (digest("old"), digest("bad"));
        assert!(!follower.wants_reload(bad, old));
        assert!(follower.wants_reload(bad, old));
        assert!(!follower.wants_reload(bad, None), "refused");
        assert!(!follower.wants_reload(None, None));
        assert!(follower.wants_reload(None, None), "the files are gone: another reason to refuse");
        assert!(!follower.wants_reload(old, None));
        assert!(follower.wants_reload(old, None), "the old pair is back: healthy again");
        assert!(!follower.wants_reload(old, old));
    }

    #[test]
    fn a_mistake_elsewhere_in_the_configuration_is_not_asked_about() {
        let mut follower = Follower::default();
        let old = digest("old");
        assert!((0..3).all(|_| !follower.wants_reload(old, None)));
    }
}
