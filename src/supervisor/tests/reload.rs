//! A configuration that is read again.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_reload_applies_a_new_interval_at_once_and_ends_the_override() {
    let fake = Fake::new();
    let test = started(&fake, every(SECOND * 3600));
    test.until_idle().await;
    test.handle.set_schedule(set(SECOND * 1800)).await.unwrap();
    fake.change(|state| state.file = Ok(file("edited", every(SECOND * 2))));
    let outcome = test.handle.reload(ReloadTrigger::Api).await.unwrap();
    assert!(outcome.success);
    assert_eq!(outcome.generation, 2);
    let status = test.handle.snapshot().status.clone();
    assert_eq!(status.schedule, Schedule::new(&interval(SECOND * 2), Origin::File));
    fake.until(|state| state.runs.len() == 3).await;
    assert_eq!(fake.gaps(), [2, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_bad_file_keeps_the_old_configuration_and_the_old_file_heals_it() {
    let fake = Fake::new();
    let test = started(&fake, config());
    test.until_idle().await;
    fake.change(|state| state.file = broken("unknown key"));
    let outcome = test.handle.reload(ReloadTrigger::File).await.unwrap();
    assert!(!outcome.success);
    assert_eq!(outcome.errors, ["rbac-sync.toml:3:1: unknown key"]);
    let status = test.handle.snapshot().status.config.clone();
    assert_eq!((status.last_reload_successful, status.errors, status.generation), (false, outcome.errors, 1));
    fake.change(|state| state.file = Ok(file("at start", config())));
    let outcome = test.handle.reload(ReloadTrigger::File).await.unwrap();
    assert!(outcome.success && outcome.generation == 1 && outcome.changed.is_empty());
    let status = test.handle.snapshot().status.config.clone();
    assert!(status.last_reload_successful && status.errors.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_changed_endpoint_must_prove_itself_first() {
    let fake = Fake::new();
    let test = started(&fake, config());
    test.until_idle().await;
    let mut moved = config();
    moved.sources[0].endpoint = endpoint("sqlite:elsewhere");
    fake.change(|state| {
        state.proof_fails = true;
        state.file = Ok(file("moved", moved));
    });
    let outcome = test.handle.reload(ReloadTrigger::Api).await.unwrap();
    assert_eq!(outcome.errors, ["source \"main\": password refused"]);
    assert_eq!(*test.handle.snapshot().config, config(), "the old one stays whole");
    fake.change(|state| state.proof_fails = false);
    assert!(test.handle.reload(ReloadTrigger::Api).await.unwrap().success);
    assert_eq!(fake.see(|state| state.proofs.clone()), ["main", "main"]);
}

#[tokio::test(start_paused = true)]
async fn a_level_that_is_switched_on_must_be_readable() {
    let fake = Fake::new();
    let test = started(&fake, config());
    test.until_idle().await;
    let mut more = config();
    more.sources[0].instances = true;
    fake.change(|state| {
        state.proof_fails = true;
        state.file = Ok(file("more", more));
    });
    assert!(!test.handle.reload(ReloadTrigger::Api).await.unwrap().success);
    assert_eq!(*test.handle.snapshot().config, config(), "the old one stays whole");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_reached_in_another_way_needs_no_proof() {
    let fake = Fake::new();
    let test = started(&fake, config());
    let mut edited = config();
    edited.sources[0].overlap = SECOND * 60;
    edited.log.level = "debug".to_owned();
    fake.change(|state| state.file = Ok(file("edited", edited)));
    assert!(test.handle.reload(ReloadTrigger::Signal).await.unwrap().success);
    assert!(fake.see(|state| state.proofs.is_empty()));
    assert_eq!(fake.see(|state| state.log_level.clone()), "debug");
    let seen = fake.see(|state| state.runs.len());
    fake.until(|state| state.runs.len() > seen + 1).await;
    assert_eq!(fake.see(|state| state.runs.last().unwrap().settings.overlap), SECOND * 60);
}

#[tokio::test(start_paused = true)]
async fn requests_during_a_reload_share_one_more() {
    let fake = Fake::new();
    fake.change(|state| state.load_takes = SECOND);
    let test = started(&fake, config());
    let reload = || test.handle.reload(ReloadTrigger::Api);
    let (a, b, c, d) = tokio::join!(reload(), reload(), reload(), reload());
    assert!([a, b, c, d].into_iter().all(|outcome| outcome.unwrap().success));
    assert_eq!(fake.see(|state| state.loads), 2);
}

#[tokio::test(start_paused = true)]
async fn sources_come_and_go_and_a_removed_one_ends_its_run() {
    let fake = Fake::new();
    fake.plan([Plan::Hold]);
    let test = started(&fake, config());
    let run = test.until_running().await;
    let queued = test.run(Mode::Delta).await;
    fake.change(|state| state.file = Ok(file("other", with_sources(&["annex"]))));
    assert!(test.handle.reload(ReloadTrigger::File).await.unwrap().success);
    assert_eq!(test.result(run).await.success, Some(false));
    assert_eq!(test.result(queued).await.success, Some(false));
    let status = test.until(|s| s.history[0].source == "annex").await.status.clone();
    assert_eq!(status.sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>(), ["annex"]);
    assert_eq!(fake.see(|state| state.proofs.clone()), ["annex"]);
}

#[tokio::test(start_paused = true)]
async fn another_target_is_opened_and_told_of_the_pause() {
    let fake = Fake::new();
    let test = started(&fake, config());
    test.until_idle().await;
    test.handle.pause(PauseRequest::default()).await.unwrap();
    fake.until(|state| state.saved.len() == 1).await;
    let mut moved = config();
    moved.target.endpoint = endpoint("sqlite:other");
    fake.change(|state| state.file = Ok(file("moved", moved)));
    assert!(test.handle.reload(ReloadTrigger::Api).await.unwrap().success);
    fake.until(|state| state.opened == 2 && state.saved.len() == 2).await;
    let run = test.run(Mode::Delta).await;
    assert_eq!(test.result(run).await.success, Some(true));
    assert_eq!(fake.see(|state| state.runs.last().unwrap().target.clone()), "sqlite:other");
}
