//! From a request to its handler: guard, route, method, and the record of what was answered.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CACHE_CONTROL, CONNECTION, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response};
use tokio_util::sync::CancellationToken;

use super::access::Identity;
use super::denials::Denials;
use super::events::{self, Body};
use super::guests::Guest;
use super::handlers::{self, Call};
use super::input::{self, Query};
use super::places::Places;
use super::problem::{Kind, Problem};
use super::{App, Peer, guard};
use crate::supervisor::Snapshot;

/// A reply.
pub(super) type Reply = Response<Body>;

/// What all requests of a listener share.
#[derive(Clone)]
pub(super) struct Front {
    pub(super) app: App,
    /// Ends waits once the daemon stops.
    pub(super) stop: CancellationToken,
    pub(super) denials: Arc<Denials>,
    /// For requests that wait for a run.
    pub(super) waits: Places,
    /// For requests that wait for the answer to a command.
    pub(super) changes: Places,
    /// For streams of events.
    pub(super) streams: Places,
}

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    Status,
    Run,
    RunById(&'a str),
    Cancel,
    Schedule,
    Pause,
    Resume,
    History,
    Audit,
    Events,
    Health,
    Live,
    Ready,
    Metrics,
    Config,
    Reload,
    LogLevel,
    Openapi,
}

impl<'a> Route<'a> {
    /// `None`: there is no such route.
    pub(super) fn of(path: &'a str) -> Option<Self> {
        let mut segments = path.strip_prefix('/').unwrap_or_default().split('/');
        let segments = (segments.next(), segments.next(), segments.next(), segments.next());
        Some(match segments {
            (Some("sync"), Some("status"), None, _) => Self::Status,
            (Some("sync"), Some("run"), None, _) => Self::Run,
            (Some("sync"), Some("runs"), Some(id), None) => Self::RunById(id),
            (Some("sync"), Some("cancel"), None, _) => Self::Cancel,
            (Some("sync"), Some("schedule"), None, _) => Self::Schedule,
            (Some("sync"), Some("pause"), None, _) => Self::Pause,
            (Some("sync"), Some("resume"), None, _) => Self::Resume,
            (Some("sync"), Some("history"), None, _) => Self::History,
            (Some("sync"), Some("audit"), None, _) => Self::Audit,
            (Some("events"), None, ..) => Self::Events,
            (Some("health"), None, ..) => Self::Health,
            (Some("health"), Some("live"), None, _) => Self::Live,
            (Some("health"), Some("ready"), None, _) => Self::Ready,
            (Some("metrics"), None, ..) => Self::Metrics,
            (Some("config"), None, ..) => Self::Config,
            (Some("config"), Some("reload"), None, _) => Self::Reload,
            (Some("log"), Some("level"), None, _) => Self::LogLevel,
            (Some("openapi.json"), None, ..) => Self::Openapi,
            _ => return None,
        })
    }

    /// As metrics and the log name it; never what the client sent.
    pub(super) fn pattern(self) -> &'static str {
        match self {
            Self::Status => "/sync/status",
            Self::Run => "/sync/run",
            Self::RunById(_) => "/sync/runs/{id}",
            Self::Cancel => "/sync/cancel",
            Self::Schedule => "/sync/schedule",
            Self::Pause => "/sync/pause",
            Self::Resume => "/sync/resume",
            Self::History => "/sync/history",
            Self::Audit => "/sync/audit",
            Self::Events => "/events",
            Self::Health => "/health",
            Self::Live => "/health/live",
            Self::Ready => "/health/ready",
            Self::Metrics => "/metrics",
            Self::Config => "/config",
            Self::Reload => "/config/reload",
            Self::LogLevel => "/log/level",
            Self::Openapi => "/openapi.json",
        }
    }

    /// All of them.
    #[cfg(test)]
    pub(super) const ALL: [Route<'static>; 18] = [
        Route::Status,
        Route::Run,
        Route::RunById("{id}"),
        Route::Cancel,
        Route::Schedule,
        Route::Pause,
        Route::Resume,
        Route::History,
        Route::Audit,
        Route::Events,
        Route::Health,
        Route::Live,
        Route::Ready,
        Route::Metrics,
        Route::Config,
        Route::Reload,
        Route::LogLevel,
        Route::Openapi,
    ];

    /// The value of `Allow`.
    pub(super) fn allow(self) -> &'static str {
        match self {
            Self::Run | Self::Cancel | Self::Pause | Self::Resume | Self::Reload => "POST",
            Self::Schedule | Self::LogLevel => "GET, HEAD, PUT, DELETE",
            _ => "GET, HEAD",
        }
    }

    /// The query keys that the route takes.
    pub(super) fn query_keys(self) -> &'static [&'static str] {
        match self {
            Self::Run | Self::RunById(_) => &["wait"],
            Self::History | Self::Audit => &["limit", "before"],
            _ => &[],
        }
    }
}

