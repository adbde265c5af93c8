//! What a client sent, made of untrusted text: query, body, durations. Says exactly what is wrong.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::problem::{Kind, Problem};
use super::wire::{PauseBody, RunBody, ScheduleBody};
use crate::engine::Mode;
use crate::supervisor::PauseRequest;

/// Bytes of a body at the most.
const BODY_LIMIT: usize = 64 * 1024;
/// Time for a body to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);
/// A longer `?wait=` counts as this.
const WAIT_LIMIT: Duration = Duration::from_secs(3600);
/// The longest interval, one day.
const INTERVAL_LIMIT: u64 = 86_400;
/// The longest pause that ends by itself, a year.
const PAUSE_LIMIT: Duration = Duration::from_secs(366 * 86_400);
/// Characters of a pause's reason at the most.
const REASON_LIMIT: usize = 500;

/// Reads the whole body.
pub(super) async fn body(headers: &HeaderMap, body: &mut Incoming) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(Kind::BodyTooLarge, format!("a body has at most {BODY_LIMIT} bytes"));
    if body.size_hint().lower() > BODY_LIMIT as u64 {
        return Err(too_large());
    }
    let collected = tokio::time::timeout(BODY_TIME, Limited::new(body, BODY_LIMIT).collect()).await;
    let bytes = match collected {
        Err(_) => return Err(Problem::new(Kind::RequestTimeout, "send the body within 30 seconds")),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(_)) => return Err(Problem::new(Kind::Malformed, "the body ended early or is not framed as HTTP asks")),
        Ok(Ok(collected)) => collected.to_bytes(),
    };
    if !bytes.is_empty() {
        declared_as_json(headers)?;
    }
    Ok(bytes)
}

fn declared_as_json(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(sent) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let essence = sent.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if essence.eq_ignore_ascii_case(b"application/json") {
        return Ok(());
    }
    Err(Problem::new(Kind::UnsupportedMediaType, "send \"Content-Type: application/json\", or leave it out"))
}

/// `POST /sync/run`.
pub(super) fn run(body: &[u8]) -> Result<RunBody, Problem> {
    let fields = Fields::parse(body, &["mode", "dry_run", "source", "allow_deletes"])?;
    let mode = match fields.text("mode")? {
        None => None,
        Some("delta") => Some(Mode::Delta),
        Some("full") => Some(Mode::Full),
        Some(_) => return Err(out_of_range("mode is \"delta\" or \"full\"")),
    };
    Ok(RunBody {
        mode,
        dry_run: fields.switch("dry_run")?,
        source: fields.text("source")?.map(str::to_owned),
        allow_deletes: fields.switch("allow_deletes")?,
    })
}

/// `PUT /sync/schedule`.
pub(super) fn schedule(body: &[u8]) -> Result<ScheduleBody, Problem> {
    let fields = Fields::parse(body, &["interval_sec"])?;
    let value = fields.get("interval_sec").ok_or_else(|| Problem::new(Kind::Malformed, "interval_sec is missing"))?;
    let interval_sec = whole(value).filter(|seconds| (1..=INTERVAL_LIMIT).contains(seconds));
    let interval_sec =
        interval_sec.ok_or_else(|| out_of_range("interval_sec is a whole number of seconds from 1 to 86400"))?;
    Ok(ScheduleBody { interval_sec })
}

/// `POST /sync/pause`.
pub(super) fn pause(body: &[u8]) -> Result<PauseRequest, Problem> {
    let fields = Fields::parse(body, &["reason", "for"])?;
    let reason = fields.text("reason")?.map(str::to_owned);
    if reason.as_ref().is_some_and(|text| text.chars().count() > REASON_LIMIT || text.chars().any(char::is_control)) {
        return Err(out_of_range("reason is one line of at most 500 characters"));
    }
    let bad = || out_of_range("for is a time such as \"2h\" or a number of seconds, above 0 and at most a year");
    let time = match fields.get("for") {
        None => None,
        Some(Value::String(text)) => Some(duration(text).ok_or_else(bad)?),
        Some(value) => Some(Duration::from_secs(whole(value).ok_or_else(bad)?)),
    };
    if time.is_some_and(|time| time.is_zero() || time > PAUSE_LIMIT) {
        return Err(bad());
    }
    Ok(PauseRequest { reason, duration: time })
}

