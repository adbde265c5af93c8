//! Every name under `rbac_sync_`; the crate's own `process_*` come on top.

/// What each name begins with.
pub const PREFIX: &str = "rbac_sync_";

/// Counter {listener, route, code}.
pub const API_REQUESTS_TOTAL: &str = "rbac_sync_api_requests_total";
/// Counter {reason}.
pub const API_DENIED_TOTAL: &str = "rbac_sync_api_denied_total";
/// Gauge {source}, 0 or 1; absent before the first run.
pub const BRAKE_HIT: &str = "rbac_sync_brake_hit";
/// Gauge {version}, always 1.
pub const BUILD_INFO: &str = "rbac_sync_build_info";
/// Gauge, how many configurations have taken effect; 1 at the start.
pub const CONFIG_GENERATION: &str = "rbac_sync_config_generation";
/// Gauge {hash}, always 1.
pub const CONFIG_INFO: &str = "rbac_sync_config_info";
/// Gauge, 0 or 1.
pub const CONFIG_LAST_RELOAD_SUCCESSFUL: &str = "rbac_sync_config_last_reload_successful";
/// Gauge, Unix time.
pub const CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP_SECONDS: &str = "rbac_sync_config_last_reload_success_timestamp_seconds";
/// Gauge, 0 or 1.
pub const CONFIG_PENDING_RESTART: &str = "rbac_sync_config_pending_restart";
/// Counter {trigger, result}.
pub const CONFIG_RELOADS_TOTAL: &str = "rbac_sync_config_reloads_total";
/// Gauge, seconds.
pub const INTERVAL_SECONDS: &str = "rbac_sync_interval_seconds";
/// Gauge {source}, Unix time; absent before the first success.
pub const LAST_SUCCESS_TIMESTAMP_SECONDS: &str = "rbac_sync_last_success_timestamp_seconds";
/// Gauge, 0 or 1: a log level set through the API is in effect.
pub const LOG_LEVEL_OVERRIDDEN: &str = "rbac_sync_log_level_overridden";
/// Gauge, Unix time; absent while paused.
pub const NEXT_RUN_TIMESTAMP_SECONDS: &str = "rbac_sync_next_run_timestamp_seconds";
/// Gauge, 0 or 1.
pub const PAUSED: &str = "rbac_sync_paused";
/// Gauge, Unix time; absent while not paused.
pub const PAUSED_SINCE_TIMESTAMP_SECONDS: &str = "rbac_sync_paused_since_timestamp_seconds";
/// Counter {source, level, action}.
pub const ROWS_TOTAL: &str = "rbac_sync_rows_total";
/// Histogram {source}.
pub const RUN_DURATION_SECONDS: &str = "rbac_sync_run_duration_seconds";
/// Gauge, number of runs under way.
pub const RUN_IN_PROGRESS: &str = "rbac_sync_run_in_progress";
/// Counter {source, trigger, result}.
pub const RUNS_TOTAL: &str = "rbac_sync_runs_total";
/// Gauge {source}, seconds; absent before the first success.
pub const SOURCE_LAG_SECONDS: &str = "rbac_sync_source_lag_seconds";
/// Gauge {source}, 0 or 1; absent until it was asked.
pub const SOURCE_UP: &str = "rbac_sync_source_up";
/// Gauge, 0 or 1: another daemon serves the target.
pub const STANDBY: &str = "rbac_sync_standby";
/// Gauge {source}, seconds; absent while the history has no successful full run.
pub const SWEEP_AGE_SECONDS: &str = "rbac_sync_sweep_age_seconds";
/// Gauge, 0 or 1; absent until it was asked.
pub const TARGET_UP: &str = "rbac_sync_target_up";
