//! Clients that misbehave, and the end of connections.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::server::{CAP, Reply, Server, exchange, is, message, read_all};
use crate::api::serve::Limits;
use crate::api::testing::id;

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
        is(&Reply::parse(&read_all(tcp).await), 400, "malformed");
        let mut unix = UnixStream::connect(&server.path).await.expect("connected");
        unix.write_all(bytes).await.expect("sent");
        is(&Reply::parse(&read_all(unix).await), 400, "malformed");
    }
    assert_eq!(server.get("/health/live").await.status, 200);
    assert!(server.get("/metrics").await.body.contains("rbac_sync_api_denied_total{reason=\"malformed\"} 12"));
    server.end().await;
}

#[tokio::test]
async fn a_header_that_is_too_large_is_refused() {
    let server = Server::start().await;
    let get = "GET /sync/status HTTP/1.1\r\nHost: localhost\r\n";
    // No more than the server reads: else the end of the connection may overtake the answer.
    let bytes =
        [format!("{get}X: {}", "a".repeat(16 * 1024 - get.len())), format!("{get}{}\r\n", "X: 1\r\n".repeat(200))];
    for bytes in bytes {
        let mut stream = server.tcp().await;
        stream.write_all(bytes.as_bytes()).await.expect("sent");
        is(&Reply::parse(&read_all(stream).await), 431, "header-too-large");
    }
    let mut stream = server.tcp().await;
    let _ = stream.write_all(format!("{get}X: {}", "a".repeat(100_000)).as_bytes()).await;
    let reply = read_all(stream).await;
    assert!(reply.is_empty() || reply.starts_with("HTTP/1.1 431"), "{reply}");
    let metrics = server.get("/metrics").await.body;
    assert!(metrics.contains("rbac_sync_api_denied_total{reason=\"header-too-large\"} 3"), "{metrics}");
    server.end().await;
}

#[tokio::test]
async fn junk_behind_a_request_is_refused_after_its_answer() {
    let server = Server::start().await;
    for first in ["GET", "HEAD"] {
        let mut stream = server.tcp().await;
        let bytes = format!("{first} /health/live HTTP/1.1\r\nHost: localhost\r\n\r\nwhat is this?\r\n\r\n");
        stream.write_all(bytes.as_bytes()).await.expect("sent");
        let replies = read_all(stream).await;
        let place = replies.rfind("HTTP/1.1 ").expect("two replies");
        assert!(replies[..place].starts_with("HTTP/1.1 200 OK\r\n"), "{replies}");
        is(&Reply::parse(&replies[place..]), 400, "malformed");
    }
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
async fn connections_past_the_limit_are_closed_and_counted_while_all_are_served() {
    let server = Server::with(None, Limits { connections: 1, ..Limits::default() }).await;
    let mut first = server.tcp().await;
    first.write_all(message("POST /sync/run?wait=1h", "", "").as_bytes()).await.expect("sent");
    server.app.handle.watch().wait_for(|now| now.open_runs.len() == 1).await.expect("the supervisor lives");
    assert_eq!(read_all(server.tcp().await).await, "");
    let metrics = server.send_unix("GET /metrics", "").await.body;
    assert!(metrics.contains("rbac_sync_api_denied_total{reason=\"connections\"} 1"), "{metrics}");
    server.supervisor.finish(id(100), true);
    assert_eq!(Reply::parse(&read_all(first).await).status, 200, "the one that was served has its answer");
    server.end().await;
}

/// Silent, in the middle of a header, in the middle of a body, and with an answer that they do not read.
#[tokio::test]
async fn connections_that_ask_for_nothing_make_room_for_those_that_do() {
    let server = Server::with(None, Limits { connections: 4, ..Limits::default() }).await;
    let head = "POST /sync/pause HTTP/1.1\r\nHost: localhost\r\n";
    let body = format!("{head}Content-Length: 9\r\n\r\n{{");
    let deaf = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2000);
    let mut idle = Vec::new();
    for bytes in ["", head, &body, &deaf] {
        let mut stream = server.tcp().await;
        let _ = timeout(Duration::from_millis(500), stream.write_all(bytes.as_bytes())).await;
        idle.push(stream);
    }
    let mut served = Vec::new();
    for _ in 0..4 {
        let mut stream = server.tcp().await;
        stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
        timeout(CAP, stream.read_u8()).await.expect("an answer").expect("not closed");
        served.push(stream);
    }
    for stream in idle {
        read_all(stream).await;
    }
    drop(served);
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

/// A body that no route takes is not read, so the connection can only end.
#[tokio::test]
async fn a_body_that_nobody_reads_ends_its_connection() {
    let server = Server::start().await;
    for request in ["GET /sync/status", "GET /nope", "POST /nope", "POST /health"] {
        for body in ["Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "Content-Length: 90000\r\n\r\n{"] {
            let mut stream = server.tcp().await;
            let text = format!("{request} HTTP/1.1\r\nHost: localhost\r\n{body}");
            stream.write_all(text.as_bytes()).await.expect("sent");
            let reply = Reply::parse(&read_all(stream).await);
            assert!(reply.head.contains("connection: close"), "{text}: {reply:?}");
        }
    }
    server.end().await;
}
