//! Golden files of what each route and each problem answers, and that none is missing.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use super::contract::{self, DOCUMENT};
use super::memory::InMemory;
use super::server::{Reply, Server, configure, exchange, message};
use crate::api::App;
use crate::api::problem::Kind;
use crate::api::router::Route;
use crate::api::serve::Limits;
use crate::api::testing::{Supervisor, at, id, record, snapshot};
use crate::config::{Digest, HttpClient, HttpConfig, Proof, Role};
use crate::history::{Actor, Change, RunRecord, RunState, Via};
use crate::metrics::Metrics;
use crate::supervisor::events::Log;
use crate::supervisor::{Backoff, Handle, Running, Snapshot};

/// The reply as a golden file: its status, what its headers say beyond the usual, and its body.
fn golden(request: &str, reply: &Reply) -> String {
    let usual = ["date", "content-length", "connection", "cache-control", "x-content-type-options"];
    let named = |line: &&str| line.split(':').next().is_some_and(|name| !usual.contains(&name));
    let headers: Vec<&str> = reply.head.lines().skip(1).filter(named).collect();
    format!("{request}\n\n{}\n{}\n\n{:#}", reply.status, headers.join("\n"), reply.json())
}

/// A busy moment: a run under way, one that waits, a source that fails, a configuration that was refused.
fn busy(snapshot: &mut Snapshot) {
    let status = &mut snapshot.status;
    status.is_running = true;
    status.running.push(Running { run_id: id(3), source: "main".into(), started: at(90), processed: 12 });
    let last = status.last_result.as_mut().expect("the fixture has one");
    (last.success, last.error) = (false, Some("source: the server is down".into()));
    let source = &mut status.sources[0];
    (source.consecutive_failures, source.verified_since) = (3, None);
    let (side, class) = ("source".into(), "transient".into());
    source.backoff = Some(Backoff { consecutive_failures: 3, next_attempt: Some(at(95)), side, class });
    source.reachability.reachable = Some(false);
    source.reachability.error = Some("the server is down".into());
    status.config.last_reload_successful = false;
    status.config.errors = vec!["rbac-sync.toml:3:1: unknown key \"intervall\"".into()];
    status.config.restart_required = vec!["http.listen".into()];
    status.unconfigured_sources = vec!["old".into()];
    let running = RunRecord { state: RunState::Running, finished: None, success: None, duration_ms: None, ..record(3) };
    let queued = RunRecord { run_id: id(4), state: RunState::Queued, started: None, processed: 0, ..running.clone() };
    snapshot.open_runs.extend([running, queued]);
    let failed = RunRecord { success: Some(false), error: Some("source: the server is down".into()), ..record(5) };
    let history: Vec<_> = std::iter::once(Arc::new(failed)).chain(snapshot.history.iter().cloned()).collect();
    snapshot.history = Arc::new(history);
    let detail = serde_json::Map::from_iter([("reason".to_owned(), "upgrade".into())]);
    let via = Via::Http([192, 0, 2, 7].into());
    let change = Change::new(at(80), Actor::named("token ops"), via, "pause", detail);
    snapshot.changes = Arc::new(vec![Arc::new(Change { change_id: id(6), ..change })]);
}

