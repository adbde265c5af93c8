use std::collections::BTreeSet;

use super::*;
use crate::api::testing::{at, record, snapshot};
use crate::manual;
use crate::schedule::Pause;

/// The value of a sample line, found by its name with labels.
fn sample(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn every_line_is_a_comment_or_a_sample_of_an_announced_family() {
    let metrics = Metrics::new();
    metrics.run_finished(&record(1));
    metrics.api_request("http", "/sync/runs/{id}", 404);
    let text = metrics.render(&snapshot());
    let mut announced = BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a kind");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(announced.insert(name.to_owned()), "announced twice: {line}");
        } else if !line.starts_with("# HELP ") {
            let name = line.split(['{', ' ']).next().expect("a name");
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            assert!(announced.contains(name) || base.is_some_and(|base| announced.contains(base)), "{line}");
            assert!(line.rsplit(' ').next().expect("a value").parse::<f64>().is_ok(), "{line}");
        }
    }
    assert!(text.contains("process_resident_memory_bytes"));
}

#[test]
fn counters_of_configured_sources_start_at_zero() {
    let metrics = Metrics::new();
    let text = metrics.render(&snapshot());
    let runs = "rbac_sync_runs_total{result=\"failure\",source=\"main\",trigger=\"signal\"}";
    assert_eq!(sample(&text, runs), Some(0.0));
    let rows = "rbac_sync_rows_total{action=\"deleted\",level=\"series\",source=\"main\"}";
    assert_eq!(sample(&text, rows), Some(0.0));
    assert_eq!(sample(&text, "rbac_sync_run_duration_seconds_count{source=\"main\"}"), Some(0.0));
    assert_eq!(sample(&text, "rbac_sync_config_reloads_total{result=\"success\",trigger=\"file\"}"), Some(0.0));
}

#[test]
fn a_run_counts_once_and_a_dry_run_counts_no_rows() {
    let metrics = Metrics::new();
    let run = record(1);
    let inserted = run.levels.study.inserted;
    metrics.run_finished(&run);
    metrics.run_finished(&RunRecord { dry_run: true, success: Some(false), ..run });
    let text = metrics.render(&snapshot());
    let runs = |result| format!("rbac_sync_runs_total{{result=\"{result}\",source=\"main\",trigger=\"socket\"}}");
    assert_eq!(sample(&text, &runs("success")), Some(1.0));
    assert_eq!(sample(&text, &runs("failure")), Some(1.0));
    let rows = sample(&text, "rbac_sync_rows_total{action=\"inserted\",level=\"study\",source=\"main\"}");
    assert_eq!(rows, Some(seconds(inserted * 1000)));
}

/// Everything that there can be.
fn full() -> String {
    let metrics = Metrics::new();
    metrics.run_finished(&record(1));
    metrics.api_request("socket", "/metrics", 200);
    metrics.api_denied("unauthorized");
    let mut snapshot = snapshot();
    snapshot.status.pause = Some(Pause { reason: None, actor: None, since: at(1), until: None });
    metrics.render(&snapshot)
}

/// Our metrics, each with its labels.
fn exported() -> BTreeSet<(String, BTreeSet<String>)> {
    let text = full();
    let kinds =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_prefix(names::PREFIX)?.split_once(' '));
    let labels = |name: &str, kind: &str| {
        let sample = format!("{}{name}{}", names::PREFIX, if kind == "histogram" { "_count" } else { "" });
        let line = text.lines().find(|line| line.split(['{', ' ']).next() == Some(sample.as_str())).expect("a sample");
        let inner = line.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(inner, _)| inner);
        inner.split("\",").filter_map(|label| Some(label.split_once('=')?.0.to_owned())).collect()
    };
    kinds.map(|(name, kind)| (name.to_owned(), labels(name, kind))).collect()
}

#[test]
fn every_name_is_exported() {
    let before = format!("= \"{}", names::PREFIX);
    let constants = include_str!("names.rs").split(&before).skip(2);
    let constants: BTreeSet<_> = constants.filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect();
    assert_eq!(exported().into_iter().map(|(name, _)| name).collect::<BTreeSet<_>>(), constants);
}

#[test]
fn the_manual_has_every_metric_with_its_labels_and_no_other() {
    let listed = manual::items(&manual::section(manual::PROGRAM, ".Sh METRICS"));
    let listed = listed.iter().map(|item| {
        let words = manual::words(&item.head);
        let labels = words.get(1).map_or("", |labels| labels.trim_matches(['{', '}']));
        (words[0].to_owned(), labels.split(',').filter(|label| !label.is_empty()).map(str::to_owned).collect())
    });
    assert_eq!(listed.collect::<BTreeSet<_>>(), exported());
}

