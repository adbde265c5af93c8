//! A changed configuration takes effect without a restart; a broken one changes nothing.

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::daemon::{CAP, Daemon};
use crate::harness::generate;
use crate::harness::mutate::Change;
use crate::harness::random;
use crate::harness::shape::Shape;
use crate::harness::site::Site;
use crate::harness::wait::eventually;

async fn started(seed: u64) -> (Site, Daemon) {
    let mut site = Site::new(Shape::release("5.35.0"), random::seed(seed)).await;
    generate::fill(&mut site.archive, 20).await;
    let daemon = site.daemon().await;
    daemon.status_with("the first run", |status| status["last_result"]["success"] == true).await;
    (site, daemon)
}

fn refused(status: &Value) -> bool {
    status["config"]["last_reload_successful"] == false
}

fn accepted(status: &Value) -> bool {
    status["config"]["last_reload_successful"] == true
}

/// Replaces the file as most editors do.
fn rename_over(site: &Site, text: &str) {
    let new = site.folder.path().join("rbac-sync.toml.new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, site.config()).unwrap();
}

#[tokio::test]
async fn a_saved_interval_takes_effect_at_once_however_it_is_saved() {
    let (mut site, daemon) = started(101).await;
    for (interval, seconds, in_place) in
        [("2h", 7200, true), ("90m", 5400, false), ("45m", 2700, true), ("30m", 1800, false), ("2s", 2, false)]
    {
        site.settings.interval = interval;
        if in_place {
            site.configure()
        } else {
            rename_over(&site, &site.toml())
        }
        daemon.status_with(interval, |status| status["interval_sec"] == seconds && accepted(status)).await;
    }
    Change::NewStudy.apply(&mut site.archive).await;
    let runs = daemon.status().await["last_run"].clone();
    daemon.status_with("a run at the new interval", |status| status["last_run"] != runs).await;
    daemon.status_with("another one", |status| status["is_running"] == false).await;
    let pid_of_one_process = daemon.status().await["started"].clone();
    assert!(pid_of_one_process.is_string());
    daemon.stop().await;
}

#[tokio::test]
async fn a_broken_file_keeps_the_old_configuration_and_says_so_until_it_is_good_again() {
    let (mut site, daemon) = started(102).await;
    let good = site.toml();
    for broken in [
        good.replace("interval = \"1h\"", "interval = \"0s\""),
        good.replace("[schedule]", "[shedule]"),
        "[[[".to_owned(),
        String::new(),
    ] {
        rename_over(&site, &broken);
        let status = daemon.status_with("the refusal", refused).await;
        assert_eq!(status["interval_sec"], 3600, "{status}");
        assert!(!status["config"]["errors"].as_array().unwrap().is_empty(), "{status}");
        assert_eq!(daemon.metric("rbac_sync_config_last_reload_successful").await, Some(0.0));
        assert_eq!(daemon.get("/health/live").await.code, 200);
        Change::NewStudy.apply(&mut site.archive).await;
        daemon.run("{}").await;
        site.assert_in_step("a run with the old configuration").await;
        // The very same text as before is a good reload too.
        rename_over(&site, &good);
        let status = daemon.status_with("good again", accepted).await;
        assert_eq!(status["config"]["errors"].as_array().map(Vec::len), Some(0), "{status}");
        assert_eq!(daemon.metric("rbac_sync_config_last_reload_successful").await, Some(1.0));
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_broken_file_is_reported_once() {
    let (site, daemon) = started(103).await;
    rename_over(&site, "[[[");
    daemon.status_with("the refusal", refused).await;
    let failures = async || {
        let text = daemon.get("/metrics").await.body;
        let lines = text.lines().filter(|line| line.starts_with("rbac_sync_config_reloads_total{"));
        let failed = lines.filter(|line| line.contains("trigger=\"file\"") && !line.contains("result=\"success\""));
        failed.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    let before = failures().await;
    assert!(before >= 1.0);
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(failures().await.to_bits(), before.to_bits(), "reported again without a change");
    daemon.stop().await;
}

#[tokio::test]
async fn sighup_and_the_api_reload_and_answer_with_the_changed_keys() {
    let (mut site, daemon) = started(104).await;
    site.settings.interval = "20m";
    site.configure();
    daemon.signal(Signal::HUP);
    daemon.status_with("the interval after SIGHUP", |status| status["interval_sec"] == 1200).await;
    std::fs::write(site.config(), site.toml().replace("interval = \"20m\"", "interval = 'often'")).unwrap();
    let reply = daemon.socket.ask("POST", "/config/reload", None).await;
    assert!((400..500).contains(&reply.code) || reply.json()["success"] == false, "{reply:?}");
    assert!(reply.body.contains("rbac-sync.toml:2:"), "{reply:?}");
    assert_eq!(daemon.status().await["interval_sec"], 1200);
    site.settings.interval = "10m";
    site.configure();
    let reply = eventually("a good reload", CAP, async || {
        let reply = daemon.socket.ask("POST", "/config/reload", None).await;
        if reply.code == 200 { Ok(reply.json()) } else { Err(format!("{reply:?}")) }
    })
    .await;
    assert_eq!(reply["success"], true, "{reply}");
    assert_eq!(daemon.status().await["interval_sec"], 600);
    let config = daemon.get("/config").await;
    assert_eq!(config.code, 200);
    assert!(!config.body.contains("s3cret"), "{config:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn an_edit_of_the_file_ends_a_schedule_of_the_api() {
    let (mut site, daemon) = started(105).await;
    assert_eq!(daemon.socket.ask("PUT", "/sync/schedule", Some("{\"interval_sec\": 77}")).await.code, 200);
    assert_eq!(daemon.status().await["interval_sec"], 77);
    site.settings.interval = "40m";
    site.configure();
    daemon.status_with("the file's value", |status| status["interval_sec"] == 2400).await;
    assert_eq!(daemon.get("/sync/schedule").await.json()["origin"], "file");
    daemon.stop().await;
}

#[tokio::test]
async fn a_storm_of_signals_is_survived_and_still_obeyed() {
    let (mut site, daemon) = started(106).await;
    for _ in 0..40 {
        daemon.signal(Signal::HUP);
        daemon.signal(Signal::USR1);
    }
    Change::NewStudy.apply(&mut site.archive).await;
    daemon.run("{}").await;
    site.assert_in_step("after the storm").await;
    daemon.stop().await;
}
