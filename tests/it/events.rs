//! Following a daemon: what is told, who can come back, and that no follower holds up anything. And requests
//! that come twice.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::control::started;
use crate::harness::cluster::free_port;
use crate::harness::generate;
use crate::harness::http::Address;
use crate::harness::mutate::Change;
use crate::harness::random;
use crate::harness::shape::Shape;
use crate::harness::site::{Site, program};
use crate::harness::stream::Stream;

/// No daemon ever gives this place.
const NOWHERE: &str = "0000000000000000-0";

fn is(name: &'static str) -> impl Fn(&Value) -> bool {
    move |event| event["event"] == name
}

/// A site whose daemon does nothing by itself after its first run.
async fn quiet(seed: u64, studies: u32) -> Site {
    let mut site = Site::new(Shape::release("5.35.0"), random::seed(seed)).await;
    generate::fill(&mut site.archive, studies).await;
    site.settings.interval = "1h";
    site.settings.http = Some(format!("\"127.0.0.1:{}\"", free_port()));
    site
}

#[tokio::test]
async fn a_load_is_told_from_its_start_over_its_progress_drain() {
    let site = quiet(171, random::studies(6000)).await;
    let daemon = site.daemon().await;
    let mut stream = Stream::open(&daemon.socket, NOWHERE).await;
    let run = stream.until("the start of the load", is("run.started")).await;
    stream.until("progress", is("run.progress")).await;
    let ended = stream.until("the end of the load", is("run.finished")).await;
    assert_eq!((&run["trigger"], &run["state"], &run["finished"]), (&json!("start"), &json!("running"), &Value::Null));
    assert_eq!((&ended["success"], &ended["run_id"]), (&json!(true), &run["run_id"]));
    let names = stream.names();
    assert_eq!(names.iter().filter(|name| !name.starts_with("run.")).collect::<Vec<_>>(), [&"gap"], "{names:?}");
    let mut before = 0;
    for progress in stream.events.iter().filter(|event| event["event"] == "run.progress") {
        let processed = progress["processed"].as_u64().unwrap();
        let levels = progress["levels"].as_object().unwrap();
        let sum: u64 = levels.values().map(|level| level["processed"].as_u64().unwrap()).sum();
        assert!(processed > before && sum == processed && levels.len() == 4, "{progress}");
        assert!(progress["rows_per_sec"].as_f64().unwrap() > 0.0, "{progress}");
        before = processed;
    }
    assert!(before > 0 && before <= ended["processed"].as_u64().unwrap(), "{before}: {ended}");
    let mut resource = daemon.get(&format!("/sync/runs/{}", run["run_id"].as_str().unwrap())).await.json();
    for beside in ["id", "at", "event"] {
        resource[beside] = ended[beside].clone();
    }
    assert_eq!(resource, ended, "the event is the record of the run");
    daemon.stop().await;
}

