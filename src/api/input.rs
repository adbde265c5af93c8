//! What a client sent, made of untrusted text: body, headers, [`query`], durations. Says exactly what is wrong.

mod fields;
mod query;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap};

use super::problem::{Kind, Problem};
use super::wire::{LogLevelBody, PauseBody, RunBody};
use crate::config;
use crate::engine::Mode;
use crate::schedule::{Cron, Plan};
use crate::supervisor::{LogRequest, PauseRequest};
pub use fields::duration;
use fields::{Fields, whole};
pub(super) use query::Query;

/// Bytes of a body at the most.
const BODY_LIMIT: usize = 64 * 1024;
/// Time for a body to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);
/// The longest interval, one day.
const INTERVAL_LIMIT: u64 = 86_400;
/// The longest pause that ends by itself, a year.
const PAUSE_LIMIT: Duration = Duration::from_secs(366 * 86_400);
/// The shortest pause or log level that ends by itself.
const SHORTEST: Duration = Duration::from_secs(1);
/// How long a log level lasts if nobody says so.
const LOG_LEVEL_TIME: Duration = Duration::from_secs(3600);
/// The longest log level: a verbose log must not be forgotten.
const LOG_LEVEL_LIMIT: Duration = Duration::from_secs(86_400);
/// Characters of an idempotency key at the most.
const KEY_LIMIT: usize = 128;
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
    let mut all = headers.get_all(CONTENT_TYPE).iter();
    let Some(sent) = all.next() else { return Ok(()) };
    if all.next().is_some() {
        return Err(Problem::new(Kind::Malformed, "there is more than one Content-Type: send one, or leave it out"));
    }
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

/// `PUT /sync/schedule`; `zone` is that of a cron expression without one.
pub(super) fn schedule(body: &[u8], zone: chrono_tz::Tz) -> Result<Plan, Problem> {
    let fields = Fields::parse(body, &["interval_sec", "cron", "time_zone"])?;
    let zone = match fields.text("time_zone")? {
        None => zone,
        Some(_) if fields.get("cron").is_none() => {
            return Err(Problem::new(Kind::Malformed, "time_zone is the zone of a cron expression, and there is none"));
        }
        Some(name) => config::zone(name).map_err(|problem| out_of_range(&format!("time_zone is {problem}")))?,
    };
    match (fields.get("interval_sec"), fields.text("cron")?) {
        (Some(value), None) => {
            let seconds = whole(value).filter(|seconds| (1..=INTERVAL_LIMIT).contains(seconds));
            let seconds =
                seconds.ok_or_else(|| out_of_range("interval_sec is a whole number of seconds from 1 to 86400"))?;
            Ok(Plan::Interval(Duration::from_secs(seconds)))
        }
        (None, Some(text)) => Cron::new(text, zone)
            .map(|cron| Plan::Cron(cron.into()))
            .map_err(|problem| out_of_range(&problem.to_string())),
        (Some(_), Some(_)) => Err(Problem::new(Kind::Malformed, "interval_sec and cron exclude each other")),
        (None, None) => Err(Problem::new(Kind::Malformed, "interval_sec or cron is missing")),
    }
}

/// `PUT /log/level`.
pub(super) fn log_level(body: &[u8]) -> Result<LogRequest, Problem> {
    let fields = Fields::parse(body, &["level", "for"])?;
    let level = fields.text("level")?.ok_or_else(|| Problem::new(Kind::Malformed, "level is missing"))?;
    let level = config::log_filter(level).map_err(|problem| out_of_range(&format!("level: {problem}")))?;
    let bad = || out_of_range("for is a time such as \"15m\" or a number of seconds, from 1 second to a day");
    let duration = fields.time("for", bad)?.unwrap_or(LOG_LEVEL_TIME);
    if !(SHORTEST..=LOG_LEVEL_LIMIT).contains(&duration) {
        return Err(bad());
    }
    Ok(LogRequest { level, duration })
}

/// `POST /sync/pause`.
pub(super) fn pause(body: &[u8]) -> Result<PauseRequest, Problem> {
    let fields = Fields::parse(body, &["reason", "for"])?;
    let reason = fields.text("reason")?.map(str::to_owned);
    if reason.as_ref().is_some_and(|text| text.chars().count() > REASON_LIMIT || text.chars().any(char::is_control)) {
        return Err(out_of_range("reason is one line of at most 500 characters"));
    }
    let bad = || out_of_range("for is a time such as \"2h\" or a number of seconds, from 1 second to a year");
    let time = fields.time("for", bad)?;
    if time.is_some_and(|time| !(SHORTEST..=PAUSE_LIMIT).contains(&time)) {
        return Err(bad());
    }
    Ok(PauseRequest { reason, duration: time })
}

