//! When the daemon runs by itself: cron expressions, overrides that outlive it, changes that race; and the
//! log level at run time, which does not outlive it.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::control::started;
use crate::harness::daemon::Daemon;
use crate::harness::generate;
use crate::harness::http::{Address, Reply};
use crate::harness::random;
use crate::harness::shape::Shape;
use crate::harness::site::Site;

/// Saves the configuration with other lines in `[schedule]`.
fn schedule(site: &Site, lines: &str) {
    let text = site.toml();
    let configured = "interval = \"1h\"";
    assert!(text.contains(configured), "{text}");
    std::fs::write(site.config(), text.replace(configured, lines)).unwrap();
}

async fn put(address: &Address, target: &str, headers: &str, body: &Value) -> Reply {
    address.try_ask("PUT", target, Some(&body.to_string()), headers).await.unwrap()
}

#[tokio::test]
async fn a_cron_expression_starts_runs_and_an_override_outlives_a_restart_until_the_file_is_edited() {
    let mut site = Site::new(Shape::release("5.35.0"), random::seed(161)).await;
    generate::fill(&mut site.archive, 10).await;
    schedule(&site, "cron = \"*/2 * * * * *\"\ntime_zone = \"UTC\"\njitter = \"1s\"");
    let daemon = Daemon::start(&site, &[]).await;
    let twice = |status: &Value| status["last_result"]["success"] == true && status["interval_sec"] == 2;
    let first = daemon.status_with("a run by the clock", twice).await["last_run"].clone();
    daemon.status_with("another one", |status| status["last_run"] != first).await;
    let runs = daemon.get("/sync/history").await.json();
    assert_eq!(runs["runs"][0]["trigger"], "schedule", "{runs}");
    let from_file = json!({"interval_sec": null, "cron": "*/2 * * * * *", "time_zone": "UTC", "origin": "file"});
    assert_eq!(daemon.get("/sync/schedule").await.json(), from_file);

    let nightly = json!({"cron": "0 3 * * *", "time_zone": "Asia/Seoul"});
    let set = put(&daemon.socket, "/sync/schedule", "", &nightly).await;
    assert_eq!(set.code, 200, "{set:?}");
    let tag = set.header("etag").unwrap().to_owned();
    daemon.stop().await;

    let daemon = Daemon::start(&site, &[]).await;
    let awaited = |status: &Value| status["schedule"]["origin"] == "api" && status["next_run"].is_string();
    let status = daemon.status_with("the override is in effect again", awaited).await;
    assert_eq!(status["schedule"]["cron"], "0 3 * * *");
    let next = status["next_run"].as_str().unwrap();
    assert!(next.ends_with("T18:00:00Z") || next.contains("T18:00:0"), "3:00 in Seoul: {next}");
    assert_eq!(daemon.get("/sync/schedule").await.header("etag"), Some(tag.as_str()), "the tag outlives it too");
    assert_eq!(daemon.get("/health").await.code, 200, "a first run that is not due yet is no illness");

    schedule(&site, "interval = \"30m\"");
    daemon.status_with("the edited file", |status| status["schedule"]["interval_sec"] == 1800).await;
    assert_eq!(daemon.get("/sync/schedule").await.json()["origin"], "file");
    daemon.stop().await;
}

#[tokio::test]
async fn of_many_changes_that_saw_the_same_schedule_exactly_one_wins() {
    let (_site, daemon, http) = started(162, 10).await;
    for round in 0..5 {
        let seen = daemon.get("/sync/schedule").await.header("etag").unwrap().to_owned();
        let condition = format!("If-Match: {seen}\r\n");
        let racers = (0..12).map(|racer| {
            let address = if racer % 2 == 0 { &daemon.socket } else { &http };
            let body = json!({"interval_sec": 2000 + round * 100 + racer});
            let condition = &condition;
            async move { (put(address, "/sync/schedule", condition, &body).await, body) }
        });
        let replies = join_all(racers).await;
        let (won, lost): (Vec<_>, Vec<_>) = replies.iter().partition(|(reply, _)| reply.code == 200);
        assert_eq!(won.len(), 1, "{replies:?}");
        let codes: BTreeSet<(u16, String)> =
            lost.iter().map(|(reply, _)| (reply.code, reply.json()["type"].as_str().unwrap().to_owned())).collect();
        let refused = (412, "urn:rbac-sync:problem:precondition-failed".to_owned());
        assert_eq!(codes, BTreeSet::from([refused]), "{lost:?}");
        let now = daemon.get("/sync/schedule").await;
        assert_eq!(now.json()["interval_sec"], won[0].1["interval_sec"]);
        assert_eq!(now.header("etag"), won[0].0.header("etag"));
    }
    daemon.stop().await;
}

#[tokio::test]
async fn the_log_level_changes_what_is_logged_and_ends_by_itself_and_with_the_daemon() {
    let mut site = Site::new(Shape::release("5.35.0"), random::seed(163)).await;
    generate::fill(&mut site.archive, 10).await;
    site.settings.level = "warn";
    site.configure();
    let daemon = Daemon::start(&site, &[]).await;
    let requests = || daemon.log().matches("/sync/history").count();
    daemon.get("/sync/history").await;
    assert_eq!(requests(), 0, "{}", daemon.log());

    let set = put(&daemon.socket, "/log/level", "", &json!({"level": "rbac_sync=debug", "for": "2s"})).await;
    assert_eq!((set.code, &set.json()["origin"]), (200, &json!("api")), "{set:?}");
    daemon.get("/sync/history").await;
    assert_eq!(requests(), 1, "{}", daemon.log());
    let file = json!({"level": "warn", "origin": "file", "until": null});
    daemon.status_with("the file's level again", |status| status["log_level"] == file).await;
    daemon.get("/sync/history").await;
    assert_eq!(requests(), 1, "{}", daemon.log());

    let wrong = put(&daemon.socket, "/log/level", "", &json!({"level": "info,rbac_sync::api=loud"})).await;
    assert_eq!(wrong.code, 422, "{wrong:?}");
    assert!(wrong.body.contains("directive 2"), "{wrong:?}");
    assert_eq!(put(&daemon.socket, "/log/level", "", &json!({"level": "debug"})).await.code, 200);
    daemon.stop().await;
    let daemon = Daemon::start(&site, &[]).await;
    assert_eq!(daemon.get("/log/level").await.json(), file, "a restart forgets it");
    daemon.stop().await;
}
