//! Any events in any order.

use super::*;

/// What may happen to a daemon, in any order.
#[derive(Clone, Debug)]
enum Event {
    Run { full: bool, dry_run: bool },
    Cancel,
    Pause(u64),
    Resume,
    Interval(Option<u64>),
    Cron,
    Clock { hours: i64 },
    LogLevel(u64),
    Reload { sources: usize },
    Target { down: bool },
    Plan(Plan),
    Time(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let plan = prop_oneof![
        (0u64..9).prop_map(Plan::Rows),
        (0u64..90).prop_map(|seconds| Plan::Stubborn(SECOND * u32::try_from(seconds).unwrap())),
        Just(Plan::Fail(Side::Source, Class::Transient)),
        Just(Plan::Fail(Side::Target, Class::Transient)),
        Just(Plan::Fail(Side::Run, Class::Permanent)),
        Just(Plan::Hold),
    ];
    prop_oneof![
        3 => any::<(bool, bool)>().prop_map(|(full, dry_run)| Event::Run { full, dry_run }),
        1 => Just(Event::Cancel),
        1 => (1u64..100).prop_map(Event::Pause),
        1 => Just(Event::Resume),
        1 => proptest::option::of(1u64..100).prop_map(Event::Interval),
        1 => Just(Event::Cron),
        1 => (-3i64..4).prop_map(|hours| Event::Clock { hours }),
        1 => (1u64..100).prop_map(Event::LogLevel),
        1 => (1usize..4).prop_map(|sources| Event::Reload { sources }),
        1 => any::<bool>().prop_map(|down| Event::Target { down }),
        3 => plan.prop_map(Event::Plan),
        4 => (0u64..100).prop_map(Event::Time),
    ]
}

async fn live_through(events: Vec<Event>) {
    let fake = Fake::new();
    let mut test = started(&fake, config());
    let mut promised = Vec::new();
    for (number, event) in events.into_iter().enumerate() {
        match event {
            Event::Run { full, dry_run } => {
                let mode = if full { Mode::Full } else { Mode::Delta };
                let answer = test.handle.run(RunRequest { dry_run, ..request(mode) }).await;
                assert!(matches!(answer, Ok(_) | Err(Denied::QueueTaken)), "{answer:?}");
                promised.extend(answer.into_iter().flat_map(|admitted| admitted.runs));
            }
            Event::Cancel => drop(test.handle.cancel().await),
            Event::Pause(seconds) => {
                let duration = Some(Duration::from_secs(seconds));
                test.handle.pause(PauseRequest { reason: None, duration }).await.unwrap();
            }
            Event::Resume => test.handle.resume().await.unwrap(),
            Event::Interval(seconds) => {
                let plan = seconds.map(|seconds| interval(Duration::from_secs(seconds)));
                test.handle.set_schedule(ScheduleRequest { plan, expected: None }).await.unwrap();
            }
            Event::Cron => {
                let plan = Some(cron("*/20 * * * * *"));
                test.handle.set_schedule(ScheduleRequest { plan, expected: None }).await.unwrap();
            }
            Event::Clock { hours } => fake.change(|state| state.clock_set_by += TimeDelta::hours(hours)),
            Event::LogLevel(seconds) => {
                let duration = Duration::from_secs(seconds);
                test.handle.set_log_level(Some(LogRequest { level: "debug".into(), duration })).await.unwrap();
            }
            Event::Reload { sources } => {
                let names = &["main", "annex", "attic"][3 - sources..];
                fake.change(|state| state.file = Ok(file(&number.to_string(), with_sources(names))));
                assert!(test.handle.reload(ReloadTrigger::File).await.unwrap().success);
            }
            Event::Target { down } => fake.change(|state| state.target_down = down),
            Event::Plan(plan) => fake.plan([plan]),
            Event::Time(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
        }
    }
    fake.change(|state| {
        state.target_down = false;
        state.release = true;
        state.plans.clear();
    });
    test.handle.resume().await.unwrap();
    for run in promised {
        assert!(test.result(run).await.finished.is_some(), "whoever was promised a run gets its result");
    }
    let names: Vec<_> = test.handle.snapshot().config.sources.iter().map(|source| source.name.clone()).collect();
    let before = fake.see(|state| state.runs.len());
    fake.until(|state| {
        let later = &state.runs[before..];
        names.iter().all(|name| later.iter().any(|run| run.settings.source == *name))
    })
    .await;
    test.until(|s| s.status.log_level.origin == Origin::File).await;
    assert!(!fake.see(|state| state.overlapped), "one run of a source at a time");
    test.stop.cancel();
    (&mut test.task).await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens in whatever order, and once it has passed: each promised run has a result, and
    /// the schedule goes on for every source.
    #[test]
    fn no_order_of_events_loses_a_run_or_stops_the_schedule(events in prop::collection::vec(event(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(live_through(events));
    }
}
