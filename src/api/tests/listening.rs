//! Binding: the socket file with its mode, stale and taken ones, a taken port.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use super::server::Server;
use crate::api::Listener;
use crate::config::{HttpConfig, SocketConfig};

async fn bind(path: &std::path::Path) -> std::io::Result<Listener> {
    Listener::unix(&SocketConfig { path: path.to_owned(), mode: 0o600 }).await
}

#[tokio::test]
async fn a_socket_has_its_mode_and_leaves_nothing_beside_it() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("s");
    let listener = bind(&path).await.expect("free");
    let metadata = std::fs::symlink_metadata(&path).expect("there");
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 1);
    drop(listener);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_bind_replaces_a_stale_file_and_refuses_a_live_one() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("s");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("free"));
    assert!(path.exists(), "std leaves a stale file");
    let live = bind(&path).await.expect("nobody answers there");
    let error = bind(&path).await.expect_err("somebody answers there");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains("another daemon is serving it"), "{error}");
    assert!(path.exists());
    drop(live);
}

#[tokio::test]
async fn a_bind_never_touches_a_file_that_is_no_socket() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("precious");
    std::fs::write(&path, "data").expect("written");
    let error = bind(&path).await.expect_err("a file");
    assert!(error.to_string().contains("not a socket"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).expect("still there"), "data");
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&path, &link).expect("linked");
    assert!(bind(&link).await.is_err());
}

#[tokio::test]
async fn the_end_leaves_a_file_that_somebody_else_put_there() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("s");
    let listener = bind(&path).await.expect("free");
    std::fs::remove_file(&path).expect("removed");
    let _other = std::os::unix::net::UnixListener::bind(&path).expect("free");
    drop(listener);
    assert!(path.exists());
}

#[tokio::test]
async fn a_bind_says_that_its_folder_is_missing() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let error = bind(&dir.path().join("no/s")).await.expect_err("no folder");
    assert!(error.to_string().contains("create it first"), "{error}");
}

#[tokio::test]
async fn a_taken_port_is_an_error() {
    let server = Server::start().await;
    let http = HttpConfig::on(server.addr);
    let error = Listener::tcp(&http).await.expect_err("taken");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    server.end().await;
}
