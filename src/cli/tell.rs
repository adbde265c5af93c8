//! Events in words for people; times are UTC. Pure: values in, text out.

use crate::engine::Levels;
use crate::history::RunRecord;
use crate::supervisor::{Event, GapReason, Happened, Progress, ReloadOutcome};

use super::show;

/// `events`: one line, without its end.
pub(super) fn event(happened: &Happened) -> String {
    let what = words(&happened.event);
    let line = format!("{}  {:<17}  {what}", show::time(happened.at), happened.event.name());
    line.trim_end().to_owned()
}

fn words(event: &Event) -> String {
    match event {
        Event::RunStarted(run) => format!("{} ({})", title(run), run.trigger.as_str()),
        Event::RunProgress(run) => format!("{}: {}", run.source, progress(run)),
        Event::RunFinished(run) => finished(run),
        Event::Paused(pause) => show::pause_words(pause),
        Event::ScheduleChanged(schedule) => show::schedule(schedule),
        Event::LogLevelChanged(level) => show::log_level(level),
        Event::Reloaded(reload) => reloaded(reload),
        Event::ReloadRefused(reload) => reload.errors.join("; "),
        Event::SourceLost { source, error: Some(error) } => format!("{source}: {error}"),
        Event::SourceLost { source, error: None } | Event::SourceBack { source } => source.clone(),
        Event::TargetLost { error } => error.clone().unwrap_or_default(),
        Event::Standby { served_by } => format!("another daemon serves this target: {served_by}"),
        Event::Gap { reason: GapReason::Restart } => "the daemon has started again; events are missing".to_owned(),
        Event::Gap { reason: GapReason::Overrun } => "too much has happened meanwhile; events are missing".to_owned(),
        Event::Resumed | Event::TargetBack | Event::Serving | Event::Stopping => String::new(),
    }
}

fn title(run: &RunRecord) -> String {
    let dry = if run.dry_run { "dry " } else { "" };
    format!("{}: {dry}{} run {}", run.source, run.mode.as_str(), run.run_id)
}

fn finished(run: &RunRecord) -> String {
    let took = run.duration_ms.map_or_else(String::new, |time| format!(" in {}", show::duration(time)));
    match &run.error {
        Some(error) => format!("{} FAILED{took}: {error}", title(run)),
        None => {
            let changed = run.levels.changed();
            format!("{} succeeded{took}: {} rows compared, {changed} changed", title(run), run.processed)
        }
    }
}

fn reloaded(outcome: &ReloadOutcome) -> String {
    let mut text = format!("generation {} is in effect", outcome.generation);
    if !outcome.changed.is_empty() {
        text += &format!("; changed: {}", outcome.changed.join(", "));
    }
    if !outcome.restart_required.is_empty() {
        text += &format!("; waits for a restart: {}", outcome.restart_required.join(", "));
    }
    text
}

/// How far a run has come: all levels, then each one that it has reached.
pub(super) fn progress(progress: &Progress) -> String {
    let speeds = &progress.levels;
    // The names in their one place and order.
    let every = Levels::none(speeds.instance.is_some());
    let always = [speeds.institution, speeds.patient, speeds.study, speeds.series];
    let levels = every.iter().map(|(name, _)| name).zip(always.into_iter().chain(speeds.instance));
    let reached: Vec<String> = levels
        .filter(|(_, speed)| speed.processed > 0)
        .map(|(name, speed)| format!("{name} {}", speed.processed))
        .collect();
    let each = if reached.is_empty() { String::new() } else { format!(" ({})", reached.join(", ")) };
    format!("{} rows compared, {:.0} rows/s{each}", progress.processed, progress.rows_per_sec)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::api::testing::{self, at, record};
    use crate::schedule::{Pause, Plan};
    use crate::supervisor::{LogLevel, Origin, ReloadTrigger, Schedule, Speed, Speeds};

    fn lines(events: Vec<Event>) -> String {
        let line = |event| event_line(event) + "\n";
        events.into_iter().map(line).collect()
    }

    fn event_line(happens: Event) -> String {
        event(&Happened { id: "ab-7".parse().expect("an ID"), at: at(7), event: happens })
    }

    #[test]
    fn each_event_is_one_line() {
        let levels = Speeds {
            study: Speed { processed: 10, changed: 3, rows_per_sec: 2.5 },
            series: Speed { processed: 30, changed: 3, rows_per_sec: 7.6 },
            ..Speeds::default()
        };
        let run_id = record(1).run_id;
        let source = "main".to_owned();
        let progress = Progress { run_id, source, processed: 40, rows_per_sec: 10.1, levels };
        let mut outcome = ReloadOutcome {
            restart_required: vec!["socket.path".into()],
            ..testing::reloaded(ReloadTrigger::File, true, Vec::new())
        };
        let reloaded = outcome.clone();
        outcome.errors = vec!["rbac-sync.toml:3:1: unknown key \"intervall\"".into()];
        let failed = RunRecord { success: Some(false), error: Some("source: down".into()), ..record(2) };
        insta::assert_snapshot!(
            "events",
            lines(vec![
                Event::RunStarted(Arc::new(record(1))),
                Event::RunProgress(progress),
                Event::RunFinished(Arc::new(record(1))),
                Event::RunFinished(Arc::new(failed)),
                Event::Paused(Pause { reason: Some("upgrade".into()), actor: None, since: at(1), until: None }),
                Event::Resumed,
                Event::ScheduleChanged(Schedule::new(&Plan::Interval(std::time::Duration::from_secs(30)), Origin::Api)),
                Event::Reloaded(reloaded),
                Event::ReloadRefused(outcome),
                Event::LogLevelChanged(LogLevel { level: "debug".into(), origin: Origin::Api, until: Some(at(9)) }),
                Event::SourceLost { source: "main".into(), error: Some("connection refused".into()) },
                Event::SourceBack { source: "main".into() },
                Event::TargetLost { error: Some("connection refused".into()) },
                Event::TargetBack,
                Event::Standby { served_by: "rbac-b, process 7".into() },
                Event::Serving,
                Event::Gap { reason: GapReason::Restart },
                Event::Stopping,
            ])
        );
    }
}
