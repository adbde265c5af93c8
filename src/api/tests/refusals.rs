//! Requests that are wrong: each gets its status and type, and changes nothing.

use super::server::{Server, is};
use crate::api::testing::id;

#[tokio::test]
async fn every_error_has_its_code_and_type() {
    let server = Server::start().await;
    let unknown = server.get("/nope").await;
    is(&unknown, 404, "not-found");
    is(&server.get("/sync/runs/nope").await, 400, "malformed");
    is(&server.get(&format!("/sync/runs/{}", id(9))).await, 404, "unknown-run");
    is(&server.get("/sync/history?limit=0").await, 400, "malformed");
    is(&server.get("/sync/status?x=1").await, 400, "malformed");
    is(&server.post("/sync/run?wait=soon", "").await, 400, "malformed");
    is(&server.post("/sync/run", "{").await, 400, "malformed");
    let unknown_field = server.post("/sync/run", "{\"modus\":1}").await;
    is(&unknown_field, 400, "malformed");
    assert!(unknown_field.body.contains("mode, dry_run, source, allow_deletes"), "{unknown_field:?}");
    is(&server.post("/sync/run", "{\"mode\":\"fast\"}").await, 422, "out-of-range");
    is(&server.post("/sync/run", "{\"source\":\"other\"}").await, 422, "unknown-source");
    is(&server.post("/sync/run", "{\"source\":\"O'Brien\"}").await, 422, "unknown-source");
    is(&server.post("/sync/run", "{\"source\":\"busy\"}").await, 503, "busy");
    is(&server.post("/sync/run", "{\"source\":\"taken\"}").await, 409, "queue-taken");
    is(&server.post("/sync/cancel", "").await, 409, "nothing-to-cancel");
    is(&server.post("/sync/pause", "{\"for\":\"0s\"}").await, 422, "out-of-range");
    is(&server.send("PUT /sync/schedule", "", "{\"interval_sec\":0}").await, 422, "out-of-range");
    is(&server.send("PUT /sync/schedule", "", "").await, 400, "malformed");
    is(&server.send("DELETE /sync/schedule", "", "{{{").await, 400, "malformed");
    is(&server.send("DELETE /log/level", "", "{{{").await, 400, "malformed");
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    is(&server.send("POST /sync/run", form, "{}").await, 415, "unsupported-media-type");
    assert_eq!(
        server.send("POST /sync/run", "Content-Type: Application/JSON; charset=utf-8\r\n", "{}").await.status,
        202
    );
    server.end().await;
}

#[tokio::test]
async fn a_wrong_method_gets_allow_and_changes_nothing() {
    let server = Server::start().await;
    for path in ["/sync/run", "/sync/cancel", "/sync/pause", "/sync/resume", "/config/reload"] {
        for method in ["GET", "HEAD", "PUT", "DELETE", "BREW"] {
            let reply = server.send(&format!("{method} {path}"), "", "").await;
            assert_eq!(reply.status, 405, "{method} {path}");
            assert!(reply.head.contains("allow: post"), "{reply:?}");
        }
    }
    is(&server.post("/sync/schedule", "{}").await, 405, "method-not-allowed");
    let reply = server.post("/health", "").await;
    assert!(reply.head.contains("allow: get, head"), "{reply:?}");
    assert!(!server.app.handle.snapshot().status.paused);
    server.end().await;
}
