//! The events of a supervisor at work, and the shape of each event.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::*;
use crate::api::testing::{at, record, reloaded};
use crate::engine::{Class, Mode, Side};
use crate::history::Trigger;
use crate::manual;
use crate::supervisor::tests::{Fake, Plan, config, set, started};
use crate::supervisor::{LogRequest, Origin, PauseRequest, ReloadTrigger, RunRequest};

/// The next events until one has this name.
async fn until(follower: &mut Follower, name: &str) -> Vec<Event> {
    let mut seen = Vec::new();
    while seen.last().map(Event::name) != Some(name) {
        let part = timeout(Duration::from_secs(60), follower.next()).await;
        let part = part.unwrap_or_else(|_| panic!("{name} does not come; seen: {seen:?}"));
        seen.extend(part.expect("the supervisor works").iter().map(|happened| happened.event.clone()));
    }
    seen
}

fn names(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(Event::name).collect()
}

#[test]
fn the_manual_has_every_event_and_no_other() {
    let listed = manual::items(&manual::section(manual::PROGRAM, ".Ss Events"));
    let listed = listed.iter().flat_map(|item| manual::words(&item.head)).filter(|word| *word != ",");
    let names = include_str!("mod.rs").lines().filter_map(|line| line.trim().strip_prefix("Self::")?.split('"').nth(1));
    assert_eq!(listed.collect::<BTreeSet<_>>(), names.collect());
}

#[tokio::test(start_paused = true)]
async fn a_run_is_told_from_start_to_end_with_its_progress_in_between() {
    let fake = Fake::new();
    fake.plan([Plan::Hold]);
    let test = started(&fake, config());
    let mut follower = test.handle.follow(None);
    let events = until(&mut follower, "run.progress").await;
    let [Event::RunStarted(run), Event::RunProgress(progress)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((run.trigger, run.finished), (Trigger::Start, None));
    assert_eq!((progress.run_id, progress.processed, progress.levels.study.processed), (run.run_id, 7, 7));
    assert!(progress.rows_per_sec > 0.0);
    let id = run.run_id;
    test.handle.cancel().await.unwrap();
    let events = until(&mut follower, "run.finished").await;
    let [Event::RunFinished(run)] = &events[..] else { panic!("{events:?}") };
    assert!(run.run_id == id && run.is_cancelled(), "{run:?}");
    assert_eq!(test.handle.snapshot().run(id).as_ref(), Some(&**run), "who hears of it finds it");
}

#[tokio::test(start_paused = true)]
async fn changes_by_operators_and_the_end_are_told() {
    let fake = Fake::new();
    let test = started(&fake, config());
    test.handle.watch().wait_for(|now| now.status.last_result.is_some()).await.unwrap();
    let mut follower = test.handle.follow(None);
    test.handle.pause(PauseRequest::default()).await.unwrap();
    test.handle.set_schedule(set(Duration::from_secs(30))).await.unwrap();
    test.handle.reload(ReloadTrigger::Api).await.unwrap();
    let request = RunRequest {
        trigger: Trigger::Api,
        source: None,
        mode: Mode::Full,
        dry_run: false,
        allow_deletes: false,
        key: None,
    };
    test.handle.run(request).await.unwrap();
    let events = until(&mut follower, "run.finished").await;
    assert_eq!(names(&events), ["paused", "schedule.changed", "reloaded", "run.started", "run.finished"]);
    test.handle.resume().await.unwrap();
    test.stop.cancel();
    let events = until(&mut follower, "stopping").await;
    assert_eq!(names(&events), ["resumed", "stopping"]);
    assert_eq!(follower.next().await, None, "the stream ends with the supervisor");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_is_told_as_lost_once_and_as_back_with_the_next_success() {
    let fake = Fake::new();
    fake.plan([Plan::Fail(Side::Source, Class::Transient), Plan::Fail(Side::Source, Class::Transient)]);
    let test = started(&fake, config());
    let mut follower = test.handle.follow(None);
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(until(&mut follower, "run.finished").await);
    }
    let lost = Event::SourceLost { source: "main".into(), error: Some("as planned".into()) };
    assert_eq!(names(&runs[0]), ["run.started", "source.lost", "run.finished"]);
    assert_eq!(runs[0][1], lost);
    assert_eq!(names(&runs[1]), ["run.started", "run.finished"], "told once");
    assert_eq!(names(&runs[2]), ["run.started", "source.back", "run.finished"]);
    let request = LogRequest { level: "debug".into(), duration: Duration::from_secs(60) };
    test.handle.set_log_level(Some(request)).await.unwrap();
    let told = until(&mut follower, "log_level.changed").await;
    assert_eq!(told.last(), Some(&Event::LogLevelChanged(test.handle.snapshot().status.log_level.clone())));
}

fn every_event() -> Vec<Event> {
    let outcome = reloaded(ReloadTrigger::File, true, Vec::new());
    let reload = outcome;
    let run = Arc::new(record(1));
    let progress = Progress {
        run_id: run.run_id,
        source: "main".into(),
        processed: 10,
        rows_per_sec: 2.5,
        levels: Speeds { study: Speed { processed: 10, changed: 3, rows_per_sec: 2.5 }, ..Speeds::default() },
    };
    vec![
        Event::RunStarted(run.clone()),
        Event::RunProgress(progress),
        Event::RunFinished(run),
        Event::Paused(Pause { reason: None, actor: None, since: at(1), until: None }),
        Event::Resumed,
        Event::ScheduleChanged(Schedule::new(&crate::schedule::Plan::Interval(Duration::from_secs(30)), Origin::Api)),
        Event::Reloaded(reload.clone()),
        Event::ReloadRefused(reload),
        Event::LogLevelChanged(LogLevel { level: "debug".into(), origin: Origin::Api, until: Some(at(9)) }),
        Event::SourceLost { source: "main".into(), error: Some("connection refused".into()) },
        Event::SourceBack { source: "main".into() },
        Event::TargetLost { error: Some("connection refused".into()) },
        Event::TargetBack,
        Event::Standby { served_by: "rbac-b".into() },
        Event::Serving,
        Event::Stopping,
        Event::Gap { reason: GapReason::Overrun },
    ]
}

#[test]
fn each_event_has_its_name_and_time_beside_its_fields_and_is_read_as_it_is_written() {
    for event in every_event() {
        let happened = Happened { id: "ab-7".parse().unwrap(), at: at(0), event };
        let json = serde_json::to_value(&happened).unwrap();
        assert_eq!(json["event"], happened.event.name());
        assert_eq!(json["id"], "00000000000000ab-7");
        assert!(json["at"].is_string());
        assert_eq!(serde_json::from_value::<Happened>(json).unwrap(), happened);
    }
    let happened = Happened { id: "ab-7".parse().unwrap(), at: at(0), event: every_event().swap_remove(1) };
    let json: Value = serde_json::to_value(&happened).unwrap();
    assert_eq!(json["levels"]["study"], json!({"processed": 10, "changed": 3, "rows_per_sec": 2.5}));
}
