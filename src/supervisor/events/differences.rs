//! From two snapshots to what happened between them. Pure.

use std::sync::Arc;

use super::Event;
use crate::history::{RunRecord, RunState};
use crate::supervisor::{Reachability, ReloadTrigger, Snapshot, SourceStatus, Status};

/// What happened between `old` and `new`, in the order in which it is best told: what operators changed,
/// databases that are lost or back, runs that ended, runs that began, and the end of the daemon.
pub(super) fn between(old: &Snapshot, new: &Snapshot) -> Vec<Event> {
    let mut events = Vec::new();
    let (before, now) = (&old.status, &new.status);
    if before.served_by != now.served_by {
        match &now.served_by {
            Some(holder) => events.push(Event::Standby { served_by: holder.clone() }),
            None if now.target.reachable == Some(true) => events.push(Event::Serving),
            // The configuration names another target now: whether that one is free is not known yet.
            None => {}
        }
    }
    if before.schedule != now.schedule {
        events.push(Event::ScheduleChanged(now.schedule.clone()));
    }
    if before.pause != now.pause {
        events.push(now.pause.clone().map_or(Event::Resumed, Event::Paused));
    }
    if before.log_level != now.log_level {
        events.push(Event::LogLevelChanged(now.log_level.clone()));
    }
    events.extend(reloaded(old, new));
    events.extend(databases(before, now));
    events.extend(ended(old, new).map(Event::RunFinished));
    events.extend(begun(old, new).map(Event::RunStarted));
    if !before.stopping && now.stopping {
        events.push(Event::Stopping);
    }
    events
}

/// Databases that do not answer any more, and those that do again.
fn databases(before: &Status, now: &Status) -> Vec<Event> {
    let mut events = Vec::new();
    for SourceStatus { name: source, reachability, .. } in &now.sources {
        let old = before.sources.iter().find(|old| old.name == *source);
        match change(old.map(|old| &old.reachability), reachability) {
            Some(Change::Lost) => {
                events.push(Event::SourceLost { source: source.clone(), error: reachability.error.clone() });
            }
            Some(Change::Back) => events.push(Event::SourceBack { source: source.clone() }),
            None => {}
        }
    }
    events.extend(change(Some(&before.target), &now.target).map(|change| match change {
        Change::Lost => Event::TargetLost { error: now.target.error.clone() },
        Change::Back => Event::TargetBack,
    }));
    events
}

enum Change {
    Lost,
    Back,
}

/// One that answers when it is asked for the first time is no news.
fn change(old: Option<&Reachability>, new: &Reachability) -> Option<Change> {
    let was_lost = old.is_some_and(|old| old.reachable == Some(false));
    match new.reachable {
        Some(false) if !was_lost => Some(Change::Lost),
        Some(true) if was_lost => Some(Change::Back),
        _ => None,
    }
}

/// The outcome of a reload. A file that stays bad is read again whenever it is touched: that is told once.
fn reloaded(old: &Snapshot, new: &Snapshot) -> Option<Event> {
    let (before, now) = (&old.provenance.last_reload, new.provenance.last_reload.as_ref()?);
    if before.as_ref() == Some(now) {
        return None;
    }
    if now.success {
        return Some(Event::Reloaded(now.clone()));
    }
    let known = before.as_ref().is_some_and(|before| before.errors == now.errors);
    (!known || now.trigger != ReloadTrigger::File).then(|| Event::ReloadRefused(now.clone()))
}

/// Runs that were open and are not any more. Looking at the history instead would tell the runs of an
/// earlier life, which arrive there when the target is opened.
fn ended<'a>(old: &'a Snapshot, new: &'a Snapshot) -> impl Iterator<Item = Arc<RunRecord>> + 'a {
    let is_open = |run: &RunRecord| new.open_runs.iter().any(|open| open.run_id == run.run_id);
    let gone = old.open_runs.iter().filter(move |run| !is_open(run));
    gone.filter_map(|run| new.history.iter().find(|record| record.run_id == run.run_id).cloned())
}

