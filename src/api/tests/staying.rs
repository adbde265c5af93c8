//! Requests that stay, for a run or for events: how senders share the places, what becomes of clients that leave, and
//! the end of those whom the configuration in effect lets in no more.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::server::{CAP, Reply, Server, configure, is, message, read_all};
use crate::api::serve::Limits;
use crate::api::testing::id;
use crate::config::{Digest, HttpClient, HttpConfig, Proof, Role};
use crate::supervisor::Event;

const WAIT: &str = "POST /sync/run?wait=1h";

/// What a client with this name and token sends.
fn bearer(name: &str) -> String {
    format!("Authorization: Bearer {name}\r\n")
}

/// Lets in these clients, each of which has its name as its token.
fn let_in(server: &Server, names: &[&str]) {
    let client = |name: &&str| {
        let proof = Proof::Token(Digest::of(name.as_bytes()));
        HttpClient { name: (*name).to_owned(), role: Role::Operator, proof }
    };
    let clients = names.iter().map(client).collect();
    let http = HttpConfig { clients, ..HttpConfig::on(([127, 0, 0, 1], 0).into()) };
    server.supervisor.change(|snapshot| configure(snapshot, Some(http)));
}

async fn ask(server: &Server, request: &str, headers: &str) -> TcpStream {
    let mut stream = server.tcp().await;
    stream.write_all(message(request, headers, "").as_bytes()).await.expect("sent");
    stream
}

/// An open stream of events, behind its head and its greeting.
async fn follow(server: &Server, headers: &str) -> TcpStream {
    let mut stream = ask(server, "GET /events", headers).await;
    until(&mut stream, "\nid: ").await;
    stream
}

async fn until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut text = String::new();
    while !text.contains(wanted) {
        let mut bytes = [0; 1024];
        let read = timeout(CAP, stream.read(&mut bytes)).await;
        let read = read.unwrap_or_else(|_| panic!("{wanted:?} does not come: {text}")).expect("data");
        assert_ne!(read, 0, "it ends before {wanted:?}: {text}");
        text += &String::from_utf8_lossy(&bytes[..read]);
    }
    text
}

/// Waits until so many runs are open.
async fn runs(server: &Server, number: usize) {
    server.app.handle.watch().wait_for(|now| now.open_runs.len() == number).await.expect("the supervisor lives");
}

/// Waits until there is a place for another wait, and gives it back.
async fn is_free(server: &Server) {
    let free = async {
        while server.get(&format!("/sync/runs/{}?wait=1ms", id(1))).await.status == 503 {
            tokio::task::yield_now().await;
        }
    };
    timeout(CAP, free).await.expect("there is room again");
}

#[tokio::test]
async fn a_sender_with_all_streams_loses_the_oldest_to_another_one() {
    let server = Server::with(None, Limits { streams: 2, ..Limits::default() }).await;
    let_in(&server, &["hog", "other"]);
    let (first, mut second) = (follow(&server, &bearer("hog")).await, follow(&server, &bearer("hog")).await);
    is(&server.send("GET /events", &bearer("hog"), "").await, 503, "busy");
    let mut other = follow(&server, &bearer("other")).await;
    assert!(read_all(first).await.ends_with("0\r\n\r\n"), "a whole reply, not a cut one");
    is(&server.send("GET /events", &bearer("hog"), "").await, 503, "busy");
    is(&server.send("GET /events", &bearer("other"), "").await, 503, "busy");
    server.supervisor.tell(Event::Serving);
    until(&mut second, "\"serving\"").await;
    until(&mut other, "\"serving\"").await;
    let metrics = server.send("GET /metrics", &bearer("other"), "").await.body;
    assert!(metrics.contains("rbac_sync_api_denied_total{reason=\"evicted\"} 1"), "{metrics}");
    server.end().await;
}

#[tokio::test]
async fn a_sender_with_all_waits_has_its_oldest_answered_early_for_another_one() {
    let server = Server::with(None, Limits { waits: 2, ..Limits::default() }).await;
    let_in(&server, &["hog", "other"]);
    let first = ask(&server, WAIT, &bearer("hog")).await;
    runs(&server, 1).await;
    let second = ask(&server, WAIT, &bearer("hog")).await;
    runs(&server, 2).await;
    is(&server.send(WAIT, &bearer("hog"), "").await, 503, "busy");
    let other = ask(&server, WAIT, &bearer("other")).await;
    assert_eq!(Reply::parse(&read_all(first).await).status, 202, "as if its time were over");
    runs(&server, 3).await;
    for _ in 0..3 {
        server.supervisor.finish(id(100), true);
    }
    for stream in [second, other] {
        assert_eq!(Reply::parse(&read_all(stream).await).status, 200);
    }
    server.end().await;
}

#[tokio::test]
async fn commands_have_places_of_their_own() {
    let server = Server::with(None, Limits { changes: 0, ..Limits::default() }).await;
    for request in ["POST /config/reload", "POST /sync/pause", "POST /sync/run", "DELETE /log/level"] {
        is(&server.send(request, "", "").await, 503, "busy");
    }
    assert_eq!(server.get("/sync/status").await.status, 200);
    server.end().await;
}

