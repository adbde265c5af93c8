//! Clients of every bad kind at once, on both listeners, in the clear and behind TLS: a run, a reload, the status and
//! the events for another client and the stop go through all the same.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::control::started;
use crate::harness::cluster::free_port;
use crate::harness::credentials::{client, hash};
use crate::harness::daemon::{CAP, Daemon};
use crate::harness::generate;
use crate::harness::hostile::{Caller, STREAMS, bad_clients};
use crate::harness::http::Address;
use crate::harness::mutate::Change;
use crate::harness::random;
use crate::harness::shape::Shape;
use crate::harness::site::Site;
use crate::harness::tls::Authority;
use crate::harness::wait::{check, eventually};

/// Another client waits no longer than this, also on a busy machine.
const BOUND: Duration = Duration::from_secs(10);
/// Connections at a time that a listener takes.
const CONNECTIONS: usize = 256;
/// Requests at a time that may wait for a run.
const WAITS: usize = 128;
/// Silent clients are sent away after ten seconds anyway, and after five in a handshake; whoever is served earlier
/// need not wait for that.
const HEADER_TIME: Duration = Duration::from_secs(8);
const HANDSHAKE_TIME: Duration = Duration::from_secs(4);

const GOOD: &str = "g00d-Token-Of-The-Operator-5077";
const BAD: &str = "b4d-Token-Of-Another-One-6613";

/// The two are of different addresses and have different tokens.
fn good_at(address: &Address) -> Caller {
    Caller { address: address.clone(), from: Ipv4Addr::new(127, 0, 0, 2), token: GOOD }
}

fn bad_at(address: &Address) -> Caller {
    Caller { address: address.clone(), from: Ipv4Addr::LOCALHOST, token: BAD }
}

/// A loaded site whose HTTP listener knows two operators, with or without TLS: the daemon, and where it listens.
async fn guarded(seed: u64, encrypted: bool) -> (Site, Daemon, Address) {
    let mut site = Site::new(Shape::release("5.35.0"), random::seed(seed)).await;
    generate::fill(&mut site.archive, 20).await;
    let listen = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let known = |name, token: &str| client(name, "operator", "token_hash", &hash(token.as_bytes()));
    let mut http = format!("\"{listen}\"\n{}{}", known("good", GOOD), known("bad", BAD));
    let mut address = Address::Tcp(listen);
    if encrypted {
        let authority = Authority::new();
        authority.issue(site.folder.path(), "server");
        let path = |name: &str| site.folder.path().join(name).display().to_string();
        let (certificate, key) = (path("server.pem"), path("server.key"));
        http += &format!("[http.tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n");
        address = Address::Tls(listen, authority.trusted());
    }
    site.settings.http = Some(http);
    let daemon = site.daemon().await;
    daemon.status_with("the first run", |status| status["last_result"]["success"] == true).await;
    (site, daemon, address)
}

async fn within<T>(what: &str, bound: Duration, work: impl Future<Output = T>) -> T {
    let start = Instant::now();
    let done = tokio::time::timeout(bound, work).await;
    let done = done.unwrap_or_else(|_| panic!("{what}: not within {bound:?} beside bad clients"));
    println!("{what}: {:?}", start.elapsed());
    done
}

/// Everything that the bad clients must not hold up.
async fn goes_on(site: &mut Site, daemon: &Daemon, good: &Caller) {
    let status = within("the status", BOUND, good.ask("GET", "/sync/status")).await;
    assert_eq!(status.code, 200);
    // On the socket the bad ones are the same user as this one, whose connections make room for each other: one that
    // is closed before it could ask is tried again.
    let socket = good_at(&daemon.socket);
    let status = eventually("the status on the socket", BOUND, async || {
        let reply = within("one answer", BOUND, socket.try_ask("GET", "/sync/status")).await;
        reply.map_err(|error| error.to_string())
    });
    assert_eq!(status.await.code, 200);
    let mut stream = within("a stream", BOUND, good.follow()).await;
    Change::NewStudy.apply(&mut site.archive).await;
    let run = within("a run", CAP, good.ask("POST", "/sync/run?wait=60s")).await;
    assert_eq!((run.code, &run.json()["success"]), (200, &true.into()), "{run:?}");
    let (name, id) = ("run.finished", run.json()["run_id"].clone());
    let told = stream.until("the end of the run", |event| event["event"] == name && event["run_id"] == id);
    within("its event", BOUND, told).await;
    site.assert_in_step("a run beside bad clients").await;
    site.settings.interval = if site.settings.interval == "50m" { "40m" } else { "50m" };
    site.configure();
    let seconds = if site.settings.interval == "50m" { 3000 } else { 2400 };
    let saved = eventually("a reload by the file", CAP, async || {
        let status = good.ask("GET", "/sync/status").await;
        check(status.json()["interval_sec"] == seconds, status.body)
    });
    within("a reload by the file", CAP, saved).await;
    let reload = within("a reload by the API", BOUND, good.ask("POST", "/config/reload")).await;
    assert_eq!(reload.code, 200, "{reload:?}");
    assert_eq!(good.ask("GET", "/sync/status").await.json()["paused"], false, "no half of a request was obeyed");
}

