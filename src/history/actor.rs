//! Who asked for something.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Who asked for a run or a change, as the history, the log and the API name them: such as `uid 1000`,
/// `signal` or `token grafana`. It is for people and for audits, never the ground of a decision, and never
/// holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Actor(Arc<str>);

impl Actor {
    /// Somebody with a name. Control characters are dropped, so that a name stays on its line.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self(name.chars().filter(|c| !c.is_control()).collect::<String>().into())
    }

    /// A user of this host, as the kernel knows the one at the other end of the control socket. By number: a
    /// name would have to be looked up in directories that may hang.
    #[must_use]
    pub fn uid(uid: u32) -> Self {
        Self(format!("uid {uid}").into())
    }

    /// The daemon itself: its schedule, its start.
    #[must_use]
    pub fn daemon() -> Self {
        Self("daemon".into())
    }

    /// Somebody who may send signals to the daemon; the system does not say who.
    #[must_use]
    pub fn signal() -> Self {
        Self("signal".into())
    }

    /// Whoever saved the configuration file.
    #[must_use]
    pub fn file() -> Self {
        Self("file".into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
