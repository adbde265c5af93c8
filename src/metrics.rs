//! Prometheus metrics. (Under construction.)

use crate::history::RunRecord;
use crate::supervisor::{ReloadOutcome, ReloadTrigger, Snapshot};

/// All metrics of the daemon; clones share the values.
#[derive(Clone, Debug, Default)]
pub struct Metrics {}

impl Metrics {
    /// Registers every metric once.
    #[must_use]
    pub fn new() -> Self {
        Self {}
    }

    /// Counts an ended run.
    pub fn run_finished(&self, record: &RunRecord) {
        let _ = record;
    }

    /// Counts a reload.
    pub fn reloaded(&self, trigger: ReloadTrigger, outcome: &ReloadOutcome) {
        let _ = (trigger, outcome);
    }

    /// Counts an answered request. `route` is the route's pattern, never the path as sent.
    pub fn api_request(&self, listener: &'static str, route: &'static str, code: u16) {
        let _ = (listener, route, code);
    }

    /// The Prometheus text format; gauges come from the snapshot.
    #[must_use]
    pub fn render(&self, snapshot: &Snapshot) -> String {
        let _ = snapshot;
        String::new()
    }
}
