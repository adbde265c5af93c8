//! Prometheus metrics: every name, the counters that grow as things happen, and the text format.
//!
//! Counters and the histogram live here and are registered once. Gauges are made from the snapshot
//! of the moment (`gauges`), so that they can neither lag behind it nor outlive a removed source.

mod gauges;
pub mod names;

use std::fmt;
use std::sync::Arc;

use chrono::Utc;
use prometheus::proto::MetricFamily;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder};

use crate::engine::Levels;
use crate::history::{RunRecord, Trigger};
use crate::supervisor::{ReloadOutcome, ReloadTrigger, Snapshot};

/// From a quiet delta on a fast disk to the first load of a large archive.
const DURATION_BUCKETS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1200.0, 3600.0];
const TRIGGERS: [Trigger; 6] =
    [Trigger::Schedule, Trigger::Api, Trigger::Socket, Trigger::Signal, Trigger::Start, Trigger::Cli];
const RELOAD_TRIGGERS: [ReloadTrigger; 4] =
    [ReloadTrigger::File, ReloadTrigger::Signal, ReloadTrigger::Api, ReloadTrigger::Socket];
const RESULTS: [bool; 2] = [true, false];
const ACTIONS: [&str; 4] = ["inserted", "updated", "deleted", "unchanged"];

/// All metrics of the daemon; clones share the values.
#[derive(Clone)]
pub struct Metrics(Arc<Counters>);

struct Counters {
    registry: Registry,
    runs: IntCounterVec,
    run_duration: HistogramVec,
    rows: IntCounterVec,
    reloads: IntCounterVec,
    api_requests: IntCounterVec,
    api_denied: IntCounterVec,
}

impl Metrics {
    /// Registers every metric once.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        register(&registry, prometheus::process_collector::ProcessCollector::for_self());
        let counters = Counters {
            runs: counter(&registry, names::RUNS_TOTAL, "Ended runs.", &["source", "trigger", "result"]),
            run_duration: histogram(&registry, names::RUN_DURATION_SECONDS, "Time that runs took.", &["source"]),
            rows: counter(
                &registry,
                names::ROWS_TOTAL,
                "Rows that runs compared, by what became of them in the target.",
                &["source", "level", "action"],
            ),
            reloads: counter(
                &registry,
                names::CONFIG_RELOADS_TOTAL,
                "Attempts to load the configuration again.",
                &["trigger", "result"],
            ),
            api_requests: counter(
                &registry,
                names::API_REQUESTS_TOTAL,
                "Answered requests to the control routes.",
                &["listener", "route", "code"],
            ),
            api_denied: counter(
                &registry,
                names::API_DENIED_TOTAL,
                "Requests and connections that were turned away.",
                &["reason"],
            ),
            registry,
        };
        Self(Arc::new(counters))
    }

    /// Counts an ended run.
    pub fn run_finished(&self, record: &RunRecord) {
        let source = record.source.as_str();
        let success = record.success.unwrap_or(false);
        self.0.runs.with_label_values(&[source, record.trigger.as_str(), result(success)]).inc();
        if let Some(duration) = record.duration_ms {
            self.0.run_duration.with_label_values(&[source]).observe(seconds(duration));
        }
        if record.dry_run {
            return;
        }
        for (level, counts) in record.levels.iter() {
            let counts = [counts.inserted, counts.updated, counts.deleted, counts.unchanged];
            for (action, rows) in ACTIONS.iter().zip(counts) {
                self.0.rows.with_label_values(&[source, level, action]).inc_by(rows);
            }
        }
    }

    /// Counts a reload.
    pub fn reloaded(&self, trigger: ReloadTrigger, outcome: &ReloadOutcome) {
        self.0.reloads.with_label_values(&[trigger.as_str(), result(outcome.success)]).inc();
    }

    /// Counts an answered request. `route` is the route's pattern, never the path as sent.
    pub fn api_request(&self, listener: &'static str, route: &'static str, code: u16) {
        self.0.api_requests.with_label_values(&[listener, route, &code.to_string()]).inc();
    }

    /// Counts a request or a connection that was turned away.
    pub fn api_denied(&self, reason: &'static str) {
        self.0.api_denied.with_label_values(&[reason]).inc();
    }

    /// The Prometheus text format; gauges come from the snapshot.
    #[must_use]
    pub fn render(&self, snapshot: &Snapshot) -> String {
        encode(&self.families(snapshot))
    }

    /// The same for node_exporter, without `process_*`: it has metrics of these names itself, and takes none twice.
    #[must_use]
    pub fn render_for_a_collector(&self, snapshot: &Snapshot) -> String {
        let mut families = self.families(snapshot);
        families.retain(|family| family.name().starts_with(names::PREFIX));
        encode(&families)
    }

    fn families(&self, snapshot: &Snapshot) -> Vec<MetricFamily> {
        self.start_at_zero(snapshot);
        let mut families = self.0.registry.gather();
        families.extend(gauges::gauges(snapshot, Utc::now()));
        families.retain(|family| !family.get_metric().is_empty());
        families.sort_by(|a, b| a.name().cmp(b.name()));
        families
    }

    /// A counter that appears with its first event hides that event from `rate()`.
    fn start_at_zero(&self, snapshot: &Snapshot) {
        for source in &snapshot.config.sources {
            let levels = Levels::none(source.instances);
            let source = source.name.as_str();
            let _ = self.0.run_duration.with_label_values(&[source]);
            for trigger in TRIGGERS {
                for success in RESULTS {
                    let _ = self.0.runs.with_label_values(&[source, trigger.as_str(), result(success)]);
                }
            }
            for (level, _) in levels.iter() {
                for action in ACTIONS {
                    let _ = self.0.rows.with_label_values(&[source, level, action]);
                }
            }
        }
        for trigger in RELOAD_TRIGGERS {
            for success in RESULTS {
                let _ = self.0.reloads.with_label_values(&[trigger.as_str(), result(success)]);
            }
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

fn result(success: bool) -> &'static str {
    if success { "success" } else { "failure" }
}

/// A number as Prometheus takes it.
#[expect(
    clippy::cast_precision_loss,
    reason = "every sample is a float; exact up to 2^53, in milliseconds 285,000 years"
)]
fn sample(number: impl Into<i128>) -> f64 {
    number.into() as f64
}

/// Milliseconds as Prometheus's base unit.
fn seconds(milliseconds: impl Into<i128>) -> f64 {
    sample(milliseconds) / 1000.0
}

fn counter(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    let counter = IntCounterVec::new(Opts::new(name, help), labels).expect("names and labels are constants");
    register(registry, counter.clone());
    counter
}

fn histogram(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
    let options = HistogramOpts::new(name, help).buckets(DURATION_BUCKETS.to_vec());
    let histogram = HistogramVec::new(options, labels).expect("names and labels are constants");
    register(registry, histogram.clone());
    histogram
}

fn register(registry: &Registry, collector: impl prometheus::core::Collector + 'static) {
    registry.register(Box::new(collector)).expect("each constant name is registered once");
}

fn encode(families: &[MetricFamily]) -> String {
    TextEncoder::new().encode_to_string(families).expect("families have metrics and text can always be appended")
}

#[cfg(test)]
mod tests;