/// The `Idempotency-Key` header: a text in double quotes, as the draft of the HTTP working group has it, or
/// bare, as most clients send it.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<Arc<str>>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let key = text.strip_prefix('"').map_or(Some(text), |quoted| quoted.strip_suffix('"')).unwrap_or_default();
    let valid = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if values.next().is_some() || key.is_empty() || key.len() > KEY_LIMIT || !key.bytes().all(valid) {
        let detail =
            "an Idempotency-Key is one text of 1 to 128 visible ASCII characters without quotes or backslashes";
        return Err(Problem::new(Kind::Malformed, detail));
    }
    Ok(Some(key.into()))
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

/// Builds the body of `PUT /log/level`.
#[must_use]
pub fn log_level_body(level: String, time: Option<Duration>) -> LogLevelBody {
    LogLevelBody { level, duration: time.map(|time| humantime::format_duration(time).to_string()) }
}

fn out_of_range(detail: &str) -> Problem {
    Problem::new(Kind::OutOfRange, detail)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

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
    fn a_body_is_declared_as_json_once_or_not_at_all() {
        let declared = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_TYPE, HeaderValue::from_static(value));
            }
            declared_as_json(&headers)
        };
        assert!(declared(&[]).is_ok());
        assert!(declared(&["Application/JSON; charset=utf-8"]).is_ok());
        assert_eq!(kind(declared(&["text/plain"])), Kind::UnsupportedMediaType);
        for two in [["application/json", "text/plain"], ["application/json", "application/json"]] {
            assert_eq!(kind(declared(&two)), Kind::Malformed, "{two:?}");
        }
    }

    #[test]
    fn text_that_is_not_an_object_or_has_other_fields_is_malformed() {
        for body in [&b"{"[..], b"[]", b"1", b"\"x\"", b"\xff\xfe", b"{\"mode\":\"full\"} x", b"{\"modus\":\"full\"}"] {
            assert_eq!(kind(run(body)), Kind::Malformed, "{body:?}");
        }
        let deep = "[".repeat(60_000);
        assert_eq!(kind(run(deep.as_bytes())), Kind::Malformed);
        assert_eq!(kind(nothing(b"{\"a\":1}")), Kind::Malformed);
        for body in [&b""[..], b"{\"time_zone\":\"UTC\"}", b"{\"interval_sec\":5,\"cron\":\"* * * * *\"}"] {
            assert_eq!(kind(schedule(body, chrono_tz::UTC)), Kind::Malformed);
        }
        assert_eq!(kind(log_level(b"{}")), Kind::Malformed);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), text in ".{0,40}") {
            let _ = (run(&bytes), schedule(&bytes, chrono_tz::UTC), pause(&bytes), nothing(&bytes), duration(&text));
            let body = serde_json::json!({ "cron": text, "time_zone": "UTC" }).to_string();
            let _ = (schedule(body.as_bytes(), chrono_tz::UTC), log_level(&bytes));
            let _ = log_level(serde_json::json!({ "level": text }).to_string().as_bytes());
            let _ = Query::parse(Some(&text), &["wait"]).and_then(|query| query.wait());
            let body = serde_json::json!({ "for": text, "reason": text }).to_string();
            let _ = pause(body.as_bytes());
        }
    }

    #[test]
    fn refuses_an_interval_out_of_range() {
        for value in ["0", "-1", "\"30\"", "1.5", "86401", "1e5", "1e300", "-0.0", "true", "[]", "99999999999999999999"]
        {
            let body = format!("{{\"interval_sec\":{value}}}");
            assert_eq!(kind(schedule(body.as_bytes(), chrono_tz::UTC)), Kind::OutOfRange, "{value}");
        }
        for seconds in [1, 86_400] {
            let body = format!("{{\"interval_sec\":{seconds}}}");
            let plan = schedule(body.as_bytes(), chrono_tz::UTC).expect("in range");
            assert_eq!(plan, Plan::Interval(Duration::from_secs(seconds)));
        }
        let whole = schedule(b"{\"interval_sec\":30.0}", chrono_tz::UTC).expect("whole");
        assert_eq!(whole, Plan::Interval(Duration::from_secs(30)));
    }

    #[test]
    fn a_cron_expression_means_the_named_zone_or_the_configured_one() {
        let read = |body: &str| schedule(body.as_bytes(), chrono_tz::Asia::Seoul);
        let cron = |zone| Plan::Cron(Cron::new("0 3 * * *", zone).expect("valid").into());
        assert_eq!(read(r#"{"cron":"0 3 * * *"}"#).expect("valid"), cron(chrono_tz::Asia::Seoul));
        let named = read(r#"{"cron":"0 3 * * *","time_zone":"Europe/Vienna"}"#).expect("valid");
        assert_eq!(named, cron(chrono_tz::Europe::Vienna));
        for body in [
            r#"{"cron":"0 25 * * *"}"#,
            r#"{"cron":"* * *"}"#,
            r#"{"cron":7}"#,
            r#"{"cron":"* * * * *","time_zone":"Asia/Soul"}"#,
        ] {
            assert_eq!(kind(read(body)), Kind::OutOfRange, "{body}");
        }
    }

    #[test]
    fn a_log_level_lasts_an_hour_unless_somebody_says_so_and_never_more_than_a_day() {
        let hour = log_level(br#"{"level":"debug"}"#).expect("a level");
        assert_eq!((hour.level.as_str(), hour.duration), ("debug", LOG_LEVEL_TIME));
        let day = log_level(br#"{"level":"info,rbac_sync::api=debug","for":86400}"#).expect("a filter");
        assert_eq!(day.duration, LOG_LEVEL_LIMIT);
        for body in [
            r#"{"level":"loud"}"#,
            r#"{"level":7}"#,
            r#"{"level":"debug","for":"25h"}"#,
            r#"{"level":"debug","for":0}"#,
            r#"{"level":"debug","for":"soon"}"#,
        ] {
            assert_eq!(kind(log_level(body.as_bytes())), Kind::OutOfRange, "{body}");
        }
    }

    #[test]
    fn refuses_a_pause_that_is_no_time() {
        for value in [
            "\"\"",
            "\"soon\"",
            "\"0s\"",
            "0",
            "-5",
            "1.5",
            "\"1000000000y\"",
            "true",
            "\"-2h\"",
            "\"900ms\"",
            "31622401",
        ] {
            let body = format!("{{\"for\":{value}}}");
            assert_eq!(kind(pause(body.as_bytes())), Kind::OutOfRange, "{value}");
        }
        let two_hours = Some(Duration::from_secs(7200));
        assert_eq!(pause(b"{\"for\":\"2h\"}").expect("text").duration, two_hours);
        assert_eq!(pause(b"{\"for\":7200}").expect("number").duration, two_hours);
        assert_eq!(kind(pause(b"{\"reason\":\"a\\nb\"}")), Kind::OutOfRange);
        let reason = |length| pause(format!("{{\"reason\":\"{}\"}}", "김".repeat(length)).as_bytes());
        assert!(reason(500).is_ok());
        assert_eq!(kind(reason(501)), Kind::OutOfRange);
    }

    #[test]
    fn what_the_client_writes_is_what_the_server_reads() {
        let body = pause_body(Some("upgrade".into()), Some(Duration::from_secs(5400)));
        let read = pause(&serde_json::to_vec(&body).expect("plain")).expect("own body");
        assert_eq!((read.reason.as_deref(), read.duration), (Some("upgrade"), Some(Duration::from_secs(5400))));
    }

    #[test]
    fn an_idempotency_key_is_a_short_visible_text_with_or_without_quotes() {
        let key = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("idempotency-key", HeaderValue::from_bytes(value.as_bytes()).expect("a header"));
            }
            idempotency_key(&headers)
        };
        assert_eq!(key(&[]).expect("none"), None);
        assert_eq!(key(&["8e03978e-40d5"]).expect("bare").as_deref(), Some("8e03978e-40d5"));
        assert_eq!(key(&["\"8e03978e-40d5\""]).expect("quoted").as_deref(), Some("8e03978e-40d5"));
        let longest = "x".repeat(128);
        assert!(key(&[longest.as_str()]).is_ok());
        for bad in ["", "\"\"", "\"", "\"a", "a\"", "a b", "\"a\"b\"", "\"a\\b\"", "caf\u{e9}", &format!("{longest}x")]
        {
            assert_eq!(kind(key(&[bad])), Kind::Malformed, "{bad}");
        }
        assert_eq!(kind(key(&["a", "a"])), Kind::Malformed);
    }
}
