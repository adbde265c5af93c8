//! Two daemons on one target, and the sources that stand in it.

use super::*;

const OTHER: &str = "daemon on host b, process 7";

#[tokio::test(start_paused = true)]
async fn a_standby_runs_nothing_refuses_what_would_be_lost_and_takes_over_within_a_second() {
    let fake = Fake::new();
    fake.change(|state| state.served_by = Some(OTHER.to_owned()));
    let test = started(&fake, config());
    let snapshot = test.until(|s| s.status.standby).await;
    assert_eq!(snapshot.status.served_by.as_deref(), Some(OTHER));
    assert_eq!((snapshot.status.next_run, snapshot.status.target.reachable), (None, Some(true)));
    let denied = Denied::Standby(OTHER.to_owned());
    assert_eq!(test.handle.run(request(Mode::Delta)).await, Err(denied.clone()));
    assert_eq!(test.handle.pause(PauseRequest::default()).await, Err(denied.clone()));
    assert_eq!(test.handle.set_schedule(set(SECOND * 9)).await, Err(denied.clone()));
    assert_eq!(test.handle.resume().await, Err(denied));
    tokio::time::sleep(SECOND * 60).await;
    assert!(fake.see(|state| state.runs.is_empty() && state.opened >= 50));
    let freed = Instant::now();
    fake.change(|state| state.served_by = None);
    fake.until(|state| !state.runs.is_empty()).await;
    assert!(freed.elapsed() <= SECOND, "{:?}", freed.elapsed());
    assert!(!test.until(|s| !s.status.standby).await.status.standby);
}

#[tokio::test(start_paused = true)]
async fn a_lost_lock_is_asked_for_again_and_a_daemon_that_lost_it_obeys_what_the_other_was_told() {
    let fake = Fake::new();
    let test = started(&fake, config());
    test.until_idle().await;
    test.handle.pause(PauseRequest::default()).await.unwrap();
    fake.until(|state| state.saved.len() == 1).await;
    let opened = fake.see(|state| state.opened);
    fake.change(|state| {
        state.lock_lost = true;
        state.served_by = Some(OTHER.to_owned());
    });
    test.until(|s| s.status.standby && !s.status.paused).await;
    // The other one was told to resume, and saved that.
    fake.change(|state| (state.served_by, state.control) = (None, Control::default()));
    let runs = fake.see(|state| state.runs.len());
    fake.until(|state| state.runs.len() > runs).await;
    assert!(fake.see(|state| state.opened > opened));
    assert!(!test.until(|s| !s.status.standby).await.status.paused);
    assert_eq!(fake.see(|state| state.saved.len()), 1, "nothing of the old life is saved over it");
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_stops_gives_the_target_back_after_its_last_run() {
    let fake = Fake::new();
    fake.plan([Plan::Stubborn(SECOND * 20)]);
    let test = started(&fake, config());
    test.until_running().await;
    test.stop.cancel();
    tokio::time::sleep(SECOND * 10).await;
    assert!(fake.see(|state| state.released.is_empty()), "a run is still under way");
    test.task.await.unwrap();
    assert_eq!(fake.see(|state| state.released.clone()), ["sqlite:rbac"]);
}

#[tokio::test(start_paused = true)]
async fn sources_that_stand_in_the_target_and_are_not_configured_are_named() {
    let fake = Fake::new();
    fake.change(|state| state.residents = vec!["main".to_owned(), "gone".to_owned()]);
    let test = started(&fake, config());
    let snapshot = test.until(|s| !s.status.unconfigured_sources.is_empty()).await;
    assert_eq!(snapshot.status.unconfigured_sources, ["gone"]);
    fake.until(|state| !state.runs.is_empty()).await;
    test.until_idle().await;
    fake.change(|state| state.file = Ok(file("renamed", with_sources(&["renamed"]))));
    test.handle.reload(ReloadTrigger::Api).await.unwrap();
    assert_eq!(test.handle.snapshot().status.unconfigured_sources, ["gone", "main"]);
}
