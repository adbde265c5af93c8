//! When scheduled runs start, and what operators say about it.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_first_run_comes_at_start_and_the_others_at_a_fixed_rate() {
    let fake = Fake::new();
    fake.plan([Plan::Stubborn(SECOND * 2), Plan::Stubborn(SECOND * 12)]);
    let test = started(&fake, config());
    let begin = Instant::now();
    let snapshot = test.until(|s| s.history.len() >= 4).await;
    assert_eq!(fake.see(|state| state.runs[0].at), begin);
    assert_eq!(fake.gaps()[..3], [5, 15, 5], "a run of 12 s swallows two ticks, and the grid stays");
    let triggers: Vec<_> = snapshot.history.iter().rev().map(|run| run.trigger).collect();
    assert_eq!(triggers[..2], [Trigger::Start, Trigger::Schedule]);
}

#[tokio::test(start_paused = true)]
async fn a_changed_interval_takes_effect_at_once_and_is_kept() {
    let fake = Fake::new();
    let test = started(&fake, Config { interval: SECOND * 3600, ..config() });
    test.until_idle().await;
    let schedule = test.handle.set_interval(Some(SECOND)).await.unwrap();
    assert_eq!(schedule, Schedule { interval_sec: 1, origin: ScheduleOrigin::Api });
    fake.until(|state| state.runs.len() == 4).await;
    assert_eq!(fake.gaps(), [1, 1, 1]);
    test.handle.set_interval(Some(SECOND * 60)).await.unwrap();
    fake.until(|state| state.runs.len() == 5).await;
    assert_eq!(fake.gaps()[3], 60);
    let schedule = test.handle.set_interval(None).await.unwrap();
    assert_eq!(schedule, Schedule { interval_sec: 3600, origin: ScheduleOrigin::File });
    fake.until(|state| state.saved.last().is_some_and(|control| control.interval.is_none())).await;
    assert!(fake.see(|state| state.saved.iter().any(|control| control.interval.is_some())));
}

#[tokio::test(start_paused = true)]
async fn a_pause_stops_scheduled_runs_but_not_forced_ones() {
    let fake = Fake::new();
    let test = started(&fake, config());
    test.until_idle().await;
    test.handle.pause(PauseRequest { reason: Some("upgrade".to_owned()), duration: None }).await.unwrap();
    fake.until(|state| state.saved.iter().any(|control| control.pause.is_some())).await;
    tokio::time::sleep(SECOND * 600).await;
    assert_eq!(fake.see(|state| state.runs.len()), 1);
    assert_eq!(test.handle.snapshot().status.next_run, None);
    let run = test.run(Mode::Delta).await;
    assert_eq!(test.result(run).await.success, Some(true));
    assert!(test.handle.snapshot().status.paused, "a forced run does not end the pause");
    test.handle.resume().await.unwrap();
    fake.until(|state| state.runs.len() == 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_ends_by_itself_also_when_the_clock_is_set_forward() {
    let fake = Fake::new();
    let test = started(&fake, config());
    test.until_idle().await;
    let hour = PauseRequest { reason: None, duration: Some(SECOND * 3600) };
    test.handle.pause(hour.clone()).await.unwrap();
    let paused = Instant::now();
    test.until(|s| !s.status.paused).await;
    assert_eq!(paused.elapsed().as_secs(), 3600);
    test.handle.pause(hour).await.unwrap();
    let paused = Instant::now();
    fake.change(|state| state.clock_set_by = TimeDelta::hours(2));
    test.until(|s| !s.status.paused).await;
    assert!(paused.elapsed() <= WALL_CLOCK_EVERY);
}

#[tokio::test(start_paused = true)]
async fn a_pause_and_an_interval_of_an_earlier_life_are_in_effect_before_the_first_run() {
    let fake = Fake::new();
    let pause = Pause { reason: None, actor: None, since: DateTime::UNIX_EPOCH, until: None };
    let interval = IntervalOverride { interval: SECOND * 30, file_interval: SECOND * 5 };
    fake.change(|state| state.control = Control { pause: Some(pause), interval: Some(interval) });
    let test = started(&fake, config());
    let status = test.until(|s| s.status.paused).await.status.clone();
    assert_eq!(status.schedule, Schedule { interval_sec: 30, origin: ScheduleOrigin::Api });
    tokio::time::sleep(SECOND * 100).await;
    assert!(fake.see(|state| state.runs.is_empty() && state.saved.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_saved_again_until_it_is_kept() {
    let fake = Fake::new();
    fake.change(|state| state.save_fails = true);
    let test = started(&fake, config());
    test.until_idle().await;
    test.handle.pause(PauseRequest::default()).await.unwrap();
    tokio::time::sleep(SECOND * 60).await;
    assert!(test.handle.snapshot().status.paused, "in effect all the same");
    fake.change(|state| state.save_fails = false);
    fake.until(|state| state.saved.len() == 1).await;
}
