//! The members of a body in JSON, each of a known name and at most once.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::out_of_range;
use crate::api::problem::{Kind, Problem};

/// `2h`, `90s`, or whole seconds.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    match text.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(text).ok(),
    }
}

/// A whole number however it is written: to JSON `30`, `30.0` and `3e1` are the same.
pub(super) fn whole(value: &Value) -> Option<u64> {
    /// Up to here every whole number is one that a float can hold.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    value
        .as_u64()
        .or_else(|| value.as_f64().filter(|n| n.fract() == 0.0 && (0.0..=EXACT).contains(n)).map(|n| n as u64))
}

/// The members of a JSON object; null counts as absent.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    pub(super) fn parse(body: &[u8], names: &[&str]) -> Result<Self, Problem> {
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
        if let Some(name) = twice(body) {
            // Which one counts is for the reader to choose, and another one on the way may have chosen otherwise.
            return Err(Problem::new(Kind::Malformed, format!("the body has the field {name} twice")));
        }
        fields.retain(|_, value| !value.is_null());
        Ok(Self(fields))
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, Problem> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| out_of_range(&format!("{name} must be a text")))
    }

    pub(super) fn time(&self, name: &str, bad: impl Fn() -> Problem) -> Result<Option<Duration>, Problem> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => duration(text).map(Some).ok_or_else(bad),
            Some(value) => whole(value).map(Duration::from_secs).map(Some).ok_or_else(bad),
        }
    }

    pub(super) fn switch(&self, name: &str) -> Result<bool, Problem> {
        let Some(value) = self.get(name) else { return Ok(false) };
        value.as_bool().ok_or_else(|| out_of_range(&format!("{name} must be true or false")))
    }
}

/// The first name that an object has a second time.
fn twice(object: &[u8]) -> Option<String> {
    let Names(mut names) = serde_json::from_slice(object).ok()?;
    let repeated = (1..names.len()).find(|&place| names[..place].contains(&names[place]))?;
    Some(names.swap_remove(repeated))
}

/// The names of an object's members, also those that a map would drop.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = members.next_entry()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_comes_twice_is_refused_by_name_whatever_it_holds() {
        let parse = |body: &str| Fields::parse(body.as_bytes(), &["level", "for"]).map(|fields| fields.0);
        assert_eq!(parse(r#"{"level":"info","for":"1h"}"#).expect("each once").len(), 2);
        for body in [
            r#"{"level":"info","for":"1h","level":"debug"}"#,
            r#"{"level":null,"level":"info"}"#,
            r#"{"level":"info","le\u0076el":"info"}"#,
        ] {
            let problem = parse(body).expect_err(body);
            assert_eq!(problem.kind, Kind::Malformed);
            assert!(format!("{problem:?}").contains("the body has the field level twice"), "{problem:?}");
        }
    }
}