#[tokio::test]
async fn a_reader_comes_back_to_its_place_and_after_a_restart_to_a_gap() {
    let mut site = quiet(172, 20).await;
    let daemon = site.daemon().await;
    let mut stream = Stream::open(&daemon.socket, NOWHERE).await;
    stream.until("the first run", is("run.finished")).await;
    let place = stream.ids.last().unwrap().clone();
    drop(stream);
    Change::NewStudy.apply(&mut site.archive).await;
    let run = daemon.run("{}").await;
    assert_eq!(daemon.socket.ask("POST", "/sync/pause", Some("{\"reason\": \"disk swap\"}")).await.code, 200);
    assert_eq!(daemon.socket.ask("PUT", "/sync/schedule", Some("{\"interval_sec\": 7200}")).await.code, 200);
    std::fs::write(site.config(), site.toml() + "\n[nonsense]\n").unwrap();
    assert_eq!(daemon.socket.ask("POST", "/config/reload", None).await.code, 422);
    site.configure();
    assert_eq!(daemon.socket.ask("POST", "/config/reload", None).await.code, 200);
    assert_eq!(daemon.socket.ask("POST", "/sync/resume", None).await.code, 200);
    let mut back = Stream::open(&daemon.socket, &place).await;
    back.until("the latest event", is("resumed")).await;
    let mut names = back.names();
    // The watched file triggers reloads of its own.
    names.retain(|name| !name.starts_with("reload"));
    assert_eq!(names, ["run.started", "run.finished", "paused", "schedule.changed", "resumed"]);
    assert_eq!(back.events[1]["run_id"], run["run_id"]);
    let told = |name| back.events.iter().find(|event| event["event"] == name).unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(
        (&told("paused")["reason"], &told("schedule.changed")["interval_sec"]),
        (&json!("disk swap"), &json!(7200))
    );
    assert!(told("reload.refused")["errors"].to_string().contains("nonsense"), "{:?}", back.events);
    assert_eq!(told("reloaded")["success"], true);

    let place = back.ids.last().unwrap().clone();
    daemon.stop().await;
    back.drain().await;
    assert_eq!(back.names().last(), Some(&"stopping"));
    let daemon = site.daemon().await;
    let mut after = Stream::open(&daemon.socket, &place).await;
    after.until("the first run of the new life", is("run.finished")).await;
    // The interval that was set outlives the restart, and takes effect when the target is open.
    assert_eq!(after.names()[..3], ["gap", "schedule.changed", "run.started"]);
    assert_eq!(after.events[0]["reason"], "restart");
    daemon.stop().await;
}

/// They read nothing, at all or from some time on, and there are as many as there may be.
#[tokio::test]
async fn readers_that_do_not_read_hold_up_neither_runs_nor_clients_nor_the_end() {
    let (mut site, mut daemon, http) = started(173, 20).await;
    let mut deaf = Vec::new();
    for _ in 0..31 {
        deaf.push(Stream::open(&daemon.socket, NOWHERE).await);
        deaf.push(Stream::ask(&http, "").await);
    }
    let mut reader = Stream::open(&daemon.socket, "").await;
    assert_eq!(daemon.get("/events").await.code, 503, "there is a limit");
    let reason = "x".repeat(500);
    for number in 0..60 {
        let body = format!("{{\"reason\": \"{number} {}\"}}", &reason[8..]);
        assert_eq!(daemon.socket.ask("POST", "/sync/pause", Some(&body)).await.code, 200);
        assert_eq!(http.ask("POST", "/sync/resume", None).await.code, 200);
    }
    Change::NewStudy.apply(&mut site.archive).await;
    let run = daemon.run("{}").await;
    let ended = reader
        .until("the end of the run", |event| event["event"] == "run.finished" && event["run_id"] == run["run_id"]);
    ended.await;
    assert_eq!(reader.names().iter().filter(|name| **name == "resumed").count(), 60, "a reader that reads misses none");
    site.assert_in_step("beside readers that do not read").await;
    let start = Instant::now();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.exit().await, 0, "{}", daemon.log());
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    reader.drain().await;
    assert_eq!(reader.names().last(), Some(&"stopping"));
}

