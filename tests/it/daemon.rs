//! The daemon as such: when it runs, what it remembers, how it ends.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::daemon::{CAP, Daemon};
use crate::harness::generate;
use crate::harness::mutate::Change;
use crate::harness::random;
use crate::harness::shape::Shape;
use crate::harness::site::Site;
use crate::harness::wait::eventually;

async fn site(studies: u32, seed: u64, interval: &'static str) -> Site {
    let mut site = Site::new(Shape::release("5.35.0"), random::seed(seed)).await;
    generate::fill(&mut site.archive, studies).await;
    site.settings.interval = interval;
    site
}

fn succeeded(status: &Value) -> bool {
    status["last_result"]["success"] == true
}

#[tokio::test]
async fn changes_arrive_by_themselves_at_every_interval() {
    let mut site = site(60, 91, "1s").await;
    let daemon = site.daemon().await;
    daemon.status_with("the first run", succeeded).await;
    for change in [Change::NewStudy, Change::Rename, Change::StudyAccess] {
        change.apply(&mut site.archive).await;
        let mut verdict = Err(String::from("never looked"));
        for _ in 0..120 {
            tokio::time::sleep(Duration::from_millis(250)).await;
            verdict = site.verdict().await;
            if verdict.is_ok() {
                break;
            }
        }
        assert_eq!(verdict, Ok(()), "{change:?}\n{}", daemon.log());
    }
    let status = daemon.status().await;
    for key in ["is_running", "paused", "last_run", "next_run", "interval_sec", "last_result"] {
        assert!(status.get(key).is_some(), "no {key} in {status}");
    }
    assert_eq!(status["interval_sec"], 1);
    for key in ["run_id", "success", "processed", "duration_ms", "error"] {
        assert!(status["last_result"].get(key).is_some(), "no last_result.{key} in {status}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn sigusr1_runs_now_also_while_paused() {
    let mut site = site(40, 92, "1h").await;
    let daemon = site.daemon().await;
    daemon.status_with("the first run", succeeded).await;
    assert_eq!(daemon.socket.ask("POST", "/sync/pause", Some("{\"reason\": \"upgrade\"}")).await.code, 200);
    Change::NewStudy.apply(&mut site.archive).await;
    daemon.signal(Signal::USR1);
    eventually("a run by signal in the history", CAP, async || {
        let history = daemon.get("/sync/history?limit=50").await.body;
        if history.contains("\"signal\"") { Ok(()) } else { Err(history) }
    })
    .await;
    daemon.status_with("the end of that run", |status| status["is_running"] == false).await;
    site.assert_in_step("after SIGUSR1").await;
    assert_eq!(daemon.status().await["paused"], true, "a forced run does not end the pause");
    daemon.stop().await;
}

#[tokio::test]
async fn sigterm_in_the_middle_of_a_load_ends_cleanly_and_the_rest_follows() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut site = site(random::studies(2500), 93, "1h").await;
        let mut daemon = site.daemon().await;
        daemon.status_with("a run under way", |status| status["is_running"] == true || succeeded(status)).await;
        daemon.signal(signal);
        assert_eq!(daemon.exit().await, 0, "{}", daemon.log());
        site.sync(&[]).await;
        site.assert_in_step("after a load that was stopped").await;
    }
}

#[tokio::test]
async fn a_pause_and_a_schedule_of_the_api_outlive_a_restart_and_a_crash() {
    let site = site(20, 94, "1h").await;
    let daemon = site.daemon().await;
    daemon.status_with("the first run", succeeded).await;
    let paused = daemon.socket.ask("POST", "/sync/pause", Some("{\"reason\": \"disk swap\", \"for\": \"2h\"}")).await;
    assert_eq!(paused.code, 200, "{paused:?}");
    let put = daemon.socket.ask("PUT", "/sync/schedule", Some("{\"interval_sec\": 30}")).await;
    assert_eq!(
        (put.code, put.json()["interval_sec"].clone(), put.json()["origin"].clone()),
        (200, 30.into(), "api".into())
    );
    daemon.stop().await;
    let daemon = site.daemon().await;
    let status = daemon
        .status_with("pause and schedule after a restart", |status| {
            status["paused"] == true && status["interval_sec"] == 30
        })
        .await;
    assert!(status["next_run"].is_null(), "{status}");
    daemon.crash().await;
    let daemon = site.daemon().await;
    daemon
        .status_with("pause and schedule after a crash", |status| {
            status["paused"] == true && status["interval_sec"] == 30
        })
        .await;
    assert_eq!(daemon.socket.ask("POST", "/sync/resume", None).await.code, 200);
    let deleted = daemon.socket.ask("DELETE", "/sync/schedule", None).await;
    assert_eq!((deleted.code, deleted.json()["origin"].clone()), (200, "file".into()));
    daemon.stop().await;
    let daemon = site.daemon().await;
    daemon
        .status_with("neither after they ended", |status| status["paused"] == false && status["interval_sec"] == 3600)
        .await;
    daemon.stop().await;
}

