//! The schedule with its tag, and the log level.

use serde_json::json;

use super::server::{Reply, Server};

impl Reply {
    fn tag(&self) -> String {
        let line = self.head.lines().find_map(|line| line.strip_prefix("etag: ")).expect("a tag");
        line.to_owned()
    }
}

async fn put(server: &Server, headers: &str, body: &str) -> Reply {
    server.send("PUT /sync/schedule", headers, body).await
}

#[tokio::test]
async fn a_cron_expression_is_set_and_shown_with_its_zone() {
    let server = Server::start().await;
    let set = put(&server, "", r#"{"cron":" */5  6-22 * * MON-FRI","time_zone":"Asia/Seoul"}"#).await;
    let expected =
        json!({"interval_sec": null, "cron": "*/5 6-22 * * MON-FRI", "time_zone": "Asia/Seoul", "origin": "api"});
    assert_eq!((set.status, set.json()), (200, expected.clone()));
    assert_eq!(server.get("/sync/schedule").await.json(), expected);
    let configured = put(&server, "", r#"{"cron":"@daily"}"#).await;
    assert_eq!(configured.json()["time_zone"], "UTC", "that of the configuration");
    for (body, status, kind) in [
        (r#"{"cron":"0 24 * * *"}"#, 422, "out-of-range"),
        (r#"{"cron":"0 3 * * *","time_zone":"Nowhere"}"#, 422, "out-of-range"),
        (r#"{"cron":"0 3 * * *","interval_sec":5}"#, 400, "malformed"),
        (r#"{"time_zone":"UTC"}"#, 400, "malformed"),
    ] {
        assert_eq!(put(&server, "", body).await.problem(), (status, kind.to_owned()), "{body}");
    }
    server.end().await;
}

#[tokio::test]
async fn a_change_with_if_match_happens_only_to_the_schedule_that_was_seen() {
    let server = Server::start().await;
    let seen = server.get("/sync/schedule").await.tag();
    assert!(seen.starts_with('"') && seen.ends_with('"'), "strong: {seen}");
    let condition = format!("If-Match: {seen}\r\n");
    let changed = put(&server, &condition, r#"{"interval_sec":30}"#).await;
    assert_eq!(changed.status, 200);
    assert_ne!(changed.tag(), seen);
    assert_eq!(server.get("/sync/schedule").await.tag(), changed.tag());

    let failed = (412, "precondition-failed".to_owned());
    assert_eq!(put(&server, &condition, r#"{"interval_sec":31}"#).await.problem(), failed);
    assert_eq!(server.send("DELETE /sync/schedule", &condition, "").await.problem(), failed);
    let weak = format!("If-Match: W/{}\r\n", changed.tag());
    assert_eq!(put(&server, &weak, r#"{"interval_sec":31}"#).await.problem(), failed);
    assert_eq!(server.get("/sync/schedule").await.json()["interval_sec"], 30, "nothing was changed");
    for bad in ["If-Match: abc\r\n", "If-Match: \r\n", "If-Match: *\r\nIf-Match: \"x\"\r\n"] {
        assert_eq!(put(&server, bad, r#"{"interval_sec":31}"#).await.problem(), (400, "malformed".to_owned()), "{bad}");
    }

    assert_eq!(put(&server, "If-Match: *\r\n", r#"{"interval_sec":32}"#).await.status, 200);
    let current = server.get("/sync/schedule").await.tag();
    let either = format!("If-Match: \"x\", {current}\r\n");
    let reset = server.send("DELETE /sync/schedule", &either, "").await;
    assert_eq!((reset.status, reset.tag()), (200, seen), "the file's again");
    server.end().await;
}

#[tokio::test]
async fn the_log_level_is_shown_set_for_a_while_and_given_back() {
    let server = Server::start().await;
    let file = json!({"level": "info", "origin": "file", "until": null});
    assert_eq!(server.get("/log/level").await.json(), file);
    let set = server.send("PUT /log/level", "", r#"{"level":"debug","for":"15m"}"#).await;
    let expected = json!({"level": "debug", "origin": "api", "until": "2026-11-24T00:16:40Z"});
    assert_eq!((set.status, set.json()), (200, expected.clone()));
    assert_eq!(server.get("/sync/status").await.json()["log_level"], expected);
    assert_eq!(server.send("DELETE /log/level", "", "").await.json(), file);
    let wrong = server.send("PUT /log/level", "", r#"{"level":"info,rbac_sync=loud"}"#).await;
    assert_eq!(wrong.problem(), (422, "out-of-range".to_owned()));
    assert!(wrong.json()["detail"].as_str().expect("text").contains("directive 2"), "{wrong:?}");
    assert_eq!(server.send("PUT /log/level", "", "{}").await.problem(), (400, "malformed".to_owned()));
    let posted = server.post("/log/level", r#"{"level":"debug"}"#).await;
    assert_eq!(posted.problem(), (405, "method-not-allowed".to_owned()));
    assert!(posted.head.contains("allow: get, head, put, delete"), "{posted:?}");
    server.end().await;
}
