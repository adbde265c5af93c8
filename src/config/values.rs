//! What a single value means: each function turns a [`Value`] into its type or says what is expected.
//!
//! No message repeats the value: it may be a password that landed on the wrong line.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::keys::did_you_mean;
use super::raw::Value;
use super::{Deletes, Digest, LogFormat, Role};
use crate::schedule::Cron;

/// `sun_path` holds 108 bytes, the last of which is the terminating zero.
const SOCKET_PATH_BYTES: usize = 107;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Longer than any filter that a person writes.
const LONGEST_FILTER: usize = 500;
const NOT_A_FILTER: &str =
    "not a valid filter: write a level, or module=level,... such as info,rbac_sync::engine=debug";

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

fn found(value: &Value) -> &'static str {
    match value {
        Value::Text(_) | Value::Variable(_) => "text",
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a float",
        Value::Boolean(_) => "a boolean",
        Value::Other(kind) => kind,
    }
}

/// Text that is not empty.
pub(super) fn text(value: &Value) -> Result<&str, String> {
    match value {
        Value::Text(text) | Value::Variable(text) if !text.trim().is_empty() => Ok(text),
        Value::Text(_) | Value::Variable(_) => Err("must not be empty".into()),
        other => Err(format!("expected text in quotes, found {}", found(other))),
    }
}

/// Whole seconds from `least` to 24 h: `"6m"`, or the number of seconds.
pub(super) fn duration(value: &Value, least: Duration) -> Result<Duration, String> {
    let expected =
        || format!("expected a duration such as \"5s\", or whole seconds as a number, found {}", found(value));
    let duration = match value {
        Value::Integer(seconds) => u64::try_from(*seconds).ok().map(Duration::from_secs),
        Value::Variable(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().ok().map(Duration::from_secs)
        }
        Value::Text(text) | Value::Variable(text) => Some(humantime::parse_duration(text.trim()).map_err(|_| {
            "not a duration: write a number and a unit, such as \"5s\", \"6m\" or \"1h 30m\"".to_owned()
        })?),
        _ => return Err(expected()),
    };
    duration
        .filter(|duration| (least..=DAY).contains(duration) && duration.subsec_nanos() == 0)
        .ok_or_else(|| format!("must be whole seconds from {}s to 24h", least.as_secs()))
}

/// A whole number in a range.
pub(super) fn count(value: &Value, range: RangeInclusive<u64>) -> Result<u64, String> {
    let number = match value {
        Value::Integer(number) => u64::try_from(*number).ok(),
        Value::Variable(text) => Some(text.trim().parse().map_err(|_| "expected a whole number".to_owned())?),
        other => return Err(format!("expected a whole number, found {}", found(other))),
    };
    number.filter(|number| range.contains(number)).ok_or_else(|| match *range.end() {
        LARGEST_COUNT => format!("must be a whole number of at least {}", range.start()),
        end => format!("must be from {} to {end}", range.start()),
    })
}

/// The largest integer that TOML can express.
pub(super) const LARGEST_COUNT: u64 = i64::MAX as u64;

/// 0 to 100.
pub(super) fn percent(value: &Value) -> Result<f64, String> {
    let number = match value {
        Value::Integer(number) => *number as f64,
        Value::Float(number) => *number,
        Value::Variable(text) => text.trim().parse().map_err(|_| "expected a number from 0 to 100".to_owned())?,
        other => return Err(format!("expected a number from 0 to 100, found {}", found(other))),
    };
    if (0.0..=100.0).contains(&number) { Ok(number) } else { Err("must be from 0 to 100".into()) }
}

/// `true` or `false`.
pub(super) fn boolean(value: &Value) -> Result<bool, String> {
    match value {
        Value::Boolean(boolean) => Ok(*boolean),
        Value::Variable(text) => text.trim().parse().map_err(|_| "expected true or false".into()),
        other => Err(format!("expected true or false, found {}", found(other))),
    }
}

/// One of a few words.
fn word<T: Copy>(value: &Value, words: &[(&str, T)]) -> Result<T, String> {
    let given = text(value)?.trim();
    if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == given) {
        return Ok(*meaning);
    }
    let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    Err(format!("must be one of {}{}", all.join(", "), did_you_mean(given, all.iter().copied())))
}

pub(super) fn deletes(value: &Value) -> Result<Deletes, String> {
    word(value, &[("tombstone", Deletes::Tombstone), ("remove", Deletes::Remove)])
}

pub(super) fn role(value: &Value) -> Result<Role, String> {
    word(value, &[("viewer", Role::Viewer), ("operator", Role::Operator)])
}

