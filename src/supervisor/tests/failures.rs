//! What a failed run means for the next one.

use super::*;

#[tokio::test(start_paused = true)]
async fn failures_back_off_and_a_success_brings_the_interval_back() {
    let fake = Fake::new();
    fake.plan([Plan::Fail(Side::Source, Class::Transient); 5]);
    let test = started(&fake, every(SECOND));
    let failing = test.until(|s| s.status.sources[0].consecutive_failures == 5).await;
    assert_eq!(failing.status.sources[0].reachability.reachable, Some(false));
    assert_eq!(failing.status.target.reachable, Some(true), "it was opened");
    let backoff = failing.status.sources[0].backoff.clone().expect("it fails");
    assert_eq!(
        (backoff.consecutive_failures, backoff.side.as_str(), backoff.class.as_str()),
        (5, "source", "transient")
    );
    assert_eq!(backoff.next_attempt, Some(failing.status.sources[0].next_run.expect("it is tried again")));
    fake.until(|state| state.runs.len() == 8).await;
    assert_eq!(fake.gaps(), [5, 10, 20, 40, 60, 1, 1]);
    let recovered = test.until(|s| s.status.sources[0].consecutive_failures == 0).await;
    assert_eq!(recovered.status.sources[0].reachability.reachable, Some(true));
    assert!(recovered.status.sources[0].last_success.is_some());
    assert_eq!(recovered.status.sources[0].backoff, None);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_says_nothing_about_the_state_of_the_source() {
    let fake = Fake::new();
    let test = started(&fake, every(SECOND * 3600));
    test.until_idle().await;
    let before = test.handle.snapshot().status.sources[0].clone();
    fake.plan([Plan::Fail(Side::Run, Class::Permanent), Plan::Rows(3)]);
    for success in [false, true] {
        let dry = RunRequest { dry_run: true, ..request(Mode::Full) };
        let run = test.handle.run(dry).await.unwrap().runs[0];
        assert_eq!(test.result(run).await.success, Some(success));
    }
    assert_eq!(test.handle.snapshot().status.sources[0], before);
}

#[tokio::test(start_paused = true)]
async fn a_long_interval_does_not_delay_the_recovery() {
    let fake = Fake::new();
    fake.plan([Plan::Fail(Side::Source, Class::Transient)]);
    let _test = started(&fake, every(SECOND * 3600));
    fake.until(|state| state.runs.len() == 3).await;
    assert_eq!(fake.gaps(), [5, 3600]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failed_run_and_the_next_one_goes_on() {
    let fake = Fake::new();
    fake.plan([Plan::Panic]);
    let test = started(&fake, config());
    let snapshot = test.until(|s| s.history.len() == 2).await;
    assert_eq!(snapshot.history[1].success, Some(false));
    let error = snapshot.history[1].error.as_deref().unwrap();
    assert!(error.contains("panicked") && !error.contains("as planned"), "without the payload: {error}");
    assert_eq!(snapshot.history[0].success, Some(true));
}

#[tokio::test(start_paused = true)]
async fn a_new_schedule_counts_at_once_for_a_source_that_stopped_at_the_brake_but_keeps_a_backoff() {
    let fake = Fake::new();
    fake.plan([Plan::Fail(Side::Run, Class::Permanent)]);
    let test = started(&fake, every(SECOND * 3600));
    let failed = test.until(|s| s.status.sources[0].consecutive_failures == 1).await;
    assert_eq!(failed.status.sources[0].backoff.as_ref().map(|backoff| backoff.side.as_str()), Some("run"));
    fake.plan([Plan::Fail(Side::Source, Class::Transient)]);
    test.handle.set_schedule(set(SECOND * 2)).await.unwrap();
    test.until(|s| s.status.sources[0].consecutive_failures == 2).await;
    test.handle.set_schedule(set(SECOND * 3)).await.unwrap();
    fake.until(|state| state.runs.len() == 4).await;
    assert_eq!(fake.gaps(), [2, 10, 3]);
}
