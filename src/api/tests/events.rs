//! `GET /events`, pages of the history, and keys of requests.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::contract::{DOCUMENT, validator};
use super::server::{CAP, Server, read_all};
use crate::api::serve::Limits;
use crate::api::testing::{at, config, id, record, reloaded, snapshot};
use crate::history::{Actor, Change, Via};
use crate::schedule::Pause;
use crate::supervisor::{Event, GapReason, Happened, Origin, Progress, ReloadTrigger, Schedule, Speeds};

/// A client that follows the events.
struct Reader<S> {
    stream: S,
    text: String,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Reader<S> {
    async fn open(mut stream: S, after: &str) -> Self {
        let last = if after.is_empty() { String::new() } else { format!("Last-Event-ID: {after}\r\n") };
        let request = format!("GET /events HTTP/1.1\r\nHost: localhost\r\n{last}\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut reader = Self { stream, text: String::new() };
        reader.until("\nid: ").await;
        assert!(reader.text.starts_with("HTTP/1.1 200 OK\r\n"), "{}", reader.text);
        reader
    }

    /// Reads on until the text holds this.
    async fn until(&mut self, wanted: &str) {
        let mut searched = 0;
        while !self.text[searched..].contains(wanted) {
            searched = self.text.len().saturating_sub(wanted.len());
            let mut bytes = vec![0; 64 * 1024];
            let read = timeout(CAP, self.stream.read(&mut bytes)).await;
            let read = read.unwrap_or_else(|_| panic!("{wanted:?} does not come: {}", self.text)).expect("data");
            assert_ne!(read, 0, "it ends before {wanted:?}: {}", self.text);
            self.text += std::str::from_utf8(&bytes[..read]).expect("ASCII text");
        }
    }

    /// The values of the lines with this name.
    fn lines(&self, name: &str) -> Vec<&str> {
        self.text.lines().filter_map(|line| line.strip_prefix(name)).collect()
    }

    fn ids(&self) -> Vec<&str> {
        self.lines("id: ")
    }

    fn names(&self) -> Vec<&str> {
        self.lines("event: ")
    }
}

#[tokio::test]
async fn events_are_told_on_both_listeners_and_a_reader_can_come_back() {
    let server = Server::start().await;
    let mut tcp = Reader::open(server.tcp().await, "").await;
    let unix = UnixStream::connect(&server.path).await.expect("the socket takes it");
    let mut unix = Reader::open(unix, "").await;
    server.supervisor.tell(Event::Resumed);
    server.supervisor.tell(Event::Serving);
    tcp.until("\"serving\"").await;
    unix.until("\"serving\"").await;
    let head = tcp.text.to_lowercase();
    assert!(head.contains("content-type: text/event-stream") && head.contains("cache-control: no-store"), "{head}");
    assert_eq!((tcp.names(), tcp.names()), (vec!["resumed", "serving"], unix.names()));
    assert_eq!(tcp.ids(), unix.ids());
    let data: Value = serde_json::from_str(tcp.lines("data: ")[0]).expect("JSON");
    assert_eq!((&data["event"], &data["id"]), (&json!("resumed"), &json!(tcp.ids()[1])));

    let mut back = Reader::open(server.tcp().await, tcp.ids()[1]).await;
    back.until("\"serving\"").await;
    assert_eq!(back.names(), ["serving"], "what came after it, and nothing else");
    for elsewhere in ["0123456789abcdef-1", "nonsense", "-", "9999"] {
        let mut back = Reader::open(server.tcp().await, elsewhere).await;
        back.until("\"serving\"").await;
        assert_eq!(back.names(), ["gap", "resumed", "serving"], "{elsewhere}");
        let gap: Value = serde_json::from_str(back.lines("data: ")[0]).expect("JSON");
        assert_eq!(gap["reason"], json!(GapReason::Restart));
        let mut again = Reader::open(server.tcp().await, back.ids()[1]).await;
        again.until("\"serving\"").await;
        assert_eq!(again.names(), ["resumed", "serving"], "a gap is told once");
    }
    server.end().await;
}

#[tokio::test]
async fn streams_are_limited_apart_and_a_client_that_leaves_makes_room() {
    let server = Server::with(None, Limits { streams: 1, ..Limits::default() }).await;
    let first = Reader::open(server.tcp().await, "").await;
    assert_eq!(server.get("/events").await.problem(), (503, "busy".into()));
    assert_eq!(server.get("/sync/status").await.status, 200);
    assert_eq!(server.send("HEAD /events", "", "").await.status, 503);
    drop(first);
    let opened = async {
        while !is_let_in(&server).await {
            // What is written to a client that has left shows that it has.
            server.supervisor.tell(Event::Resumed);
        }
    };
    timeout(CAP, opened).await.expect("there is room again");
    server.end().await;
}

/// Whether one more stream is opened; it is left at once.
async fn is_let_in(server: &Server) -> bool {
    let mut stream = server.tcp().await;
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
    let mut start = [0; 12];
    timeout(CAP, stream.read_exact(&mut start)).await.expect("in time").expect("an answer");
    &start == b"HTTP/1.1 200"
}

#[tokio::test]
async fn a_client_that_never_reads_loses_its_stream_and_holds_up_no_other() {
    let limits = Limits { streams: 2, write: Duration::from_millis(200), ..Limits::default() };
    let server = Server::with(None, limits).await;
    let deaf = Reader::open(server.tcp().await, "").await;
    let mut other = Reader::open(server.tcp().await, "").await;
    let long = "x".repeat(256 * 1024);
    let cut_off = async {
        while !is_let_in(&server).await {
            for _ in 0..8 {
                server.supervisor.tell(Event::Standby { served_by: long.clone() });
            }
            server.supervisor.tell(Event::Serving);
            other.text.clear();
            other.until("\"serving\"").await;
        }
    };
    timeout(CAP, cut_off).await.expect("the stream that nobody reads makes room");
    assert_eq!(server.get("/sync/status").await.status, 200);
    drop(deaf);
    server.end().await;
}

#[tokio::test]
async fn the_end_of_the_daemon_ends_streams_at_once() {
    let server = Server::start().await;
    let mut reader = Reader::open(server.tcp().await, "").await;
    let started = std::time::Instant::now();
    server.stop.cancel();
    let rest = read_all(&mut reader.stream).await;
    assert!((reader.text + &rest).ends_with("0\r\n\r\n"), "a whole reply, not a cut one: {rest:?}");
    server.end().await;
    assert!(started.elapsed() < Limits::default().drain, "{:?}", started.elapsed());
}

#[tokio::test]
async fn the_history_comes_in_pages() {
    let server = Server::start().await;
    server.supervisor.change(|snapshot| {
        snapshot.history = std::sync::Arc::new((1..=5).rev().map(|number| record(number).into()).collect());
    });
    let (mut path, mut seen) = ("/sync/history?limit=2".to_owned(), Vec::new());
    loop {
        let page = server.get(&path).await.json();
        seen.extend(page["runs"].as_array().expect("runs").iter().map(|run| run["run_id"].clone()));
        match page.get("next") {
            Some(next) => path = next.as_str().expect("a path").to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, [5, 4, 3, 2, 1].map(|number| json!(id(number))));
    let whole = server.get("/sync/history").await.json();
    assert!(whole.get("next").is_none(), "{whole}");
    for bad in ["before=yesterday", "before=", "limit=1&limit=2", "after=1"] {
        assert_eq!(server.get(&format!("/sync/history?{bad}")).await.problem(), (400, "malformed".into()), "{bad}");
    }
    server.end().await;
}

#[tokio::test]
async fn the_audit_comes_in_pages_like_the_history() {
    let server = Server::start().await;
    let change = |number| Change {
        change_id: id(number),
        ..Change::new(at(0), Actor::named("uid 7"), Via::Socket, "pause", serde_json::Map::new())
    };
    server.supervisor.change(|snapshot| {
        snapshot.changes = std::sync::Arc::new((1..=5).rev().map(|number| change(number).into()).collect());
    });
    let (mut path, mut seen) = ("/sync/audit?limit=2".to_owned(), Vec::new());
    loop {
        let page = server.get(&path).await.json();
        seen.extend(page["changes"].as_array().expect("changes").iter().map(|change| change["change_id"].clone()));
        match page.get("next") {
            Some(next) => path = next.as_str().expect("a path").to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, [5, 4, 3, 2, 1].map(|number| json!(id(number))));
    assert_eq!(server.get("/sync/audit?before=yesterday").await.problem(), (400, "malformed".into()));
    server.end().await;
}

#[tokio::test]
async fn what_could_be_read_in_two_ways_is_refused() {
    let server = Server::start().await;
    let json = "Content-Type: application/json\r\n";
    for (headers, body) in [
        (json.to_owned(), "{\"interval_sec\":5,\"interval_sec\":3600}"),
        (format!("{json}Content-Type: text/plain\r\n"), "{\"interval_sec\":5}"),
    ] {
        let reply = server.send("PUT /sync/schedule", &headers, body).await;
        assert_eq!(reply.problem(), (400, "malformed".into()), "{body}");
    }
    let reply = server.send("PUT /sync/schedule", json, "{\"interval_sec\":5}").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    server.end().await;
}

#[tokio::test]
async fn a_key_that_is_none_starts_no_run() {
    let server = Server::start().await;
    for key in ["", "a b", "\"", "\"a", "a\r\nIdempotency-Key: a"] {
        let reply = server.send("POST /sync/run", &format!("Idempotency-Key: {key}\r\n"), "").await;
        assert_eq!(reply.problem(), (400, "malformed".into()), "{key:?}");
    }
    assert!(server.app.handle.snapshot().open_runs.is_empty());
    let reply = server.send("POST /sync/run", "Idempotency-Key: \"a-1\"\r\n", "").await;
    assert_eq!(reply.status, 202, "{reply:?}");
    server.end().await;
}

/// One of each, in the order of the document.
fn all_events() -> Vec<Event> {
    let pause = Pause { reason: None, actor: Some(Actor::named("uid 1000")), since: at(1), until: Some(at(2)) };
    let levels = Speeds::default();
    let progress = Progress { run_id: id(1), source: "main".into(), processed: 5, rows_per_sec: 2.5, levels };
    let accepted = reloaded(ReloadTrigger::Signal, true, Vec::new());
    let refused = reloaded(ReloadTrigger::File, false, vec!["rbac-sync.toml:3:1: wrong".into()]);
    vec![
        Event::RunStarted(record(1).into()),
        Event::RunProgress(progress),
        Event::RunFinished(record(1).into()),
        Event::Paused(pause),
        Event::Resumed,
        Event::ScheduleChanged(Schedule::new(&config().schedule.plan, Origin::Api)),
        Event::LogLevelChanged(snapshot().status.log_level),
        Event::Reloaded(accepted),
        Event::ReloadRefused(refused),
        Event::SourceLost { source: "main".into(), error: Some("connection refused".into()) },
        Event::SourceBack { source: "main".into() },
        Event::TargetLost { error: None },
        Event::TargetBack,
        Event::Standby { served_by: "rbac-b, process 7".into() },
        Event::Serving,
        Event::Stopping,
        Event::Gap { reason: GapReason::Overrun },
    ]
}

#[test]
fn every_event_is_as_the_document_says_and_no_other_is_named() {
    let schema = &DOCUMENT["components"]["schemas"]["Event"];
    let validator = validator(&json!({ "$ref": "#/components/schemas/Event" }));
    let mut names = Vec::new();
    for event in all_events() {
        names.push(event.name());
        let happened = Happened { id: "ab-7".parse().expect("an ID"), at: at(0), event };
        let mut data = serde_json::to_value(&happened).expect("JSON");
        let errors: Vec<String> = validator.iter_errors(&data).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:#?}\n{data:#}");
        data["unknown"] = json!(1);
        assert!(!validator.is_valid(&data), "a member that the document does not name: {data}");
    }
    let documented: Vec<&str> =
        schema["oneOf"].as_array().expect("events").iter().filter_map(|one| one["title"].as_str()).collect();
    assert_eq!(documented, names);
}

/// A listener that is full parts with silent connections, though the stream has been quiet for longer.
#[tokio::test]
async fn a_quiet_stream_stays_when_a_full_listener_makes_room() {
    let server = Server::with(None, Limits { connections: 3, ..Limits::default() }).await;
    let mut reader = Reader::open(server.tcp().await, "").await;
    let silent = [server.tcp().await, server.tcp().await];
    for _ in 0..4 {
        assert_eq!(server.get("/health/live").await.status, 200);
    }
    for stream in silent {
        read_all(stream).await;
    }
    server.supervisor.tell(Event::Serving);
    reader.until("\"serving\"").await;
    server.end().await;
}
