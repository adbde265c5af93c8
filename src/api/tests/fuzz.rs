//! Bytes that no client would send, through the real connections, router and handlers, in memory.
//!
//! Each round sends arbitrary bytes or right requests with something wrong done to them, in the clear or inside TLS,
//! and judges all that comes back. It goes on for two seconds, or for as many as `RBAC_SYNC_FUZZ_SECONDS` says; the numbers of
//! `RBAC_SYNC_FUZZ_SEED` repeat from the start.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use super::encryption::Encryption;
use super::memory::InMemory;
use super::server::configure;
use crate::api::App;
use crate::api::problem::Kind;
use crate::api::testing::{Supervisor, snapshot};
use crate::config::HttpConfig;

/// Rounds before the supervisor is a new one: its runs pile up.
const ROUNDS: u64 = 100;

#[test]
fn whatever_bytes_come_the_answers_are_those_of_the_document() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
    };
    let time = Duration::from_secs(number("RBAC_SYNC_FUZZ_SECONDS", 2));
    let seed = number("RBAC_SYNC_FUZZ_SEED", 1);
    let mut random = StdRng::seed_from_u64(seed);
    let encryption = Encryption::new();
    let (start, mut rounds, mut answers) = (Instant::now(), 0, 0);
    // In the paused time every wait of a server that has nothing to do is over at once.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().expect("a runtime");
    while start.elapsed() < time {
        runtime.block_on(async {
            let is_encrypted = random.random_ratio(1, 4);
            let mut snapshot = snapshot();
            let http = if is_encrypted { encryption.http() } else { HttpConfig::on(([127, 0, 0, 1], 0).into()) };
            configure(&mut snapshot, Some(http));
            let (supervisor, app) = Supervisor::start(snapshot);
            let server = match is_encrypted {
                true => InMemory::serve_encrypted(app.clone(), &encryption),
                false => InMemory::serve(app.clone()),
            };
            for _ in 0..ROUNDS {
                let bytes = message(&mut random);
                let close = random.random_bool(0.8);
                if is_encrypted && random.random_ratio(1, 4) {
                    let answer = server.exchange_in_the_clear(&bytes, close).await;
                    assert!(!answer.starts_with(b"HTTP"), "in the clear: {}", answer.escape_ascii());
                }
                let answer = server.exchange(&bytes, close).await;
                let context = || format!("seed {seed}, round {rounds}: {}", bytes.escape_ascii());
                answers += judge(&answer).unwrap_or_else(|wrong| panic!("{wrong}\n{}", context()));
                assert!(server.is_serving() && is_alive(&app), "{}", context());
                rounds += 1;
            }
            server.end().await;
            supervisor.stop().await;
        });
    }
    println!("{rounds} messages, {answers} answers in {:?}", start.elapsed());
    assert!(answers > rounds / 4, "most messages are no HTTP at all: {answers} answers to {rounds}");
}

fn is_alive(app: &App) -> bool {
    app.handle.watch().has_changed().is_ok()
}

