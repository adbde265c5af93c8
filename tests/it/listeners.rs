//! Junk on the listeners: a 4xx or a closed connection, never a panic, and the daemon goes on.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};

use crate::control::started;
use crate::harness::http::Address;
use crate::harness::random::{self, Random};

#[tokio::test]
async fn junk_is_refused_on_both_listeners() {
    let (mut site, daemon, http) = started(121, 20).await;
    let mut random = Random::new(random::seed(121));
    let mut junk: Vec<Vec<u8>> = vec![
        b"\r\n\r\n".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"GET /sync/status HTTP/1.1\r\nHost\r\n\r\n".to_vec(),
        b"GET /%00%ff%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(),
        b"POST /sync/run HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n".to_vec(),
        b"POST /sync/run HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(20),
        [b"GET /".to_vec(), vec![b'a'; 1 << 20], b" HTTP/1.1\r\n\r\n".to_vec()].concat(),
        [b"GET / HTTP/1.1\r\n".to_vec(), b"X-Many: 1\r\n".repeat(20_000), b"\r\n".to_vec()].concat(),
    ];
    for _ in 0..20 {
        let length = random.below(3000);
        let mut bytes: Vec<u8> = (0..length).map(|_| u8::try_from(random.below(256)).unwrap()).collect();
        bytes.extend_from_slice(b"\r\n\r\n");
        junk.push(bytes);
    }
    for address in [&daemon.socket, &http] {
        for bytes in &junk {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
            match address.raw(bytes).await {
                Ok(answer) if answer.is_empty() => {}
                Ok(answer) => {
                    assert!(answer.starts_with(b"HTTP/1.1 4"), "{shown}: {}", String::from_utf8_lossy(&answer))
                }
                Err(error) => assert_ne!(error.kind(), std::io::ErrorKind::TimedOut, "{shown}"),
            }
            assert_eq!(address.get("/health/live").await.code, 200, "after {shown}");
        }
    }
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    daemon.run("{}").await;
    site.assert_in_step("after junk").await;
    daemon.stop().await;
}

/// Half a request keeps neither another client nor the end waiting.
#[tokio::test]
async fn silent_and_half_closed_clients_hold_nobody_up() {
    let (_site, daemon, http) = started(122, 20).await;
    let (Address::Tcp(tcp), Address::Unix(unix)) = (&http, &daemon.socket) else { panic!("one of each") };
    let mut held_tcp = Vec::new();
    let mut held_unix = Vec::new();
    for index in 0..20 {
        let mut client = TcpStream::connect(tcp).await.unwrap();
        let mut local = UnixStream::connect(unix).await.unwrap();
        if index % 2 == 0 {
            client.write_all(b"POST /sync/run HTTP/1.1\r\nHost: x\r\nContent-Le").await.unwrap();
            local.write_all(b"POST /sync/run HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{").await.unwrap();
        }
        held_tcp.push(client);
        held_unix.push(local);
    }
    for address in [&http, &daemon.socket] {
        let reply = tokio::time::timeout(Duration::from_secs(10), address.get("/sync/status")).await;
        assert_eq!(reply.expect("an answer beside silent clients").code, 200);
    }
    daemon.stop().await;
    drop((held_tcp, held_unix));
}
