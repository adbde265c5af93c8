//! A daemon from start to end: what is built in which order, and what ends in which order.
//!
//! Wiring only. Ready means that the listeners are bound and the configuration is valid; databases may
//! be down by then, that is the supervisor's business.

use std::path::PathBuf;

use tokio::runtime::{self, Runtime};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::api::{self, App, Listener};
use crate::config::{self, Config, Environment, Problem, Watch};
use crate::history::{Actor, Via};
use crate::metrics::Metrics;
use crate::signal::Signals;
use crate::supervisor::{self, Handle, ReloadTrigger, World};
use crate::telemetry::message;
use crate::{rendezvous, systemd, telemetry};

/// What the command line says of a daemon.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration file.
    pub config: PathBuf,
    /// The env file, if one was named.
    pub env_file: Option<PathBuf>,
}

/// Why a daemon did not start, or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration is wrong: exit code 78.
    #[error("the configuration is wrong")]
    Config(Vec<Problem>),
    /// Something else, such as an address in use: exit code 1.
    #[error("{0}")]
    Start(String),
    /// A part of it ended that must not: exit code 1.
    #[error("{0}; this is a defect, see the log")]
    Defect(&'static str),
}

impl Failure {
    /// The last words of a daemon: an entry in the log for each error, whatever the configured level.
    pub(crate) fn log(&self) {
        telemetry::let_errors_through();
        match self {
            Self::Config(problems) => {
                for problem in problems {
                    let key = problem.key.as_deref();
                    tracing::error!(message_id = message::START_REFUSED, key, "not started: {problem}");
                }
            }
            Self::Start(_) => tracing::error!(message_id = message::START_FAILED, "not started: {self}"),
            Self::Defect(_) => tracing::error!(message_id = message::DEFECT, "ended: {self}"),
        }
        telemetry::let_the_journal_read();
    }
}

/// Runs until SIGTERM or SIGINT, or until `stop` is cancelled. Needs a tokio runtime with time and I/O.
///
/// # Errors
/// It could not start, or a part of it ended that must not. The caller says so; a daemon by [`Failure::log`].
pub async fn run(options: Options, stop: CancellationToken) -> Result<(), Failure> {
    // First of all, so that whatever fails is in the log.
    let environment = Environment::read(options.env_file.as_deref());
    telemetry::init(&environment.log());
    telemetry::log_panics();
    let signals = Signals::register().map_err(|error| failed("register signals", &error))?;
    // Before the file is read: a change in between is then a reload, not a change that nobody saw.
    let changes = config::watch(&options.config);
    let loaded = config::load(&options.config, &environment).map_err(Failure::Config)?;
    let telemetry = telemetry::init(&loaded.config.log);
    tracing::info!(message_id = message::STARTING, version = env!("CARGO_PKG_VERSION"), config = %options.config.display(), "starting");
    for warning in &loaded.warnings {
        tracing::warn!("configuration: {warning}");
    }
    let listeners = bind(&loaded.config).await?;
    let _link = rendezvous::Link::to(&loaded.config.socket.path);

    let http = loaded.config.http.as_ref().map(|http| http.listen.to_string());
    tracing::info!(message_id = message::LISTENING, socket = %loaded.config.socket.path.display(), http, "listening");

    let stop = stop.child_token();
    let metrics = Metrics::new();
    let world = World { config: options.config, env_file: options.env_file, telemetry };
    let workers = Workers::start()?;
    let supervisor = workers.within(|| supervisor::start(world, loaded, metrics.clone(), stop.clone()));
    let handle = supervisor.handle;

    let end = CancellationToken::new();
    let mut serving = JoinSet::new();
    for listener in listeners {
        let app = App { handle: handle.clone(), metrics: metrics.clone() };
        serving.spawn(api::serve(listener, app, end.clone()));
    }
    // The front ends without replies; they go when this function returns.
    let mut edges = JoinSet::new();
    edges.spawn(signals.forward(handle.clone(), stop.clone()));
    edges.spawn(follow(changes, handle.clone()));
    let mut reporting = JoinSet::new();
    if systemd::is_listening() {
        reporting.spawn(systemd::report(handle, supervisor.pulse, end.clone()));
    }

    let mut drained = supervisor.task;
    let outcome = tokio::select! {
        ended = &mut drained => supervisor_outcome(ended),
        Some(_) = serving.join_next() => {
            stop.cancel();
            supervisor_outcome(drained.await)
                .and(Err(Failure::Defect("a listener ended by itself")))
        }
    };
    end.cancel();
    while serving.join_next().await.is_some() {}
    while reporting.join_next().await.is_some() {}
    tracing::info!("stopped");
    outcome
}

/// Threads for the supervisor and all that it starts: neither a run that computes for long nor a loop that hangs
/// holds up whoever asks for the state, and the service manager hears of it.
struct Workers(Option<Runtime>);

impl Workers {
    fn start() -> Result<Self, Failure> {
        let threads = runtime::Builder::new_multi_thread().thread_name("rbac-sync-work").enable_all().build();
        threads.map(|threads| Self(Some(threads))).map_err(|error| failed("start threads", &error))
    }

    /// What `start` spawns runs here.
    fn within<T>(&self, start: impl FnOnce() -> T) -> T {
        let _here = self.0.as_ref().expect("they are there until the drop").enter();
        start()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // A name lookup that hangs must not keep the program from ending.
        if let Some(threads) = self.0.take() {
            threads.shutdown_background();
        }
    }
}

async fn bind(config: &Config) -> Result<Vec<Listener>, Failure> {
    let socket = Listener::unix(&config.socket).await;
    let path = config.socket.path.display();
    let mut listeners = vec![socket.map_err(|error| failed(&format!("listen on the control socket {path}"), &error))?];
    if let Some(http) = &config.http {
        let tcp = Listener::tcp(http).await;
        listeners.push(tcp.map_err(|error| failed(&format!("listen on {} (http.listen)", http.listen), &error))?);
    }
    Ok(listeners)
}

/// Reloads whenever the file has changed, or one beside it that the configuration read last names.
async fn follow(mut watch: Watch, handle: Handle) {
    let handle = handle.by(Actor::file(), Via::File);
    let mut snapshots = handle.watch();
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        watch.beside(&snapshot.provenance.companions);
        tokio::select! {
            changed = watch.changed() => {
                if changed.is_none() {
                    return;
                }
                // A refused configuration is logged where it is refused.
                if let Err(denied) = handle.reload(ReloadTrigger::File).await {
                    tracing::warn!("the configuration file has changed, but was not reloaded: {denied}");
                }
            }
            Ok(()) = snapshots.changed() => {}
        }
    }
}

fn supervisor_outcome(ended: Result<(), JoinError>) -> Result<(), Failure> {
    ended.map_err(|_| Failure::Defect("the supervisor panicked"))
}

fn failed(what: &str, error: &std::io::Error) -> Failure {
    Failure::Start(format!("cannot {what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_a_configuration_it_does_not_start() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { config: folder.path().join("rbac-sync.toml"), env_file: None };
        let outcome = run(options, CancellationToken::new()).await;
        assert!(matches!(outcome, Err(Failure::Config(_))));
    }
}