async fn bad_clients_hold_nobody_up(seed: u64, encrypted: bool) {
    let (mut site, mut daemon, http) = guarded(seed, encrypted).await;
    let good = good_at(&http);
    let bad = [bad_at(&http), bad_at(&daemon.socket)];
    let (clients, connections) = bad_clients(&bad, 4, random::seed(seed));
    eventually("the bad clients are at it", CAP, async || {
        let count = connections.load(Ordering::Relaxed);
        if count > 200 { Ok(()) } else { Err(count.to_string()) }
    })
    .await;
    for _ in 0..3 {
        goes_on(&mut site, &daemon, &good).await;
    }
    println!("{} connections of bad clients", connections.load(Ordering::Relaxed));
    daemon.signal(rustix::process::Signal::TERM);
    let code = within("the stop", Duration::from_secs(20), daemon.exit()).await;
    assert_eq!(code, 0, "{}", daemon.log());
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    drop(clients);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_clients_of_every_kind_hold_nobody_up() {
    bad_clients_hold_nobody_up(181, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_clients_of_every_kind_hold_nobody_up_behind_tls() {
    bad_clients_hold_nobody_up(184, true).await;
}

/// Silent connections up to the limit and past it on one listener: they make room for those who ask.
async fn a_flood_passes(seed: u64, encrypted: bool) {
    let (mut site, daemon, http) = guarded(seed, encrypted).await;
    let good = good_at(&http);
    let socket = good_at(&daemon.socket);
    let bound = if encrypted { HANDSHAKE_TIME } else { HEADER_TIME };
    for (flooded, other) in [(&good, &socket), (&socket, &good)] {
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS + 50 {
            silent.push(flooded.address.dial().await.unwrap());
        }
        let status = within("the status on the other listener", BOUND, other.ask("GET", "/sync/status")).await;
        assert_eq!(status.code, 200);
        let all = async {
            for _ in 0..10 {
                assert_eq!(flooded.ask("GET", "/sync/status").await.code, 200);
            }
        };
        within("ten times the status on this one", bound, all).await;
        drop(silent);
    }
    goes_on(&mut site, &daemon, &good).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_up_to_the_limit_passes() {
    a_flood_passes(182, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_up_to_the_limit_passes_behind_tls() {
    a_flood_passes(185, true).await;
}

/// One sender has all streams and all waits there are, the oldest of them gone, and asks for more, while a run
/// does not end: another sender follows the events, waits, and reloads.
async fn a_hog_shuts_nobody_out(seed: u64, encrypted: bool) {
    let (site, daemon, http) = guarded(seed, encrypted).await;
    let good = good_at(&http);
    let bad = bad_at(&http);
    let mut holder = site.archive_session().await;
    holder.run("BEGIN; LOCK TABLE series IN ACCESS EXCLUSIVE MODE").await;
    let run = daemon.socket.ask("POST", "/sync/run", Some("{\"mode\": \"full\"}")).await.json()["run_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let (wait, probe) = (format!("/sync/runs/{run}?wait=50s"), format!("/sync/runs/{run}?wait=1ms"));
    let mut held = Vec::new();
    for (target, probe, number) in [(wait.as_str(), probe.as_str(), WAITS), ("/events", "/events", STREAMS)] {
        for _ in 0..number {
            held.push(bad.send("GET", target).await.unwrap());
        }
        // The look itself may take a place from one that was on its way.
        eventually("it has all there are", BOUND, async || {
            let refused = bad.code("GET", probe).await == 503;
            if !refused {
                held.push(bad.send("GET", target).await.unwrap());
            }
            check(refused, target)
        })
        .await;
    }
    let mut stream = within("a stream", BOUND, good.follow()).await;
    let waiting = {
        let (good, wait) = (good.clone(), wait.clone());
        tokio::spawn(async move { good.ask("GET", &wait).await })
    };
    let evicted = async || {
        let count = daemon.metric("rbac_sync_api_denied_total{reason=\"evicted\"}").await;
        check(count == Some(2.0), format!("{count:?}"))
    };
    eventually("the oldest wait and the oldest stream made room", BOUND, evicted).await;
    let reload = within("a reload", BOUND, good.ask("POST", "/config/reload")).await;
    assert_eq!(reload.code, 200, "{reload:?}");
    // Whoever is gone has no place, also while nothing happens.
    let start = Instant::now();
    drop(held);
    let free = async || {
        let codes = (bad.code("GET", "/events").await, bad.code("GET", &probe).await);
        check(codes == (200, 200), format!("{codes:?}"))
    };
    eventually("there is room again", BOUND, free).await;
    println!("{} clients were gone, and it was seen within {:?}", WAITS + STREAMS, start.elapsed());
    holder.run("ROLLBACK").await;
    let ended = within("the end of the run", CAP, waiting).await.unwrap();
    assert_eq!((ended.code, &ended.json()["success"]), (200, &true.into()), "{ended:?}");
    let told = stream.until("its event", |event| event["event"] == "run.finished" && event["run_id"] == run);
    within("its event", BOUND, told).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hog_of_streams_and_waits_shuts_nobody_out() {
    a_hog_shuts_nobody_out(186, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hog_of_streams_and_waits_shuts_nobody_out_behind_tls() {
    a_hog_shuts_nobody_out(187, true).await;
}

/// Fifty clients at once during full runs: every answer is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_clients_during_a_run_get_no_error() {
    let (_site, daemon, http) = started(183, random::studies(1000)).await;
    let answered = Arc::new(AtomicU64::new(0));
    let end = Instant::now() + Duration::from_secs(3);
    let mut clients = JoinSet::new();
    for number in 0..50 {
        let (http, answered) = (http.clone(), answered.clone());
        let target = ["/sync/status", "/metrics"][number % 2];
        clients.spawn(async move {
            while Instant::now() < end {
                let reply = http.get(target).await;
                assert!(reply.code == 200 && !reply.body.is_empty(), "{reply:?}");
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    while Instant::now() < end {
        let run = daemon.run("{\"mode\": \"full\"}").await;
        assert_eq!(run["success"], true, "{run}");
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    println!("{} answers", answered.load(Ordering::Relaxed));
    assert!(answered.load(Ordering::Relaxed) > 50);
    daemon.stop().await;
}
