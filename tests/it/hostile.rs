//! Clients of every bad kind at once, on both listeners: a run, a reload, the status for another client and the
//! stop go through all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

use crate::control::started;
use crate::harness::daemon::{CAP, Daemon};
use crate::harness::http::Address;
use crate::harness::mutate::Change;
use crate::harness::random::{self, Random};
use crate::harness::site::Site;
use crate::harness::wait::eventually;

/// Another client waits no longer than this, also on a busy machine.
const BOUND: Duration = Duration::from_secs(10);
/// Connections at a time that a listener takes.
const CONNECTIONS: usize = 256;
/// Silent clients are sent away after ten seconds anyway; whoever is served earlier need not wait for that.
const HEADER_TIME: Duration = Duration::from_secs(8);

/// What a bad client does with its connection, again and again.
#[derive(Clone, Copy, Debug)]
enum Habit {
    /// A header that never ends, byte by byte.
    SlowHeader,
    /// A body that never ends, byte by byte.
    SlowBody,
    /// More header than the daemon takes.
    LargeHeader,
    /// More body than the daemon takes.
    LargeBody,
    /// Many requests at once.
    Pipeline,
    /// Many requests at once, and reads no answer.
    Deaf,
    /// Closes its half in the middle of a request, and waits.
    HalfClosed,
    /// Random bytes.
    Junk,
    /// The beginning of TLS where there is none.
    ClientHello,
    /// Comes and goes.
    Vanish,
}

const HABITS: [Habit; 10] = [
    Habit::SlowHeader,
    Habit::SlowBody,
    Habit::LargeHeader,
    Habit::LargeBody,
    Habit::Pipeline,
    Habit::Deaf,
    Habit::HalfClosed,
    Habit::Junk,
    Habit::ClientHello,
    Habit::Vanish,
];

/// One connection of either kind.
trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send {}
impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send> Stream for S {}

async fn connect(address: &Address) -> std::io::Result<Box<dyn Stream>> {
    Ok(match address {
        Address::Tcp(address) => Box::new(TcpStream::connect(address).await?),
        Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
    })
}

