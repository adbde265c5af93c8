//! The daemon's listeners with a supervisor that does as told, and a client that speaks plain HTTP.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::contract;
use crate::api::serve::{Limits, serve_within};
use crate::api::testing::{Supervisor, snapshot};
use crate::api::{App, Listener};
use crate::config::{Digest, HttpConfig, SocketConfig};
use crate::supervisor::Snapshot;

/// Longer than anything here takes; a test that hits it has found a hang.
pub(super) const CAP: Duration = Duration::from_secs(20);

pub(super) struct Server {
    pub(super) addr: SocketAddr,
    pub(super) path: PathBuf,
    pub(super) app: App,
    pub(super) supervisor: Supervisor,
    pub(super) stop: CancellationToken,
    pub(super) tasks: Vec<JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Server {
    pub(super) async fn start() -> Self {
        Self::with(None, Limits::default()).await
    }

    pub(super) async fn with(token: Option<&str>, limits: Limits) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let http = HttpConfig {
            token: token.map(|token| Digest::of(token.as_bytes())),
            ..HttpConfig::on(([127, 0, 0, 1], 0).into())
        };
        let mut snapshot = snapshot();
        configure(&mut snapshot, Some(http.clone()));
        let (supervisor, app) = Supervisor::start(snapshot);
        let tcp = Listener::tcp(&http).await.expect("a free port");
        let addr = tcp.local_addr().expect("TCP has an address");
        let path = dir.path().join("control.sock");
        let unix = Listener::unix(&SocketConfig { path: path.clone(), mode: 0o660 }).await.expect("a free path");
        let stop = CancellationToken::new();
        let tasks = [tcp, unix].map(|listener| tokio::spawn(serve_within(listener, app.clone(), stop.clone(), limits)));
        Self { addr, path, app, supervisor, stop, tasks: tasks.into(), _dir: dir }
    }

    pub(super) async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.expect("the listener takes it")
    }

    /// One request over TCP.
    pub(super) async fn send(&self, request: &str, headers: &str, body: &str) -> Reply {
        exchange(self.tcp().await, &message(request, headers, body)).await
    }

    /// One request over the Unix socket.
    pub(super) async fn send_unix(&self, request: &str, body: &str) -> Reply {
        let stream = UnixStream::connect(&self.path).await.expect("the socket takes it");
        exchange(stream, &message(request, "", body)).await
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.send(&format!("GET {path}"), "", "").await
    }

    pub(super) async fn post(&self, path: &str, body: &str) -> Reply {
        self.send(&format!("POST {path}"), "", body).await
    }

    pub(super) async fn end(self) {
        self.stop.cancel();
        for task in self.tasks {
            timeout(CAP, task).await.expect("ends in time").expect("no panic");
        }
    }
}

pub(super) fn configure(snapshot: &mut Snapshot, http: Option<HttpConfig>) {
    let mut config = (*snapshot.config).clone();
    config.http = http;
    snapshot.config = std::sync::Arc::new(config);
}

pub(super) fn message(request: &str, headers: &str, body: &str) -> String {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let host = if headers.contains("Host:") { "" } else { "Host: localhost\r\n" };
    format!("{request} HTTP/1.1\r\n{host}Connection: close\r\n{length}{headers}\r\n{body}")
}

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP reply: {text:?}"));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
        Self { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The status and the name of the problem's type.
    pub(super) fn problem(&self) -> (u16, String) {
        assert!(self.head.contains("content-type: application/problem+json"), "{self:?}");
        let body = self.json();
        assert_eq!(body["status"], self.status);
        assert!(body["title"].is_string() && body["detail"].is_string());
        let kind = body["type"].as_str().expect("a type").strip_prefix("urn:rbac-sync:problem:").expect("our types");
        (self.status, kind.to_owned())
    }
}

/// One request and its reply, which must be one that the OpenAPI document promises.
pub(super) async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, text: &str) -> Reply {
    // The server may answer and close before it has read all: then the answer counts.
    let _ = stream.write_all(text.as_bytes()).await;
    let reply = Reply::parse(&read_all(stream).await);
    let mut words = text.split(' ');
    contract::check(words.next().expect("a method"), words.next().expect("a target"), &reply);
    reply
}

pub(super) async fn read_all(mut stream: impl AsyncRead + Unpin) -> String {
    let mut bytes = Vec::new();
    let end = timeout(CAP, stream.read_to_end(&mut bytes)).await.expect("the server ends the connection");
    if let Err(error) = end {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(super) fn is(reply: &Reply, status: u16, kind: &str) {
    assert_eq!(reply.problem(), (status, kind.to_owned()), "{reply:?}");
}
