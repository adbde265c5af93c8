//! When scheduled runs start, and what operators say about it.

use super::*;
use crate::history::Actor;

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
    let test = started(&fake, every(SECOND * 3600));
    test.until_idle().await;
    let schedule = test.handle.set_schedule(set(SECOND)).await.unwrap();
    assert_eq!(schedule, Schedule::new(&interval(SECOND), Origin::Api));
    fake.until(|state| state.runs.len() == 4).await;
    assert_eq!(fake.gaps(), [1, 1, 1]);
    test.handle.set_schedule(set(SECOND * 60)).await.unwrap();
    fake.until(|state| state.runs.len() == 5).await;
    assert_eq!(fake.gaps()[3], 60);
    let schedule = test.handle.set_schedule(ScheduleRequest::default()).await.unwrap();
    assert_eq!(schedule, Schedule::new(&interval(SECOND * 3600), Origin::File));
    fake.until(|state| state.saved.last().is_some_and(|control| control.schedule.is_none())).await;
    assert!(fake.see(|state| state.saved.iter().any(|control| control.schedule.is_some())));
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
    let set = Override { plan: interval(SECOND * 30), file: interval(SECOND * 5) };
    fake.change(|state| state.control = Control { pause: Some(pause), schedule: Some(set) });
    let test = started(&fake, config());
    let status = test.until(|s| s.status.paused).await.status.clone();
    assert_eq!(status.schedule, Schedule::new(&interval(SECOND * 30), Origin::Api));
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

#[tokio::test(start_paused = true)]
async fn a_pause_during_a_pause_replaces_it_and_names_its_actor() {
    let fake = Fake::new();
    let test = started(&fake, config());
    let first = PauseRequest { reason: Some("upgrade".to_owned()), duration: Some(SECOND * 60) };
    test.handle.by(Actor::named("uid 0"), Via::Socket).pause(first).await.unwrap();
    tokio::time::sleep(SECOND * 30).await;
    test.handle.by(Actor::named("token night"), Via::Socket).pause(PauseRequest::default()).await.unwrap();
    tokio::time::sleep(SECOND * 600).await;
    let pause = test.handle.snapshot().status.pause.clone().expect("the second one has no end");
    assert_eq!((pause.reason, pause.until), (None, None));
    assert_eq!(pause.actor, Some(Actor::named("token night")));
}

// Cron expressions. The scripted clock begins at midnight, 1 January 1970, UTC.

#[tokio::test(start_paused = true)]
async fn runs_start_at_the_times_of_a_cron_expression_and_not_before() {
    let fake = Fake::new();
    fake.plan([Plan::Rows(1), Plan::Stubborn(SECOND * 400)]);
    let begin = Instant::now();
    let test = started(&fake, planned(cron("*/5 * * * *")));
    let waiting = test.until(|s| s.status.next_run.is_some()).await;
    assert_eq!(waiting.status.next_run, Some(DateTime::UNIX_EPOCH + SECOND * 300), "to the instant");
    assert_eq!(waiting.status.schedule.interval_sec, None);
    assert_eq!(waiting.status.interval_sec, 300);
    fake.until(|state| state.runs.len() == 4).await;
    assert_eq!(fake.see(|state| state.runs[0].at) - begin, SECOND * 300);
    assert_eq!(fake.gaps(), [300, 600, 300], "a run of 400 s swallows one time");
    let budget = fake.see(|state| state.runs[0].settings.sweep_budget);
    assert_eq!(budget, SECOND * 30, "10 percent of the wait that begins");
}

#[tokio::test(start_paused = true)]
async fn a_cron_expression_goes_on_when_the_clock_is_set() {
    let fake = Fake::new();
    let test = started(&fake, planned(cron("0 * * * *")));
    test.until(|s| s.status.next_run.is_some()).await;
    fake.change(|state| state.clock_set_by = TimeDelta::minutes(90));
    let set = Instant::now();
    fake.until(|state| state.runs.len() == 1).await;
    assert!(set.elapsed() <= WALL_CLOCK_EVERY, "made up as soon as it is seen");
    fake.change(|state| state.clock_set_by = TimeDelta::zero());
    let set = Instant::now();
    fake.until(|state| state.runs.len() == 2).await;
    assert!(set.elapsed() <= SECOND * 3600, "1:00 once more, not 3:00 only");
}