/// One connection's life. Errors are what the daemon does to such clients.
async fn misbehave(habit: Habit, address: &Address, random: &mut Random) -> std::io::Result<()> {
    const HEAD: &[u8] = b"POST /sync/pause HTTP/1.1\r\nHost: localhost\r\n";
    let mut stream = connect(address).await?;
    let drip = async |stream: &mut Box<dyn Stream>, bytes: &[u8]| loop {
        stream.write_all(bytes).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    match habit {
        Habit::SlowHeader => {
            stream.write_all(HEAD).await?;
            return drip(&mut stream, b"X-A: 1\r\n").await;
        }
        Habit::SlowBody => {
            stream.write_all(&[HEAD, b"Content-Length: 60000\r\n\r\n"].concat()).await?;
            return drip(&mut stream, b" ").await;
        }
        Habit::LargeHeader => stream.write_all(&[HEAD, &b"X-Many: 1\r\n".repeat(20_000)].concat()).await?,
        Habit::LargeBody => {
            stream.write_all(&[HEAD, b"Content-Length: 4000000\r\n\r\n", &vec![b' '; 4_000_000]].concat()).await?;
        }
        Habit::Pipeline => {
            stream.write_all(&b"GET /sync/status HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(50)).await?;
            stream.shutdown().await?;
        }
        Habit::Deaf => {
            stream.write_all(&b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(500)).await?;
            tokio::time::sleep(CAP).await;
        }
        Habit::HalfClosed => {
            stream.write_all(&[HEAD, b"Content-Length: 9\r\n\r\n{"].concat()).await?;
            stream.shutdown().await?;
        }
        Habit::Junk => {
            let bytes: Vec<u8> = (0..2000).map(|_| u8::try_from(random.below(256)).expect("a byte")).collect();
            stream.write_all(&bytes).await?;
            stream.shutdown().await?;
        }
        Habit::ClientHello => stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n").await?,
        Habit::Vanish => return Ok(()),
    }
    stream.read_to_end(&mut Vec::new()).await.map(|_| ())
}

/// Several clients of each kind on each listener; they end with the value.
fn bad_clients(addresses: &[Address], each: u64, seed: u64) -> (JoinSet<()>, Arc<AtomicU64>) {
    let mut clients = JoinSet::new();
    let connections = Arc::new(AtomicU64::new(0));
    for (place, address) in addresses.iter().enumerate() {
        for (kind, habit) in HABITS.into_iter().enumerate() {
            for number in 0..each {
                let (address, connections) = (address.clone(), connections.clone());
                let mut random = Random::new(seed + number * 100 + (place * 10 + kind) as u64);
                clients.spawn(async move {
                    loop {
                        let _ = misbehave(habit, &address, &mut random).await;
                        connections.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(5 + random.below(20))).await;
                    }
                });
            }
        }
    }
    (clients, connections)
}

async fn within<T>(what: &str, bound: Duration, work: impl Future<Output = T>) -> T {
    let start = Instant::now();
    let done = tokio::time::timeout(bound, work).await;
    let done = done.unwrap_or_else(|_| panic!("{what}: not within {bound:?} beside bad clients"));
    println!("{what}: {:?}", start.elapsed());
    done
}

/// Everything that the bad clients must not hold up.
async fn goes_on(site: &mut Site, daemon: &Daemon, http: &Address) {
    for address in [http, &daemon.socket] {
        let status = within("the status", BOUND, address.get("/sync/status")).await;
        assert_eq!(status.code, 200);
    }
    Change::NewStudy.apply(&mut site.archive).await;
    let run = within("a run", CAP, http.ask("POST", "/sync/run?wait=60s", None)).await;
    assert_eq!((run.code, &run.json()["success"]), (200, &true.into()), "{run:?}");
    site.assert_in_step("a run beside bad clients").await;
    site.settings.interval = if site.settings.interval == "50m" { "40m" } else { "50m" };
    site.configure();
    let seconds = if site.settings.interval == "50m" { 3000 } else { 2400 };
    let saved = daemon.status_with("the saved interval", |status| status["interval_sec"] == seconds);
    within("a reload by the file", CAP, saved).await;
    let reload = within("a reload by the API", BOUND, http.ask("POST", "/config/reload", None)).await;
    assert_eq!(reload.code, 200, "{reload:?}");
    assert_eq!(daemon.status().await["paused"], false, "no half of a request was obeyed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_clients_of_every_kind_hold_nobody_up() {
    let (mut site, mut daemon, http) = started(181, 20).await;
    let (clients, connections) = bad_clients(&[http.clone(), daemon.socket.clone()], 4, random::seed(181));
    eventually("the bad clients are at it", CAP, async || {
        let count = connections.load(Ordering::Relaxed);
        if count > 200 { Ok(()) } else { Err(count.to_string()) }
    })
    .await;
    for _ in 0..3 {
        goes_on(&mut site, &daemon, &http).await;
    }
    println!("{} connections of bad clients", connections.load(Ordering::Relaxed));
    daemon.signal(rustix::process::Signal::TERM);
    let code = within("the stop", Duration::from_secs(20), daemon.exit()).await;
    assert_eq!(code, 0, "{}", daemon.log());
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    drop(clients);
}

/// Silent connections up to the limit and past it on one listener: they make room for those who ask.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_up_to_the_limit_passes() {
    let (mut site, daemon, http) = started(182, 20).await;
    for flooded in [http.clone(), daemon.socket.clone()] {
        let other = if matches!(flooded, Address::Tcp(_)) { &daemon.socket } else { &http };
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS + 50 {
            silent.push(connect(&flooded).await.unwrap());
        }
        let status = within("the status on the other listener", BOUND, other.get("/sync/status")).await;
        assert_eq!(status.code, 200);
        for _ in 0..10 {
            let status = within("the status on this one", HEADER_TIME, flooded.get("/sync/status")).await;
            assert_eq!(status.code, 200);
        }
        drop(silent);
    }
    goes_on(&mut site, &daemon, &http).await;
    daemon.stop().await;
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