/// The SHA-256 of a token or of a certificate.
pub(super) fn digest(value: &Value) -> Result<Digest, String> {
    Digest::parse(text(value)?.trim()).ok_or_else(|| "must be sha256: and 64 hexadecimal digits".to_owned())
}

pub(super) fn log_format(value: &Value) -> Result<LogFormat, String> {
    word(
        value,
        &[
            ("auto", LogFormat::Auto),
            ("journald", LogFormat::Journald),
            ("json", LogFormat::Json),
            ("text", LogFormat::Text),
        ],
    )
}

/// A level or a filter per module.
pub(super) fn log_level(value: &Value) -> Result<String, String> {
    filter(text(value)?)
}

/// A level or a filter per module, of which each directive is looked at, to say which one is wrong.
/// `EnvFilter` takes any word for a module's name, so `inof` would silently switch everything else off: a
/// directive that is a word must be a level.
pub(crate) fn filter(text: &str) -> Result<String, String> {
    let filter = text.trim();
    if filter.len() > LONGEST_FILTER {
        return Err(format!("a filter has at most {LONGEST_FILTER} bytes"));
    }
    let parses = |text: &str| tracing_subscriber::EnvFilter::try_new(text).is_ok();
    let directives: Vec<&str> = filter.split(',').map(str::trim).collect();
    for (position, directive) in directives.iter().enumerate() {
        let which = if directives.len() > 1 { format!("directive {}: ", position + 1) } else { String::new() };
        if !directive.contains(['=', '[']) && !LEVELS.iter().any(|level| level.eq_ignore_ascii_case(directive)) {
            let meant = did_you_mean(directive, LEVELS);
            return Err(format!("{which}must be a level ({}) or module=level,...{meant}", LEVELS.join(", ")));
        }
        // A comma inside of brackets belongs to one directive; then only the whole filter can be judged.
        if !filter.contains('[') && !parses(directive) {
            return Err(format!("{which}{NOT_A_FILTER}"));
        }
    }
    if parses(filter) { Ok(filter.to_owned()) } else { Err(NOT_A_FILTER.to_owned()) }
}

/// A cron expression in that zone.
pub(super) fn cron(value: &Value, zone: chrono_tz::Tz) -> Result<Cron, String> {
    Cron::new(text(value)?, zone).map_err(|problem| problem.to_string())
}

/// An IP address and a port.
pub(super) fn address(value: &Value) -> Result<SocketAddr, String> {
    text(value)?.trim().parse().map_err(|_| {
        "must be an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080; host names are not looked up".into()
    })
}

/// Whether only this host can connect.
pub(super) fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// An absolute path: the daemon's working folder is nobody's business.
pub(super) fn absolute_path(value: &Value) -> Result<PathBuf, String> {
    let path = PathBuf::from(text(value)?);
    if path.is_absolute() { Ok(path) } else { Err("must be an absolute path, beginning with /".into()) }
}

pub(super) fn socket_path(value: &Value) -> Result<PathBuf, String> {
    let path = absolute_path(value)?;
    if path.as_os_str().len() > SOCKET_PATH_BYTES || text(value)?.contains('\0') {
        return Err(format!("must be a path of at most {SOCKET_PATH_BYTES} bytes, the limit for Unix sockets"));
    }
    Ok(path)
}

/// Permission bits as octal text.
pub(super) fn socket_mode(value: &Value) -> Result<u32, String> {
    const EXPECTED: &str = "must be octal digits in quotes, such as \"0660\", at most \"0777\"";
    let (Value::Text(digits) | Value::Variable(digits)) = value else { return Err(EXPECTED.into()) };
    let digits = digits.trim();
    let octal = !digits.is_empty() && digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| octal && *mode <= 0o777).ok_or(EXPECTED)?;
    Ok(mode)
}

/// A name of the IANA database.
pub(super) fn time_zone(value: &Value) -> Result<chrono_tz::Tz, String> {
    zone(text(value)?.trim())
}

