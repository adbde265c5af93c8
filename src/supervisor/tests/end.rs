//! How a daemon stops, and what it bears until then.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_stop_ends_runs_records_them_and_denies_what_comes_later() {
    let fake = Fake::new();
    fake.plan([Plan::Hold]);
    let mut test = started(&fake, config());
    let run = test.until_running().await;
    let queued = test.run(Mode::Delta).await;
    test.stop.cancel();
    (&mut test.task).await.unwrap();
    assert_eq!(test.handle.run(request(Mode::Delta)).await, Err(Denied::Stopping));
    for id in [run, queued] {
        assert_eq!(test.result(id).await.success, Some(false));
        assert!(fake.see(|state| state.recorded.contains(&id)));
    }
    assert!(test.handle.snapshot().status.stopping);
}

#[tokio::test(start_paused = true)]
async fn a_drain_gives_up_after_its_deadline() {
    let fake = Fake::new();
    fake.plan([Plan::Stubborn(SECOND * 3600)]);
    let mut test = started(&fake, config());
    test.until_running().await;
    let stopped = Instant::now();
    test.stop.cancel();
    (&mut test.task).await.unwrap();
    assert_eq!(stopped.elapsed(), DRAIN);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reload_does_not_hold_up_a_stop() {
    let fake = Fake::new();
    fake.change(|state| state.load_takes = SECOND * 600);
    let mut test = started(&fake, config());
    let handle = test.handle.clone();
    let asked = tokio::spawn(async move { handle.reload(ReloadTrigger::Api).await });
    test.until_idle().await;
    let stopped = Instant::now();
    test.stop.cancel();
    (&mut test.task).await.unwrap();
    assert!(stopped.elapsed() < SECOND);
    assert_eq!(asked.await.unwrap(), Err(Denied::Stopping));
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_requests_is_bounded_and_every_one_is_answered() {
    let fake = Fake::new();
    fake.plan([Plan::Hold]);
    let test = started(&fake, config());
    test.until_running().await;
    let storm = (0..500).map(|_| test.handle.run(request(Mode::Delta)));
    let answers = futures_util::future::join_all(storm).await;
    let taken: std::collections::HashSet<_> = answers.iter().flatten().map(|admitted| admitted.runs[0]).collect();
    assert_eq!(taken.len(), 1, "all that were taken share one run");
    assert!(answers.iter().all(|answer| matches!(answer, Ok(_) | Err(Denied::Busy))));
    fake.change(|state| state.release = true);
    test.until_idle().await;
}

#[tokio::test(start_paused = true)]
async fn the_textfile_is_written_again_and_again() {
    let fake = Fake::new();
    let _test = started(&fake, Config { metrics_textfile: Some(PathBuf::from("rbac-sync.prom")), ..config() });
    let begin = Instant::now();
    fake.until(|state| state.textfiles == 5).await;
    assert_eq!(begin.elapsed(), TEXTFILE_EVERY * 4);
}
