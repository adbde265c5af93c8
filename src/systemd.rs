//! What the service manager is told: READY, STATUS, RELOADING, STOPPING and WATCHDOG.
//!
//! Nothing happens without `NOTIFY_SOCKET`. The watchdog is fed only with the supervisor's own answer:
//! a loop that hangs gets the daemon restarted, a slow database does not, for the loop awaits none.

use std::fmt::Write;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::oneshot;
use tokio::time::{Instant, Interval, interval, interval_at};
use tokio_util::sync::CancellationToken;

use crate::supervisor::{Handle, Pulse, ReloadEdge, Snapshot};

/// While the daemon drains it asks for more time this often...
const EXTEND_EVERY: Duration = Duration::from_secs(5);
/// ...and for so much, in microseconds: three times as long, so that a lost message does no harm.
const EXTENSION_USEC: u32 = 15_000_000;
/// `systemctl status` shows one line; what is longer does not help.
const LONGEST_STATUS: usize = 400;
/// The timer of a service without a watchdog; it never reaches it.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Whether a service manager wants to be told.
pub(crate) fn is_listening() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Says that the daemon is ready, then keeps the service manager up to date until `done`.
pub(crate) async fn report(handle: Handle, pulse: Pulse, done: CancellationToken) {
    let send = |states: &[NotifyState<'_>]| {
        if let Err(error) = sd_notify::notify(states) {
            tracing::debug!(%error, "the service manager was not told");
        }
    };
    report_to(send, sd_notify::watchdog_enabled(), handle, pulse, done).await;
}

