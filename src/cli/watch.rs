//! Commands that go on: `events`, and `status --watch`. They end when the daemon ends or cannot be reached any more,
//! and when nobody reads what they print.

use std::fmt::Write;
use std::time::Duration;

use chrono::Utc;
use tokio::time::sleep;

use super::args::{ClientArgs, EventsArgs};
use super::client::Client;
use super::exit::{Exit, Failure};
use super::feed::Feed;
use super::{print, show, tell};
use crate::supervisor::Status;

/// Not every change is an event, such as a database that is not reachable: then it is seen after this time.
const LOOK_EVERY: Duration = Duration::from_secs(5);

pub(super) async fn events(args: &EventsArgs) -> Result<Exit, Failure> {
    let client = Client::new(&args.client)?;
    let mut feed = Feed::open(&client, args.after.as_deref()).await?;
    loop {
        let told = feed.next().await?;
        let line = match told.read() {
            _ if args.client.json => told.data,
            Some(happened) => tell::event(&happened),
            None => told.name,
        };
        if !print::more(&(line + "\n"))? {
            return Ok(Exit::Done);
        }
    }
}

pub(super) async fn status(args: &ClientArgs) -> Result<Exit, Failure> {
    let client = Client::new(args)?;
    let mut feed = Feed::open(&client, None).await?;
    let terminal = !args.json && print::stdout_is_terminal();
    let (mut last, mut first) = (String::new(), true);
    loop {
        let reply = client.get("/sync/status").await.map_err(|failure| feed.explain(failure))?;
        let text = if args.json {
            reply.text
        } else {
            let status: Status = reply.read()?;
            if terminal { show::status(&status) } else { line(&status) + "\n" }
        };
        if text != last {
            let shown = match terminal {
                true => redrawn(&text, first),
                false if args.json => text.clone(),
                false => format!("{}  {text}", show::time(Utc::now())),
            };
            if !print::more(&shown)? {
                return Ok(Exit::Done);
            }
            (last, first) = (text, false);
        }
        tokio::select! {
            told = feed.next() => drop(told?),
            () = sleep(LOOK_EVERY) => {}
        }
    }
}

/// The status in one line, without what changes all the time.
fn line(status: &Status) -> String {
    let running: Vec<&str> = status.running.iter().map(|run| run.source.as_str()).collect();
    let state = match running.is_empty() || status.stopping {
        true => show::state(status),
        false => format!("running: {}", running.join(", ")),
    };
    let mut line = format!("{state}; last run {}", show::last_run(status));
    let sources = status.sources.iter().map(|source| (format!("source {}", source.name), &source.reachability));
    for (name, database) in sources.chain([("target".to_owned(), &status.target)]) {
        if database.reachable == Some(false) {
            let _ = write!(line, "; {name} {}", show::database(database));
        }
    }
    if !status.config.last_reload_successful {
        line.push_str("; the latest reload was refused");
    }
    line
}

/// The text in place of the one before it: from the upper left corner, each line cut off where it ends, and
/// nothing below. Without a blank screen in between it does not flicker.
fn redrawn(text: &str, first: bool) -> String {
    let mut drawn = String::from(if first { "\x1b[2J\x1b[H" } else { "\x1b[H" });
    for line in text.lines() {
        let _ = writeln!(drawn, "{line}\x1b[K");
    }
    drawn + "\x1b[J"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::{at, record, snapshot};
    use crate::supervisor::{Reachability, Running};

    #[test]
    fn a_line_says_what_is_going_on_and_what_is_wrong_and_not_how_far_it_is() {
        let mut status = snapshot().status;
        let last = "last run 2026-11-24 00:00:02: succeeded, 10 rows compared in 1.0 s";
        assert_eq!(line(&status), format!("waiting; {last}"));
        let run = Running { run_id: record(1).run_id, source: "main".into(), started: at(1), processed: 7 };
        status.running = vec![run];
        status.target = Reachability { reachable: Some(false), error: Some("refused".into()), since: None };
        status.config.last_reload_successful = false;
        let wrong = "target NOT REACHABLE: refused; the latest reload was refused";
        assert_eq!(line(&status), format!("running: main; {last}; {wrong}"));
    }

    #[test]
    fn a_shorter_text_leaves_nothing_of_the_longer_one() {
        assert_eq!(redrawn("a\nb\n", true), "\x1b[2J\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(redrawn("a\n", false), "\x1b[Ha\x1b[K\n\x1b[J");
    }
}
