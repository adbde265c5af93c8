//! What the daemon tells systemd, heard by a socket of the test's own.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::harness::cluster::free_port;
use crate::harness::daemon::{CAP, Daemon};
use crate::harness::generate;
use crate::harness::http::Address;
use crate::harness::random;
use crate::harness::shape::Shape;
use crate::harness::site::Site;

/// The service manager's end: every datagram so far, each with its lines.
struct Manager {
    socket: UnixDatagram,
    path: String,
    heard: Vec<Vec<String>>,
}

impl Manager {
    fn new(site: &Site) -> Self {
        let path = site.folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        Self { socket, path: path.to_str().unwrap().to_owned(), heard: Vec::new() }
    }

    fn receive(&mut self) -> Option<&[String]> {
        let mut buffer = [0; 8192];
        let length = self.socket.recv(&mut buffer).ok()?;
        let text = std::str::from_utf8(&buffer[..length]).expect("text");
        self.heard.push(text.lines().map(str::to_owned).collect());
        self.heard.last().map(Vec::as_slice)
    }

    /// Waits for a datagram with that line; answers the whole datagram.
    fn wait_for(&mut self, wanted: &str) -> Vec<String> {
        let start = Instant::now();
        while start.elapsed() < CAP {
            if let Some(lines) = self.receive().filter(|lines| lines.iter().any(|line| line == wanted)) {
                return lines.to_vec();
            }
        }
        panic!("no {wanted} in {:#?}", self.heard);
    }

    /// Forgets what was heard, and reads on from here.
    fn forget(&mut self) {
        self.heard.clear();
    }

    /// All that was sent before the end of the daemon.
    fn rest(&mut self) -> Vec<String> {
        while self.receive().is_some() {}
        self.heard.concat()
    }
}

async fn site(studies: u32, seed: u64) -> Site {
    let mut site = Site::new(Shape::release("5.35.0"), random::seed(seed)).await;
    generate::fill(&mut site.archive, studies).await;
    site.configure();
    site
}

/// The clock of `MONOTONIC_USEC`, as the service manager reads it.
fn monotonic_usec() -> u64 {
    let sd_notify::NotifyState::MonotonicUsec(now) = sd_notify::NotifyState::monotonic_usec_now().unwrap() else {
        panic!("another state")
    };
    u64::try_from(now).unwrap()
}

#[tokio::test]
async fn systemd_hears_ready_reloading_watchdog_and_stopping_in_their_order() {
    let site = site(20, 151).await;
    let mut manager = Manager::new(&site);
    let mut daemon = Daemon::spawn(&site, &[("NOTIFY_SOCKET", manager.path.as_str()), ("WATCHDOG_USEC", "1000000")]);
    let ready = manager.wait_for("READY=1");
    assert!(ready.iter().any(|line| line.starts_with("STATUS=")), "{ready:?}");
    assert_eq!(manager.heard.len(), 1, "nothing comes before READY: {:?}", manager.heard);
    let fed = Instant::now();
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1");
    }
    assert!(fed.elapsed() < Duration::from_secs(5), "a watchdog of one second was fed in {:?}", fed.elapsed());
    manager.forget();

    let before = monotonic_usec();
    daemon.signal(Signal::HUP);
    let reloading = manager.wait_for("RELOADING=1");
    let stamp = reloading.iter().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    let stamp: u64 = stamp.expect("the time in the same datagram, or systemd refuses it").parse().unwrap();
    assert!((before..=monotonic_usec()).contains(&stamp), "{before} {stamp}");
    manager.wait_for("READY=1");
    manager.forget();

    // A broken file: systemd is told of the end of the reload all the same, and sees what is wrong.
    std::fs::write(site.config(), "[[[").unwrap();
    daemon.signal(Signal::HUP);
    manager.wait_for("RELOADING=1");
    let ready = manager.wait_for("READY=1");
    assert!(ready.iter().any(|line| line.contains("configuration refused")), "{ready:?}");
    manager.forget();

    daemon.signal(Signal::TERM);
    assert_eq!(daemon.exit().await, 0, "{}", daemon.log());
    let rest = manager.rest();
    let stopping = rest.iter().position(|line| line == "STOPPING=1").unwrap_or_else(|| panic!("{rest:?}"));
    let after = &rest[stopping + 1..];
    assert!(!after.iter().any(|line| line == "READY=1" || line == "RELOADING=1" || line == "STOPPING=1"), "{rest:?}");
}

#[tokio::test]
async fn ready_means_that_both_listeners_are_there() {
    let mut site = site(5, 152).await;
    let port = free_port();
    site.settings.http = Some(format!("\"127.0.0.1:{port}\""));
    site.configure();
    let mut manager = Manager::new(&site);
    let daemon = Daemon::spawn(&site, &[("NOTIFY_SOCKET", manager.path.as_str())]);
    manager.wait_for("READY=1");
    // Without a second try.
    for address in [&daemon.socket, &Address::Tcp(([127, 0, 0, 1], port).into())] {
        assert_eq!(address.get("/health/live").await.code, 200);
    }
    daemon.stop().await;
}

/// A program that does not start must not be taken for one that is ready.
#[tokio::test]
async fn a_daemon_that_cannot_start_is_never_ready() {
    let site = site(5, 153).await;
    let mut manager = Manager::new(&site);
    std::fs::write(site.config(), site.toml().replace("[schedule]", "[shedule]")).unwrap();
    let mut daemon = Daemon::spawn(&site, &[("NOTIFY_SOCKET", manager.path.as_str())]);
    assert_eq!(daemon.exit().await, 78, "{}", daemon.log());
    assert_eq!(manager.rest(), Vec::<String>::new());
}

#[tokio::test]
async fn a_drain_that_takes_its_time_asks_for_more() {
    let mut site = site(random::studies(2500), 154).await;
    let mut manager = Manager::new(&site);
    let mut daemon = Daemon::start(&site, &[("NOTIFY_SOCKET", manager.path.as_str())]).await;
    // A request that never comes to its end holds the drain up to its limit.
    let Address::Unix(path) = &daemon.socket else { panic!("a socket") };
    let mut half = UnixStream::connect(path).await.unwrap();
    half.write_all(b"POST /sync/pause HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{").await.unwrap();
    daemon
        .status_with("the first run is under way or over", |status| {
            status["is_running"] == true || status["last_result"]["success"] == true
        })
        .await;
    manager.forget();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.exit().await, 0, "{}", daemon.log());
    let rest = manager.rest();
    let position = |wanted: &str| rest.iter().position(|line| line.starts_with(wanted));
    let (stopping, more) = (position("STOPPING=1"), position("EXTEND_TIMEOUT_USEC="));
    assert!(stopping.is_some() && stopping < more, "{rest:?}");
    let time: u64 = rest[more.unwrap()]["EXTEND_TIMEOUT_USEC=".len()..].parse().unwrap();
    assert!(time >= 5_000_000, "less than the time between two of them: {rest:?}");
    site.sync(&[]).await;
    site.assert_in_step("after the drain").await;
}
