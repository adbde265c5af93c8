//! Commands that follow a daemon.

use std::time::Duration;

use super::*;
use crate::api::testing::{at, record};
use crate::engine::{Counts, Levels};
use crate::supervisor::{Event, Progress, Speed, Speeds};

/// What was printed so far, waited for until it holds a text; the streams as [`client`] gives them.
async fn printed(wanted: &str) -> String {
    let mut seen = String::new();
    let look = async {
        loop {
            let (out, err) = print::captured::take();
            seen += &(out + &err);
            if seen.contains(wanted) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), look).await;
    assert!(waited.is_ok(), "{wanted:?} is not printed: {seen}");
    seen
}

/// A command that goes on, ended with its daemon after `meanwhile`.
async fn followed(daemon: &Daemon, line: &str, meanwhile: impl Future<Output = String>) -> (Exit, String, String) {
    let script = async {
        let seen = meanwhile.await;
        daemon.stop.cancel();
        seen
    };
    let ((exit, _, err), seen) = tokio::join!(daemon.client(line), script);
    (exit, seen, err)
}

#[tokio::test]
async fn events_are_printed_as_they_come_until_the_daemon_is_gone() {
    let daemon = Daemon::start().await;
    daemon.supervisor.tell(Event::Serving);
    let script = async {
        // The first event that is told after the stream is open is the first that is printed.
        let telling = async {
            loop {
                daemon.supervisor.tell(Event::Resumed);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            seen = printed("resumed") => seen,
            () = telling => unreachable!(),
        }
    };
    let (exit, seen, err) = followed(&daemon, "events", script).await;
    assert_eq!(exit, Exit::Unreachable);
    assert!(err.contains("no daemon can be reached"), "{err}");
    assert_eq!(seen.lines().next(), Some("2026-11-24 00:01:40  resumed"), "without --after it begins now");
}

#[tokio::test]
async fn a_daemon_that_ends_as_it_was_told_to_is_no_connection_error() {
    let daemon = Daemon::start().await;
    let script = async {
        let first = printed("waiting; last run").await;
        daemon.supervisor.change(|snapshot| snapshot.status.stopping = true);
        daemon.supervisor.tell(Event::Stopping);
        first + &printed("stopping").await
    };
    let (exit, _, err) = followed(&daemon, "status --watch", script).await;
    assert_eq!((exit, err.as_str()), (Exit::Unreachable, "the daemon has ended\n"));
    let daemon = Daemon::start().await;
    daemon.supervisor.tell(Event::Stopping);
    let (exit, seen, err) = followed(&daemon, "events --after 0000000000000000-0", printed("stopping")).await;
    assert_eq!((exit, err.as_str()), (Exit::Unreachable, "the daemon has ended\n"), "{seen}");
}

#[tokio::test]
async fn events_after_a_place_are_json_lines() {
    let daemon = Daemon::start().await;
    daemon.supervisor.tell(Event::Resumed);
    daemon.supervisor.tell(Event::Serving);
    let first = daemon.app.handle.follow(Some("")).next().await.expect("events");
    let place = first.iter().find(|happened| happened.event == Event::Resumed).expect("told").id;
    let line = format!("events --json --after {place}");
    let (_, seen, _) = followed(&daemon, &line, printed("serving")).await;
    let lines: Vec<Value> = seen.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((lines.len(), &lines[0]["event"], &lines[0]["at"]), (1, &json!("serving"), &json!(at(100))));
}

#[tokio::test]
async fn a_watched_status_is_a_line_for_each_change() {
    let daemon = Daemon::start().await;
    let script = async {
        let first = printed("waiting; last run").await;
        daemon.supervisor.tell(Event::Resumed);
        daemon.supervisor.change(|snapshot| snapshot.status.paused = true);
        daemon.supervisor.tell(Event::Resumed);
        first + &printed("paused; last run").await
    };
    let (exit, seen, _) = followed(&daemon, "status --watch", script).await;
    assert_eq!((exit, seen.lines().count()), (Exit::Unreachable, 2), "{seen}");
    let daemon = Daemon::start().await;
    let (_, seen, _) = followed(&daemon, "status --watch --json", printed("\"paused\":false")).await;
    let status: Value = serde_json::from_str(&seen).expect("one line of JSON");
    assert_eq!(status["interval_sec"], 5);
}

#[tokio::test]
async fn a_run_that_is_waited_for_says_how_far_it_is_on_standard_error() {
    let daemon = Daemon::start().await;
    let run_id = id(100);
    let levels = Speeds { study: Speed { processed: 7, changed: 0, rows_per_sec: 3.5 }, ..Speeds::default() };
    let progress = Progress { run_id, source: "main".into(), processed: 7, rows_per_sec: 3.5, levels };
    let finish = async {
        let waiting = printed("waiting for its start").await;
        assert_eq!(waiting, format!("run {run_id}: waiting for its start\n"));
        daemon.supervisor.tell(Event::RunProgress(progress));
        daemon.supervisor.finish(run_id, true);
    };
    let ((exit, out, _), ()) = tokio::join!(daemon.client("run --wait"), finish);
    assert_eq!(exit, Exit::Done);
    assert!(out.starts_with("delta run"), "standard output holds the result alone: {out}");
    let (_, open) = (daemon.client("run").await, daemon.app.handle.snapshot().open_runs.len());
    assert_eq!(open, 1);
    let finish = async {
        let mut watch = daemon.app.handle.watch();
        watch.wait_for(|now| now.open_runs.len() > open).await.expect("the supervisor lives");
        (0..=open).for_each(|_| daemon.supervisor.finish(run_id, true));
    };
    let ((exit, out, err), ()) = tokio::join!(daemon.client("run --wait --json"), finish);
    let result: Value = serde_json::from_str(&out).expect("one JSON value");
    assert_eq!((exit, &result["success"], err.as_str()), (Exit::Done, &json!(true), ""));
}

#[tokio::test]
async fn the_history_goes_on_before_a_run() {
    let daemon = Daemon::start().await;
    let levels = Levels { series: Counts { inserted: 1, ..Counts::default() }, ..Levels::default() };
    daemon.supervisor.change(|snapshot| {
        let run = |number| crate::history::RunRecord { levels, ..record(number) };
        snapshot.history = std::sync::Arc::new((1..=5).rev().map(|number| run(number).into()).collect());
    });
    let page = daemon.json(&format!("history --limit 2 --before {}", id(4))).await;
    let runs: Vec<&Value> = page["runs"].as_array().expect("runs").iter().map(|run| &run["run_id"]).collect();
    assert_eq!(runs, [&json!(id(3)), &json!(id(2))]);
    let (_, out, err) = daemon.client(&format!("history --before {}", id(2))).await;
    assert_eq!((out.lines().count(), err.as_str()), (2, ""), "{out}");
}