const REQUESTS: [&str; 18] = [
    "GET /sync/status HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "HEAD /health HTTP/1.1\r\nHost: localhost:8080\r\n\r\n",
    "GET /metrics HTTP/1.1\r\nHost: [::1]\r\nAccept: */*\r\n\r\n",
    "GET /sync/history?limit=5 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET /sync/runs/019f0000-0000-7000-8000-000000000001?wait=1h HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET /openapi.json HTTP/1.0\r\n\r\n",
    "GET /config HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\r\n",
    "POST /sync/run?wait=30s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
    "POST /sync/run HTTP/1.1\r\nHost: localhost\r\nContent-Length: 41\r\n\r\n{\"mode\":\"full\",\"dry_run\":true,\"source\":\"\"}",
    "POST /sync/cancel HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
    "POST /sync/pause HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{\"reason\":\"cut\"}\r\n0\r\n\r\n",
    "PUT /sync/schedule HTTP/1.1\r\nHost: localhost\r\nContent-Length: 19\r\n\r\n{\"interval_sec\":30}",
    "DELETE /sync/schedule HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "PUT /log/level HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30\r\n\r\n{\"level\":\"debug\",\"for\":\"15m\"}",
    "PUT /sync/schedule HTTP/1.1\r\nHost: localhost\r\nIf-Match: \"a\", W/\"b\"\r\nContent-Length: 18\r\n\r\n{\"cron\":\"@daily\" }",
    "POST /sync/run HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: \"a-1\"\r\nAuthorization: Bearer x\r\n\r\n",
    "GET /sync/audit?limit=3 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "POST /config/reload HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
];

const PIECES: [&str; 24] = [
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\0",
    " ",
    "?",
    "%00",
    "%",
    "&wait=",
    "//",
    "/..",
    ":",
    "{",
    "[[[[",
    "\"",
    "\u{85}",
    "1e999",
    "-1",
    "Content-Length: 99999999999999999999\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Host: evil.example\r\n",
    "Content-Type: text/plain\r\n",
    "Upgrade: h2c\r\n",
    "HTTP/1.1",
];

/// Arbitrary bytes, or one to three requests, most of them damaged.
fn message(random: &mut StdRng) -> Vec<u8> {
    if random.random_ratio(1, 10) {
        let length = random.random_range(0..3000);
        return (0..length).map(|_| random.random()).collect();
    }
    let mut bytes = Vec::new();
    for _ in 0..random.random_range(1..=3) {
        bytes.extend_from_slice(REQUESTS.choose(random).expect("requests").as_bytes());
    }
    for _ in 0..random.random_range(0..5) {
        damage(&mut bytes, random);
    }
    bytes
}

fn damage(bytes: &mut Vec<u8>, random: &mut StdRng) {
    let place = random.random_range(0..=bytes.len());
    let end = (place + random.random_range(0..40)).min(bytes.len());
    match random.random_range(0..7) {
        0 if place < bytes.len() => bytes[place] ^= 1 << random.random_range(0..8),
        1 if place < bytes.len() => bytes[place] = random.random(),
        2 => drop(bytes.drain(place..end)),
        3 => bytes.truncate(place),
        4 => {
            let copy = bytes[place..end].repeat(random.random_range(1..60));
            bytes.splice(place..place, copy);
        }
        5 => bytes.extend_from_slice(REQUESTS.choose(random).expect("requests").as_bytes()),
        _ => {
            let piece = PIECES.choose(random).expect("pieces").bytes();
            bytes.splice(place..place, piece);
        }
    }
}

/// Counts the answers, each of which must be one that the daemon may give.
fn judge(mut answer: &[u8]) -> Result<usize, String> {
    let mut count = 0;
    while !answer.is_empty() {
        let shown = || answer[..answer.len().min(300)].escape_ascii().to_string();
        let end =
            answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(|| format!("no head: {}", shown()))?;
        let head = std::str::from_utf8(&answer[..end]).map_err(|_| format!("no text: {}", shown()))?.to_lowercase();
        let status = head.strip_prefix("http/1.").and_then(|rest| rest.get(2..5)?.parse::<u16>().ok());
        let status = status.ok_or_else(|| format!("no status: {}", shown()))?;
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let rest = &answer[end + 4..];
        let length =
            header("content-length").map_or(Ok(0), str::parse::<usize>).map_err(|_| format!("no length: {head}"))?;
        // A reply to HEAD has the length of what it leaves out.
        let left_out = rest.is_empty() || rest.starts_with(b"HTTP/1.");
        let body = if left_out {
            &[]
        } else {
            rest.get(..length).ok_or_else(|| format!("cut short: {head}\n{}", rest.escape_ascii()))?
        };
        verdict(status, header("content-type"), body).map_err(|wrong| format!("{wrong}: {head}"))?;
        answer = &rest[body.len()..];
        count += usize::from(status != 100);
    }
    Ok(count)
}

fn verdict(status: u16, content_type: Option<&str>, body: &[u8]) -> Result<(), String> {
    match (status, content_type) {
        (100, None) => Ok(()),
        (_, Some("application/problem+json")) if body.is_empty() => Ok(()),
        (_, Some("application/problem+json")) => {
            let problem: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
            let kind = Kind::ALL.into_iter().find(|kind| problem["type"] == kind.urn()).ok_or("no known type")?;
            let right = kind.status() == status && problem["status"] == status;
            if right { Ok(()) } else { Err(format!("not the status of {kind:?}")) }
        }
        (200 | 202 | 503, Some("application/json")) if body.is_empty() => Ok(()),
        (200 | 202 | 503, Some("application/json")) => {
            serde_json::from_slice::<Value>(body).map(|_| ()).map_err(|error| error.to_string())
        }
        (200, Some(text)) if text.starts_with("text/plain") => Ok(()),
        _ => Err(format!("an answer that no route gives: {status} {content_type:?}")),
    }
}
