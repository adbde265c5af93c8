//! Signals: a front end like the others, which only sends commands.
//!
//! | signal | does |
//! |---|---|
//! | SIGHUP | reads the configuration again |
//! | SIGUSR1 | runs all sources now; during a run one more is queued, never two |
//! | SIGTERM, SIGINT | stop: end runs at their next batch, finish requests, exit 0 |
//! | a second SIGTERM or SIGINT | ends the process at once with 128 + its number; what was not committed is done by the next run |

use std::io;

use futures_util::{Stream, StreamExt};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use tokio_util::sync::CancellationToken;

use crate::engine::Mode;
use crate::history::{Actor, Trigger, Via};
use crate::supervisor::{Handle, ReloadTrigger, RunRequest};

/// The signals of this process, registered. Those that arrive before [`Signals::forward`] wait.
pub(crate) struct Signals(signal_hook_tokio::Signals);

impl Signals {
    /// Registers all of them; call it before anything that takes time. Needs a tokio runtime.
    ///
    /// # Errors
    /// The operating system refused.
    pub(crate) fn register() -> io::Result<Self> {
        // In this order: a SIGHUP that is not yet handled would kill.
        signal_hook_tokio::Signals::new([SIGHUP, SIGUSR1, SIGTERM, SIGINT]).map(Self)
    }

    /// Passes them on for as long as the daemon lives.
    pub(crate) async fn forward(self, handle: Handle, stop: CancellationToken) {
        forward(self.0, handle, stop, |signal| std::process::exit(128 + signal)).await;
    }
}

async fn forward(
    mut signals: impl Stream<Item = i32> + Unpin,
    handle: Handle,
    stop: CancellationToken,
    end_at_once: impl Fn(i32),
) {
    while let Some(signal) = signals.next().await {
        match signal {
            // In tasks of their own: a slow reload must not hold up a SIGTERM.
            SIGHUP => drop(tokio::spawn(reload(handle.clone()))),
            SIGUSR1 => drop(tokio::spawn(run(handle.clone()))),
            stopping if stop.is_cancelled() => end_at_once(stopping),
            _ => stop.cancel(),
        }
    }
}

async fn reload(handle: Handle) {
    // A refused configuration is logged where it is refused.
    if let Err(denied) = handle.by(Actor::signal(), Via::Signal).reload(ReloadTrigger::Signal).await {
        tracing::warn!(%denied, "SIGHUP: not reloaded");
    }
}

async fn run(handle: Handle) {
    let request = RunRequest {
        trigger: Trigger::Signal,
        source: None,
        mode: Mode::Delta,
        dry_run: false,
        allow_deletes: false,
        key: None,
    };
    if let Err(denied) = handle.by(Actor::signal(), Via::Signal).run(request).await {
        tracing::warn!(%denied, "SIGUSR1: no run");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::stream;

    use super::*;
    use crate::supervisor::tests::{Fake, config, started};

    #[tokio::test(start_paused = true)]
    async fn the_first_stop_drains_and_the_second_one_ends_at_once() {
        let supervisor = started(&Fake::new(), config());
        let (stop, ended) = (CancellationToken::new(), Mutex::new(Vec::new()));
        let storm = stream::iter([SIGHUP, SIGTERM, SIGUSR1, SIGINT, SIGTERM]);
        forward(storm, supervisor.handle.clone(), stop.clone(), |signal| ended.lock().unwrap().push(signal)).await;
        assert!(stop.is_cancelled());
        assert_eq!(*ended.lock().unwrap(), [SIGINT, SIGTERM]);
    }

    #[tokio::test(start_paused = true)]
    async fn sigusr1_runs_all_sources_and_sighup_reloads() {
        let fake = Fake::new();
        let supervisor = started(&fake, config());
        let storm = stream::iter([SIGUSR1, SIGHUP]);
        forward(storm, supervisor.handle.clone(), CancellationToken::new(), |_| unreachable!()).await;
        supervisor.until(|s| s.history.iter().any(|run| run.trigger == Trigger::Signal)).await;
        fake.until(|world| world.loads == 1).await;
    }
}
