//! Gauges of one moment, from the snapshot. What is not known is absent, not 0.
//!
//! A standby does not know how its sources are: it asks none, and what it knew when it last served the target was
//! true only then. Told on, an alert about it would never end.

use chrono::{DateTime, Utc};
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts};

use super::{names, sample, seconds};
use crate::history::RunRecord;
use crate::supervisor::{Origin, Snapshot, SourceStatus};

/// All gauges, one family each; a family without a known value has no metrics.
pub(super) fn gauges(snapshot: &Snapshot, now: DateTime<Utc>) -> Vec<MetricFamily> {
    let mut families = daemon(snapshot);
    families.extend(sources(snapshot, now));
    families
}

fn daemon(snapshot: &Snapshot) -> Vec<MetricFamily> {
    let status = &snapshot.status;
    let config = &status.config;
    let build = GaugeVec::new(Opts::new(names::BUILD_INFO, "1 for the running version."), &["version"])
        .expect("names and labels are constants");
    build.with_label_values(&[status.version.as_str()]).set(1.0);
    let mut families = build.collect();
    let hash = Some((Some(config.hash.as_str()), 1.0));
    families.extend(family(names::CONFIG_INFO, "1 for the hash of the configuration file in effect.", &["hash"], hash));
    let since = status.pause.as_ref().map(|pause| unix(pause.since));
    let target = status.target.reachable.map(flag);
    for (name, help, value) in [
        (names::CONFIG_GENERATION, "Configurations that have taken effect.", Some(sample(config.generation))),
        (names::CONFIG_LAST_RELOAD_SUCCESSFUL, "Whether the latest configuration was accepted.", {
            Some(flag(config.last_reload_successful))
        }),
        (names::CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP_SECONDS, "When the configuration in effect was loaded.", {
            Some(unix(config.loaded))
        }),
        (names::CONFIG_PENDING_RESTART, "Whether changed keys wait for a restart.", {
            Some(flag(!config.restart_required.is_empty()))
        }),
        (
            names::INTERVAL_SECONDS,
            "Time between scheduled runs; under a cron expression the one that passes now.",
            Some(sample(status.interval_sec)),
        ),
        (names::LOG_LEVEL_OVERRIDDEN, "Whether a log level set through the API is in effect.", {
            Some(flag(status.log_level.origin == Origin::Api))
        }),
        (names::NEXT_RUN_TIMESTAMP_SECONDS, "When the next scheduled run is due.", status.next_run.map(unix)),
        (names::PAUSED, "Whether scheduled runs are stopped.", Some(flag(status.paused))),
        (names::PAUSED_SINCE_TIMESTAMP_SECONDS, "Since when scheduled runs are stopped.", since),
        (names::RUN_IN_PROGRESS, "Runs under way.", Some(sample(status.running.len() as u64))),
        (names::STANDBY, "Whether another daemon serves the target.", Some(flag(status.standby))),
        (names::TARGET_UP, "Whether the RBAC database answers.", target),
    ] {
        families.extend(family(name, help, &[], value.map(|value| (None, value))));
    }
    families
}

fn sources(snapshot: &Snapshot, now: DateTime<Utc>) -> Vec<MetricFamily> {
    let sources = &snapshot.status.sources;
    let each = |name, help, value: &dyn Fn(&SourceStatus) -> Option<f64>| {
        let values = sources.iter().filter_map(|source| Some((Some(source.name.as_str()), value(source)?)));
        family(name, help, &["source"], values)
    };
    let last_success = |source: &SourceStatus| source.last_success.map(unix);
    let serves = !snapshot.status.standby;
    let up = |source: &SourceStatus| source.reachability.reachable.filter(|_| serves).map(flag);
    let lag = |source: &SourceStatus| {
        let latest = latest_success(snapshot, source).and_then(|run| run.started);
        latest.or(source.last_success).map(|since| age(since, now))
    };
    let brake = |source: &SourceStatus| {
        latest_run(snapshot, source).filter(|_| serves).map(|run| flag(run.is_held_by_the_brake()))
    };
    let sweep = |source: &SourceStatus| source.verified_since.filter(|_| serves).map(|since| age(since, now));
    [
        each(names::BRAKE_HIT, "Whether the brake on deletes stopped the latest run.", &brake),
        each(names::LAST_SUCCESS_TIMESTAMP_SECONDS, "When the latest successful run ended.", &last_success),
        each(names::SOURCE_UP, "Whether the database of the archive answers.", &up),
        each(
            names::SOURCE_LAG_SECONDS,
            "Time since the latest successful run started: how stale the target may be.",
            &lag,
        ),
        each(names::SWEEP_AGE_SECONDS, "Age of the oldest comparison of a row with the archive.", &sweep),
    ]
    .concat()
}

/// The newest run of a source that meant to write and was not cancelled; the history is newest first.
fn latest_run<'a>(snapshot: &'a Snapshot, source: &SourceStatus) -> Option<&'a RunRecord> {
    let mut runs = snapshot.history.iter().map(|run| &**run);
    runs.find(|run| run.source == source.name && !run.dry_run && !run.is_cancelled())
}

/// The newest run of a source that succeeded in writing.
fn latest_success<'a>(snapshot: &'a Snapshot, source: &SourceStatus) -> Option<&'a RunRecord> {
    let mut runs = snapshot.history.iter().map(|run| &**run);
    runs.find(|run| run.source == source.name && run.success == Some(true) && !run.dry_run)
}

fn family<'a>(
    name: &str,
    help: &str,
    labels: &[&str],
    values: impl IntoIterator<Item = (Option<&'a str>, f64)>,
) -> Vec<MetricFamily> {
    let gauge = GaugeVec::new(Opts::new(name, help), labels).expect("names and labels are constants");
    for (label, value) in values {
        gauge.with_label_values(label.as_slice()).set(value);
    }
    gauge.collect()
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn unix(time: DateTime<Utc>) -> f64 {
    seconds(time.timestamp_millis())
}

/// Seconds; a clock that was set back does not make it negative.
fn age(since: DateTime<Utc>, now: DateTime<Utc>) -> f64 {
    seconds((now - since).num_milliseconds().max(0))
}
