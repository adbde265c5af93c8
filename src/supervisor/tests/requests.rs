//! Runs that somebody asks for.

use super::*;

#[tokio::test(start_paused = true)]
async fn during_a_run_one_more_is_queued_and_further_requests_join_it() {
    let fake = Fake::new();
    fake.plan([Plan::Hold]);
    let test = started(&fake, config());
    let first = test.until_running().await;
    let second = test.run(Mode::Delta).await;
    assert_ne!(first, second);
    assert_eq!(test.run(Mode::Full).await, second, "it is upgraded");
    let denied = test.handle.run(RunRequest { dry_run: true, ..request(Mode::Delta) }).await;
    assert_eq!(denied, Err(Denied::QueueTaken));
    fake.change(|state| state.release = true);
    assert_eq!(test.result(second).await.mode, Mode::Full);
    assert_eq!(fake.see(|state| state.runs.len()), 2);
}

#[tokio::test(start_paused = true)]
async fn sources_run_side_by_side_and_a_request_can_name_one() {
    let fake = Fake::new();
    fake.plan([Plan::Hold, Plan::Hold]);
    let test = started(&fake, with_sources(&["main", "annex"]));
    test.until(|s| s.status.running.len() == 2).await;
    let name = SourceName::new("annex");
    let admitted = test.handle.run(RunRequest { source: name, ..request(Mode::Delta) }).await.unwrap();
    assert_eq!(admitted.runs.len(), 1);
    let all = test.handle.run(request(Mode::Delta)).await.unwrap();
    assert_eq!(all.runs[1], admitted.runs[0], "in the order of the configuration, and joined");
    let unknown = RunRequest { source: SourceName::new("attic"), ..request(Mode::Delta) };
    assert_eq!(test.handle.run(unknown).await, Err(Denied::UnknownSource("attic".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn cancelling_ends_the_run_under_way_and_is_no_failure() {
    let fake = Fake::new();
    fake.plan([Plan::Hold]);
    let test = started(&fake, config());
    let run = test.until(|s| s.status.running.iter().any(|run| run.processed == 7)).await.status.running[0].run_id;
    assert_eq!(test.handle.cancel().await, Ok(vec![run]));
    let record = test.result(run).await;
    assert_eq!((record.success, record.processed), (Some(false), 7));
    assert_eq!(test.handle.snapshot().status.sources[0].consecutive_failures, 0);
    assert_eq!(test.handle.cancel().await, Err(Denied::NothingToCancel));
}