#[test]
fn a_collector_with_metrics_of_its_own_process_gets_ours_only() {
    let text = Metrics::new().render_for_a_collector(&snapshot());
    assert!(text.contains(names::BUILD_INFO));
    let foreign = text.lines().find(|line| !line.starts_with('#') && !line.starts_with(names::PREFIX));
    assert_eq!(foreign, None);
}

#[test]
fn what_is_not_known_is_absent() {
    let mut snapshot = snapshot();
    snapshot.history = Arc::new(Vec::new());
    snapshot.status.sources[0].last_success = None;
    snapshot.status.sources[0].verified_since = None;
    snapshot.status.sources[0].reachability.reachable = None;
    snapshot.status.next_run = None;
    let text = Metrics::new().render(&snapshot);
    for name in [names::SOURCE_LAG_SECONDS, names::SWEEP_AGE_SECONDS, names::SOURCE_UP] {
        assert!(!text.contains(name), "{name}");
    }
    assert!(!text.contains(names::NEXT_RUN_TIMESTAMP_SECONDS));
    assert!(!text.contains(names::PAUSED_SINCE_TIMESTAMP_SECONDS));
    assert_eq!(sample(&text, names::PAUSED), Some(0.0));
}

#[test]
fn a_standby_does_not_tell_of_its_sources_what_was_true_when_it_served() {
    let mut snapshot = snapshot();
    let error = Some("run: the brake on deletes: 9 studies are gone from the source".to_owned());
    let held = RunRecord { success: Some(false), error, ..record(1) };
    snapshot.history = Arc::new(vec![Arc::new(held)]);
    snapshot.status.sources[0].reachability.reachable = Some(false);
    snapshot.status.sources[0].verified_since = Some(at(1));
    let names = [names::BRAKE_HIT, names::SOURCE_UP, names::SWEEP_AGE_SECONDS];
    let told = |snapshot: &Snapshot| {
        let text = Metrics::new().render(snapshot);
        names.map(|name| text.contains(&format!("\n{name}{{")))
    };
    assert_eq!(told(&snapshot), [true; 3]);
    snapshot.status.standby = true;
    assert_eq!(told(&snapshot), [false; 3]);
    assert_eq!(sample(&Metrics::new().render(&snapshot), names::STANDBY), Some(1.0));
}

#[test]
fn lag_counts_from_the_start_of_a_success_and_sweep_age_from_the_oldest_comparison() {
    let mut snapshot = snapshot();
    let delta = RunRecord { started: Some(at(40)), finished: Some(at(41)), ..record(2) };
    let failed = RunRecord { started: Some(at(50)), success: Some(false), ..record(3) };
    snapshot.history = Arc::new([failed, delta].map(Arc::new).to_vec());
    let families = gauges::gauges(&snapshot, at(100));
    let text = encode(&families.into_iter().filter(|f| !f.get_metric().is_empty()).collect::<Vec<_>>());
    assert_eq!(sample(&text, "rbac_sync_source_lag_seconds{source=\"main\"}"), Some(60.0));
    assert_eq!(sample(&text, "rbac_sync_sweep_age_seconds{source=\"main\"}"), Some(98.0));
}

#[test]
fn the_brake_shows_until_a_later_run_succeeds() {
    let brake = |history: Vec<RunRecord>| {
        let mut snapshot = snapshot();
        snapshot.history = Arc::new(history.into_iter().map(Arc::new).collect());
        sample(&Metrics::new().render(&snapshot), "rbac_sync_brake_hit{source=\"main\"}")
    };
    let error = Some("run: the brake on deletes: 9 studies are gone from the source".to_owned());
    let held = RunRecord { success: Some(false), error, ..record(1) };
    let looked = RunRecord { dry_run: true, ..record(2) };
    assert_eq!(brake(vec![looked, held.clone()]), Some(1.0));
    assert_eq!(brake(vec![record(2), held]), Some(0.0));
    assert_eq!(brake(Vec::new()), None);
}

/// Runs Prometheus's own linter where it is installed (Debian: `prometheus`).
#[test]
fn promtool_has_no_complaint() {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let text = full();
    let child =
        Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut child) = child else { return };
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("promtool reads");
    let output = child.wait_with_output().expect("promtool ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