/// Answers one request and counts it.
pub(super) async fn answer(front: Front, guest: Arc<Guest>, peer: Peer, request: Request<Incoming>) -> Reply {
    let started = Instant::now();
    let (head, mut body) = request.into_parts();
    let route = Route::of(head.uri.path());
    let pattern = route.map_or("unknown", Route::pattern);
    let snapshot = front.app.handle.snapshot();
    let sender = guard::check(&head, peer, snapshot.config.http.as_ref(), route == Some(Route::Live));
    let actor = sender.as_ref().ok().map(|identity| identity.actor.clone());
    let turned_away = sender.is_err();
    let answered = match sender {
        Ok(identity) => dispatch(&front, &guest, peer, &identity, &snapshot, route, (&head, &mut body)).await,
        Err(problem) => Err(problem),
    };
    let mut reply = answered.unwrap_or_else(|problem| {
        if matches!(problem.kind.status().as_u16(), 401 | 403) {
            front.denials.tell(peer, actor.as_ref(), &head.method, pattern, problem.kind);
        }
        if matches!(problem.kind.status().as_u16(), 401 | 403 | 409 | 503) {
            front.app.metrics.api_denied(problem.kind.name());
        }
        problem.reply()
    });
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if turned_away || !body.is_end_stream() {
        // Who is turned away begins anew: its certificate may be good on a new connection. And what nobody has read of
        // a body stands before the next request: the connection would stay open and unread for ever.
        reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let (listener, code) = (peer.listener(), reply.status().as_u16());
    front.app.metrics.api_request(listener, pattern, code);
    let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::debug!(listener, method = %head.method, route = pattern, status = code, duration_ms, "request");
    reply
}

async fn dispatch(
    front: &Front,
    guest: &Arc<Guest>,
    peer: Peer,
    sender: &Identity,
    snapshot: &Snapshot,
    route: Option<Route<'_>>,
    (head, body): (&Parts, &mut Incoming),
) -> Result<Reply, Problem> {
    let route = route.ok_or_else(|| Problem::new(Kind::NotFound, "there is no such route"))?;
    let method = if head.method == Method::HEAD { &Method::GET } else { &head.method };
    if !route.allow().split(", ").any(|allowed| allowed == method.as_str()) {
        return Err(Problem::method_not_allowed(route.allow()));
    }
    // Before the body is read: whoever may not change things cannot make us wait for one either.
    if method != Method::GET {
        sender.may_change()?;
    }
    let query = Query::parse(head.uri.query(), route.query_keys())?;
    let body = if method == Method::GET { Bytes::new() } else { input::body(&head.headers, body).await? };
    // Until the answer is there, or the stream of events ends.
    let served = guest.served();
    let call = Call { front, guest, peer, actor: &sender.actor, head, snapshot, query, body };
    match (route, method.as_str()) {
        (Route::Status, _) => handlers::status(&call),
        (Route::Run, _) => handlers::run(&call).await,
        (Route::RunById(id), _) => handlers::run_by_id(&call, id).await,
        (Route::Cancel, _) => handlers::cancel(&call).await,
        (Route::Schedule, "PUT") => handlers::set_schedule(&call).await,
        (Route::Schedule, "DELETE") => handlers::reset_schedule(&call).await,
        (Route::Schedule, _) => handlers::schedule(&call),
        (Route::Pause, _) => handlers::pause(&call).await,
        (Route::Resume, _) => handlers::resume(&call).await,
        (Route::History, _) => handlers::history(&call),
        (Route::Audit, _) => handlers::audit(&call),
        (Route::Events, _) => events::open(&call, served),
        (Route::Health, _) => handlers::health(&call),
        (Route::Live, _) => handlers::live(&call),
        (Route::Ready, _) => handlers::ready(&call),
        (Route::Metrics, _) => handlers::metrics(&call),
        (Route::Config, _) => handlers::config(&call),
        (Route::Reload, _) => handlers::reload(&call).await,
        (Route::LogLevel, "PUT") => handlers::set_log_level(&call).await,
        (Route::LogLevel, "DELETE") => handlers::reset_log_level(&call).await,
        (Route::LogLevel, _) => handlers::log_level(&call),
        (Route::Openapi, _) => handlers::openapi(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_route_only_as_a_whole() {
        assert_eq!(Route::of("/sync/status"), Some(Route::Status));
        assert_eq!(Route::of("/sync/runs/x"), Some(Route::RunById("x")));
        for path in ["", "*", "/", "//", "/sync", "/sync/", "/sync/status/", "/sync/status/x", "/sync/runs", "/Health"]
        {
            assert_eq!(Route::of(path), None, "{path}");
        }
        for path in ["/sync/runs/a/b", "/health/live/x", "/metrics/", "/events/1", "/config/reload/now", "/../health"] {
            assert_eq!(Route::of(path), None, "{path}");
        }
    }

    #[test]
    fn a_pattern_is_the_path_of_its_route() {
        for route in Route::ALL {
            assert_eq!(Route::of(route.pattern()), Some(route));
        }
    }

    #[test]
    fn the_list_of_all_routes_has_each_pattern() {
        let source = include_str!("router.rs").split("mod tests").next().expect("the code before the tests");
        assert_eq!(Route::ALL.len(), source.matches("=> \"/").count());
    }
}
