//! The record of who changed what.

use super::*;

#[tokio::test(start_paused = true)]
async fn every_change_beside_runs_is_noted_with_its_actor_and_nothing_else_is() {
    let fake = Fake::new();
    let supervisor = started(&fake, config());
    let ops = supervisor.handle.by(Actor::uid(1000), Via::Socket);
    ops.resume().await.expect("allowed, and changes nothing");
    ops.pause(PauseRequest { reason: Some("move".into()), duration: None }).await.unwrap();
    ops.resume().await.unwrap();
    ops.set_schedule(set(SECOND * 30)).await.unwrap();
    ops.set_schedule(set(SECOND * 30)).await.unwrap();
    assert_eq!(ops.cancel().await, Err(Denied::NothingToCancel));
    ops.run(request(Mode::Delta)).await.unwrap();
    ops.run(RunRequest { allow_deletes: true, ..request(Mode::Full) }).await.ok();
    fake.change(|state| state.file = Ok(file("other", Config { history_keep: 7, ..config() })));
    supervisor.handle.by(Actor::file(), Via::File).reload(ReloadTrigger::File).await.unwrap();
    supervisor.handle.by(Actor::signal(), Via::Signal).reload(ReloadTrigger::Signal).await.unwrap();
    fake.until(|state| state.noted.iter().any(|change| change.action == "reload")).await;
    let noted = fake.see(|state| state.noted.clone());
    let words: Vec<_> =
        noted.iter().map(|change| format!("{} {} {}", change.actor, change.via, change.action)).collect();
    let without_run: Vec<_> = words.iter().map(String::as_str).filter(|words| !words.ends_with("run")).collect();
    let by = "uid 1000 socket";
    let expected = [&format!("{by} pause"), &format!("{by} resume"), &format!("{by} schedule"), "file file reload"];
    assert_eq!(without_run, expected);
    let shown = supervisor.handle.snapshot().changes.clone();
    assert_eq!(shown.iter().map(|change| change.change_id).max(), noted.iter().map(|change| change.change_id).max());
}

#[tokio::test(start_paused = true)]
async fn what_ends_by_itself_is_noted_as_the_work_of_the_daemon() {
    let fake = Fake::new();
    let supervisor = started(&fake, config());
    let ops = supervisor.handle.by(Actor::uid(1000), Via::Socket);
    ops.pause(PauseRequest { reason: None, duration: Some(SECOND * 60) }).await.unwrap();
    ops.set_log_level(Some(LogRequest { level: "debug".into(), duration: SECOND * 120 })).await.unwrap();
    fake.until(|state| state.noted.len() == 4).await;
    let noted = fake.see(|state| state.noted.clone());
    let words = |change: &Change| format!("{} {} {}", change.actor, change.via, change.action);
    assert_eq!(noted[2..].iter().map(words).collect::<Vec<_>>(), ["daemon daemon resume", "daemon daemon log-level"]);
    for change in &noted[2..] {
        assert_eq!(serde_json::Value::Object(change.detail.clone()), serde_json::json!({"expired": true}));
    }
}

#[tokio::test(start_paused = true)]
async fn a_schedule_that_the_file_ended_while_the_daemon_was_down_is_noted() {
    let fake = Fake::new();
    let outdated = Override { plan: interval(SECOND * 30), file: interval(SECOND * 7) };
    fake.change(|state| state.control = Control { pause: None, schedule: Some(outdated) });
    let _supervisor = started(&fake, config());
    fake.until(|state| !state.noted.is_empty()).await;
    let noted = fake.see(|state| state.noted[0].clone());
    assert_eq!((noted.actor.to_string().as_str(), noted.action.as_str()), ("daemon", "schedule-reset"));
    assert_eq!(serde_json::Value::Object(noted.detail.clone()), serde_json::json!({"file_edited": true}));
}
