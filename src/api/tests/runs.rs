//! Runs: asked for, waited for, cancelled.

use serde_json::json;

use super::server::Server;
use crate::api::testing::id;
use crate::config::{SourceConfig, SourceName};

#[tokio::test]
async fn a_run_is_accepted_and_can_be_waited_for() {
    let server = Server::start().await;
    let reply = server.post("/sync/run", "{\"mode\":\"full\",\"dry_run\":true,\"source\":\"main\"}").await;
    assert_eq!((reply.status, reply.json()), (202, json!({"run_id": id(100)})));
    assert!(reply.head.contains(&format!("location: /sync/runs/{}", id(100))), "{reply:?}");
    let run = server.get(&format!("/sync/runs/{}", id(100))).await.json();
    assert_eq!((&run["mode"], &run["dry_run"], &run["trigger"]), (&json!("full"), &json!(true), &json!("api")));
    let still = server.get(&format!("/sync/runs/{}?wait=1ms", id(100))).await;
    assert_eq!((still.status, &still.json()["state"]), (200, &json!("running")));
    server.supervisor.finish(id(100), true);

    let still = server.post("/sync/run?wait=1ms", "").await;
    assert_eq!(still.status, 202);
    let waiting = server.send_unix("POST /sync/run?wait=1h", "");
    let finish = async {
        let mut watch = server.app.handle.watch();
        watch.wait_for(|now| now.open_runs.len() == 2).await.expect("the supervisor lives");
        server.supervisor.finish(id(100), false);
        server.supervisor.finish(id(100), false);
    };
    let (ended, ()) = tokio::join!(waiting, finish);
    assert_eq!((ended.status, &ended.json()["success"]), (200, &json!(false)));
    assert_eq!(ended.json()["error"], "source: the server is down");
    server.end().await;
}

#[tokio::test]
async fn several_sources_have_a_run_each() {
    let server = Server::start().await;
    server.supervisor.change(|snapshot| {
        let mut config = (*snapshot.config).clone();
        let second = SourceConfig { name: SourceName::new("second").expect("valid"), ..config.sources[0].clone() };
        config.sources.push(second);
        snapshot.config = std::sync::Arc::new(config);
    });
    let runs = json!([{"source": "main", "run_id": id(100)}, {"source": "second", "run_id": id(101)}]);
    let reply = server.post("/sync/run?wait=0s", "").await;
    assert_eq!((reply.status, reply.json()), (202, json!({"run_id": id(100), "runs": runs})));
    server.supervisor.finish(id(100), true);
    server.supervisor.finish(id(101), true);
    let waiting = server.post("/sync/run?wait=1h", "");
    let finish = async {
        let mut watch = server.app.handle.watch();
        watch.wait_for(|now| now.open_runs.len() == 2).await.expect("the supervisor lives");
        server.supervisor.finish(id(101), true);
        server.supervisor.finish(id(100), false);
    };
    let (ended, ()) = tokio::join!(waiting, finish);
    let ended = ended.json();
    assert_eq!((&ended["runs"][0]["success"], &ended["runs"][1]["success"]), (&json!(false), &json!(true)));
    server.end().await;
}

#[tokio::test]
async fn the_listener_is_the_trigger() {
    let server = Server::start().await;
    server.send_unix("POST /sync/run", "").await;
    let run = server.send_unix(&format!("GET /sync/runs/{}", id(100)), "").await.json();
    assert_eq!(run["trigger"], "socket");
    let cancelled = server.send_unix("POST /sync/cancel", "").await;
    assert_eq!((cancelled.status, cancelled.json()), (202, json!({"run_ids": [id(100)]})));
    server.end().await;
}