/// The zone with that name.
pub(crate) fn zone(name: &str) -> Result<chrono_tz::Tz, String> {
    name.parse().map_err(|_| {
        let meant = did_you_mean(name, chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()));
        format!("not a time zone{meant}; write a name such as Asia/Seoul or Europe/Vienna")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    fn variable(text: &str) -> Value {
        Value::Variable(text.to_owned())
    }

    #[test]
    fn durations_are_whole_seconds_up_to_a_day() {
        let second = Duration::from_secs(1);
        assert_eq!(duration(&quoted("5s"), second), Ok(Duration::from_secs(5)));
        assert_eq!(duration(&Value::Integer(86400), second), Ok(DAY));
        assert_eq!(duration(&variable("30"), second), Ok(Duration::from_secs(30)));
        assert_eq!(duration(&variable("2m"), second), Ok(Duration::from_secs(120)));
        assert_eq!(duration(&quoted("0s"), Duration::ZERO), Ok(Duration::ZERO));
        for bad in [
            quoted("0s"),
            quoted("1500ms"),
            quoted("25h"),
            quoted("5"),
            Value::Integer(-5),
            Value::Integer(86401),
            Value::Float(5.0),
            variable("99999999999999999999"),
        ] {
            assert!(duration(&bad, second).is_err(), "{}", found(&bad));
        }
    }

    #[test]
    fn counts_and_percents_stay_in_range() {
        assert_eq!(count(&Value::Integer(0), 0..=LARGEST_COUNT), Ok(0));
        assert_eq!(count(&variable(" 12 "), 1..=100), Ok(12));
        assert_eq!(count(&Value::Integer(-1), 0..=LARGEST_COUNT), Err("must be a whole number of at least 0".into()));
        assert_eq!(count(&Value::Integer(101), 1..=100), Err("must be from 1 to 100".into()));
        assert_eq!(count(&quoted("5"), 1..=100), Err("expected a whole number, found text".into()));
        assert_eq!(percent(&Value::Integer(100)), Ok(100.0));
        assert_eq!(percent(&variable("2.5")), Ok(2.5));
        for bad in [Value::Float(f64::NAN), Value::Float(100.1), Value::Integer(-1), variable("many"), quoted("5")] {
            assert!(percent(&bad).is_err());
        }
    }

    #[test]
    fn a_level_that_is_misspelt_is_not_taken_for_a_module() {
        assert_eq!(log_level(&quoted("info,rbac_sync::engine=debug")).unwrap(), "info,rbac_sync::engine=debug");
        assert_eq!(log_level(&quoted("WARN")).unwrap(), "WARN");
        assert!(log_level(&quoted("inof")).unwrap_err().contains("did you mean `info`"));
        assert!(log_level(&quoted("rbac_sync=loud")).is_err());
        let second = log_level(&quoted("info,rbac_sync::engine=loud,hyper=warn")).unwrap_err();
        assert!(second.starts_with("directive 2: not a valid filter"), "{second}");
        assert!(log_level(&quoted("info,[run{source=main}]=debug")).is_ok());
        assert!(log_level(&quoted(&"a=info,".repeat(100))).is_err());
    }

    #[test]
    fn a_socket_mode_is_octal() {
        assert_eq!(socket_mode(&quoted("0660")), Ok(0o660));
        assert_eq!(socket_mode(&variable("600")), Ok(0o600));
        assert_eq!(socket_mode(&quoted("0666")), Ok(0o666));
        for bad in [quoted("1777"), quoted("+660"), quoted("0o660"), quoted(""), Value::Integer(660)] {
            assert!(socket_mode(&bad).is_err());
        }
    }

    #[test]
    fn addresses_are_numeric_and_loopback_is_recognised() {
        assert!(is_loopback(&address(&quoted("127.0.0.1:0")).unwrap()));
        assert!(is_loopback(&address(&quoted("[::1]:80")).unwrap()));
        assert!(is_loopback(&address(&quoted("[::ffff:127.0.0.1]:80")).unwrap()));
        assert!(!is_loopback(&address(&quoted("0.0.0.0:80")).unwrap()));
        assert!(address(&quoted("localhost:80")).is_err());
    }

    #[test]
    fn words_and_zones_get_suggestions() {
        assert!(deletes(&quoted("tombstones")).unwrap_err().ends_with("did you mean `tombstone`?"));
        assert_eq!(log_format(&variable("json")), Ok(LogFormat::Json));
        assert_eq!(time_zone(&quoted("Asia/Seoul")), Ok(chrono_tz::Asia::Seoul));
        assert!(time_zone(&quoted("Asia/Soul")).unwrap_err().contains("did you mean `Asia/Seoul`?"));
    }

    #[test]
    fn paths_are_absolute_or_fit_a_socket() {
        assert!(absolute_path(&quoted("relative")).is_err());
        assert!(absolute_path(&quoted("/a")).is_ok());
        assert!(socket_path(&quoted(&format!("/{}", "x".repeat(106)))).is_ok());
        assert!(socket_path(&quoted(&format!("/{}", "x".repeat(107)))).is_err());
        assert_eq!(text(&Value::Other("an array")), Err("expected text in quotes, found an array".into()));
        assert!(text(&quoted("  ")).is_err());
        assert_eq!(boolean(&variable("true")), Ok(true));
        assert!(boolean(&quoted("true")).is_err());
    }
}
