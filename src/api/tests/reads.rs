//! What the routes that change nothing answer.

use serde_json::json;
use tokio::net::TcpStream;

use super::server::{Server, exchange, is, message};
use crate::api::testing::id;

#[tokio::test]
async fn reads_answer_from_the_snapshot() {
    let server = Server::start().await;
    let status = server.get("/sync/status").await;
    assert_eq!(status.status, 200);
    assert!(status.head.contains("content-type: application/json"));
    let schedule = server.get("/sync/schedule").await.json();
    assert_eq!(schedule, json!({"interval_sec": 5, "origin": "file"}));
    assert_eq!(server.get("/sync/history?limit=1").await.json()["runs"].as_array().expect("runs").len(), 1);
    assert_eq!(server.get("/sync/history").await.json()["runs"].as_array().expect("runs").len(), 2);
    let run = server.get(&format!("/sync/runs/{}", id(1))).await;
    assert_eq!((run.status, &run.json()["state"]), (200, &json!("finished")));
    assert_eq!(server.get("/config").await.json()["generation"], 1);
    server.end().await;
}

#[tokio::test]
async fn health_routes_say_200_or_503() {
    let server = Server::start().await;
    let healthy = server.get("/health").await;
    let health = healthy.json();
    assert_eq!(healthy.status, 200);
    assert_eq!(health["source"]["main"], json!({"ok": true, "detail": "reachable since 2026-11-24T00:00:00Z"}));
    assert_eq!(server.get("/health/ready").await.status, 200);
    assert_eq!(server.get("/health/live").await.json(), json!({"live": true}));
    server.supervisor.change(|snapshot| {
        snapshot.status.target.reachable = Some(false);
        snapshot.status.target.error = Some("refused".into());
    });
    let health = server.get("/health").await;
    assert_eq!((health.status, &health.json()["target"]["ok"]), (503, &json!(false)));
    let ready = server.get("/health/ready").await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["missing"], json!(["target: not reachable since 2026-11-24T00:00:00Z: refused"]));
    assert_eq!(server.get("/health/live").await.status, 200, "liveness asks no database");
    server.end().await;
}

#[tokio::test]
async fn a_dead_supervisor_is_not_live() {
    let Server { addr, supervisor, stop, tasks, app, .. } = Server::start().await;
    supervisor.stop().await;
    let reply = exchange(TcpStream::connect(addr).await.expect("served"), &message("GET /health/live", "", "")).await;
    assert_eq!((reply.status, reply.json()), (503, json!({"live": false})));
    let reply = exchange(TcpStream::connect(addr).await.expect("served"), &message("POST /sync/run", "", "")).await;
    is(&reply, 503, "stopping");
    assert!(reply.head.contains("retry-after: 1"));
    stop.cancel();
    drop((tasks, app));
}

#[tokio::test]
async fn head_answers_as_get_without_a_body() {
    let server = Server::start().await;
    for path in ["/sync/status", "/health", "/metrics", "/sync/schedule"] {
        let head = server.send(&format!("HEAD {path}"), "", "").await;
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        assert!(head.head.contains("content-length: "), "{head:?}");
    }
    server.end().await;
}

#[tokio::test]
async fn metrics_count_requests_by_pattern() {
    let server = Server::start().await;
    server.get(&format!("/sync/runs/{}", id(1))).await;
    server.send_unix("GET /whatever/it/is", "").await;
    let metrics = server.get("/metrics").await;
    assert!(metrics.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"));
    for line in [
        "rbac_sync_api_requests_total{code=\"200\",listener=\"http\",route=\"/sync/runs/{id}\"} 1",
        "rbac_sync_api_requests_total{code=\"404\",listener=\"socket\",route=\"unknown\"} 1",
    ] {
        assert!(metrics.body.contains(line), "{line} in {}", metrics.body);
    }
    server.end().await;
}
