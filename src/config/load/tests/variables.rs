//! Variables that override keys.

use super::*;
use crate::config::Digest;
use crate::config::Secret;

#[test]
fn the_order_of_precedence_is_process_env_file_toml() {
    let case = case(format!("{GOOD}[history]\nkeep = 1\n[log]\nlevel = 'warn'\n"));
    let config = case.load(&[("RBAC_SYNC_HISTORY_KEEP", "2"), ("RBAC_SYNC_LOG_FORMAT", "")]).unwrap().config;
    assert_eq!((config.history_keep, config.log.level.as_str()), (2, "warn"));
    assert_eq!(config.log.format, LogFormat::Auto, "an empty variable counts as not set");
}

#[test]
fn any_value_can_come_from_a_variable() {
    let text = GOOD.replace("'main'", "'north-2'").replace("[target]\nurl = 'sqlite:///nonexistent/rbac.db'\n", "");
    let config = case(&text)
        .load(&[
            ("RBAC_SYNC_SCHEDULE_INTERVAL", "30"),
            ("RBAC_SYNC_SOURCE_NORTH_2_OVERLAP", "10m"),
            ("RBAC_SYNC_SOURCE_NORTH_2_PASSWORD", "hunter2"),
            ("RBAC_SYNC_TARGET_URL", "postgres://u@h/rbac"),
            ("RBAC_SYNC_TARGET_MAX_DELETES_ROWS", "7"),
            ("RBAC_SYNC_TARGET_MAX_DELETES_PERCENT", "2.5"),
            ("RBAC_SYNC_HTTP_LISTEN", "0.0.0.0:80"),
            ("RBAC_SYNC_HTTP_TOKEN", "t0ken"),
        ])
        .unwrap()
        .config;
    assert_eq!(config.schedule.plan.interval_sec(), Some(30));
    assert_eq!(config.sources[0].overlap, Duration::from_secs(600));
    assert_eq!(config.sources[0].endpoint.password, Some(Secret::new("hunter2")));
    assert_eq!((config.target.max_deletes.rows, config.target.max_deletes.percent), (7, 2.5));
    assert_eq!(config.http.unwrap().token, Some(Digest::of(b"t0ken")));
}

#[test]
fn a_variable_that_means_nothing_or_is_wrong_is_an_error() {
    let all = case(GOOD)
        .load(&[
            ("RBAC_SYNC_SCHEDULE_INTERVALL", "5"),
            ("RBAC_SYNC_SOURCE_OTHER_URL", "hunter2"),
            ("RBAC_SYNC_SOURCE_MAIN_NAME", "x"),
            ("RBAC_SYNC_HISTORY_KEEP", "hunter2"),
        ])
        .unwrap_err();
    let text = all.join("\n");
    assert_eq!(all.len(), 4, "{text}");
    assert!(
        text.contains("RBAC_SYNC_SCHEDULE_INTERVALL: unknown variable; did you mean `RBAC_SYNC_SCHEDULE_INTERVAL`")
    );
    assert!(text.contains("RBAC_SYNC_SOURCE_OTHER_URL: unknown variable"));
    assert!(text.contains("RBAC_SYNC_HISTORY_KEEP: expected a whole number"));
    assert!(!text.contains("hunter2"));
}
