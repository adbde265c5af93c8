use super::*;
use crate::api::testing::{at, record, snapshot};

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
    let mut announced = std::collections::BTreeSet::new();
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
    let metrics = Metrics::new();
    metrics.run_finished(&record(1));
    metrics.api_request("socket", "/metrics", 200);
    metrics.api_denied("unauthorized");
    let text = metrics.render(&snapshot());
    let child =
        Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut child) = child else { return };
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("promtool reads");
    let output = child.wait_with_output().expect("promtool ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
