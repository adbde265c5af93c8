//! The control routes, the same on the Unix socket and over HTTP: answers, error codes, tokens.

use std::net::SocketAddr;

use serde_json::Value;

use crate::harness::cluster::free_port;
use crate::harness::daemon::Daemon;
use crate::harness::generate;
use crate::harness::http::{Address, Reply};
use crate::harness::mutate::Change;
use crate::harness::random;
use crate::harness::shape::Shape;
use crate::harness::site::Site;

const TOKEN: &str = "t0ken-Of-The-Operator-5512";

/// A loaded site with both listeners.
pub(crate) async fn started(seed: u64, studies: u32) -> (Site, Daemon, Address) {
    let mut site = Site::new(Shape::release("5.35.0"), random::seed(seed)).await;
    generate::fill(&mut site.archive, studies).await;
    let http = SocketAddr::from(([127, 0, 0, 1], free_port()));
    site.settings.http = Some(format!("\"{http}\""));
    let daemon = site.daemon().await;
    daemon.status_with("the first run", |status| status["last_result"]["success"] == true).await;
    (site, daemon, Address::Tcp(http))
}

fn assert_problem(reply: &Reply, code: u16, request: &str) {
    assert_eq!(reply.code, code, "{request}: {reply:?}");
    assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{request}: {reply:?}");
    let problem = reply.json();
    assert!(problem["type"].is_string() && problem["title"].is_string(), "{request}: {problem}");
    assert_eq!(problem["status"], code, "{request}");
}

