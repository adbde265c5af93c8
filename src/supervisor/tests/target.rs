//! The target beside the runs: opened late, lost, another one.

use super::*;

#[tokio::test(start_paused = true)]
async fn runs_wait_for_a_target_that_opens_late() {
    let fake = Fake::new();
    fake.change(|state| state.target_down = true);
    let test = started(&fake, config());
    let down = test.until(|s| s.status.target.reachable == Some(false)).await;
    assert!(down.status.target.error.as_deref() == Some("connection refused"));
    fake.until(|state| state.opened == 4).await;
    assert!(fake.see(|state| state.runs.is_empty()));
    fake.change(|state| state.target_down = false);
    test.until(|s| s.status.target.reachable == Some(true) && !s.history.is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_while_the_target_is_down_wins_over_what_the_target_remembers() {
    let fake = Fake::new();
    let set = Override { plan: interval(SECOND * 30), file: interval(SECOND * 5) };
    fake.change(|state| {
        state.target_down = true;
        state.control = Control { pause: None, schedule: Some(set.clone()) };
    });
    let test = started(&fake, config());
    test.until(|s| s.status.target.reachable == Some(false)).await;
    let pause = test.handle.pause(PauseRequest::default()).await.unwrap();
    fake.change(|state| state.target_down = false);
    fake.until(|state| state.saved == [Control { pause: Some(pause.clone()), schedule: Some(set.clone()) }]).await;
    assert!(fake.see(|state| state.runs.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_forced_run_without_a_target_fails_at_once_with_the_reason() {
    let fake = Fake::new();
    fake.change(|state| state.target_down = true);
    let test = started(&fake, config());
    fake.until(|state| state.opened == 5).await;
    let asked = Instant::now();
    let run = test.run(Mode::Delta).await;
    let record = test.result(run).await;
    assert_eq!(record.error.as_deref(), Some("target: connection refused"));
    assert!(asked.elapsed() < SECOND, "it does not wait for the next attempt");
    fake.change(|state| state.target_down = false);
    fake.until(|state| state.recorded.contains(&run)).await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_fails_in_a_run_is_opened_again_before_the_next_one() {
    let fake = Fake::new();
    fake.plan([Plan::Fail(Side::Target, Class::Transient)]);
    let test = started(&fake, config());
    test.until(|s| s.status.target.reachable == Some(false)).await;
    test.until(|s| s.status.sources[0].last_success.is_some()).await;
    assert_eq!(fake.see(|state| state.opened), 2);
    assert_eq!(test.handle.snapshot().status.target.reachable, Some(true));
}

#[tokio::test(start_paused = true)]
async fn only_runs_that_are_worth_it_are_recorded_and_those_of_an_earlier_life_are_shown() {
    let fake = Fake::new();
    let earlier = RunRecord { run_id: Uuid::now_v7(), ..finished_at(Utc::now() - TimeDelta::days(400_000)) };
    fake.change(|state| state.earlier = vec![earlier.clone()]);
    fake.plan([Plan::Rows(0), Plan::Rows(0), Plan::Rows(3), Plan::Rows(0)]);
    let test = started(&fake, config());
    let snapshot = test.until(|s| s.history.len() == 5).await;
    assert_eq!(snapshot.history[4].run_id, earlier.run_id);
    fake.until(|state| state.recorded.len() == 2).await;
    let worth_it = [snapshot.history[3].run_id, snapshot.history[1].run_id];
    assert_eq!(fake.see(|state| state.recorded.clone()), worth_it, "the first one and the one with rows");
}

fn finished_at(at: DateTime<Utc>) -> RunRecord {
    let report = RunReport { mode: Mode::Delta, levels: Levels::default(), verified_since: None, error: None };
    let ticket = admission::Ticket::scheduled(Trigger::Start);
    let timing = operator::timing(&Fake::new(), interval(SECOND), Duration::ZERO);
    Lane::new(source("main"), Arc::new(()), &timing).record(&ticket, None, &report, at)
}
