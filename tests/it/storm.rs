//! Signals in random order and number: the last of each kind has its effect, and the stop comes in time.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::daemon::{CAP, Daemon};
use crate::harness::generate;
use crate::harness::mutate::Change;
use crate::harness::random::{self, Random};
use crate::harness::shape::Shape;
use crate::harness::site::Site;
use crate::harness::wait::eventually;

/// From SIGTERM to the end, with a run under way, on a busy machine.
const STOP_BOUND: Duration = Duration::from_secs(30);

const INTERVALS: [(&str, u64); 4] = [("31m", 1860), ("32m", 1920), ("33m", 1980), ("34m", 2040)];

fn succeeded(status: &Value) -> bool {
    status["last_result"]["success"] == true
}

/// Sends up to `most` signals, SIGHUP and SIGUSR1, and changes the file and the archive in between.
async fn storm(site: &mut Site, daemon: &Daemon, random: &mut Random, most: u64) {
    for _ in 0..random.below(most) {
        if random.chance(10) {
            site.settings.interval = random.choose(&INTERVALS).0;
            site.configure();
        }
        if random.chance(10) {
            Change::NewStudy.apply(&mut site.archive).await;
        }
        daemon.signal(*random.choose(&[Signal::HUP, Signal::USR1]));
        if random.chance(50) {
            tokio::time::sleep(Duration::from_millis(random.below(15))).await;
        }
    }
}

/// Reloads by SIGHUP so far, whatever came of them.
async fn reloads(daemon: &Daemon) -> f64 {
    let text = daemon.get("/metrics").await.body;
    let lines = text.lines().filter(|line| line.starts_with("rbac_sync_config_reloads_total{"));
    let lines = lines.filter(|line| line.contains("trigger=\"signal\""));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[tokio::test]
async fn the_last_signal_of_each_kind_has_its_effect() {
    let seed = random::seed(161);
    let mut random = Random::new(seed);
    let mut site = Site::new(Shape::release("5.35.0"), seed).await;
    generate::fill(&mut site.archive, 30).await;
    let daemon = site.daemon().await;
    daemon.status_with("the first run", succeeded).await;
    for round in 0..6 {
        storm(&mut site, &daemon, &mut random, 60).await;
        // What came last must not be lost among all that came before.
        let (interval, seconds) = *random.choose(&INTERVALS);
        site.settings.interval = interval;
        site.configure();
        Change::NewStudy.apply(&mut site.archive).await;
        let before = reloads(&daemon).await;
        for signal in if random.chance(50) { [Signal::HUP, Signal::USR1] } else { [Signal::USR1, Signal::HUP] } {
            daemon.signal(signal);
        }
        daemon.status_with("the interval of the last SIGHUP", |status| status["interval_sec"] == seconds).await;
        eventually("the reload of the last SIGHUP", CAP, async || {
            let now = reloads(&daemon).await;
            if now > before { Ok(()) } else { Err(format!("round {round}: {now} reloads")) }
        })
        .await;
        eventually("the rows of the last SIGUSR1", CAP, async || site.verdict().await).await;
    }
    daemon.status_with("rest", |status| status["is_running"] == false).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_sigterm_in_the_middle_of_a_storm_ends_it_in_time() {
    let seed = random::seed(162);
    let mut random = Random::new(seed);
    let mut site = Site::new(Shape::release("5.35.0"), seed).await;
    generate::fill(&mut site.archive, random::studies(300)).await;
    for round in 0..8 {
        let mut daemon = site.daemon().await;
        storm(&mut site, &daemon, &mut random, 40).await;
        let asked = Instant::now();
        daemon.signal(if random.chance(50) { Signal::TERM } else { Signal::INT });
        // Other signals that come while it stops neither end it at once nor keep it from its end.
        for _ in 0..random.below(5) {
            if daemon.is_over() {
                break;
            }
            daemon.signal(*random.choose(&[Signal::HUP, Signal::USR1]));
        }
        assert_eq!(daemon.exit().await, 0, "round {round}: {}", daemon.log());
        assert!(asked.elapsed() < STOP_BOUND, "round {round}: {:?}", asked.elapsed());
        assert!(!site.socket().exists(), "round {round}: the socket file is left");
    }
    site.sync(&[]).await;
    site.assert_in_step("after the storms").await;
}
