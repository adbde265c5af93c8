//! The API over real loopback TCP and a real Unix socket, against a supervisor that does as told.

mod events;
mod schedule;

use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::serve::{Limits, serve_within};
use super::testing::{Supervisor, id, snapshot};
use super::{App, Listener};
use crate::config::{Digest, HttpConfig, SocketConfig, SourceConfig, SourceName};
use crate::supervisor::Snapshot;

/// Longer than anything here takes; a test that hits it has found a hang.
const CAP: Duration = Duration::from_secs(20);

struct Server {
    addr: SocketAddr,
    path: PathBuf,
    app: App,
    supervisor: Supervisor,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Server {
    async fn start() -> Self {
        Self::with(None, Limits::default()).await
    }

    async fn with(token: Option<&str>, limits: Limits) -> Self {
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

    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.expect("the listener takes it")
    }

    /// One request over TCP.
    async fn send(&self, request: &str, headers: &str, body: &str) -> Reply {
        exchange(self.tcp().await, &message(request, headers, body)).await
    }

    /// One request over the Unix socket.
    async fn send_unix(&self, request: &str, body: &str) -> Reply {
        let stream = UnixStream::connect(&self.path).await.expect("the socket takes it");
        exchange(stream, &message(request, "", body)).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.send(&format!("GET {path}"), "", "").await
    }

    async fn post(&self, path: &str, body: &str) -> Reply {
        self.send(&format!("POST {path}"), "", body).await
    }

    async fn end(self) {
        self.stop.cancel();
        for task in self.tasks {
            timeout(CAP, task).await.expect("ends in time").expect("no panic");
        }
    }
}

fn configure(snapshot: &mut Snapshot, http: Option<HttpConfig>) {
    let mut config = (*snapshot.config).clone();
    config.http = http;
    snapshot.config = std::sync::Arc::new(config);
}

fn message(request: &str, headers: &str, body: &str) -> String {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let host = if headers.contains("Host:") { "" } else { "Host: localhost\r\n" };
    format!("{request} HTTP/1.1\r\n{host}Connection: close\r\n{length}{headers}\r\n{body}")
}

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP reply: {text:?}"));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
        Self { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The status and the name of the problem's type.
    fn problem(&self) -> (u16, String) {
        assert!(self.head.contains("content-type: application/problem+json"), "{self:?}");
        let body = self.json();
        assert_eq!(body["status"], self.status);
        assert!(body["title"].is_string() && body["detail"].is_string());
        let kind = body["type"].as_str().expect("a type").strip_prefix("urn:rbac-sync:problem:").expect("our types");
        (self.status, kind.to_owned())
    }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, text: &str) -> Reply {
    // The server may answer and close before it has read all: then the answer counts.
    let _ = stream.write_all(text.as_bytes()).await;
    Reply::parse(&read_all(stream).await)
}

async fn read_all(mut stream: impl AsyncRead + Unpin) -> String {
    let mut bytes = Vec::new();
    let end = timeout(CAP, stream.read_to_end(&mut bytes)).await.expect("the server ends the connection");
    if let Err(error) = end {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn is(reply: &Reply, status: u16, kind: &str) {
    assert_eq!(reply.problem(), (status, kind.to_owned()), "{reply:?}");
}

#[tokio::test]
async fn reads_answer_from_the_snapshot() {
    let server = Server::start().await;
    let status = server.get("/sync/status").await;
    assert_eq!(status.status, 200);
    assert!(status.head.contains("content-type: application/json"));
    insta::assert_snapshot!("status", status.body.trim());
    let schedule = server.get("/sync/schedule").await.json();
    assert_eq!(schedule, json!({"interval_sec": 5, "origin": "file"}));
    let history = server.get("/sync/history?limit=1").await;
    insta::assert_snapshot!("history", history.body.trim());
    assert_eq!(server.get("/sync/history").await.json()["runs"].as_array().expect("runs").len(), 2);
    let run = server.get(&format!("/sync/runs/{}", id(1))).await;
    assert_eq!((run.status, &run.json()["state"]), (200, &json!("finished")));
    assert_eq!(server.get("/config").await.json()["generation"], 1);
    server.end().await;
}

#[tokio::test]
async fn health_routes_say_200_or_503() {
    let server = Server::start().await;
    let healthy = server.get("/health").await;
    insta::assert_snapshot!("health", healthy.body.trim());
    let health = healthy.json();
    assert_eq!(healthy.status, 200);
    assert_eq!(health["source"]["main"], json!({"ok": true, "detail": "reachable since 2026-11-24T00:00:00Z"}));
    assert_eq!(server.get("/health/ready").await.status, 200);
    assert_eq!(server.get("/health/live").await.json(), json!({"live": true}));
    server.supervisor.change(|snapshot| {
        snapshot.status.target.reachable = Some(false);
        snapshot.status.target.error = Some("refused".into());
    });
    let health = server.get("/health").await;
    assert_eq!((health.status, &health.json()["target"]["ok"]), (503, &json!(false)));
    let ready = server.get("/health/ready").await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["missing"], json!(["target: not reachable since 2026-11-24T00:00:00Z: refused"]));
    assert_eq!(server.get("/health/live").await.status, 200, "liveness asks no database");
    server.end().await;
}

#[tokio::test]
async fn a_dead_supervisor_is_not_live() {
    let Server { addr, supervisor, stop, tasks, app, .. } = Server::start().await;
    supervisor.stop().await;
    let reply = exchange(TcpStream::connect(addr).await.expect("served"), &message("GET /health/live", "", "")).await;
    assert_eq!((reply.status, reply.json()), (503, json!({"live": false})));
    let reply = exchange(TcpStream::connect(addr).await.expect("served"), &message("POST /sync/run", "", "")).await;
    is(&reply, 503, "stopping");
    assert!(reply.head.contains("retry-after: 1"));
    stop.cancel();
    drop((tasks, app));
}

#[tokio::test]
async fn a_run_is_accepted_and_can_be_waited_for() {
    let server = Server::start().await;
    let reply = server.post("/sync/run", "{\"mode\":\"full\",\"dry_run\":true,\"source\":\"main\"}").await;
    assert_eq!((reply.status, reply.json()), (202, json!({"run_id": id(100)})));
    assert!(reply.head.contains(&format!("location: /sync/runs/{}", id(100))), "{reply:?}");
    let run = server.get(&format!("/sync/runs/{}", id(100))).await.json();
    assert_eq!((&run["mode"], &run["dry_run"], &run["trigger"]), (&json!("full"), &json!(true), &json!("api")));
    let still = server.get(&format!("/sync/runs/{}?wait=1ms", id(100))).await;
    assert_eq!((still.status, &still.json()["state"]), (200, &json!("running")));
    server.supervisor.finish(id(100), true);

    let still = server.post("/sync/run?wait=1ms", "").await;
    assert_eq!(still.status, 202);
    let waiting = server.send_unix("POST /sync/run?wait=1h", "");
    let finish = async {
        let mut watch = server.app.handle.watch();
        watch.wait_for(|now| now.open_runs.len() == 2).await.expect("the supervisor lives");
        server.supervisor.finish(id(100), false);
        server.supervisor.finish(id(100), false);
    };
    let (ended, ()) = tokio::join!(waiting, finish);
    assert_eq!((ended.status, &ended.json()["success"]), (200, &json!(false)));
    assert_eq!(ended.json()["error"], "source: the server is down");
    server.end().await;
}

#[tokio::test]
async fn several_sources_have_a_run_each() {
    let server = Server::start().await;
    server.supervisor.change(|snapshot| {
        let mut config = (*snapshot.config).clone();
        let second = SourceConfig { name: SourceName::new("second").expect("valid"), ..config.sources[0].clone() };
        config.sources.push(second);
        snapshot.config = std::sync::Arc::new(config);
    });
    let runs = json!([{"source": "main", "run_id": id(100)}, {"source": "second", "run_id": id(101)}]);
    let reply = server.post("/sync/run?wait=0s", "").await;
    assert_eq!((reply.status, reply.json()), (202, json!({"run_id": id(100), "runs": runs})));
    server.supervisor.finish(id(100), true);
    server.supervisor.finish(id(101), true);
    let waiting = server.post("/sync/run?wait=1h", "");
    let finish = async {
        let mut watch = server.app.handle.watch();
        watch.wait_for(|now| now.open_runs.len() == 2).await.expect("the supervisor lives");
        server.supervisor.finish(id(101), true);
        server.supervisor.finish(id(100), false);
    };
    let (ended, ()) = tokio::join!(waiting, finish);
    let ended = ended.json();
    assert_eq!((&ended["runs"][0]["success"], &ended["runs"][1]["success"]), (&json!(false), &json!(true)));
    server.end().await;
}

#[tokio::test]
async fn the_listener_is_the_trigger() {
    let server = Server::start().await;
    server.send_unix("POST /sync/run", "").await;
    let run = server.send_unix(&format!("GET /sync/runs/{}", id(100)), "").await.json();
    assert_eq!(run["trigger"], "socket");
    let cancelled = server.send_unix("POST /sync/cancel", "").await;
    assert_eq!((cancelled.status, cancelled.json()), (202, json!({"run_ids": [id(100)]})));
    server.end().await;
}

#[tokio::test]
async fn schedule_pause_and_reload_change_and_answer() {
    let server = Server::start().await;
    let set = server.send("PUT /sync/schedule", "Content-Type: application/json\r\n", "{\"interval_sec\":30}").await;
    assert_eq!((set.status, set.json()), (200, json!({"interval_sec": 30, "origin": "api"})));
    let reset = server.send("DELETE /sync/schedule", "", "").await;
    assert_eq!((reset.status, reset.json()), (200, json!({"interval_sec": 5, "origin": "file"})));
    let reload = server.post("/config/reload", "").await;
    assert_eq!((reload.status, &reload.json()["changed"]), (200, &json!(["schedule.interval"])));
    let paused = server.post("/sync/pause", "{\"reason\":\"upgrade\",\"for\":\"2h\"}").await;
    insta::assert_snapshot!("pause", paused.body.trim());
    let refused = server.post("/config/reload", "{}").await;
    is(&refused, 422, "configuration-refused");
    insta::assert_snapshot!("reload_refused", refused.body.trim());
    let resumed = server.post("/sync/resume", "").await;
    assert_eq!((resumed.status, resumed.json()), (200, json!({"paused": false, "pause": null})));
    server.end().await;
}

#[tokio::test]
async fn every_error_has_its_code_and_type() {
    let server = Server::start().await;
    let unknown = server.get("/nope").await;
    is(&unknown, 404, "not-found");
    insta::assert_snapshot!("problem", unknown.body.trim());
    is(&server.get("/sync/runs/nope").await, 400, "malformed");
    is(&server.get(&format!("/sync/runs/{}", id(9))).await, 404, "unknown-run");
    is(&server.get("/sync/history?limit=0").await, 400, "malformed");
    is(&server.get("/sync/status?x=1").await, 400, "malformed");
    is(&server.post("/sync/run?wait=soon", "").await, 400, "malformed");
    is(&server.post("/sync/run", "{").await, 400, "malformed");
    let unknown_field = server.post("/sync/run", "{\"modus\":1}").await;
    is(&unknown_field, 400, "malformed");
    assert!(unknown_field.body.contains("mode, dry_run, source, allow_deletes"), "{unknown_field:?}");
    is(&server.post("/sync/run", "{\"mode\":\"fast\"}").await, 422, "out-of-range");
    is(&server.post("/sync/run", "{\"source\":\"other\"}").await, 422, "unknown-source");
    is(&server.post("/sync/run", "{\"source\":\"O'Brien\"}").await, 422, "unknown-source");
    is(&server.post("/sync/run", "{\"source\":\"busy\"}").await, 503, "busy");
    is(&server.post("/sync/run", "{\"source\":\"taken\"}").await, 409, "queue-taken");
    is(&server.post("/sync/cancel", "").await, 409, "nothing-to-cancel");
    is(&server.post("/sync/pause", "{\"for\":\"0s\"}").await, 422, "out-of-range");
    is(&server.send("PUT /sync/schedule", "", "{\"interval_sec\":0}").await, 422, "out-of-range");
    is(&server.send("PUT /sync/schedule", "", "").await, 400, "malformed");
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    is(&server.send("POST /sync/run", form, "{}").await, 415, "unsupported-media-type");
    assert_eq!(
        server.send("POST /sync/run", "Content-Type: Application/JSON; charset=utf-8\r\n", "{}").await.status,
        202
    );
    server.end().await;
}

#[tokio::test]
async fn a_wrong_method_gets_allow_and_changes_nothing() {
    let server = Server::start().await;
    for path in ["/sync/run", "/sync/cancel", "/sync/pause", "/sync/resume", "/config/reload"] {
        for method in ["GET", "HEAD", "PUT", "DELETE", "BREW"] {
            let reply = server.send(&format!("{method} {path}"), "", "").await;
            assert_eq!(reply.status, 405, "{method} {path}");
            assert!(reply.head.contains("allow: post"), "{reply:?}");
        }
    }
    is(&server.post("/sync/schedule", "{}").await, 405, "method-not-allowed");
    let reply = server.post("/health", "").await;
    assert!(reply.head.contains("allow: get, head"), "{reply:?}");
    assert!(!server.app.handle.snapshot().status.paused);
    server.end().await;
}

#[tokio::test]
async fn head_answers_as_get_without_a_body() {
    let server = Server::start().await;
    for path in ["/sync/status", "/health", "/metrics", "/sync/schedule"] {
        let head = server.send(&format!("HEAD {path}"), "", "").await;
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        assert!(head.head.contains("content-length: "), "{head:?}");
    }
    server.end().await;
}

#[tokio::test]
async fn metrics_count_requests_by_pattern() {
    let server = Server::start().await;
    server.get(&format!("/sync/runs/{}", id(1))).await;
    server.send_unix("GET /whatever/it/is", "").await;
    let metrics = server.get("/metrics").await;
    assert!(metrics.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"));
    for line in [
        "rbac_sync_api_requests_total{code=\"200\",listener=\"http\",route=\"/sync/runs/{id}\"} 1",
        "rbac_sync_api_requests_total{code=\"404\",listener=\"socket\",route=\"unknown\"} 1",
    ] {
        assert!(metrics.body.contains(line), "{line} in {}", metrics.body);
    }
    server.end().await;
}

#[tokio::test]
async fn a_changed_token_counts_from_the_next_request_on() {
    let server = Server::with(Some("one"), Limits::default()).await;
    let with = |token: &str| format!("Host: rbac.example\r\nAuthorization: Bearer {token}\r\n");
    let denied = server.get("/sync/status").await;
    is(&denied, 401, "unauthorized");
    assert!(denied.head.contains("www-authenticate: bearer"));
    is(&server.get("/nope").await, 401, "unauthorized");
    assert_eq!(server.get("/health/live").await.status, 200);
    assert_eq!(server.send("GET /sync/status", &with("one"), "").await.status, 200);
    assert_eq!(server.send_unix("GET /sync/status", "").await.status, 200, "the socket needs none");
    server.supervisor.change(|snapshot| {
        let http = HttpConfig { token: Some(Digest::of(b"two")), ..HttpConfig::on(([127, 0, 0, 1], 0).into()) };
        configure(snapshot, Some(http));
    });
    is(&server.send("GET /sync/status", &with("one"), "").await, 401, "unauthorized");
    assert_eq!(server.send("GET /sync/status", &with("two"), "").await.status, 200);
    server.end().await;
}

#[tokio::test]
async fn foreign_hosts_and_pages_are_refused_before_anything_happens() {
    let server = Server::start().await;
    is(&server.send("POST /sync/pause", "Host: evil.example\r\n", "").await, 403, "foreign-host");
    is(&server.send("POST /sync/pause", "Origin: http://evil.example\r\n", "").await, 403, "foreign-origin");
    assert!(!server.app.handle.snapshot().status.paused);
    let metrics = server.get("/metrics").await.body;
    assert!(metrics.contains("rbac_sync_api_denied_total{reason=\"foreign-host\"} 1"), "{metrics}");
    server.end().await;
}

#[tokio::test]
async fn junk_gets_400_and_the_listener_lives_on() {
    let server = Server::start().await;
    let junk: [&[u8]; 6] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /sync/status HTTP/9.9\r\n\r\n",
        b"GET /sync/status HTTP/1.1\r\nbad header\r\n\r\n",
        b"POST /sync/run HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
    ];
    for bytes in junk {
        let mut tcp = server.tcp().await;
        tcp.write_all(bytes).await.expect("sent");
        assert_eq!(Reply::parse(&read_all(tcp).await).status, 400, "{bytes:?}");
        let mut unix = UnixStream::connect(&server.path).await.expect("connected");
        unix.write_all(bytes).await.expect("sent");
        assert_eq!(Reply::parse(&read_all(unix).await).status, 400, "{bytes:?}");
    }
    assert_eq!(server.get("/health/live").await.status, 200);
    assert!(server.get("/metrics").await.body.contains("rbac_sync_api_denied_total{reason=\"malformed\"} 12"));
    server.end().await;
}

#[tokio::test]
async fn a_header_without_end_is_refused() {
    let server = Server::start().await;
    let mut stream = server.tcp().await;
    let endless = format!("GET /sync/status HTTP/1.1\r\nHost: localhost\r\nX: {}", "a".repeat(100_000));
    let _ = stream.write_all(endless.as_bytes()).await;
    let reply = read_all(stream).await;
    assert!(reply.is_empty() || reply.starts_with("HTTP/1.1 431"), "{reply}");
    server.end().await;
}

#[tokio::test]
async fn an_oversized_body_is_refused_declared_or_not() {
    let server = Server::start().await;
    let big = " ".repeat(70_000);
    is(&server.post("/sync/run", &big).await, 413, "body-too-large");
    let chunked = format!("{:x}\r\n{big}\r\n0\r\n\r\n", big.len());
    let text = "POST /sync/run HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    is(&exchange(server.tcp().await, &(text.to_owned() + &chunked)).await, 413, "body-too-large");
    server.end().await;
}

#[tokio::test]
async fn half_sent_headers_and_idle_connections_end() {
    let limits = Limits { header: Duration::from_millis(100), ..Limits::default() };
    let server = Server::with(None, limits).await;
    let mut half = server.tcp().await;
    half.write_all(b"GET /sync/status HTTP/1.1\r\nHost: loc").await.expect("sent");
    let silent = server.tcp().await;
    let mut idle = server.tcp().await;
    idle.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
    assert!(read_all(idle).await.contains("\"live\":true"));
    read_all(half).await;
    read_all(silent).await;
    server.end().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::start().await;
    let mut stream = server.tcp().await;
    let many = "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(200);
    let last = message("GET /nope", "", "");
    stream.write_all((many + &last).as_bytes()).await.expect("sent");
    let replies = read_all(stream).await;
    assert_eq!(replies.matches("HTTP/1.1 200 OK").count(), 200);
    assert!(replies.rfind("HTTP/1.1 404") > replies.rfind("HTTP/1.1 200"));
    server.end().await;
}

#[tokio::test]
async fn a_client_that_closes_its_half_still_gets_the_answer() {
    let server = Server::start().await;
    let mut stream = UnixStream::connect(&server.path).await.expect("connected");
    stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    stream.shutdown().await.expect("half closed");
    assert_eq!(Reply::parse(&read_all(stream).await).status, 200);
    server.end().await;
}

#[tokio::test]
async fn connections_past_the_limit_are_closed_and_counted() {
    let server = Server::with(None, Limits { connections: 1, ..Limits::default() }).await;
    let mut first = server.tcp().await;
    first.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
    first.read_u8().await.expect("served");
    assert_eq!(read_all(server.tcp().await).await, "");
    let metrics = server.send_unix("GET /metrics", "").await.body;
    assert!(metrics.contains("rbac_sync_api_denied_total{reason=\"connections\"} 1"), "{metrics}");
    server.end().await;
}

#[tokio::test]
async fn a_wait_past_the_limit_is_busy_and_starts_nothing() {
    let server = Server::with(None, Limits { waits: 0, ..Limits::default() }).await;
    is(&server.post("/sync/run?wait=1h", "").await, 503, "busy");
    is(&server.get(&format!("/sync/runs/{}?wait=1h", id(1))).await, 503, "busy");
    assert!(server.app.handle.snapshot().open_runs.is_empty());
    assert_eq!(server.post("/sync/run", "").await.status, 202);
    server.end().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_nobody() {
    let server = Server::with(None, Limits { write: Duration::from_millis(200), ..Limits::default() }).await;
    let mut deaf = UnixStream::connect(&server.path).await.expect("connected");
    let many = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(500);
    let (mut reading, mut writing) = deaf.split();
    // The server stops to read, for it cannot write, and then ends the connection.
    let refused = timeout(CAP, async { while writing.write_all(many.as_bytes()).await.is_ok() {} });
    let (refused, live) = tokio::join!(refused, server.send_unix("GET /health/live", ""));
    refused.expect("the server ends the connection");
    assert_eq!(live.status, 200);
    let _ = timeout(CAP, reading.read_to_end(&mut Vec::new())).await.expect("the connection has ended");
    server.end().await;
}

#[tokio::test]
async fn stopping_ends_waits_and_cuts_what_does_not_end() {
    let limits = Limits { drain: Duration::from_millis(200), ..Limits::default() };
    let server = Server::with(None, limits).await;
    let mut half = server.tcp().await;
    half.write_all(b"POST /sync/run HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{").await.expect("sent");
    let waiting = server.send("POST /sync/run?wait=1h", "", "");
    let stop = async {
        let mut watch = server.app.handle.watch();
        watch.wait_for(|now| now.open_runs.len() == 1).await.expect("the supervisor lives");
        server.stop.cancel();
    };
    let (reply, ()) = tokio::join!(waiting, stop);
    assert_eq!(reply.status, 202, "{reply:?}");
    let path = server.path.clone();
    server.end().await;
    read_all(half).await;
    assert!(!path.exists(), "our socket file is gone");
}

mod unix_socket {
    use super::*;

    async fn bind(path: &std::path::Path) -> std::io::Result<Listener> {
        Listener::unix(&SocketConfig { path: path.to_owned(), mode: 0o600 }).await
    }

    #[tokio::test]
    async fn has_its_mode_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("s");
        let listener = bind(&path).await.expect("free");
        let metadata = std::fs::symlink_metadata(&path).expect("there");
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 1);
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn replaces_a_stale_file_and_refuses_a_live_one() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("free"));
        assert!(path.exists(), "std leaves a stale file");
        let live = bind(&path).await.expect("nobody answers there");
        let error = bind(&path).await.expect_err("somebody answers there");
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains("another daemon is serving it"), "{error}");
        assert!(path.exists());
        drop(live);
    }

    #[tokio::test]
    async fn never_touches_a_file_that_is_no_socket() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("precious");
        std::fs::write(&path, "data").expect("written");
        let error = bind(&path).await.expect_err("a file");
        assert!(error.to_string().contains("not a socket"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).expect("still there"), "data");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("linked");
        assert!(bind(&link).await.is_err());
    }

    #[tokio::test]
    async fn leaves_a_file_that_somebody_else_put_there() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("s");
        let listener = bind(&path).await.expect("free");
        std::fs::remove_file(&path).expect("removed");
        let _other = std::os::unix::net::UnixListener::bind(&path).expect("free");
        drop(listener);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn says_that_its_folder_is_missing() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let error = bind(&dir.path().join("no/s")).await.expect_err("no folder");
        assert!(error.to_string().contains("create it first"), "{error}");
    }
}

#[tokio::test]
async fn a_taken_port_is_an_error() {
    let server = Server::start().await;
    let http = HttpConfig::on(server.addr);
    let error = Listener::tcp(&http).await.expect_err("taken");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    server.end().await;
}