#[tokio::test]
async fn an_edit_of_the_file_while_it_is_down_ends_a_schedule_of_the_api() {
    let mut site = site(20, 95, "1h").await;
    let daemon = site.daemon().await;
    daemon.status_with("the first run", succeeded).await;
    assert_eq!(daemon.socket.ask("PUT", "/sync/schedule", Some("{\"interval_sec\": 30}")).await.code, 200);
    daemon.stop().await;
    site.settings.interval = "2h";
    let daemon = site.daemon().await;
    daemon.status_with("the file's new value", |status| status["interval_sec"] == 7200).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_second_daemon_on_the_same_socket_does_not_start() {
    let site = site(10, 96, "1h").await;
    let daemon = site.daemon().await;
    let mut second = crate::harness::daemon::Daemon::spawn(&site, &[]);
    assert_eq!(second.exit().await, 1);
    daemon.status_with("the first one is untouched", succeeded).await;
    daemon.stop().await;
}

/// The lines of a daemon that has ended, as objects.
fn objects(log: &str) -> Vec<Value> {
    let object = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}\nin {log}"));
    log.lines().map(object).collect()
}

#[tokio::test]
async fn a_daemon_that_does_not_start_says_each_error_once_and_as_an_error_with_a_kind() {
    let site = site(5, 97, "1h").await;
    site.configure();
    let running = Daemon::start(&site, &[]).await;
    let json = ("RBAC_SYNC_LOG_FORMAT", "json");
    let mut second =
        Daemon::spawn_as(&site, "second", &site.config(), site.socket(), &[json, ("RBAC_SYNC_LOG_LEVEL", "off")]);
    assert_eq!(second.exit().await, 1);
    let lines = objects(&second.log());
    assert_eq!(lines.len(), 1, "with the log off there are last words all the same: {lines:#?}");
    assert!(lines[0]["message"].as_str().unwrap().contains("cannot listen on the control socket"), "{lines:#?}");
    running.stop().await;

    std::fs::write(site.config(), site.toml().replace("[schedule]", "bogus = 1\n[shedule]")).unwrap();
    let mut third = Daemon::spawn_as(&site, "third", &site.config(), site.socket(), &[json]);
    assert_eq!(third.exit().await, 78);
    let refused = objects(&third.log());
    let texts: Vec<_> = refused.iter().map(|line| line["message"].as_str().unwrap()).collect();
    assert_eq!(texts.len(), 2, "{texts:#?}");
    for (text, wrong) in texts.iter().zip(["bogus", "shedule"]) {
        assert!(text.starts_with("not started: ") && text.contains(wrong), "{texts:#?}");
    }
    let kind = |line: &Value| line["message_id"].as_str().map(str::len);
    for line in lines.iter().chain(&refused) {
        assert_eq!((line["level"].as_str(), kind(line)), (Some("ERROR"), Some(32)), "{line:#}");
    }
    assert_ne!(lines[0]["message_id"], refused[0]["message_id"]);
}

#[tokio::test]
async fn the_log_has_the_shape_of_the_file_once_that_is_read() {
    let site = site(5, 98, "1h").await;
    std::fs::write(site.config(), site.toml().replace("format = \"text\"", "format = \"json\"")).unwrap();
    let daemon = Daemon::start(&site, &[]).await;
    let log = daemon.log();
    daemon.stop().await;
    assert_eq!(objects(&log)[0]["message"], "starting", "{log}");
}

/// The keys of an object in their order; of the values nothing.
struct Keys(Vec<String>);

impl<'de> serde::Deserialize<'de> for Keys {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> serde::de::Visitor<'de> for InOrder {
            type Value = Keys;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some((key, serde::de::IgnoredAny)) = map.next_entry()? {
                    keys.push(key);
                }
                Ok(Keys(keys))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[tokio::test]
async fn every_line_of_a_json_log_is_an_object_that_has_each_key_once() {
    let mut site = site(20, 95, "1h").await;
    site.configure();
    let daemon =
        Daemon::start(&site, &[("RBAC_SYNC_LOG_FORMAT", "json"), ("RBAC_SYNC_LOG_LEVEL", "rbac_sync=debug")]).await;
    daemon.status_with("the first run", succeeded).await;
    Change::NewStudy.apply(&mut site.archive).await;
    daemon.run("{}").await;
    let log = daemon.log();
    daemon.stop().await;
    for line in log.lines() {
        let Keys(mut keys) = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let all = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), all, "a key stands there twice: {line}");
    }
    let done = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut done = done.filter(|line| line["message"].as_str().is_some_and(|text| text.starts_with("run done")));
    assert!(done.any(|line| line["duration_ms"].is_u64()), "no duration that is a number: {log}");
}

/// Whoever writes into a log that nobody reads waits for its reader.
#[tokio::test]
async fn a_second_signal_ends_a_daemon_that_hangs() {
    let site = site(5, 99, "1h").await;
    site.configure();
    let log = site.folder.path().join("daemon.log");
    assert!(Command::new("mkfifo").arg(&log).status().unwrap().success());
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let _reader = File::options().read(true).custom_flags(nonblocking).open(&log).unwrap();
    let mut daemon = Daemon::spawn(&site, &[("RBAC_SYNC_LOG_LEVEL", "debug")]);
    std::fs::remove_file(&log).unwrap();
    std::fs::write(&log, "").unwrap();
    eventually("it hangs", CAP, async || {
        let mut answered = 0;
        while answered < 100 {
            let asked = daemon.socket.try_ask("GET", "/health/live", None, "");
            match tokio::time::timeout(Duration::from_secs(2), asked).await {
                Ok(Ok(_)) => answered += 1,
                Ok(Err(error)) => return Err(error.to_string()),
                Err(_) => return Ok(()),
            }
        }
        Err("it answers".to_owned())
    })
    .await;
    daemon.signal(Signal::TERM);
    daemon.signal(Signal::INT);
    let code = daemon.exit().await;
    assert!([130, 143].contains(&code), "{code}");
}
