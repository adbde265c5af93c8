//! Following a daemon's events: one connection at a time, resumed where the last one ended.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::time::{Instant, sleep, timeout_at};

use super::client::{Client, Open};
use super::exit::{Exit, Failure};
use crate::supervisor::{Event, Happened};

/// A daemon that is there writes at least every 15 s.
const SILENCE: Duration = Duration::from_secs(45);
/// Rest before coming back to a stream that ended without an event.
const REST: Duration = Duration::from_secs(1);
/// A line of an event has a few kilobytes.
const LINE_LIMIT: usize = 4 * 1024 * 1024;

/// One event as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Its name.
    pub(super) name: String,
    /// JSON.
    pub(super) data: String,
}

impl Told {
    /// The event; `None` for one that only a newer daemon knows.
    pub(super) fn read(&self) -> Option<Happened> {
        serde_json::from_str(&self.data).ok()
    }
}

/// The events of a daemon.
pub(super) struct Feed<'a> {
    client: &'a Client,
    open: Option<Open>,
    heard: Instant,
    /// The daemon has told that it ends.
    ending: bool,
    blocks: Blocks,
    ready: VecDeque<Told>,
}

impl<'a> Feed<'a> {
    /// Opens the stream: from now on, or from after an event.
    pub(super) async fn open(client: &'a Client, after: Option<&str>) -> Result<Self, Failure> {
        let open = Some(client.follow(after).await?);
        let blocks = Blocks { place: after.map(str::to_owned), ..Blocks::default() };
        Ok(Self { client, open, heard: Instant::now(), ending: false, blocks, ready: VecDeque::new() })
    }

    /// What another request's failure means: a daemon that has told that it ends cannot be reached for this reason.
    pub(super) fn explain(&self, failure: Failure) -> Failure {
        if self.ending && failure.exit == Exit::Unreachable { ended() } else { failure }
    }

    /// The next event. Comes back by itself when the stream ends, and fails when that is not possible, or when the
    /// daemon has ended as it was told to: to connect again would make systemd start it again where it holds the
    /// socket. May be dropped while it waits, without losing an event.
    pub(super) async fn next(&mut self) -> Result<Told, Failure> {
        let mut rested = false;
        loop {
            if let Some(told) = self.ready.pop_front() {
                self.ending |= told.name == Event::Stopping.name();
                return Ok(told);
            }
            let Some(open) = &mut self.open else {
                if self.ending {
                    return Err(ended());
                }
                if rested {
                    sleep(REST).await;
                }
                rested = true;
                self.open = Some(self.client.follow(self.blocks.place.as_deref()).await?);
                self.heard = Instant::now();
                continue;
            };
            match timeout_at(self.heard + SILENCE, open.body().frame()).await {
                Ok(Some(Ok(frame))) => {
                    self.heard = Instant::now();
                    let bytes = frame.into_data().unwrap_or_else(|_| Bytes::new());
                    self.blocks.take(&bytes, &mut self.ready)?;
                }
                // The end, an error, or silence: what is half-read is told again.
                _ => {
                    self.open = None;
                    self.blocks.begin_anew();
                }
            }
        }
    }
}

fn ended() -> Failure {
    Failure::new(Exit::Unreachable, "the daemon has ended")
}

/// Server-sent events from bytes. Pure.
#[derive(Debug, Default)]
struct Blocks {
    line: Vec<u8>,
    id: Option<String>,
    told: Told,
    /// The ID of the latest block that is complete.
    place: Option<String>,
}

impl Blocks {
    fn begin_anew(&mut self) {
        *self = Self { place: self.place.take(), ..Self::default() };
    }

    fn take(&mut self, bytes: &[u8], ready: &mut VecDeque<Told>) -> Result<(), Failure> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if self.line.len() > LINE_LIMIT {
                return Err(Failure::new(Exit::Failed, "what answers there does not write the events of rbac-sync"));
            }
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.line_ended(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']), ready);
            }
        }
        Ok(())
    }

    fn line_ended(&mut self, line: &str, ready: &mut VecDeque<Told>) {
        if line.is_empty() {
            self.place = self.id.take().or(self.place.take());
            let told = std::mem::take(&mut self.told);
            if !told.data.is_empty() {
                ready.push_back(told);
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.told.name),
            "id" => self.id = Some(value.to_owned()),
            "data" if self.told.data.is_empty() => value.clone_into(&mut self.told.data),
            "data" => self.told.data.extend(["\n", value]),
            // A comment, or what we have no use for.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "retry: 2000\nid: a-1\n\n:\n\nid: a-2\nevent: paused\ndata: {\"x\":\ndata: 1}\n\n\
        id: a-3\r\nevent: resumed\r\ndata:{}\r\n\r\nid: a-4\nevent: half";

    fn told(name: &str, data: &str) -> Told {
        Told { name: name.into(), data: data.into() }
    }

    #[test]
    fn events_are_the_same_however_the_bytes_are_cut() {
        for size in 1..STREAM.len() {
            let (mut blocks, mut ready) = (Blocks::default(), VecDeque::new());
            STREAM.as_bytes().chunks(size).for_each(|part| blocks.take(part, &mut ready).expect("short lines"));
            assert_eq!(ready, [told("paused", "{\"x\":\n1}"), told("resumed", "{}")], "{size}");
            assert_eq!(blocks.place.as_deref(), Some("a-3"), "the place counts once its block is complete");
        }
    }

    #[test]
    fn a_greeting_without_an_event_gives_a_place() {
        let (mut blocks, mut ready) = (Blocks::default(), VecDeque::new());
        blocks.take(b"retry: 2000\nid: a-0\n\n", &mut ready).expect("short lines");
        assert_eq!((ready.len(), blocks.place.as_deref()), (0, Some("a-0")));
        blocks.take(b"id: a-1\nevent: pau", &mut ready).expect("short lines");
        blocks.begin_anew();
        blocks.take(b"id: a-1\nevent: paused\ndata: {}\n\n", &mut ready).expect("short lines");
        assert_eq!(ready, [told("paused", "{}")]);
    }

    #[test]
    fn a_line_without_end_is_an_error() {
        let (mut blocks, mut ready) = (Blocks::default(), VecDeque::new());
        let failure = blocks.take(&vec![b'x'; LINE_LIMIT + 1], &mut ready).expect_err("too long");
        assert_eq!(failure.exit, Exit::Failed);
    }
}
