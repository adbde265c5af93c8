//! Who is let in: tokens, `Host` and `Origin`.

use super::server::{Server, configure, is};
use crate::api::serve::Limits;
use crate::config::{Digest, HttpConfig};

#[tokio::test]
async fn a_changed_token_counts_from_the_next_request_on() {
    let server = Server::with(Some("one"), Limits::default()).await;
    let with = |token: &str| format!("Host: rbac.example\r\nAuthorization: Bearer {token}\r\n");
    let denied = server.get("/sync/status").await;
    is(&denied, 401, "unauthorized");
    assert!(denied.head.contains("www-authenticate: bearer"));
    is(&server.get("/nope").await, 401, "unauthorized");
    assert_eq!(server.get("/health/live").await.status, 200);
    assert_eq!(server.send("GET /sync/status", &with("one"), "").await.status, 200);
    assert_eq!(server.send_unix("GET /sync/status", "").await.status, 200, "the socket needs none");
    server.supervisor.change(|snapshot| {
        let http = HttpConfig { token: Some(Digest::of(b"two")), ..HttpConfig::on(([127, 0, 0, 1], 0).into()) };
        configure(snapshot, Some(http));
    });
    is(&server.send("GET /sync/status", &with("one"), "").await, 401, "unauthorized");
    assert_eq!(server.send("GET /sync/status", &with("two"), "").await.status, 200);
    server.end().await;
}

#[tokio::test]
async fn foreign_hosts_and_pages_are_refused_before_anything_happens() {
    let server = Server::start().await;
    is(&server.send("POST /sync/pause", "Host: evil.example\r\n", "").await, 403, "foreign-host");
    is(&server.send("POST /sync/pause", "Origin: http://evil.example\r\n", "").await, 403, "foreign-origin");
    assert!(!server.app.handle.snapshot().status.paused);
    let metrics = server.get("/metrics").await.body;
    assert!(metrics.contains("rbac_sync_api_denied_total{reason=\"foreign-host\"} 1"), "{metrics}");
    server.end().await;
}
