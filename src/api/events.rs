//! `GET /events`: what happens, as server-sent events.
//!
//! The reply goes on until the client leaves, an hour is over, or the daemon ends it as it ends every request that
//! stays ([`Stay`]). A client comes back with `Last-Event-ID` and misses nothing that is still kept, or is told why it
//! is not served any more.

use std::convert::Infallible;
use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http_body_util::{Either, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::time::{Instant, sleep, sleep_until};

use super::guests::Served;
use super::handlers::Call;
use super::problem::{Kind, Problem};
use super::router::Reply;
use super::stay::Stay;
use crate::supervisor::{Follower, Happened};

/// The media type.
pub const CONTENT: &str = "text/event-stream";
/// After so long without an event comes a comment, so that both sides see whether the other is there.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A stream lasts at most this long.
const LIFE: Duration = Duration::from_secs(3600);
/// What a client should wait before it comes back, in milliseconds.
const RETRY: u32 = 2000;

/// The body of every reply: small and complete, or a stream of events.
pub(super) type Body = Either<Full<Bytes>, Stream>;
/// The body of `GET /events`.
pub(super) type Stream = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

/// Opens a stream.
pub(super) fn open(call: &Call<'_>, served: Served) -> Result<Reply, Problem> {
    let stay = call.stay(&call.front.streams);
    let stay = stay.ok_or_else(|| Problem::new(Kind::Busy, "too many clients follow the events; try again later"))?;
    // A browser sends UTF-8; what is no text is no ID of ours.
    let after = call.head.headers.get("last-event-id").map(|value| value.to_str().unwrap_or_default());
    let follower = call.front.app.handle.follow(after.filter(|id| !id.is_empty()));
    let source = Source { follower, stay, until: Instant::now() + LIFE, greeted: false, _served: Some(served) };
    let frames = stream::unfold(source, |mut source| async move {
        let text = source.next().await?;
        Some((Ok(Frame::data(Bytes::from(text))), source))
    });
    let mut reply = Response::new(Either::Right(StreamBody::new(frames.boxed())));
    *reply.status_mut() = StatusCode::OK;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT));
    // nginx collects a reply before it passes it on, unless it is told not to.
    reply.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(reply)
}

/// Where the text of one stream comes from. Asked only when the connection has room for more, so that a
/// client that does not read keeps nothing here but its place.
struct Source {
    follower: Follower,
    stay: Stay,
    until: Instant,
    greeted: bool,
    /// A full listener does not part with it.
    _served: Option<Served>,
}

impl Source {
    /// The next piece of the stream; `None` ends it.
    async fn next(&mut self) -> Option<String> {
        if !self.greeted {
            self.greeted = true;
            // A block without data is no event, but its ID counts: also a client to which nothing has
            // happened yet can come back to this place.
            return Some(format!("retry: {RETRY}\nid: {}\n\n", self.follower.place()));
        }
        tokio::select! {
            biased;
            () = self.stay.over() => None,
            () = sleep_until(self.until) => None,
            events = self.follower.next() => events.map(|events| events.iter().map(|event| block(event)).collect()),
            () = sleep(HEARTBEAT) => Some(":\n\n".to_owned()),
        }
    }
}

/// One event as the stream writes it. JSON has no line break, so that its text is one `data` line.
fn block(happened: &Happened) -> String {
    let data = serde_json::to_string(happened).expect("events have text keys and no value that JSON lacks");
    let mut text = String::with_capacity(data.len() + 80);
    let _ = write!(text, "id: {}\nevent: {}\ndata: {data}\n\n", happened.id, happened.event.name());
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hyper::Request;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::api::guests::Guests;
    use crate::api::local::Local;
    use crate::api::places::Places;
    use crate::api::router::Front;
    use crate::api::testing::{Supervisor, at, snapshot};
    use crate::api::{App, Peer};
    use crate::config::Role;
    use crate::history::Actor;
    use crate::supervisor::{Event, EventId};

    fn source(app: &App, after: Option<&str>, stop: &CancellationToken) -> Source {
        let streams = Places::new(1);
        let front = Front {
            app: app.clone(),
            stop: stop.clone(),
            denials: Arc::default(),
            waits: streams.clone(),
            changes: streams.clone(),
            streams: streams.clone(),
        };
        let peer = Peer::Unix(Local::new(0, Role::Viewer));
        let guest = Arc::new(Guests::default()).enter(peer);
        let head = Request::new(()).into_parts().0;
        let caller = (&guest, peer, &Actor::uid(0));
        let stay = Stay::begin(&front, &streams, caller, &head, &app.handle.snapshot().config).expect("free");
        let until = Instant::now() + LIFE;
        Source { follower: app.handle.follow(after), stay, until, greeted: false, _served: None }
    }

    #[test]
    fn an_event_is_one_block_whatever_its_texts_hold() {
        let id: EventId = "ab-7".parse().expect("an ID");
        let served_by = "a\nb\r\n\ndata: x".to_owned();
        let text = block(&Happened { id, at: at(0), event: Event::Standby { served_by } });
        let lines: Vec<&str> = text.split('\n').collect();
        assert_eq!(lines.len(), 5, "{text:?}");
        assert_eq!((lines[0], lines[1]), ("id: 00000000000000ab-7", "event: standby"));
        assert!(lines[2].starts_with("data: {") && !text.contains('\r'), "{text:?}");
        assert_eq!((lines[3], lines[4]), ("", ""));
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_stream_beats_and_ends_after_an_hour() {
        let (_supervisor, app) = Supervisor::start(snapshot());
        let start = Instant::now();
        let mut source = source(&app, None, &CancellationToken::new());
        let first = source.next().await.expect("a greeting");
        assert!(first.starts_with("retry: 2000\nid: ") && first.ends_with("-0\n\n"), "{first:?}");
        let mut beats = 0;
        while let Some(text) = source.next().await {
            assert_eq!(text, ":\n\n");
            beats += 1;
            assert_eq!(start.elapsed(), HEARTBEAT * beats);
        }
        assert_eq!((beats, start.elapsed()), (239, LIFE));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_daemon_ends_it_at_once_also_while_events_wait() {
        let (supervisor, app) = Supervisor::start(snapshot());
        let stop = CancellationToken::new();
        let mut source = source(&app, Some(""), &stop);
        source.next().await.expect("a greeting");
        supervisor.tell(Event::Resumed);
        let told = source.next().await.expect("events");
        assert!(told.starts_with("id: ") && told.contains("\nevent: gap\n") && told.contains("\nevent: resumed\n"));
        supervisor.tell(Event::Resumed);
        stop.cancel();
        assert_eq!(source.next().await, None);
    }
}
