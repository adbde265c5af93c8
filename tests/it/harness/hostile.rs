//! Clients of every bad kind.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use super::credentials::bearer;
use super::daemon::CAP;
use super::http::{Address, Connection, Reply, exchange, parse};
use super::random::Random;
use super::stream::Stream;
use super::tls::client_hello;

/// Requests at a time that may follow the events, on each listener.
pub(crate) const STREAMS: usize = 32;

/// Somebody with a way to the daemon, an own address of this host, and a token: on the socket nobody looks at these.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) address: Address,
    pub(crate) from: Ipv4Addr,
    pub(crate) token: &'static str,
}

impl Caller {
    async fn connect(&self) -> std::io::Result<Box<dyn Connection>> {
        self.address.connect_from(self.from).await
    }

    pub(crate) async fn ask(&self, method: &str, target: &str) -> Reply {
        self.try_ask(method, target).await.unwrap_or_else(|error| panic!("{method} {target}: {error}"))
    }

    pub(crate) async fn try_ask(&self, method: &str, target: &str) -> std::io::Result<Reply> {
        let request = self.head(method, target) + "Connection: close\r\n\r\n";
        let answered = async { exchange(self.connect().await?, request.as_bytes()).await };
        let bytes = tokio::time::timeout(CAP, answered).await.map_err(|_| std::io::ErrorKind::TimedOut)??;
        parse(&bytes).ok_or_else(|| std::io::Error::other("no HTTP"))
    }

    /// A request as it is sent, without the empty line at the end of its header.
    fn head(&self, method: &str, target: &str) -> String {
        format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{}", bearer(self.token))
    }

    /// A connection with this request on it.
    pub(crate) async fn send(&self, method: &str, target: &str) -> std::io::Result<Box<dyn Connection>> {
        let mut stream = self.connect().await?;
        stream.write_all((self.head(method, target) + "\r\n").as_bytes()).await?;
        Ok(stream)
    }

    /// The status code alone, from an answer that may go on; the connection is left at once.
    pub(crate) async fn code(&self, method: &str, target: &str) -> u16 {
        let mut start = [0; 12];
        let answered = async { self.send(method, target).await?.read_exact(&mut start).await };
        let answered = tokio::time::timeout(CAP, answered).await.unwrap_or_else(|_| panic!("{target}: no answer"));
        answered.unwrap_or_else(|error| panic!("{target}: {error}"));
        String::from_utf8_lossy(&start[9..]).parse().expect("a status line")
    }

    /// A stream of events from now on, open.
    pub(crate) async fn follow(&self) -> Stream {
        Stream::open_on(self.connect().await.unwrap(), &bearer(self.token)).await
    }
}

/// What a bad client does with its connection, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Follows the events and is gone.
    GoneStream,
    /// Waits for a run and is gone.
    GoneWait,
    /// Follows the events as often as it can.
    StreamHog,
    /// A handshake that never ends, byte by byte.
    SlowHandshake,
    /// Gone in the middle of a handshake.
    GoneHandshake,
    /// Random bytes where a handshake should be.
    JunkHandshake,
    /// Silent after the handshake.
    Mute,
}

const HABITS: [Habit; 13] = [
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
    Habit::GoneStream,
    Habit::GoneWait,
    Habit::StreamHog,
];
/// On top, where there is TLS.
const HABITS_OF_TLS: [Habit; 4] = [Habit::SlowHandshake, Habit::GoneHandshake, Habit::JunkHandshake, Habit::Mute];

async fn drip(stream: &mut Box<dyn Connection>, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    Ok(())
}

fn junk(random: &mut Random) -> Vec<u8> {
    (0..2000).map(|_| u8::try_from(random.below(256)).expect("a byte")).collect()
}

