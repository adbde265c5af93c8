//! How far a run has come, while `run --wait` waits for it: one line that changes on a terminal, a few lines
//! elsewhere. On standard error, so that standard output holds the result alone.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use tokio::time::Instant;
use uuid::Uuid;

use super::feed::Feed;
use super::{print, tell};
use crate::supervisor::Event;

/// Elsewhere than on a terminal a run has a line this often.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows the runs with these IDs until it is dropped. Where there are no events, or no more, it shows no
/// more than it knows: somebody else waits for the end of the runs.
pub(super) async fn show(feed: Option<Feed<'_>>, runs: &[Uuid]) {
    let mut display = Display::new(runs);
    if let Some(mut feed) = feed {
        while let Ok(told) = feed.next().await {
            if let Some(happened) = told.read() {
                display.event(&happened.event);
            }
        }
    }
    std::future::pending::<()>().await;
    drop(display);
}

/// What is known of each run, and where it is shown.
struct Display {
    runs: Vec<(Uuid, String)>,
    place: Place,
}

enum Place {
    Terminal(ProgressBar),
    Lines { next: Instant },
}

impl Display {
    fn new(runs: &[Uuid]) -> Self {
        let waiting = |run: &Uuid| (*run, format!("run {run}: waiting for its start"));
        let runs: Vec<_> = runs.iter().map(waiting).collect();
        let place = if print::stderr_is_terminal() {
            let style = ProgressStyle::with_template("{spinner} {wide_msg}").expect("a valid template");
            let bar = ProgressBar::new_spinner().with_style(style).with_finish(ProgressFinish::AndClear);
            bar.enable_steady_tick(Duration::from_millis(120));
            Place::Terminal(bar)
        } else {
            Place::Lines { next: Instant::now() }
        };
        let mut display = Self { runs, place };
        display.refresh();
        display
    }

    fn event(&mut self, event: &Event) {
        let (run, text) = match event {
            Event::RunStarted(run) => (run.run_id, format!("{}: run {} has started", run.source, run.run_id)),
            Event::RunProgress(run) => (run.run_id, format!("{}: {}", run.source, tell::progress(run))),
            Event::RunFinished(run) => (run.run_id, format!("{}: over", run.source)),
            _ => return,
        };
        if let Some((_, shown)) = self.runs.iter_mut().find(|(known, _)| *known == run) {
            *shown = text;
            self.refresh();
        }
    }

    fn refresh(&mut self) {
        let text = self.runs.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("; ");
        match &mut self.place {
            Place::Terminal(bar) => bar.set_message(text),
            Place::Lines { next } if *next <= Instant::now() => {
                print::error(&text);
                *next = Instant::now() + LINE_EVERY;
            }
            Place::Lines { .. } => {}
        }
    }
}
