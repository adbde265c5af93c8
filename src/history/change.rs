//! What was changed beside runs, and by whom: the rows of `sync_audit`.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::Actor;

/// The way that a request came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Via {
    /// From the daemon itself.
    #[default]
    Daemon,
    /// Over the Unix control socket.
    Socket,
    /// Over HTTP, from that address.
    Http(IpAddr),
    /// By a signal.
    Signal,
    /// By a saved file.
    File,
}

impl Via {
    /// As the audit spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Daemon => "daemon",
            Self::Socket => "socket",
            Self::Http(_) => "http",
            Self::Signal => "signal",
            Self::File => "file",
        }
    }

    /// Where an HTTP request comes from.
    #[must_use]
    pub fn remote(self) -> Option<IpAddr> {
        if let Self::Http(remote) = self { Some(remote.to_canonical()) } else { None }
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One change, as `sync_audit` and `GET /sync/audit` show it. Holds no secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Unique, ordered by time (UUID version 7).
    pub change_id: Uuid,
    /// When it was made, UTC.
    pub at: DateTime<Utc>,
    /// By whom.
    pub actor: Actor,
    /// By which way: `socket`, `http`, `signal`, `file` or `daemon`.
    pub via: String,
    /// What was done, such as `pause`.
    pub action: String,
    /// How, an object; for HTTP with the address that the request came from.
    pub detail: Map<String, Value>,
}

impl Change {
    /// A change that has just been made.
    #[must_use]
    pub fn new(at: DateTime<Utc>, actor: Actor, via: Via, action: &str, mut detail: Map<String, Value>) -> Self {
        detail.retain(|_, value| !value.is_null());
        if let Some(remote) = via.remote() {
            detail.insert("remote".to_owned(), remote.to_string().into());
        }
        let via = via.as_str().to_owned();
        Self { change_id: Uuid::now_v7(), at, actor, via, action: action.to_owned(), detail }
    }
}

/// The latest changes, newest first.
#[derive(Debug, Default)]
pub struct Changes(Arc<Vec<Arc<Change>>>);

impl Changes {
    /// Adds the latest one; keeps at most `keep`.
    pub fn push(&mut self, change: Arc<Change>, keep: usize) {
        let all = std::iter::once(change).chain(self.0.iter().cloned());
        self.0 = Arc::new(all.take(keep).collect());
    }

    /// Adds those of an earlier life of the daemon.
    pub fn merge(&mut self, earlier: Vec<Change>, keep: usize) {
        let mut all: Vec<_> = self.0.iter().cloned().chain(earlier.into_iter().map(Arc::new)).collect();
        all.sort_by_key(|change| std::cmp::Reverse(change.change_id));
        all.dedup_by_key(|change| change.change_id);
        all.truncate(keep);
        self.0 = Arc::new(all);
    }

    /// The changes, newest first.
    #[must_use]
    pub fn records(&self) -> &Arc<Vec<Arc<Change>>> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(detail: Value) -> Change {
        let Value::Object(detail) = detail else { panic!("an object") };
        let via = Via::Http("::ffff:10.0.0.7".parse().unwrap());
        Change::new(DateTime::UNIX_EPOCH, Actor::named("token ops"), via, "pause", detail)
    }

    #[test]
    fn a_change_says_how_and_from_where_and_nothing_that_was_not_given() {
        let change = change(json!({"reason": null, "for_sec": 60}));
        assert_eq!(Value::Object(change.detail), json!({"for_sec": 60, "remote": "10.0.0.7"}));
        assert_eq!((change.via.as_str(), change.action.as_str()), ("http", "pause"));
    }

    #[test]
    fn the_newest_stay_and_none_is_doubled() {
        let mut changes = Changes::default();
        let all: Vec<_> = (0..4).map(|number| change(json!({"number": number}))).collect();
        changes.push(Arc::new(all[2].clone()), 3);
        changes.push(Arc::new(all[3].clone()), 3);
        changes.merge(all, 3);
        let numbers: Vec<_> = changes.records().iter().map(|change| change.detail["number"].clone()).collect();
        assert_eq!(numbers, [3, 2, 1]);
    }
}
