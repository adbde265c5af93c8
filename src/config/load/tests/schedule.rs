//! The schedule: an interval or a cron expression.

use super::*;

#[test]
fn a_cron_expression_has_a_zone_and_replaces_the_interval() {
    let zone = "[schedule]\ncron = '*/5 6-22 * * MON-FRI'\ntime_zone = 'Europe/Vienna'\njitter = '20s'\n";
    let schedule = load_text(&format!("{zone}{GOOD}")).unwrap().config.schedule;
    let cron = schedule.plan.cron().unwrap();
    assert_eq!((cron.text(), cron.zone()), ("*/5 6-22 * * MON-FRI", chrono_tz::Europe::Vienna));
    assert_eq!((schedule.time_zone, schedule.jitter), (chrono_tz::Europe::Vienna, Duration::from_secs(20)));
    let wrong =
        errors(&format!("[schedule]\ncron = '*/5 24 * * *'\ntime_zone = 'Europe/Wien'\njitter = '25h'\n{GOOD}"));
    assert_eq!(wrong.len(), 3, "{wrong:?}");
    assert!(wrong[0].starts_with("c.toml:2:8: the field of the hour"), "{wrong:?}");
    assert!(wrong[1].starts_with("c.toml:3:13: not a time zone"), "{wrong:?}");
}

#[test]
fn an_interval_and_a_cron_expression_exclude_each_other_unless_one_overrides() {
    let both = format!("[schedule]\ncron = '0 3 * * *'\ntime_zone = 'UTC'\ninterval = '5s'\n{GOOD}");
    assert_eq!(
        errors(&both),
        ["c.toml:4:12: `interval` (line 4) and `cron` (line 2) exclude each other: keep one of them"]
    );
    let plan = |text: &str, variables: &[(&str, &str)]| case(text).load(variables).unwrap().config.schedule.plan;
    let by_interval = format!("[schedule]\ninterval = '5s'\n{GOOD}");
    let cron = ("RBAC_SYNC_SCHEDULE_CRON", "0 3 * * *");
    assert!(plan(&by_interval, &[cron]).cron().is_some());
    let by_cron = format!("[schedule]\ncron = '0 3 * * *'\n{GOOD}");
    let interval = ("RBAC_SYNC_SCHEDULE_INTERVAL", "30");
    assert_eq!(plan(&by_cron, &[interval]).interval_sec(), Some(30));
    let refused = case(GOOD).load(&[cron, interval]).unwrap_err();
    assert!(refused[0].contains("exclude each other"), "{refused:?}");
}