/// A route that takes no field: nothing or an empty object.
pub(super) fn nothing(body: &[u8]) -> Result<(), Problem> {
    Fields::parse(body, &[]).map(|_| ())
}

/// Builds the body of `POST /sync/pause`.
#[must_use]
pub fn pause_body(reason: Option<String>, time: Option<Duration>) -> PauseBody {
    PauseBody { reason, duration: time.map(|time| humantime::format_duration(time).to_string()) }
}

/// `2h`, `90s`, or whole seconds.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    match text.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(text).ok(),
    }
}

/// A whole number however it is written: to JSON `30`, `30.0` and `3e1` are the same.
fn whole(value: &Value) -> Option<u64> {
    /// Up to here every whole number is one that a float can hold.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    value
        .as_u64()
        .or_else(|| value.as_f64().filter(|n| n.fract() == 0.0 && (0.0..=EXACT).contains(n)).map(|n| n as u64))
}

fn out_of_range(detail: &str) -> Problem {
    Problem::new(Kind::OutOfRange, detail)
}

/// The members of a JSON object; null counts as absent.
struct Fields(Map<String, Value>);

impl Fields {
    fn parse(body: &[u8], names: &[&str]) -> Result<Self, Problem> {
        if body.trim_ascii().is_empty() {
            return Ok(Self(Map::new()));
        }
        let value: Value = serde_json::from_slice(body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            Problem::new(Kind::Malformed, format!("the body is not JSON (line {line}, column {column})"))
        })?;
        let Value::Object(mut fields) = value else {
            return Err(Problem::new(Kind::Malformed, "the body must be a JSON object"));
        };
        if fields.keys().any(|key| !names.contains(&key.as_str())) {
            let valid = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return Err(Problem::new(Kind::Malformed, format!("the body has an unknown field; valid are: {valid}")));
        }
        fields.retain(|_, value| !value.is_null());
        Ok(Self(fields))
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    fn text(&self, name: &str) -> Result<Option<&str>, Problem> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| out_of_range(&format!("{name} must be a text")))
    }

    fn switch(&self, name: &str) -> Result<bool, Problem> {
        let Some(value) = self.get(name) else { return Ok(false) };
        value.as_bool().ok_or_else(|| out_of_range(&format!("{name} must be true or false")))
    }
}

/// The query, checked against the one key that a route knows.
pub(super) struct Query<'a>(Option<&'a str>);

impl<'a> Query<'a> {
    /// `key`: the only key that the route takes, if it takes one.
    pub(super) fn parse(query: Option<&'a str>, key: Option<&'static str>) -> Result<Self, Problem> {
        let mut value = None;
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
            if Some(name) != key || value.is_some() {
                let valid = key.unwrap_or("none");
                let detail = format!("the query has an unknown or repeated key; valid are: {valid}");
                return Err(Problem::new(Kind::Malformed, detail));
            }
            value = Some(text);
        }
        Ok(Self(value))
    }

    /// `wait=30s`.
    pub(super) fn wait(&self) -> Result<Option<Duration>, Problem> {
        let Some(text) = self.0 else { return Ok(None) };
        let time =
            duration(&decoded(text)).ok_or_else(|| Problem::new(Kind::Malformed, "wait is a time such as 30s"))?;
        Ok(Some(time.min(WAIT_LIMIT)))
    }

    /// `limit=20`.
    pub(super) fn limit(&self) -> Result<usize, Problem> {
        let Some(text) = self.0 else { return Ok(20) };
        let limit = decoded(text).parse().ok().filter(|limit| (1..=1000).contains(limit));
        limit.ok_or_else(|| Problem::new(Kind::Malformed, "limit is a number from 1 to 1000"))
    }
}