#[tokio::test]
async fn every_route_has_a_golden_file_of_each_of_its_replies() {
    let server = Server::start().await;
    let mut seen = BTreeSet::new();
    let mut ask = async |name: &str, request: &str, body: &str| {
        let reply = server.send(request, "", body).await;
        let (method, target) = request.split_once(' ').expect("a method and a target");
        let route = Route::of(target.split('?').next().expect("a path")).expect("a route");
        seen.insert((route.pattern(), method.to_lowercase(), reply.status.to_string()));
        insta::assert_snapshot!(name, golden(&format!("{request} {body}"), &reply));
    };
    ask("status", "GET /sync/status", "").await;
    ask("health", "GET /health", "").await;
    ask("live", "GET /health/live", "").await;
    ask("ready", "GET /health/ready", "").await;
    ask("schedule", "GET /sync/schedule", "").await;
    ask("schedule_set", "PUT /sync/schedule", "{\"interval_sec\":30}").await;
    ask("schedule_refused", "PUT /sync/schedule", "{\"interval_sec\":0}").await;
    ask("schedule_reset", "DELETE /sync/schedule", "").await;
    ask("schedule_of_cron", "PUT /sync/schedule", "{\"cron\":\"0 3 * * *\",\"time_zone\":\"Asia/Seoul\"}").await;
    ask("schedule_given_back", "DELETE /sync/schedule", "").await;
    ask("log_level", "GET /log/level", "").await;
    ask("log_level_set", "PUT /log/level", "{\"level\":\"debug\",\"for\":\"15m\"}").await;
    ask("log_level_refused", "PUT /log/level", "{\"level\":\"loud\"}").await;
    ask("log_level_reset", "DELETE /log/level", "").await;
    ask("nothing_to_cancel", "POST /sync/cancel", "").await;
    ask("reload", "POST /config/reload", "").await;
    ask("pause", "POST /sync/pause", "{\"reason\":\"upgrade\",\"for\":\"2h\"}").await;
    ask("pause_refused", "POST /sync/pause", "{\"for\":0}").await;
    ask("reload_refused", "POST /config/reload", "").await;
    ask("status_paused", "GET /sync/status", "").await;
    ask("resume", "POST /sync/resume", "").await;
    ask("run", &format!("GET /sync/runs/{}", id(1)), "").await;
    ask("run_unknown", &format!("GET /sync/runs/{}", id(9)), "").await;
    ask("run_started", "POST /sync/run?wait=0s", "{\"mode\":\"full\"}").await;
    ask("cancel", "POST /sync/cancel", "").await;
    ask("run_of_no_source", "POST /sync/run", "{\"source\":\"other\"}").await;
    ask("run_taken", "POST /sync/run", "{\"source\":\"taken\"}").await;
    server.supervisor.finish(id(100), true);
    let finish = async {
        let mut watch = server.app.handle.watch();
        watch.wait_for(|now| now.open_runs.len() == 1).await.expect("the supervisor lives");
        server.supervisor.finish(id(100), true);
    };
    tokio::join!(ask("run_waited_for", "POST /sync/run?wait=1h", ""), finish);
    server.supervisor.change(busy);
    ask("status_busy", "GET /sync/status", "").await;
    ask("health_bad", "GET /health", "").await;
    ask("ready_not", "GET /health/ready", "").await;
    ask("run_running", &format!("GET /sync/runs/{}", id(3)), "").await;
    ask("run_queued", &format!("GET /sync/runs/{}", id(4)), "").await;
    ask("history", "GET /sync/history?limit=2", "").await;
    ask("audit", "GET /sync/audit", "").await;
    ask("config", "GET /config", "").await;

    // The problems that several routes share have their golden files below.
    let shared = ["400", "401", "403", "408", "412", "413", "415", "431"];
    let of_their_own = [("/metrics", "get"), ("/openapi.json", "get"), ("/events", "get")];
    for (path, methods) in DOCUMENT["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            for (status, reply) in operation["responses"].as_object().expect("responses") {
                let is_shared = shared.contains(&status.as_str()) || status == "503" && reply["$ref"].is_string();
                let is_live = path == "/health/live" && status == "503";
                if !is_shared && !is_live && method != "head" && !of_their_own.contains(&(path, method)) {
                    let key = (path.as_str(), method.clone(), status.clone());
                    assert!(seen.contains(&key), "no golden file of {key:?}");
                }
            }
        }
    }
    server.end().await;
}