#[tokio::test(start_paused = true)]
async fn a_failed_run_is_tried_again_before_the_next_time_and_one_missed_in_a_pause_is_made_up() {
    let fake = Fake::new();
    fake.plan([Plan::Fail(Side::Source, Class::Transient)]);
    let test = started(&fake, planned(cron("*/30 * * * *")));
    fake.until(|state| state.runs.len() == 3).await;
    assert_eq!(fake.gaps(), [5, 1795]);
    test.handle.pause(PauseRequest::default()).await.unwrap();
    tokio::time::sleep(SECOND * 5000).await;
    test.handle.resume().await.unwrap();
    fake.until(|state| state.runs.len() == 5).await;
    assert_eq!(fake.gaps()[2..], [5000, 400], "at once, then at its time");
}

#[tokio::test(start_paused = true)]
async fn jitter_delays_each_due_time_and_next_run_shows_it() {
    let fake = Fake::new();
    let begin = Instant::now();
    let mut config = planned(cron("*/5 * * * *"));
    config.schedule.jitter = SECOND * 40;
    let test = started(&fake, config);
    let waiting = test.until(|s| s.status.next_run.is_some()).await;
    assert_eq!(waiting.status.next_run, Some(DateTime::UNIX_EPOCH + SECOND * 320));
    fake.change(|state| state.chance = 0.25);
    fake.until(|state| state.runs.len() == 2).await;
    assert_eq!(fake.see(|state| state.runs[0].at) - begin, SECOND * 320);
    assert_eq!(fake.gaps(), [290], "the jitter is drawn for each one");
}

// A schedule that others change too.

#[tokio::test(start_paused = true)]
async fn of_two_changes_that_saw_the_same_schedule_one_wins() {
    let fake = Fake::new();
    let test = started(&fake, config());
    let seen = test.handle.snapshot().status.schedule.tag();
    let wish = |seconds| ScheduleRequest { expected: Some(vec![seen.clone()]), ..set(SECOND * seconds) };
    let (one, other) = tokio::join!(test.handle.set_schedule(wish(7)), test.handle.set_schedule(wish(8)));
    assert_eq!(other, Err(Denied::ScheduleChanged));
    let now = one.unwrap();
    assert_eq!(test.handle.snapshot().status.schedule, now);
    assert_ne!(now.tag(), seen);
    let back = ScheduleRequest { plan: None, expected: Some(vec![seen.clone(), now.tag()]) };
    assert_eq!(test.handle.set_schedule(back).await.unwrap().tag(), seen, "the same schedule has the same tag");
}

// The log level.

#[tokio::test(start_paused = true)]
async fn a_log_level_ends_by_itself_by_hand_and_with_an_edit_of_the_file() {
    let fake = Fake::new();
    let test = started(&fake, config());
    let level = |fake: &Fake| fake.see(|state| state.log_level.clone());
    let debug = LogRequest { level: "debug".to_owned(), duration: SECOND * 900 };
    let set = test.handle.set_log_level(Some(debug.clone())).await.unwrap();
    assert_eq!((set.origin, set.until), (Origin::Api, Some(DateTime::UNIX_EPOCH + SECOND * 900)));
    assert_eq!(level(&fake), "debug");
    let begin = Instant::now();
    test.until(|s| s.status.log_level.origin == Origin::File).await;
    assert_eq!((begin.elapsed(), level(&fake).as_str()), (SECOND * 900, "info"));

    test.handle.set_log_level(Some(debug.clone())).await.unwrap();
    let reset = test.handle.set_log_level(None).await.unwrap();
    assert_eq!((reset.level.as_str(), level(&fake).as_str()), ("info", "info"));

    test.handle.set_log_level(Some(debug)).await.unwrap();
    let mut quiet = config();
    quiet.log.level = "warn".to_owned();
    fake.change(|state| state.file = Ok(file("edited", quiet)));
    test.handle.reload(ReloadTrigger::File).await.unwrap();
    assert_eq!(level(&fake), "warn");
    assert_eq!(test.handle.snapshot().status.log_level.until, None);
}