/// A value of a query as the client meant it: forms send a blank as `+`, others as `%20`.
fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind<T: std::fmt::Debug>(result: Result<T, Problem>) -> Kind {
        result.expect_err("must be refused").kind
    }

    #[test]
    fn an_empty_body_means_the_defaults() {
        assert_eq!(run(b"").expect("empty"), RunBody::default());
        assert_eq!(run(b" \n").expect("blank"), RunBody::default());
        assert_eq!(run(b"{\"mode\":null}").expect("null"), RunBody::default());
        assert!(pause(b"{}").expect("empty").duration.is_none());
    }

    #[test]
    fn text_that_is_not_an_object_or_has_other_fields_is_malformed() {
        for body in [&b"{"[..], b"[]", b"1", b"\"x\"", b"\xff\xfe", b"{\"mode\":\"full\"} x", b"{\"modus\":\"full\"}"] {
            assert_eq!(kind(run(body)), Kind::Malformed, "{body:?}");
        }
        let deep = "[".repeat(60_000);
        assert_eq!(kind(run(deep.as_bytes())), Kind::Malformed);
        assert_eq!(kind(nothing(b"{\"a\":1}")), Kind::Malformed);
        assert_eq!(kind(schedule(b"")), Kind::Malformed);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), text in ".{0,40}") {
            let _ = (run(&bytes), schedule(&bytes), pause(&bytes), nothing(&bytes), duration(&text));
            let _ = Query::parse(Some(&text), Some("wait")).and_then(|query| query.wait());
            let body = serde_json::json!({ "for": text, "reason": text }).to_string();
            let _ = pause(body.as_bytes());
        }
    }

    #[test]
    fn refuses_an_interval_out_of_range() {
        for value in ["0", "-1", "\"30\"", "1.5", "86401", "1e5", "1e300", "-0.0", "true", "[]", "99999999999999999999"]
        {
            let body = format!("{{\"interval_sec\":{value}}}");
            assert_eq!(kind(schedule(body.as_bytes())), Kind::OutOfRange, "{value}");
        }
        assert_eq!(schedule(b"{\"interval_sec\":1}").expect("lowest").interval_sec, 1);
        assert_eq!(schedule(b"{\"interval_sec\":86400}").expect("highest").interval_sec, 86_400);
        assert_eq!(schedule(b"{\"interval_sec\":30.0}").expect("whole").interval_sec, 30);
    }

    #[test]
    fn refuses_a_pause_that_is_no_time() {
        for value in ["\"\"", "\"soon\"", "\"0s\"", "0", "-5", "1.5", "\"1000000000y\"", "true", "\"-2h\""] {
            let body = format!("{{\"for\":{value}}}");
            assert_eq!(kind(pause(body.as_bytes())), Kind::OutOfRange, "{value}");
        }
        let two_hours = Some(Duration::from_secs(7200));
        assert_eq!(pause(b"{\"for\":\"2h\"}").expect("text").duration, two_hours);
        assert_eq!(pause(b"{\"for\":7200}").expect("number").duration, two_hours);
        assert_eq!(kind(pause(b"{\"reason\":\"a\\nb\"}")), Kind::OutOfRange);
    }

    #[test]
    fn what_the_client_writes_is_what_the_server_reads() {
        let body = pause_body(Some("upgrade".into()), Some(Duration::from_secs(5400)));
        let read = pause(&serde_json::to_vec(&body).expect("plain")).expect("own body");
        assert_eq!((read.reason.as_deref(), read.duration), (Some("upgrade"), Some(Duration::from_secs(5400))));
    }

    #[test]
    fn a_query_has_the_known_key_once_and_in_range() {
        let wait = |text| Query::parse(Some(text), Some("wait")).and_then(|query| query.wait());
        assert_eq!(wait("wait=30s").expect("valid"), Some(Duration::from_secs(30)));
        assert_eq!(wait("wait=5h").expect("capped"), Some(WAIT_LIMIT));
        for text in ["wait=1m+30s", "wait=1m%2030s", "wait=%39%30"] {
            assert_eq!(wait(text).expect("encoded"), Some(Duration::from_secs(90)), "{text}");
        }
        for text in ["wait=x", "wait", "wait=1s&wait=2s", "limit=2", "wait=30s&x=1"] {
            assert_eq!(kind(wait(text)), Kind::Malformed, "{text}");
        }
        let limit = |text| Query::parse(Some(text), Some("limit")).and_then(|query| query.limit());
        assert_eq!(limit("").expect("default"), 20);
        assert_eq!(limit("limit=1000").expect("highest"), 1000);
        for text in ["limit=0", "limit=1001", "limit=-1", "limit=%ff", "limit=%3"] {
            assert_eq!(kind(limit(text)), Kind::Malformed, "{text}");
        }
    }
}
