//! What differs between two configurations, and what of it takes effect at once. (Under construction.)

use super::Config;

/// Keys that differ, by when the new value counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Take effect at once, such as `schedule.interval`.
    pub hot: Vec<String>,
    /// Take effect at the next start, such as `socket.path`.
    pub restart_required: Vec<String>,
}

/// Compares two configurations key by key. Pure.
#[must_use]
pub fn diff(old: &Config, new: &Config) -> Changes {
    let _ = (old, new);
    Changes::default()
}