fn begun<'a>(old: &'a Snapshot, new: &'a Snapshot) -> impl Iterator<Item = Arc<RunRecord>> + 'a {
    let running = |run: &&RunRecord| run.state == RunState::Running;
    let was_running = move |run: &RunRecord| old.open_runs.iter().filter(running).any(|old| old.run_id == run.run_id);
    new.open_runs.iter().filter(running).filter(move |run| !was_running(run)).map(|run| Arc::new(run.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::{at, record, snapshot};
    use crate::schedule::{Pause, Plan};
    use crate::supervisor::{LogLevel, Origin, Schedule};

    fn names(old: &Snapshot, new: &Snapshot) -> Vec<&'static str> {
        between(old, new).iter().map(Event::name).collect()
    }

    fn open(number: u8, state: RunState) -> RunRecord {
        RunRecord { state, finished: None, success: None, ..record(number) }
    }

    #[test]
    fn nothing_changes_and_nothing_is_told() {
        assert_eq!(names(&snapshot(), &snapshot()), [""; 0]);
    }

    #[test]
    fn a_run_is_told_when_it_begins_and_when_it_ends_and_not_while_it_waits() {
        let with = |runs: &[RunRecord]| Snapshot { open_runs: runs.to_vec(), ..snapshot() };
        let (waits, runs) = (with(&[open(9, RunState::Queued)]), with(&[open(9, RunState::Running)]));
        assert_eq!(names(&snapshot(), &waits), [""; 0]);
        assert_eq!(names(&waits, &runs), ["run.started"]);
        let further = with(&[RunRecord { processed: 99, ..open(9, RunState::Running) }]);
        assert_eq!(names(&runs, &further), [""; 0]);
        let mut over = snapshot();
        over.history = Arc::new([record(9), record(2)].map(Arc::new).to_vec());
        assert_eq!(between(&further, &over), [Event::RunFinished(Arc::new(record(9)))]);
        assert_eq!(names(&waits, &over), ["run.finished"], "given up before it began");
        over.open_runs = vec![open(10, RunState::Running)];
        assert_eq!(names(&further, &over), ["run.finished", "run.started"], "the next one began at once");
    }

    #[test]
    fn runs_of_an_earlier_life_that_join_the_history_are_no_news() {
        let mut opened = snapshot();
        opened.history = Arc::new([record(2), record(1), record(0)].map(Arc::new).to_vec());
        assert_eq!(names(&snapshot(), &opened), [""; 0]);
    }

    #[test]
    fn what_operators_change_is_told_with_its_new_value() {
        let mut new = snapshot();
        new.status.schedule = Schedule::new(&Plan::Interval(std::time::Duration::from_secs(30)), Origin::Api);
        let pause = Pause { reason: Some("upgrade".into()), actor: None, since: at(1), until: None };
        new.status.pause = Some(pause.clone());
        let schedule = new.status.schedule.clone();
        assert_eq!(between(&snapshot(), &new), [Event::ScheduleChanged(schedule), Event::Paused(pause)]);
        assert_eq!(names(&new, &snapshot()), ["schedule.changed", "resumed"]);
    }

    #[test]
    fn a_database_is_told_when_it_is_lost_and_when_it_is_back_and_not_when_it_is_first_asked() {
        let with = |source, target| {
            let mut snapshot = snapshot();
            let database = |reachable: Option<bool>| Reachability {
                reachable,
                error: (reachable == Some(false)).then(|| "connection refused".to_owned()),
                since: None,
            };
            snapshot.status.sources[0].reachability = database(source);
            snapshot.status.target = database(target);
            snapshot
        };
        let (unknown, up, down) = (with(None, None), with(Some(true), Some(true)), with(Some(false), Some(false)));
        assert_eq!(names(&unknown, &up), [""; 0]);
        assert_eq!(names(&unknown, &down), ["source.lost", "target.lost"]);
        let error = Some("connection refused".to_owned());
        let lost = [Event::SourceLost { source: "main".into(), error: error.clone() }, Event::TargetLost { error }];
        assert_eq!(between(&up, &down), lost);
        assert_eq!(between(&down, &up), [Event::SourceBack { source: "main".into() }, Event::TargetBack]);
        let mut worse = down.clone();
        worse.status.target.error = Some("no route to host".to_owned());
        assert_eq!(names(&down, &worse), [""; 0], "told once");
        assert_eq!(names(&down, &unknown), [""; 0], "another database, which nobody has asked yet");
    }

    #[test]
    fn another_log_level_is_told_whoever_set_it() {
        let mut new = snapshot();
        new.status.log_level = LogLevel { level: "debug".into(), origin: Origin::Api, until: Some(at(9)) };
        assert_eq!(between(&snapshot(), &new), [Event::LogLevelChanged(new.status.log_level.clone())]);
        assert_eq!(names(&new, &snapshot()), ["log_level.changed"], "its time is over");
    }

    #[test]
    fn standing_by_and_serving_and_stopping_are_told() {
        let mut standby = snapshot();
        standby.status.standby = true;
        standby.status.served_by = Some("rbac-b, process 7".into());
        assert_eq!(between(&snapshot(), &standby), [Event::Standby { served_by: "rbac-b, process 7".into() }]);
        assert_eq!(names(&standby, &snapshot()), ["serving"]);
        let mut elsewhere = snapshot();
        elsewhere.status.target.reachable = None;
        assert_eq!(names(&standby, &elsewhere), [""; 0], "another target, which nobody has opened yet");
        let mut stopping = snapshot();
        stopping.status.stopping = true;
        assert_eq!(names(&snapshot(), &stopping), ["stopping"]);
    }
}