#[tokio::test]
async fn both_listeners_answer_alike_and_refuse_alike() {
    let (_site, daemon, http) = started(111, 20).await;
    for address in [&daemon.socket, &http] {
        for target in ["/sync/status", "/sync/schedule", "/sync/history", "/health", "/health/live", "/health/ready"] {
            let reply = address.get(target).await;
            assert_eq!(reply.code, 200, "{target}: {reply:?}");
            assert!(reply.json().is_object() || reply.json().is_array(), "{target}: {reply:?}");
        }
        for (method, target, body, code) in [
            ("GET", "/nowhere", None, 404),
            ("GET", "/sync/runs/no-such-run", None, 404),
            ("GET", "/sync/runs/00000000-0000-7000-8000-000000000000", None, 404),
            ("POST", "/sync/cancel", None, 409),
            ("POST", "/sync/run", Some("{\"mode\":"), 400),
            ("POST", "/sync/run", Some("{\"mode\": \"sideways\"}"), 422),
            ("POST", "/sync/run", Some("{\"source\": \"nobody\"}"), 422),
            ("PUT", "/sync/schedule", Some("nonsense"), 400),
            ("PUT", "/sync/schedule", Some("{\"interval_sec\": 0}"), 422),
            ("PUT", "/sync/schedule", Some("{\"interval_sec\": -5}"), 422),
            ("PUT", "/sync/schedule", Some("{\"interval_sec\": \"30\"}"), 422),
            ("PUT", "/sync/schedule", Some("{\"interval_sec\": 86401}"), 422),
            ("POST", "/sync/pause", Some("{\"for\": \"soon\"}"), 422),
        ] {
            let reply = address.ask(method, target, body).await;
            let request = format!("{method} {target} {body:?}");
            if target.contains("no-such-run")
                || target == "/sync/run" && body.is_some_and(|body| body.contains("nobody"))
            {
                assert!([400, 404, 422].contains(&reply.code), "{request}: {reply:?}");
                assert_problem(&reply, reply.code, &request);
            } else {
                assert_problem(&reply, code, &request);
            }
        }
        for (method, target, allowed) in
            [("DELETE", "/sync/status", "GET"), ("GET", "/sync/run", "POST"), ("PATCH", "/sync/schedule", "PUT")]
        {
            let reply = address.ask(method, target, None).await;
            assert_problem(&reply, 405, &format!("{method} {target}"));
            assert!(reply.header("allow").is_some_and(|allow| allow.contains(allowed)), "{reply:?}");
        }
        let large = format!("{{\"reason\": \"{}\"}}", "x".repeat(4 << 20));
        assert_problem(&address.ask("POST", "/sync/pause", Some(&large)).await, 413, "a body of 4 MiB");
        let plain = "Content-Type: text/plain\r\nContent-Length: 20\r\n\r\n{\"interval_sec\": 30}";
        let bytes = format!("PUT /sync/schedule HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{plain}");
        let answer = String::from_utf8(address.raw(bytes.as_bytes()).await.unwrap()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 415"), "{answer}");
        assert_eq!(address.get("/sync/schedule").await.json()["interval_sec"], 3600, "a refused request changed it");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_run_is_a_resource_from_its_start_to_the_history() {
    let (mut site, daemon, http) = started(112, 30).await;
    for (address, trigger) in [(&daemon.socket, "socket"), (&http, "api")] {
        Change::NewStudy.apply(&mut site.archive).await;
        let reply = address.ask("POST", "/sync/run", None).await;
        assert_eq!(reply.code, 202, "{reply:?}");
        let id = reply.json()["run_id"].as_str().unwrap().to_owned();
        let location = reply.header("location").unwrap().to_owned();
        assert!(location.ends_with(&format!("/sync/runs/{id}")), "{location}");
        let run = loop {
            let run = address.get(&location).await.json();
            if !run["finished"].is_null() {
                break run;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        };
        assert_eq!((&run["success"], &run["trigger"]), (&Value::Bool(true), &Value::from(trigger)), "{run}");
        let history = address.get("/sync/history?limit=5").await.json();
        let text = history.to_string();
        assert!(text.contains(&id), "{history}");
        site.assert_in_step("after a run by the API").await;
    }
    let waited = http.ask("POST", "/sync/run?wait=60s", Some("{\"mode\": \"full\", \"source\": \"main\"}")).await;
    assert_eq!(waited.code, 200, "{waited:?}");
    let waited = waited.json();
    assert_eq!((&waited["mode"], &waited["success"]), (&Value::from("full"), &Value::Bool(true)), "{waited}");
    Change::NewStudy.apply(&mut site.archive).await;
    let dry = daemon.run("{\"dry_run\": true}").await;
    assert!(dry["levels"]["study"]["inserted"].as_u64() >= Some(1), "{dry}");
    site.verdict().await.expect_err("a dry run writes nothing");
    for page in ["/sync/history?limit=2", "/sync/history?limit=1"] {
        let history = http.get(page).await.json();
        let runs = history.as_array().or_else(|| history["runs"].as_array()).unwrap();
        assert_eq!(runs.len().to_string(), page[page.len() - 1..], "{history}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_second_request_during_a_run_joins_the_queued_one() {
    let (_site, daemon, _http) = started(113, random::studies(2500)).await;
    let mut ids = Vec::new();
    for _ in 0..12 {
        let reply = daemon.socket.ask("POST", "/sync/run", Some("{\"mode\": \"full\"}")).await;
        assert_eq!(reply.code, 202, "{reply:?}");
        ids.push(reply.json()["run_id"].as_str().unwrap().to_owned());
    }
    ids.sort();
    ids.dedup();
    assert!(ids.len() < 12, "twelve requests at once made twelve runs");
    daemon.status_with("all of them end", |status| status["is_running"] == false).await;
    for id in ids {
        let run = daemon.get(&format!("/sync/runs/{id}")).await.json();
        assert_eq!(run["success"], true, "{run}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_cancelled_run_ends_and_the_next_one_completes() {
    let (mut site, daemon, _http) = started(114, random::studies(2500)).await;
    let id = daemon.socket.ask("POST", "/sync/run", Some("{\"mode\": \"full\"}")).await.json()["run_id"].clone();
    let cancelled = daemon.socket.ask("POST", "/sync/cancel", None).await;
    assert!([200, 202, 409].contains(&cancelled.code), "{cancelled:?}");
    daemon.status_with("the end", |status| status["is_running"] == false).await;
    let run = daemon.get(&format!("/sync/runs/{}", id.as_str().unwrap())).await.json();
    assert!(cancelled.code == 409 || run["success"] == false, "{run}");
    daemon.run("{\"mode\": \"full\"}").await;
    site.assert_in_step("after a cancelled run").await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_token_is_asked_for_over_http_and_not_on_the_socket() {
    let mut site = Site::new(Shape::release("5.35.0"), random::seed(115)).await;
    generate::fill(&mut site.archive, 10).await;
    let port = free_port();
    let token = site.folder.path().join("token");
    std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
    site.settings.http = Some(format!("\"0.0.0.0:{port}\"\ntoken_file = \"{}\"", token.display()));
    let daemon = site.daemon().await;
    let http = Address::Tcp(SocketAddr::from(([127, 0, 0, 1], port)));
    for (headers, code) in [
        (String::new(), 401),
        (format!("Authorization: Bearer {TOKEN}x\r\n"), 401),
        (format!("Authorization: Basic {TOKEN}\r\n"), 401),
        (format!("Authorization: Bearer {TOKEN}\r\n"), 200),
    ] {
        for target in ["/sync/status", "/metrics", "/config"] {
            let reply = http.try_ask("GET", target, None, &headers).await.unwrap();
            assert_eq!(reply.code, code, "{target} {headers}: {reply:?}");
            assert!(!reply.body.contains(TOKEN));
        }
    }
    assert_eq!(http.try_ask("POST", "/sync/pause", None, "").await.unwrap().code, 401);
    assert_eq!(daemon.get("/sync/status").await.code, 200);
    assert!(!daemon.log().contains(TOKEN));
    daemon.stop().await;
}

#[tokio::test]
async fn the_metrics_of_the_contract_are_there() {
    let (_site, daemon, http) = started(116, 20).await;
    let text = http.get("/metrics").await.body;
    for name in [
        "build_info",
        "config_last_reload_successful",
        "config_last_reload_success_timestamp_seconds",
        "runs_total",
        "run_duration_seconds_bucket",
        "run_in_progress",
        "rows_total",
        "last_success_timestamp_seconds",
        "next_run_timestamp_seconds",
        "interval_seconds",
        "paused",
        "source_lag_seconds",
        "sweep_age_seconds",
        "api_requests_total",
    ] {
        let line = format!("\nrbac_sync_{name}");
        assert!(format!("\n{text}").contains(&line), "no {name} in\n{text}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn what_ends_by_itself_leaves_one_line_and_one_row_of_the_audit() {
    let (_site, daemon, _http) = started(114, 10).await;
    let paused = daemon.socket.ask("POST", "/sync/pause", Some("{\"for\": \"1s\"}")).await;
    assert_eq!(paused.code, 200, "{paused:?}");
    let leveled = daemon.socket.ask("PUT", "/log/level", Some("{\"level\": \"debug\", \"for\": \"1s\"}")).await;
    assert_eq!(leveled.code, 200, "{leveled:?}");
    let over = |status: &Value| status["paused"] == false && status["log_level"]["origin"] == "file";
    daemon.status_with("both are over", over).await;
    for action in ["resume", "log-level"] {
        let log = daemon.log();
        let of_daemon = log.lines().filter(|line| line.contains(&format!("{action} by daemon: ok, its time is over")));
        assert_eq!(of_daemon.count(), 1, "{log}");
        assert!(!log.contains("over by itself"), "{log}");
    }
    let all = daemon.get("/sync/audit").await.json();
    let mut pages = Vec::new();
    let mut next = Some("/sync/audit?limit=1".to_owned());
    while let Some(target) = next {
        let page = daemon.get(&target).await.json();
        pages.extend(page["changes"].as_array().unwrap().clone());
        next = page["next"].as_str().map(str::to_owned);
    }
    assert_eq!((pages.len(), Value::from(pages)), (4, all["changes"].clone()), "{all}");
    daemon.stop().await;
}
