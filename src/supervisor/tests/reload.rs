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
        state.proof_fails = Some(Class::Config);
        state.file = Ok(file("moved", moved));
    });
    let outcome = test.handle.reload(ReloadTrigger::Api).await.unwrap();
    assert_eq!(outcome.errors, ["source \"main\": as planned"]);
    assert_eq!(*test.handle.snapshot().config, config(), "the old one stays whole");
    fake.change(|state| state.proof_fails = None);
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
        state.proof_fails = Some(Class::Permanent);
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

/// Another database for the source, which cannot be reached.
fn moved_out_of_reach(fake: &Fake) {
    let mut moved = config();
    moved.sources[0].endpoint = endpoint("sqlite:elsewhere");
    fake.change(|state| {
        state.proof_fails = Some(Class::Transient);
        state.file = Ok(file("moved", moved));
    });
}

fn proofs(fake: &Fake) -> usize {
    fake.see(|state| state.proofs.len())
}

fn failures(test: &Test, trigger: ReloadTrigger) -> String {
    let text = test.metrics.render(&test.handle.snapshot());
    let line = format!("rbac_sync_config_reloads_total{{result=\"failure\",trigger=\"{}\"}} ", trigger.as_str());
    text.lines().find_map(|found| found.strip_prefix(&line)).expect("it is counted from the start").to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_database_that_is_down_is_waited_for_silently_and_then_the_reload_is_that_of_whoever_asked() {
    let fake = Fake::new();
    let test = started(&fake, config());
    test.until_idle().await;
    moved_out_of_reach(&fake);
    let refused = test.handle.by(Actor::uid(7), Via::Socket).reload(ReloadTrigger::Socket).await.unwrap();
    assert!(!refused.success && refused.retrying, "{refused:?}");
    let asked = Instant::now();
    fake.until(|state| state.proofs.len() == 4).await;
    assert_eq!(asked.elapsed().as_secs(), 60 + 120 + 240, "ever more rarely");
    let record = test.handle.snapshot().provenance.last_reload.clone();
    assert_eq!(record.as_ref(), Some(&refused), "the first refusal is the record");
    assert_eq!(failures(&test, ReloadTrigger::Socket), "1");

    fake.change(|state| state.proof_fails = None);
    let healed = test.until(|s| s.status.config.last_reload_successful).await;
    let record = healed.provenance.last_reload.clone().unwrap();
    assert_eq!((record.trigger, record.actor, record.generation), (ReloadTrigger::Socket, Actor::uid(7), 2));
    fake.until(|state| state.noted.len() == 1).await;
    assert_eq!(fake.see(|state| state.noted[0].actor.clone()), Actor::uid(7));
    let proofs = proofs(&fake);
    tokio::time::sleep(SECOND * 3600).await;
    assert_eq!(fake.see(|state| (state.proofs.len(), state.loads)), (proofs, 5), "nothing is left to try");
    assert_eq!(failures(&test, ReloadTrigger::Socket), "1");
}

#[tokio::test(start_paused = true)]
async fn a_service_manager_hears_of_the_reload_that_was_asked_for_and_not_of_the_attempts_behind_it() {
    let fake = Fake::new();
    let mut test = started(&fake, config());
    test.until_idle().await;
    moved_out_of_reach(&fake);
    test.handle.reload(ReloadTrigger::Signal).await.unwrap();
    fake.until(|state| state.proofs.len() == 3).await;
    fake.change(|state| state.proof_fails = None);
    test.until(|s| s.status.config.last_reload_successful).await;
    let mut pulse = test.pulse.take().unwrap();
    let edges: Vec<_> = std::iter::from_fn(|| pulse.reloads.try_recv().ok()).collect();
    assert_eq!(edges, [ReloadEdge::Begin, ReloadEdge::End]);
}

#[tokio::test(start_paused = true)]
async fn another_reload_supersedes_the_attempts_of_the_one_before() {
    let fake = Fake::new();
    let test = started(&fake, config());
    test.until_idle().await;
    moved_out_of_reach(&fake);
    assert!(test.handle.reload(ReloadTrigger::File).await.unwrap().retrying);
    // An error that only another file heals.
    fake.change(|state| state.file = broken("unknown key"));
    let refused = test.handle.reload(ReloadTrigger::File).await.unwrap();
    assert!(!refused.success && !refused.retrying, "{refused:?}");
    tokio::time::sleep(SECOND * 7200).await;
    assert_eq!(fake.see(|state| state.loads), 2, "nothing is read again by itself");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_finds_something_else_wrong_is_told_and_is_the_last() {
    let fake = Fake::new();
    let test = started(&fake, config());
    test.until_idle().await;
    moved_out_of_reach(&fake);
    test.handle.reload(ReloadTrigger::Api).await.unwrap();
    fake.change(|state| state.proof_fails = Some(Class::Config));
    let told = test.until(|s| s.provenance.last_reload.as_ref().is_some_and(|reload| !reload.retrying)).await;
    assert!(!told.status.config.last_reload_successful);
    assert_eq!(failures(&test, ReloadTrigger::Api), "2");
    tokio::time::sleep(SECOND * 7200).await;
    assert_eq!(proofs(&fake), 2);
}

#[tokio::test(start_paused = true)]
async fn the_files_of_the_reload_that_was_read_last_are_known_be_it_accepted_or_refused() {
    let fake = Fake::new();
    let test = started(&fake, config());
    let read = |text| Companions::of(&[("/etc/password".as_ref(), text)]);
    let known = || test.handle.snapshot().provenance.companions.clone();
    let refused = Refused { companions: read(None), ..broken("no such file").unwrap_err() };
    fake.change(|state| state.file = Err(refused));
    test.handle.reload(ReloadTrigger::File).await.unwrap();
    assert_eq!(known(), read(None));
    fake.change(|state| state.file = Ok(Loaded { companions: read(Some("x")), ..file("healed", config()) }));
    test.handle.reload(ReloadTrigger::File).await.unwrap();
    assert_eq!(known(), read(Some("x")));
    fake.change(|state| state.file = Ok(Loaded { companions: read(Some("y")), ..file("healed", config()) }));
    test.handle.reload(ReloadTrigger::File).await.unwrap();
    assert_eq!(known(), read(Some("y")), "also where nothing else has changed");
}
