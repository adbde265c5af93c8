//! The other routes that change something: schedule, pause, reload.

use serde_json::json;

use super::server::{Server, is};

#[tokio::test]
async fn schedule_pause_and_reload_change_and_answer() {
    let server = Server::start().await;
    let set = server.send("PUT /sync/schedule", "Content-Type: application/json\r\n", "{\"interval_sec\":30}").await;
    assert_eq!((set.status, set.json()), (200, json!({"interval_sec": 30, "origin": "api"})));
    let reset = server.send("DELETE /sync/schedule", "", "").await;
    assert_eq!((reset.status, reset.json()), (200, json!({"interval_sec": 5, "origin": "file"})));
    let reload = server.post("/config/reload", "").await;
    assert_eq!((reload.status, &reload.json()["changed"]), (200, &json!(["schedule.interval"])));
    let paused = server.post("/sync/pause", "{\"reason\":\"upgrade\",\"for\":\"2h\"}").await;
    assert_eq!((paused.status, &paused.json()["pause"]["reason"]), (200, &json!("upgrade")));
    let refused = server.post("/config/reload", "{}").await;
    is(&refused, 422, "configuration-refused");
    let resumed = server.post("/sync/resume", "").await;
    assert_eq!((resumed.status, resumed.json()), (200, json!({"paused": false, "pause": null})));
    server.end().await;
}
