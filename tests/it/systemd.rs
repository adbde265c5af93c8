//! What the daemon tells systemd, heard by a socket of the test's own.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::daemon::{CAP, Daemon};
use crate::harness::generate;
use crate::harness::random;
use crate::harness::shape::Shape;
use crate::harness::site::Site;

/// Collects datagrams until one line matches; all lines so far.
fn heard_until(socket: &UnixDatagram, lines: &mut Vec<String>, wanted: &str) {
    let start = Instant::now();
    let mut buffer = [0; 8192];
    while start.elapsed() < CAP {
        if let Ok(length) = socket.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            lines.extend(text.lines().map(str::to_owned));
            if text.lines().any(|line| line == wanted) {
                return;
            }
        }
    }
    panic!("no {wanted} in {lines:#?}");
}

#[tokio::test]
async fn systemd_hears_ready_reloading_watchdog_and_stopping_in_their_order() {
    let mut site = Site::new(Shape::release("5.35.0"), random::seed(151)).await;
    generate::fill(&mut site.archive, 20).await;
    site.configure();
    let path = site.folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut daemon =
        Daemon::start(&site, &[("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "1000000")]).await;
    let mut lines = Vec::new();
    heard_until(&socket, &mut lines, "READY=1");
    heard_until(&socket, &mut lines, "WATCHDOG=1");
    assert!(lines.iter().any(|line| line.starts_with("STATUS=")), "{lines:#?}");
    lines.clear();
    daemon.signal(Signal::HUP);
    heard_until(&socket, &mut lines, "RELOADING=1");
    if !lines.contains(&"READY=1".to_owned()) {
        heard_until(&socket, &mut lines, "READY=1");
    }
    let position = |wanted: &str| lines.iter().position(|line| line == wanted);
    assert!(position("RELOADING=1") < position("READY=1"), "{lines:#?}");
    assert!(lines.iter().any(|line| line.starts_with("MONOTONIC_USEC=")), "{lines:#?}");
    // A broken file: systemd is told of the end of the reload all the same.
    lines.clear();
    std::fs::write(site.config(), "[[[").unwrap();
    daemon.signal(Signal::HUP);
    heard_until(&socket, &mut lines, "READY=1");
    lines.clear();
    daemon.signal(Signal::TERM);
    heard_until(&socket, &mut lines, "STOPPING=1");
    assert_eq!(daemon.exit().await, 0, "{}", daemon.log());
}
