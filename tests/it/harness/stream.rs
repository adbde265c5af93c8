//! A reader of `GET /events` that keeps what it is told.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::daemon::CAP;
use super::http::{Address, Connection};

pub(crate) struct Stream {
    connection: Box<dyn Connection>,
    /// What came and is no whole line yet.
    rest: Vec<u8>,
    /// The IDs, also those without an event.
    pub(crate) ids: Vec<String>,
    /// What was told.
    pub(crate) events: Vec<Value>,
    ended: bool,
}

impl Stream {
    /// Asks for the events, from after one of them or (empty) from now on, and reads nothing yet.
    pub(crate) async fn ask(address: &Address, after: &str) -> Self {
        let last = if after.is_empty() { String::new() } else { format!("Last-Event-ID: {after}\r\n") };
        Self::ask_on(address.connect().await.unwrap(), &last).await
    }

    /// As [`Stream::ask`], but the stream is open afterwards.
    pub(crate) async fn open(address: &Address, after: &str) -> Self {
        Self::ask(address, after).await.opened().await
    }

    /// As [`Stream::open`], on this connection and with these header lines, each with its line end.
    pub(crate) async fn open_on(connection: Box<dyn Connection>, headers: &str) -> Self {
        Self::ask_on(connection, headers).await.opened().await
    }

    async fn ask_on(mut connection: Box<dyn Connection>, headers: &str) -> Self {
        let request = format!("GET /events HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        Self { connection, rest: Vec::new(), ids: Vec::new(), events: Vec::new(), ended: false }
    }

    async fn opened(mut self) -> Self {
        let until = Instant::now() + CAP;
        while self.ids.is_empty() {
            self.read(until).await;
            assert!(!self.ended, "no stream: {}", String::from_utf8_lossy(&self.rest));
        }
        self
    }

    /// Reads on until an event is as wanted, and gives it back.
    pub(crate) async fn until(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let (mut seen, until) = (0, Instant::now() + CAP);
        loop {
            if let Some(found) = self.events[seen..].iter().find(|event| wanted(event)) {
                return found.clone();
            }
            seen = self.events.len();
            assert!(!self.ended, "{what}: the stream has ended; told were {:?}", self.names());
            assert!(Instant::now() < until, "{what}: does not come; told were {:?}", self.names());
            self.read(until).await;
        }
    }

    /// Reads on until the daemon ends the stream.
    pub(crate) async fn drain(&mut self) {
        let until = Instant::now() + CAP;
        while !self.ended {
            self.read(until).await;
        }
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.events.iter().map(|event| event["event"].as_str().expect("a name")).collect()
    }

    async fn read(&mut self, until: Instant) {
        let mut bytes = [0; 16 * 1024];
        let read = timeout_at(until, self.connection.read(&mut bytes)).await;
        let read = read.unwrap_or_else(|_| panic!("nothing comes; told were {:?}", self.names())).unwrap_or(0);
        self.ended = read == 0;
        self.rest.extend_from_slice(&bytes[..read]);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8(line).unwrap();
            if let Some(id) = line.strip_prefix("id: ") {
                self.ids.push(id.trim().to_owned());
            }
            if let Some(data) = line.strip_prefix("data: ") {
                self.events.push(serde_json::from_str(data).unwrap());
            }
        }
    }
}
