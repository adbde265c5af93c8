//! Errors of the API as RFC 9457 problem details, each with a type that never changes.

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::router::Reply;
use crate::supervisor::Denied;

/// The media type.
pub(super) const CONTENT: &str = "application/problem+json";

/// Every kind of error that the API answers; `type` in the reply is `urn:rbac-sync:problem:NAME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `malformed`, 400: the path, the query or the body cannot be understood.
    Malformed,
    /// `unauthorized`, 401: the bearer token or the client certificate is missing or wrong.
    Unauthorized,
    /// `insufficient-role`, 403: whoever asks may read, but change nothing.
    InsufficientRole,
    /// `forbidden`, 403: this listener does not serve that client.
    Forbidden,
    /// `foreign-host`, 403: the `Host` header names somebody else (DNS rebinding).
    ForeignHost,
    /// `foreign-origin`, 403: a web page of another host sent the request.
    ForeignOrigin,
    /// `not-found`, 404: no such route.
    NotFound,
    /// `unknown-run`, 404: no run has that ID, or it has left the history.
    UnknownRun,
    /// `method-not-allowed`, 405: see `Allow`.
    MethodNotAllowed,
    /// `request-timeout`, 408: the body did not arrive in time.
    RequestTimeout,
    /// `nothing-to-cancel`, 409: no run is under way.
    NothingToCancel,
    /// `queue-taken`, 409: a run with other options already waits.
    QueueTaken,
    /// `precondition-failed`, 412: the resource is not the one that `If-Match` names.
    PreconditionFailed,
    /// `body-too-large`, 413.
    BodyTooLarge,
    /// `unsupported-media-type`, 415: the body is not declared as JSON.
    UnsupportedMediaType,
    /// `out-of-range`, 422: a field has a value that it cannot have.
    OutOfRange,
    /// `unknown-source`, 422: the configuration has no source of that name.
    UnknownSource,
    /// `idempotency-key-reused`, 422: the key is that of another request.
    KeyReused,
    /// `configuration-refused`, 422: the new configuration is wrong; the old one stays in effect.
    ConfigurationRefused,
    /// `header-too-large`, 431: the header has too many bytes or fields.
    HeaderTooLarge,
    /// `busy`, 503: too many requests wait.
    Busy,
    /// `stopping`, 503: the daemon drains.
    Stopping,
    /// `standby`, 503: another daemon serves the target.
    Standby,
    /// `timeout`, 503: the daemon did not get to it in time; it may still be carried out.
    Timeout,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::Malformed,
        Self::Unauthorized,
        Self::InsufficientRole,
        Self::Forbidden,
        Self::ForeignHost,
        Self::ForeignOrigin,
        Self::NotFound,
        Self::UnknownRun,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::NothingToCancel,
        Self::QueueTaken,
        Self::PreconditionFailed,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::OutOfRange,
        Self::UnknownSource,
        Self::KeyReused,
        Self::ConfigurationRefused,
        Self::HeaderTooLarge,
        Self::Busy,
        Self::Stopping,
        Self::Standby,
        Self::Timeout,
    ];

    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Malformed => (StatusCode::BAD_REQUEST, "malformed", "The request cannot be understood"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized", "A valid token or certificate is needed"),
            Self::InsufficientRole => {
                (StatusCode::FORBIDDEN, "insufficient-role", "Only an operator may change things")
            }
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "Not served to this client"),
            Self::ForeignHost => (StatusCode::FORBIDDEN, "foreign-host", "The Host header is not of this daemon"),
            Self::ForeignOrigin => (StatusCode::FORBIDDEN, "foreign-origin", "Requests of other web pages are refused"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "No such route"),
            Self::UnknownRun => (StatusCode::NOT_FOUND, "unknown-run", "No such run"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Not with this method"),
            Self::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, "request-timeout", "The body did not arrive in time"),
            Self::NothingToCancel => (StatusCode::CONFLICT, "nothing-to-cancel", "No run is under way"),
            Self::QueueTaken => (StatusCode::CONFLICT, "queue-taken", "A different run is already queued"),
            Self::PreconditionFailed => {
                (StatusCode::PRECONDITION_FAILED, "precondition-failed", "It has changed meanwhile")
            }
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large"),
            Self::UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body must be JSON")
            }
            Self::OutOfRange => (StatusCode::UNPROCESSABLE_ENTITY, "out-of-range", "A value is out of range"),
            Self::UnknownSource => (StatusCode::UNPROCESSABLE_ENTITY, "unknown-source", "No such source"),
            Self::KeyReused => {
                (StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused", "The key is that of another request")
            }
            Self::ConfigurationRefused => {
                (StatusCode::UNPROCESSABLE_ENTITY, "configuration-refused", "The configuration was refused")
            }
            Self::HeaderTooLarge => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "header-too-large", "The header is too large")
            }
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy", "Busy"),
            Self::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping", "The daemon is stopping"),
            Self::Standby => (StatusCode::SERVICE_UNAVAILABLE, "standby", "Another daemon serves this target"),
            Self::Timeout => (StatusCode::SERVICE_UNAVAILABLE, "timeout", "No answer in time"),
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> StatusCode {
        self.parts().0
    }

    /// The `type` in the reply.
    #[must_use]
    pub fn urn(self) -> String {
        format!("urn:rbac-sync:problem:{}", self.name())
    }

    /// The last part of `type`, also the label of the metric that counts refusals.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.parts().1
    }
}

