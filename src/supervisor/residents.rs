//! The sources of which the target holds rows, whether they are configured or not.
//!
//! Pure state. A source that was renamed, or taken out of the configuration, leaves its rows behind: that
//! may be meant, so they stay, but it is told about.

use std::collections::BTreeSet;

use crate::config::Config;

/// The names known to stand in the target.
#[derive(Debug, Default)]
pub(super) struct Residents {
    names: BTreeSet<String>,
    told: Vec<String>,
}

impl Residents {
    /// What the target itself says.
    pub(super) fn set(&mut self, names: Vec<String>) {
        self.names = names.into_iter().collect();
    }

    /// A run of that source has written.
    pub(super) fn add(&mut self, name: &str) {
        if !self.names.contains(name) {
            self.names.insert(name.to_owned());
        }
    }

    /// Those that the configuration does not have, sorted.
    pub(super) fn unconfigured(&self, config: &Config) -> Vec<String> {
        let configured = |name: &&String| config.sources.iter().any(|source| source.name.as_str() == name.as_str());
        self.names.iter().filter(|name| !configured(name)).cloned().collect()
    }

    /// Says in the log which sources are left over, if that has changed.
    pub(super) fn tell(&mut self, config: &Config) {
        let unconfigured = self.unconfigured(config);
        if !unconfigured.is_empty() && unconfigured != self.told {
            tracing::warn!(
                sources = unconfigured.join(", "),
                "the target holds rows of sources that are not configured; they stay as they are until: rbac-sync forget NAME"
            );
        }
        self.told = unconfigured;
    }
}
