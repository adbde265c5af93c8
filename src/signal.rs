//! Signals: a front end like the others, which only sends commands.
//!
//! | signal | does |
//! |---|---|
//! | SIGHUP | reads the configuration again |
//! | SIGUSR1 | runs all sources now; during a run one more is queued, never two |
//! | SIGTERM, SIGINT | stop: end runs at their next batch, finish requests, exit 0 |
//! | a second SIGTERM or SIGINT | ends the process at once with 128 + its number; what was not committed is done by the next run |

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures_util::{Stream, StreamExt};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;
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
        let signals = signal_hook_tokio::Signals::new([SIGHUP, SIGUSR1, SIGTERM, SIGINT])?;
        // The second one needs no thread, so that it ends also a daemon that hangs. The first sets what it finds.
        let stopping = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            flag::register_conditional_shutdown(signal, 128 + signal, stopping.clone())?;
            flag::register(signal, stopping.clone())?;
        }
        Ok(Self(signals))
    }

    /// Passes them on for as long as the daemon lives.
    pub(crate) async fn forward(self, handle: Handle, stop: CancellationToken) {
        forward(self.0, handle, stop).await;
    }
}

async fn forward(mut signals: impl Stream<Item = i32> + Unpin, handle: Handle, stop: CancellationToken) {
    while let Some(signal) = signals.next().await {
        match signal {
            // In tasks of their own: a slow reload must not hold up a SIGTERM.
            SIGHUP => drop(tokio::spawn(reload(handle.clone()))),
            SIGUSR1 => drop(tokio::spawn(run(handle.clone()))),
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
    use futures_util::stream;

    use super::*;
    use crate::supervisor::tests::{Fake, config, started};

    #[tokio::test(start_paused = true)]
    async fn a_signal_to_stop_drains_and_those_behind_it_are_taken_too() {
        let fake = Fake::new();
        let supervisor = started(&fake, config());
        let stop = CancellationToken::new();
        let storm = stream::iter([SIGTERM, SIGINT, SIGHUP]);
        forward(storm, supervisor.handle.clone(), stop.clone()).await;
        assert!(stop.is_cancelled());
        fake.until(|world| world.loads == 1).await;
    }

    #[tokio::test(start_paused = true)]
    async fn sigusr1_runs_all_sources_and_sighup_reloads() {
        let fake = Fake::new();
        let supervisor = started(&fake, config());
        let storm = stream::iter([SIGUSR1, SIGHUP]);
        forward(storm, supervisor.handle.clone(), CancellationToken::new()).await;
        supervisor.until(|s| s.history.iter().any(|run| run.trigger == Trigger::Signal)).await;
        fake.until(|world| world.loads == 1).await;
    }
}