/// One error on its way to the client.
#[derive(Clone, Debug)]
pub struct Problem {
    /// What kind.
    pub kind: Kind,
    /// What is wrong this time and what to do; holds no secret.
    detail: String,
    /// More members of the reply.
    extensions: Map<String, Value>,
    /// Methods that the route takes, for `Allow`.
    allow: Option<&'static str>,
}

impl Problem {
    /// An error with its explanation.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), extensions: Map::new(), allow: None }
    }

    /// A method that the route does not take.
    #[must_use]
    pub fn method_not_allowed(allow: &'static str) -> Self {
        Self { allow: Some(allow), ..Self::new(Kind::MethodNotAllowed, format!("this route takes {allow}")) }
    }

    /// Adds the members of a JSON object to the reply.
    #[must_use]
    pub fn with(mut self, members: Value) -> Self {
        if let Value::Object(members) = members {
            self.extensions.extend(members);
        }
        self
    }

    /// The body of the reply.
    pub(super) fn body(&self) -> String {
        let (status, _, title) = self.kind.parts();
        let mut body = self.extensions.clone();
        body.insert("type".into(), json!(self.kind.urn()));
        body.insert("title".into(), json!(title));
        body.insert("status".into(), json!(status.as_u16()));
        body.insert("detail".into(), json!(self.detail));
        Value::Object(body).to_string() + "\n"
    }

    /// The reply.
    #[must_use]
    pub(super) fn reply(self) -> Reply {
        let status = self.kind.status();
        let mut reply = Response::new(Either::Left(Full::new(Bytes::from(self.body()))));
        *reply.status_mut() = status;
        let headers = reply.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT));
        if let Some(allow) = self.allow {
            headers.insert(hyper::header::ALLOW, HeaderValue::from_static(allow));
        }
        if self.kind == Kind::Unauthorized {
            headers.insert(hyper::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"rbac-sync\""));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        reply
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        let kind = match denied {
            Denied::Busy => Kind::Busy,
            Denied::Stopping => Kind::Stopping,
            Denied::UnknownSource(_) => Kind::UnknownSource,
            Denied::NothingToCancel => Kind::NothingToCancel,
            Denied::QueueTaken => Kind::QueueTaken,
            Denied::ScheduleChanged => Kind::PreconditionFailed,
            Denied::KeyReused => Kind::KeyReused,
            Denied::Standby(_) => Kind::Standby,
        };
        Self::new(kind, denied.to_string())
    }
}
