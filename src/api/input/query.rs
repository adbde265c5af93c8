//! The query of a request, each key known to its route and at most once.

use std::time::Duration;

use percent_encoding::percent_decode_str;
use uuid::Uuid;

use super::duration;
use crate::api::problem::{Kind, Problem};

/// A longer `?wait=` counts as this.
const WAIT_LIMIT: Duration = Duration::from_secs(3600);

/// The query, checked against the keys that a route knows.
pub(in crate::api) struct Query<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Query<'a> {
    /// `keys`: those that the route takes, each at most once.
    pub(in crate::api) fn parse(query: Option<&'a str>, keys: &[&str]) -> Result<Self, Problem> {
        let mut values: Vec<(&str, &str)> = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
            if !keys.contains(&name) || values.iter().any(|(known, _)| *known == name) {
                let valid = if keys.is_empty() { "none".to_owned() } else { keys.join(", ") };
                let detail = format!("the query has an unknown or repeated key; valid are: {valid}");
                return Err(Problem::new(Kind::Malformed, detail));
            }
            values.push((name, text));
        }
        Ok(Self(values))
    }

    /// The value as the client meant it.
    fn get(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, text)| decoded(text))
    }

    /// `wait=30s`.
    pub(in crate::api) fn wait(&self) -> Result<Option<Duration>, Problem> {
        let Some(text) = self.get("wait") else { return Ok(None) };
        let time = duration(&text).ok_or_else(|| Problem::new(Kind::Malformed, "wait is a time such as 30s"))?;
        Ok(Some(time.min(WAIT_LIMIT)))
    }

    /// `limit=20`.
    pub(in crate::api) fn limit(&self) -> Result<usize, Problem> {
        let Some(text) = self.get("limit") else { return Ok(20) };
        let limit = text.parse().ok().filter(|limit| (1..=1000).contains(limit));
        limit.ok_or_else(|| Problem::new(Kind::Malformed, "limit is a number from 1 to 1000"))
    }

    /// `before=ID`.
    pub(in crate::api) fn before(&self) -> Result<Option<Uuid>, Problem> {
        let Some(text) = self.get("before") else { return Ok(None) };
        let id = Uuid::try_parse(&text)
            .map_err(|_| Problem::new(Kind::Malformed, "before is the ID that the page before ended with, a UUID"))?;
        Ok(Some(id))
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
    fn a_query_has_the_known_key_once_and_in_range() {
        let wait = |text| Query::parse(Some(text), &["wait"]).and_then(|query| query.wait());
        assert_eq!(wait("wait=30s").expect("valid"), Some(Duration::from_secs(30)));
        assert_eq!(wait("wait=5h").expect("capped"), Some(WAIT_LIMIT));
        for text in ["wait=1m+30s", "wait=1m%2030s", "wait=%39%30"] {
            assert_eq!(wait(text).expect("encoded"), Some(Duration::from_secs(90)), "{text}");
        }
        for text in ["wait=x", "wait", "wait=1s&wait=2s", "limit=2", "wait=30s&x=1"] {
            assert_eq!(kind(wait(text)), Kind::Malformed, "{text}");
        }
        let limit = |text| Query::parse(Some(text), &["limit", "before"]).and_then(|query| query.limit());
        assert_eq!(limit("").expect("default"), 20);
        assert_eq!(limit("limit=1000").expect("highest"), 1000);
        for text in ["limit=0", "limit=1001", "limit=-1", "limit=%ff", "limit=%3", "limit=5&limit=5"] {
            assert_eq!(kind(limit(text)), Kind::Malformed, "{text}");
        }
        let before = |text| Query::parse(Some(text), &["limit", "before"]).and_then(|query| query.before());
        let id = Uuid::now_v7();
        assert_eq!(before("limit=5").expect("none"), None);
        let both = format!("before={id}&limit=5");
        assert_eq!(before(&both).expect("an ID"), Some(id));
        assert_eq!(kind(before("before=yesterday")), Kind::Malformed);
    }
}