async fn report_to(
    send: impl Fn(&[NotifyState<'_>]),
    watchdog: Option<Duration>,
    handle: Handle,
    mut pulse: Pulse,
    done: CancellationToken,
) {
    let mut snapshots = handle.watch();
    let mut status = status_line(&snapshots.borrow_and_update());
    send(&[NotifyState::Ready, NotifyState::Status(&status)]);
    let mut feed = watchdog.map_or_else(|| idle(NEVER), |limit| interval(limit / 2));
    let mut extend = idle(EXTEND_EVERY);
    let mut asked: Option<oneshot::Receiver<()>> = None;
    let (mut stopping, mut supervised) = (false, true);
    loop {
        tokio::select! {
            () = done.cancelled() => {
                // A drain can be over before its beginning was seen.
                if !stopping {
                    send(&[NotifyState::Stopping]);
                }
                return;
            }
            changed = snapshots.changed(), if supervised => {
                supervised = changed.is_ok();
                let snapshot = snapshots.borrow_and_update().clone();
                let line = status_line(&snapshot);
                if snapshot.status.stopping && !stopping {
                    stopping = true;
                    extend.reset_immediately();
                    send(&[NotifyState::Stopping]);
                }
                if line != status {
                    send(&[NotifyState::Status(&line)]);
                    status = line;
                }
            }
            Some(edge) = pulse.reloads.recv() => match edge {
                ReloadEdge::Begin => {
                    let now = NotifyState::monotonic_usec_now().ok();
                    let states: Vec<_> = [NotifyState::Reloading].into_iter().chain(now).collect();
                    send(&states);
                }
                ReloadEdge::End => {
                    status = status_line(&snapshots.borrow_and_update());
                    send(&[NotifyState::Ready, NotifyState::Status(&status)]);
                }
            },
            _ = feed.tick(), if watchdog.is_some() && asked.is_none() => {
                let (beat, answer) = oneshot::channel();
                asked = pulse.beats.try_send(beat).is_ok().then_some(answer);
            }
            alive = answered(&mut asked) => {
                asked = None;
                if alive {
                    send(&[NotifyState::Watchdog]);
                }
            }
            _ = extend.tick(), if stopping => send(&[NotifyState::ExtendTimeoutUsec(EXTENSION_USEC)]),
        }
    }
}

fn idle(period: Duration) -> Interval {
    interval_at(Instant::now() + period, period)
}

/// The supervisor's answer to a beat; waits for ever when none was asked.
async fn answered(asked: &mut Option<oneshot::Receiver<()>>) -> bool {
    match asked {
        Some(answer) => answer.await.is_ok(),
        None => std::future::pending().await,
    }
}

/// One line worth reading. It changes only when something happens, not with every run; it holds no
/// text that an operator or a patient gave.
fn status_line(snapshot: &Snapshot) -> String {
    let status = &snapshot.status;
    let mut parts = Vec::new();
    if status.stopping {
        parts.push(format!("stopping, runs under way: {}", status.running.len()));
    }
    if let Some(holder) = &status.served_by {
        parts.push(format!("standby: another daemon serves this target ({holder})"));
    }
    if !status.config.last_reload_successful {
        parts.push("configuration refused, the old one stays in effect".to_owned());
    }
    if status.target.reachable == Some(false) {
        parts.push(format!("target: {}", status.target.error.as_deref().unwrap_or("no answer")));
    }
    for source in &status.sources {
        let state = match (source.consecutive_failures, source.last_success) {
            (0, Some(_)) => "ok".to_owned(),
            (0, None) if status.running.iter().any(|run| run.source == source.name) => "first run under way".to_owned(),
            (0, None) => "waiting for its first run".to_owned(),
            (failures, _) => {
                let error = source.reachability.error.as_deref().unwrap_or("see the log");
                format!("failing, {failures} in a row: {error}")
            }
        };
        parts.push(format!("{}: {state}", source.name));
    }
    if let Some(run) = snapshot.history.iter().find(|run| run.levels.changed() > 0 && !run.dry_run)
        && let Some(finished) = run.finished
    {
        let rows = run.levels.changed();
        parts.push(format!("last change {} ({rows} rows)", finished.format("%Y-%m-%d %H:%M:%S UTC")));
    }
    if let Some(pause) = &status.pause {
        let mut text = format!("paused since {}", pause.since.format("%Y-%m-%d %H:%M UTC"));
        if let Some(until) = pause.until {
            // Writing to a String cannot fail.
            let _ = write!(text, " until {}", until.format("%Y-%m-%d %H:%M UTC"));
        }
        parts.push(text);
    } else {
        parts.push(match &status.schedule.cron {
            Some(cron) => format!("at {cron}"),
            None => format!("every {}", humantime::format_duration(Duration::from_secs(status.interval_sec))),
        });
    }
    one_line(&parts.join("; "))
}

/// Without control characters, for a newline would end the message, and not too long.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_STATUS).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::supervisor::ReloadTrigger;
    use crate::supervisor::tests::{Fake, Plan, Test, config, started};

    /// The messages that a service manager got.
    #[derive(Clone, Default)]
    struct Inbox(Arc<Mutex<Vec<String>>>);

    impl Inbox {
        fn listen(&self, test: &mut Test, watchdog: Option<Duration>) -> CancellationToken {
            let (inbox, done) = (self.0.clone(), CancellationToken::new());
            let send = move |states: &[NotifyState<'_>]| {
                let message: Vec<_> = states.iter().map(ToString::to_string).collect();
                inbox.lock().unwrap().push(message.join("\n"));
            };
            let pulse = test.pulse.take().expect("listened to once");
            tokio::spawn(report_to(send, watchdog, test.handle.clone(), pulse, done.clone()));
            done
        }

        fn count(&self, start: &str) -> usize {
            self.0.lock().unwrap().iter().filter(|message| message.starts_with(start)).count()
        }

        async fn until(&self, start: &str) {
            while self.count(start) == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_is_announced_and_followed_by_ready() {
        let (mut test, inbox) = (started(&Fake::new(), config()), Inbox::default());
        inbox.listen(&mut test, None);
        test.handle.reload(ReloadTrigger::Api).await.unwrap();
        inbox.until("RELOADING=1\nMONOTONIC_USEC=").await;
        while inbox.count("READY=1\nSTATUS=") < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn quiet_runs_do_not_rewrite_the_status() {
        let (mut test, inbox) = (started(&Fake::new(), config()), Inbox::default());
        test.until(|s| s.status.sources[0].last_success.is_some()).await;
        inbox.listen(&mut test, None);
        test.until(|s| s.history.len() >= 10).await;
        assert_eq!(*inbox.0.lock().unwrap(), ["READY=1\nSTATUS=main: ok; every 5s"]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_is_fed_by_a_loop_that_turns_and_not_by_one_that_is_gone() {
        let (mut test, inbox) = (started(&Fake::new(), config()), Inbox::default());
        inbox.listen(&mut test, Some(Duration::from_secs(60)));
        tokio::time::sleep(Duration::from_secs(305)).await;
        assert_eq!(inbox.count("WATCHDOG=1"), 11, "at once and every 30 s");
        test.task.abort();
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert_eq!(inbox.count("WATCHDOG=1"), 11);
    }

    /// The loop has a thread of its own here, so that the hang stops it and nothing else.
    #[tokio::test]
    async fn a_loop_that_hangs_in_a_living_process_feeds_no_watchdog() {
        const LIMIT: Duration = Duration::from_millis(40);
        let (fake, inbox) = (Fake::new(), Inbox::default());
        let thread = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut test = {
            let _there = thread.enter();
            started(&fake, config())
        };
        inbox.listen(&mut test, Some(LIMIT));
        let until_more = async |than: usize| {
            while inbox.count("WATCHDOG=1") <= than {
                tokio::time::sleep(LIMIT / 4).await;
            }
        };
        until_more(3).await;

        // In each turn the loop asks the world for the time; from now on it gets no answer.
        let (hung, hangs) = oneshot::channel();
        let (answer, answered) = std::sync::mpsc::channel::<()>();
        let world = fake.clone();
        let hang = std::thread::spawn(move || {
            world.change(|_| {
                hung.send(()).unwrap();
                answered.recv().unwrap();
            });
        });
        hangs.await.unwrap();
        // The turn under way may still answer a beat.
        tokio::time::sleep(LIMIT * 5).await;
        let before = inbox.count("WATCHDOG=1");
        tokio::time::sleep(LIMIT * 10).await;
        assert_eq!(inbox.count("WATCHDOG=1"), before);

        answer.send(()).unwrap();
        hang.join().unwrap();
        until_more(before).await;
        thread.shutdown_background();
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_asks_for_more_time_until_it_is_over() {
        let (fake, inbox) = (Fake::new(), Inbox::default());
        fake.plan([Plan::Stubborn(Duration::from_secs(12))]);
        let mut test = started(&fake, config());
        let done = inbox.listen(&mut test, None);
        test.until(|s| s.status.is_running).await;
        test.stop.cancel();
        (&mut test.task).await.unwrap();
        assert_eq!(inbox.count("STOPPING=1"), 1);
        assert!((2..=4).contains(&inbox.count("EXTEND_TIMEOUT_USEC=15000000")));
        done.cancel();
    }

    #[test]
    fn a_status_is_one_line_of_bounded_length() {
        assert_eq!(one_line("a\nSTOPPING=1"), "a STOPPING=1");
        assert_eq!(one_line(&"x".repeat(9999)).len(), LONGEST_STATUS);
    }
}