#[tokio::test]
async fn a_request_with_the_same_key_is_the_same_run() {
    let (_site, daemon, http) = started(174, 20).await;
    let ask = async |address: &Address, target: &str, key: &str, body: &str| {
        let header = format!("Idempotency-Key: {key}\r\n");
        address.try_ask("POST", target, Some(body), &header).await.unwrap()
    };
    let first = ask(&daemon.socket, "/sync/run?wait=60s", "\"nightly-7\"", "{}").await;
    assert_eq!(first.code, 200, "{first:?}");
    let run = first.json()["run_id"].clone();
    let again = ask(&daemon.socket, "/sync/run", "nightly-7", "{\"mode\": \"delta\"}").await;
    assert_eq!((again.code, &again.json()["run_id"]), (202, &run));
    assert_eq!(again.header("location"), Some(format!("/sync/runs/{}", run.as_str().unwrap()).as_str()));
    let waited = ask(&daemon.socket, "/sync/run?wait=60s", "nightly-7", "{}").await;
    assert_eq!((waited.code, waited.json()), (200, first.json()), "the run that is over, not another one");
    let other = ask(&daemon.socket, "/sync/run", "nightly-7", "{\"mode\": \"full\"}").await;
    assert_eq!((other.code, &other.json()["type"]), (422, &json!("urn:rbac-sync:problem:idempotency-key-reused")));
    for (address, key) in [(&daemon.socket, "nightly-8"), (&http, "nightly-7")] {
        let new = ask(address, "/sync/run?wait=60s", key, "{}").await;
        assert_eq!(new.code, 200, "{new:?}");
        assert_ne!(new.json()["run_id"], run, "{key}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn the_history_is_read_page_by_page() {
    let (_site, daemon, _) = started(175, 10).await;
    let mut runs = Vec::new();
    for _ in 0..5 {
        runs.insert(0, daemon.run("{}").await["run_id"].clone());
    }
    daemon.socket.ask("POST", "/sync/pause", None).await;
    daemon.status_with("no run", |status| status["is_running"] == false).await;
    let whole = daemon.get("/sync/history?limit=1000").await.json();
    assert!(whole.get("next").is_none(), "{whole}");
    let (mut path, mut pages) = ("/sync/history?limit=2".to_owned(), Vec::new());
    loop {
        let page = daemon.get(&path).await.json();
        pages.extend(page["runs"].as_array().unwrap().clone());
        let Some(next) = page.get("next") else { break };
        path = next.as_str().unwrap().to_owned();
    }
    assert_eq!(&json!(pages), &whole["runs"]);
    let ids: Vec<_> = pages.iter().map(|run| &run["run_id"]).filter(|id| runs.contains(id)).collect();
    assert_eq!(ids, runs.iter().collect::<Vec<_>>());
    daemon.stop().await;
}

#[tokio::test]
async fn the_clients_follow_until_the_daemon_is_gone() {
    let site = quiet(176, random::studies(1500)).await;
    let daemon = site.daemon().await;
    let socket = site.socket();
    let client = |arguments: &[&str]| {
        let mut command = program(site.folder.path());
        command.args(arguments).arg("--socket").arg(&socket);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command.spawn().unwrap()
    };
    let mut followers = Vec::new();
    for arguments in [&["events", "--after", NOWHERE][..], &["events", "--json"], &["status", "--watch"]] {
        followers.push((arguments, client(arguments)));
    }
    daemon.status_with("the first run", |status| status["last_result"]["success"] == true).await;
    let waited = client(&["run", "--mode", "full", "--wait"]).wait_with_output().await.unwrap();
    let (out, err) = (String::from_utf8(waited.stdout).unwrap(), String::from_utf8(waited.stderr).unwrap());
    assert_eq!(waited.status.code(), Some(0), "{out}{err}");
    assert!(out.starts_with("full run") && out.contains("succeeded"), "{out}");
    assert!(err.contains("waiting for its start") && err.lines().count() < 20, "{err}");
    daemon.stop().await;
    for (arguments, follower) in followers {
        let output = tokio::time::timeout(Duration::from_secs(30), follower.wait_with_output()).await;
        let output = output.expect("it ends with the daemon").unwrap();
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(69), "{arguments:?}: {out}");
        assert_eq!(err, "rbac-sync: the daemon has ended\n", "{arguments:?}: {out}");
        let wanted: &[&str] = match arguments {
            ["events", "--json"] => &["\"event\":\"run.finished\"", "\"event\":\"stopping\""],
            ["events", ..] => &["gap", "run.started", "run.finished", "stopping"],
            _ => &["waiting; last run"],
        };
        assert!(wanted.iter().all(|word| out.contains(word)), "{arguments:?}: {out}");
    }
}