/// One connection's life. Errors are what the daemon does to such clients.
async fn misbehave(habit: Habit, caller: &Caller, random: &mut Random) -> std::io::Result<()> {
    if let Address::Tls(_, trusted) = &caller.address
        && HABITS_OF_TLS.contains(&habit)
    {
        return begin_badly(habit, &caller.address, &client_hello(trusted.clone()), random).await;
    }
    let mut stream = caller.connect().await?;
    let head = caller.head("POST", "/sync/pause").into_bytes();
    match habit {
        Habit::SlowHeader => {
            stream.write_all(&head).await?;
            loop {
                drip(&mut stream, b"X-A: 1\r\n").await?;
            }
        }
        Habit::SlowBody => {
            stream.write_all(&[&head, &b"Content-Length: 60000\r\n\r\n"[..]].concat()).await?;
            loop {
                drip(&mut stream, b" ").await?;
            }
        }
        Habit::LargeHeader => stream.write_all(&[head, b"X-Many: 1\r\n".repeat(20_000)].concat()).await?,
        Habit::LargeBody => {
            stream
                .write_all(&[&head, &b"Content-Length: 4000000\r\n\r\n"[..], &vec![b' '; 4_000_000]].concat())
                .await?;
        }
        Habit::Pipeline => {
            stream.write_all((caller.head("GET", "/sync/status") + "\r\n").repeat(50).as_bytes()).await?;
            stream.shutdown().await?;
        }
        Habit::Deaf => {
            stream.write_all((caller.head("GET", "/metrics") + "\r\n").repeat(500).as_bytes()).await?;
            tokio::time::sleep(CAP).await;
        }
        Habit::HalfClosed => {
            stream.write_all(&[&head, &b"Content-Length: 9\r\n\r\n{"[..]].concat()).await?;
            stream.shutdown().await?;
        }
        Habit::Junk => {
            stream.write_all(&junk(random)).await?;
            stream.shutdown().await?;
        }
        Habit::ClientHello => stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n").await?,
        Habit::Vanish => return Ok(()),
        Habit::GoneStream => {
            caller.send("GET", "/events").await?.read_exact(&mut [0; 12]).await?;
            return Ok(());
        }
        Habit::GoneWait => {
            let _gone = caller.send("POST", "/sync/run?wait=60s").await?;
            tokio::time::sleep(Duration::from_millis(random.below(50))).await;
            return Ok(());
        }
        Habit::StreamHog => {
            let mut held = Vec::new();
            for _ in 0..STREAMS + 8 {
                held.push(caller.send("GET", "/events").await?);
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
            return Ok(());
        }
        // In the clear there is nothing to be slow with.
        Habit::SlowHandshake | Habit::GoneHandshake | Habit::JunkHandshake | Habit::Mute => {}
    }
    stream.read_to_end(&mut Vec::new()).await.map(|_| ())
}

/// As [`misbehave`], before there is a connection to speak HTTP on.
async fn begin_badly(habit: Habit, address: &Address, hello: &[u8], random: &mut Random) -> std::io::Result<()> {
    let mut stream = address.dial().await?;
    match habit {
        Habit::SlowHandshake => {
            for byte in hello {
                drip(&mut stream, &[*byte]).await?;
            }
        }
        Habit::GoneHandshake => {
            stream.write_all(hello).await?;
            // Without that the daemon may not have begun.
            stream.read_exact(&mut [0; 5]).await?;
            return Ok(());
        }
        Habit::JunkHandshake => stream.write_all(&junk(random)).await?,
        _ => stream = address.connect().await?,
    }
    stream.read_to_end(&mut Vec::new()).await.map(|_| ())
}

/// Several clients of each kind for each caller; they end with the value.
pub(crate) fn bad_clients(callers: &[Caller], each: u64, seed: u64) -> (JoinSet<()>, Arc<AtomicU64>) {
    let mut clients = JoinSet::new();
    let connections = Arc::new(AtomicU64::new(0));
    for (place, caller) in callers.iter().enumerate() {
        let of_tls = HABITS_OF_TLS.into_iter().filter(|_| matches!(caller.address, Address::Tls(..)));
        for (kind, habit) in HABITS.into_iter().chain(of_tls).enumerate() {
            for number in 0..each {
                let (caller, connections) = (caller.clone(), connections.clone());
                let mut random = Random::new(seed + number * 100 + (place * 20 + kind) as u64);
                clients.spawn(async move {
                    loop {
                        let _ = misbehave(habit, &caller, &mut random).await;
                        connections.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(5 + random.below(20))).await;
                    }
                });
            }
        }
    }
    (clients, connections)
}