#[tokio::test]
async fn a_client_that_is_gone_has_no_place_any_more() {
    let server = Server::with(None, Limits { waits: 1, streams: 1, ..Limits::default() }).await;
    for number in 1..=3 {
        let gone = ask(&server, WAIT, "").await;
        runs(&server, number).await;
        is(&server.send(WAIT, "", "").await, 503, "busy");
        drop(gone);
        is_free(&server).await;
    }
    for _ in 0..3 {
        drop(follow(&server, "").await);
        // Nothing happens, and the heartbeat is far away.
        let again = async {
            loop {
                let mut stream = ask(&server, "GET /events", "").await;
                if until(&mut stream, "\r\n").await.contains("200 OK") {
                    return;
                }
            }
        };
        timeout(CAP, again).await.expect("there is room again");
    }
    server.end().await;
}

#[tokio::test]
async fn a_broken_connection_ends_the_request_that_waits() {
    let server = Server::with(None, Limits { connections: 1, ..Limits::default() }).await;
    let waiting = ask(&server, WAIT, "").await;
    runs(&server, 1).await;
    waiting.set_zero_linger().expect("a socket");
    drop(waiting);
    // There is one connection only, which is served as long as it is not seen that nobody is there.
    let again = async {
        loop {
            let mut stream = server.tcp().await;
            let _ = stream.write_all(message("GET /health/live", "", "").as_bytes()).await;
            if read_all(stream).await.contains("200 OK") {
                return;
            }
        }
    };
    timeout(CAP, again).await.expect("there is room again");
    server.end().await;
}

#[tokio::test]
async fn a_client_that_closes_its_half_gives_up_its_place_and_is_answered_in_full() {
    let server = Server::with(None, Limits { waits: 1, ..Limits::default() }).await;
    let mut half = ask(&server, WAIT, "").await;
    runs(&server, 1).await;
    half.shutdown().await.expect("half closed");
    is_free(&server).await;
    server.supervisor.finish(id(100), true);
    assert_eq!(Reply::parse(&read_all(half).await).status, 200);
    server.end().await;
}

#[tokio::test]
async fn half_closed_clients_that_wait_make_room_on_a_full_listener() {
    let server = Server::with(None, Limits { connections: 2, waits: 2, ..Limits::default() }).await;
    let mut halves = Vec::new();
    for number in 1..=2 {
        let mut half = ask(&server, WAIT, "").await;
        half.shutdown().await.expect("half closed");
        runs(&server, number).await;
        halves.push(half);
    }
    let served = async {
        loop {
            let mut stream = server.tcp().await;
            let _ = stream.write_all(message("GET /health/live", "", "").as_bytes()).await;
            if read_all(stream).await.contains("200 OK") {
                return;
            }
        }
    };
    timeout(CAP, served).await.expect("an answer");
    assert_eq!(read_all(halves.remove(0)).await, "", "the one that has waited for the longest time");
    server.supervisor.finish(id(100), true);
    server.supervisor.finish(id(100), true);
    assert_eq!(Reply::parse(&read_all(halves.remove(0)).await).status, 200);
    server.end().await;
}

#[tokio::test]
async fn what_a_client_sends_while_it_waits_is_answered_afterwards() {
    let server = Server::start().await;
    let mut stream = server.tcp().await;
    let wait = format!("{WAIT} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(wait.as_bytes()).await.expect("sent");
    runs(&server, 1).await;
    let live = "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(200);
    for part in live.as_bytes().chunks(700) {
        stream.write_all(part).await.expect("sent");
        // Others have their turn, so that it is not read in one piece.
        assert_eq!(server.get("/health/live").await.status, 200);
    }
    stream.write_all(message("GET /nope", "", "").as_bytes()).await.expect("sent");
    server.supervisor.finish(id(100), true);
    let replies = read_all(stream).await;
    assert_eq!(replies.matches("HTTP/1.1 200 OK").count(), 201, "{replies}");
    assert!(replies.rfind("HTTP/1.1 404") > replies.rfind("HTTP/1.1 200"));
    server.end().await;
}

#[tokio::test]
async fn a_token_that_was_taken_away_ends_its_streams_and_waits() {
    let server = Server::start().await;
    let_in(&server, &["stays", "goes"]);
    let (mut stays, goes) = (follow(&server, &bearer("stays")).await, follow(&server, &bearer("goes")).await);
    let started = ask(&server, WAIT, &bearer("goes")).await;
    runs(&server, 1).await;
    let run = ask(&server, &format!("GET /sync/runs/{}?wait=1h", id(100)), &bearer("goes")).await;
    // Whether that one waits already is not to be seen from here; it is refused either way.
    let_in(&server, &["stays"]);
    server.supervisor.tell(Event::Serving);
    let rest = read_all(goes).await;
    assert!(rest.ends_with("0\r\n\r\n") && !rest.contains("serving"), "{rest}");
    assert_eq!(Reply::parse(&read_all(started).await).status, 202, "the run goes on, and is its own");
    is(&Reply::parse(&read_all(run).await), 401, "unauthorized");
    until(&mut stays, "\"serving\"").await;
    is(&server.send("GET /events", &bearer("goes"), "").await, 401, "unauthorized");
    server.supervisor.change(|snapshot| configure(snapshot, None));
    assert!(read_all(stays).await.ends_with("0\r\n\r\n"), "nobody is served without [http]");
    server.end().await;
}
