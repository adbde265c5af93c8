//! `once`: one run of each source without a daemon.

use chrono::Utc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::args::{OnceArgs, RunOptions};
use super::check::{load_config, report};
use super::claim::serving;
use super::exit::{Exit, Failure};
use super::{print, show};
use crate::api::wire::Runs;
use crate::config::{Config, SourceConfig};
use crate::engine::{self, Levels, Settings};
use crate::history::{Actor, RunRecord, RunState, Trigger};
use crate::source::Source;
use crate::target::Target;

pub(super) async fn run(args: &OnceArgs) -> Result<Exit, Failure> {
    let config = match load_config(&args.config) {
        Ok(loaded) => loaded.config,
        Err(errors) => {
            report(&errors);
            return Ok(Exit::Config);
        }
    };
    crate::telemetry::init(&config.log);
    let sources = chosen(&config, &args.run)?;
    let cancel = CancellationToken::new();
    let stopper = tokio::spawn(cancel_on_signal(cancel.clone())?);
    let runs = run_all(&config, &sources, &args.run, &cancel).await;
    stopper.abort();
    let runs = runs?;
    if args.json {
        print::json(&Runs { runs: runs.iter().cloned().map(Into::into).collect() })?;
    } else {
        print::out(&show::results(&runs))?;
    }
    Ok(if runs.iter().all(|run| run.success == Some(true)) { Exit::Done } else { Exit::Failed })
}

fn chosen<'a>(config: &'a Config, options: &RunOptions) -> Result<Vec<&'a SourceConfig>, Failure> {
    let wanted = |source: &&SourceConfig| options.source.as_ref().is_none_or(|name| source.name.as_str() == name);
    let sources: Vec<&SourceConfig> = config.sources.iter().filter(wanted).collect();
    if sources.is_empty() {
        let names: Vec<&str> = config.sources.iter().map(|source| source.name.as_str()).collect();
        let text = format!("no source has the name given with --source; there are: {}", names.join(", "));
        return Err(Failure::new(Exit::Usage, text));
    }
    Ok(sources)
}

/// Ends the run cleanly at SIGINT and SIGTERM.
fn cancel_on_signal(cancel: CancellationToken) -> Result<impl Future<Output = ()>, Failure> {
    let failed = |error| Failure::new(Exit::Failed, format!("cannot listen to signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        cancel.cancel();
    })
}

/// A dry run changes nothing, so it needs neither the target's tables nor the right to write.
async fn run_all(
    config: &Config,
    sources: &[&SourceConfig],
    options: &RunOptions,
    cancel: &CancellationToken,
) -> Result<Vec<RunRecord>, Failure> {
    let target = Target::new(&config.target);
    let runs = run_each(config, sources, options, &target, cancel);
    if options.dry_run {
        return Ok(runs.await);
    }
    serving(&target, "once", cancel, runs).await
}

async fn run_each(
    config: &Config,
    sources: &[&SourceConfig],
    options: &RunOptions,
    target: &Target,
    cancel: &CancellationToken,
) -> Vec<RunRecord> {
    let mut runs = Vec::with_capacity(sources.len());
    for source in sources {
        let run = run_one(config, source, options, target, cancel).await;
        if !options.dry_run
            && let Err(error) = target.record_run(&run, config.history_keep).await
        {
            print::error(&format!("the run is not in the history: {error}"));
        }
        runs.push(run);
        if cancel.is_cancelled() {
            break;
        }
    }
    runs
}

async fn run_one(
    config: &Config,
    source: &SourceConfig,
    options: &RunOptions,
    target: &Target,
    cancel: &CancellationToken,
) -> RunRecord {
    let settings = Settings {
        mode: options.mode.into(),
        dry_run: options.dry_run,
        allow_deletes: options.allow_deletes,
        ..Settings::new(source, &config.target)
    };
    let started = Utc::now();
    let clock = std::time::Instant::now();
    let (progress, _) = watch::channel(Levels::default());
    let report = engine::run(&settings, &Source::new(source), target, &progress, cancel).await;
    RunRecord {
        run_id: Uuid::now_v7(),
        state: RunState::Finished,
        trigger: Trigger::Cli,
        actor: Some(Actor::uid(rustix::process::getuid().as_raw())),
        mode: report.mode,
        source: source.name.to_string(),
        dry_run: options.dry_run,
        started: Some(started),
        finished: Some(Utc::now()),
        success: Some(report.error.is_none()),
        processed: report.levels.processed(),
        levels: report.levels,
        duration_ms: Some(u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX)),
        error: report.error.map(|error| error.with_side()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::config;
    use crate::cli::args::ModeArg;

    #[test]
    fn an_unknown_source_names_those_that_there_are() {
        let options = |source: Option<&str>| RunOptions {
            mode: ModeArg::Delta,
            dry_run: false,
            source: source.map(str::to_owned),
            allow_deletes: false,
        };
        let config = config();
        assert_eq!(chosen(&config, &options(None)).expect("all").len(), 1);
        assert_eq!(chosen(&config, &options(Some("main"))).expect("one").len(), 1);
        let failure = chosen(&config, &options(Some("mian"))).expect_err("unknown");
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.to_string().ends_with("there are: main"), "{failure}");
    }
}