#[tokio::test]
async fn every_problem_has_a_golden_file() {
    let mut seen = BTreeSet::new();
    let mut keep = |request: &str, reply: &Reply| {
        let (_, name) = reply.problem();
        insta::assert_snapshot!(format!("problem_{name}"), golden(request, reply));
        assert!(seen.insert(name), "twice");
    };
    let server = Server::start().await;
    for (request, headers, body) in [
        ("GET /sync/status?x=1", "", ""),
        ("POST /sync/pause", "Host: evil.example\r\n", ""),
        ("POST /sync/pause", "Origin: http://evil.example\r\n", ""),
        ("GET /nope", "", ""),
        ("GET /sync/runs/019f0000-0000-7000-8000-000000000009", "", ""),
        ("PATCH /sync/schedule", "", ""),
        ("POST /sync/cancel", "", ""),
        ("POST /sync/run", "", "{\"source\":\"taken\"}"),
        ("POST /sync/run", "Idempotency-Key: reused\r\n", ""),
        ("PUT /sync/schedule", "If-Match: \"x\"\r\n", "{\"interval_sec\":30}"),
        ("POST /sync/run", "Content-Type: text/plain\r\n", "{}"),
        ("PUT /sync/schedule", "", "{\"interval_sec\":86401}"),
        ("POST /sync/run", "", "{\"source\":\"other\"}"),
        ("POST /sync/run", "", "{\"source\":\"busy\"}"),
        ("POST /sync/run", "", "{\"source\":\"standby\"}"),
    ] {
        keep(&format!("{request} {body}"), &server.send(request, headers, body).await);
    }
    keep("POST /sync/run (a large body)", &server.post("/sync/run", &" ".repeat(70_000)).await);
    let fields = "X: 1\r\n".repeat(200);
    keep("GET /sync/status (200 fields)", &server.send("GET /sync/status", &fields, "").await);
    server.post("/sync/pause", "").await;
    keep("POST /config/reload", &server.post("/config/reload", "").await);
    server.supervisor.change(|snapshot| configure(snapshot, None));
    keep("GET /sync/status (no [http] any more)", &server.get("/sync/status").await);
    server.end().await;
    let server = Server::with(Some("secret"), Limits::default()).await;
    keep("GET /sync/status (without its token)", &server.get("/sync/status").await);
    let viewer = HttpClient { name: "grafana".into(), role: Role::Viewer, proof: Proof::Token(Digest::of(b"one")) };
    let http = HttpConfig { clients: vec![viewer], ..HttpConfig::on(([127, 0, 0, 1], 0).into()) };
    server.supervisor.change(|snapshot| configure(snapshot, Some(http)));
    let reply = server.send("POST /sync/pause", "Authorization: Bearer one\r\n", "").await;
    keep("POST /sync/pause (of a viewer)", &reply);
    server.end().await;
    let Server { addr, supervisor, stop, tasks, app, .. } = Server::start().await;
    supervisor.stop().await;
    let stream = TcpStream::connect(addr).await.expect("served");
    keep("POST /sync/run (while it stops)", &exchange(stream, &message("POST /sync/run", "", "")).await);
    stop.cancel();
    drop((tasks, app));
    let [late_body, late_answer] = late().await;
    keep("POST /sync/run (a body that does not come)", &late_body);
    keep("POST /sync/run (a supervisor that does not answer)", &late_answer);
    assert_eq!(seen, Kind::ALL.into_iter().map(|kind| kind.name().to_owned()).collect());
}

/// What takes half a minute each, in a time that stands still.
async fn late() -> [Reply; 2] {
    let in_its_own_time = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let (supervisor, app) = Supervisor::start(snapshot());
            let server = InMemory::serve(app);
            let half = "POST /sync/run HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{";
            let late_body = server.exchange(half.as_bytes(), false).await;
            server.end().await;
            supervisor.stop().await;
            let (commands, _nobody_reads) = mpsc::channel(8);
            let (_state, watch) = watch::channel(Arc::new(snapshot()));
            let events = tokio::sync::watch::Sender::new(Log::new());
            let handle = Handle::new(commands, watch, events.subscribe());
            let server = InMemory::serve(App { handle, metrics: Metrics::new() });
            let whole = message("POST /sync/run", "", "{}");
            let late_answer = server.exchange(whole.as_bytes(), false).await;
            server.end().await;
            [late_body, late_answer].map(|bytes| Reply::parse(&String::from_utf8_lossy(&bytes)))
        })
    };
    let replies = tokio::task::spawn_blocking(in_its_own_time).await.expect("no panic");
    replies.iter().for_each(|reply| contract::check("POST", "/sync/run", reply));
    replies
}

#[tokio::test]
async fn the_metrics_of_a_quiet_daemon_have_a_golden_file() {
    let server = Server::start().await;
    let text = server.get("/metrics").await.body;
    // The numbers of the process are those of the test.
    let ours = text.lines().filter(|line| line.starts_with("# HELP") && !line.contains(" process_"));
    insta::assert_snapshot!("metrics", ours.collect::<Vec<_>>().join("\n"));
    server.end().await;
}
