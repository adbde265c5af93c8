//! The listener behind TLS: what its clients need, and those who never come through the handshake.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::server::{CAP, Server, configure, exchange, is, message, read_all};
use crate::api::serve::Limits;
use crate::config::{HttpConfig, TlsConfig, TlsFiles};

/// Both sides of it.
#[derive(Clone)]
pub(super) struct Encryption {
    server: Arc<TlsConfig>,
    client: Arc<ClientConfig>,
}

impl Encryption {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).expect("a pair");
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("pem"), cert.pem()).expect("written");
        std::fs::write(path("key"), signing_key.serialize_pem()).expect("written");
        let files = TlsFiles { certificate: path("pem"), key: path("key"), client_ca: None };
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let client = client.expect("versions").with_root_certificates(roots).with_no_client_auth();
        Self { server: Arc::new(TlsConfig::read(files).expect("they fit")), client: Arc::new(client) }
    }

    /// The table `[http]` with it.
    pub(super) fn http(&self) -> HttpConfig {
        HttpConfig { tls: Some(self.server.clone()), ..HttpConfig::on(([127, 0, 0, 1], 0).into()) }
    }

    pub(super) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> std::io::Result<TlsStream<S>> {
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(self.client.clone()).connect(name, stream).await
    }
}

async fn encrypted(limits: Limits) -> (Server, Encryption) {
    let (server, encryption) = (Server::with(None, limits).await, Encryption::new());
    server.supervisor.change(|snapshot| configure(snapshot, Some(encryption.http())));
    (server, encryption)
}

async fn is_served(server: &Server, encryption: &Encryption) {
    let reply = async {
        let stream = encryption.connect(server.tcp().await).await.expect("a handshake");
        exchange(stream, &message("GET /health/live", "", "")).await
    };
    assert_eq!(timeout(Duration::from_secs(3), reply).await.expect("an answer").status, 200);
}

/// More of them than there are places for handshakes, and more than there are connections.
#[tokio::test]
async fn strangers_who_never_finish_a_handshake_keep_nobody_out() {
    let (server, encryption) = encrypted(Limits::default()).await;
    let mut strangers = Vec::new();
    for number in 0..300 {
        let mut stream = server.tcp().await;
        if number % 2 == 0 {
            stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00").await.expect("sent");
        }
        strangers.push(stream);
        if number % 100 == 99 {
            is_served(&server, &encryption).await;
        }
    }
    read_all(strangers.remove(0)).await;
    server.end().await;
}

#[tokio::test]
async fn refusals_and_the_end_of_clients_are_as_in_the_clear() {
    let (server, encryption) = encrypted(Limits { waits: 1, ..Limits::default() }).await;
    let junk = encryption.connect(server.tcp().await).await.expect("a handshake");
    is(&exchange(junk, "GET / HTTP/9.9\r\n\r\n").await, 400, "malformed");
    for number in 1..=4 {
        let mut waiting = encryption.connect(server.tcp().await).await.expect("a handshake");
        let wait = message("POST /sync/run?wait=1h", "", "");
        waiting.write_all(wait.as_bytes()).await.expect("sent");
        server.app.handle.watch().wait_for(|now| now.open_runs.len() == number).await.expect("the supervisor lives");
        // With and without a word.
        if number % 2 == 0 {
            waiting.shutdown().await.expect("said");
        }
        drop(waiting);
        let free = async {
            loop {
                let stream = encryption.connect(server.tcp().await).await.expect("a handshake");
                let run = format!("GET /sync/runs/{}?wait=1ms", crate::api::testing::id(1));
                if exchange(stream, &message(&run, "", "")).await.status == 200 {
                    return;
                }
            }
        };
        timeout(CAP, free).await.expect("there is room again");
    }
    let mut clear = server.tcp().await;
    clear.write_all(message("GET /health/live", "", "").as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    let _ = timeout(CAP, clear.read_to_end(&mut answer)).await.expect("it ends");
    assert!(!answer.starts_with(b"HTTP"), "nobody is served in the clear");
    server.end().await;
}
