//! The loop against a scripted world and tokio's paused clock: no database, no file, no waiting.

mod any_order;
mod audit;
mod end;
mod failures;
mod reload;
mod requests;
mod schedule;
mod standby;
mod target;
mod world;

use std::collections::VecDeque;
use std::path::PathBuf;

use chrono::TimeDelta;
use proptest::prelude::*;
use tokio::time::timeout;

use super::*;
use crate::config::{
    Companions, Deletes, Dialect, Endpoint, LogConfig, LogFormat, MaxDeletes, Problem, Refused, ScheduleConfig,
    SocketConfig, SourceConfig, TargetConfig,
};
use crate::engine::{Class, Counts, Levels, Mode, Settings, Side};
use crate::history::{Actor, Change, Trigger, Via};
use crate::schedule::{Control, Cron, Override, Pause};

pub(crate) use world::{Fake, Plan};

const SECOND: Duration = Duration::from_secs(1);

fn endpoint(url: &str) -> Endpoint {
    Endpoint { dialect: Dialect::Sqlite, url: url.to_owned(), password: None }
}

fn source(name: &str) -> SourceConfig {
    SourceConfig {
        name: SourceName::new(name).unwrap(),
        endpoint: endpoint(&format!("sqlite:{name}")),
        time_zone: chrono_tz::Tz::UTC,
        overlap: Duration::from_secs(360),
        instances: false,
        pace: crate::config::Pace::default(),
    }
}

/// One source, every 5 s.
pub(crate) fn config() -> Config {
    Config {
        schedule: ScheduleConfig { plan: interval(SECOND * 5), time_zone: chrono_tz::UTC, jitter: Duration::ZERO },
        sources: vec![source("main")],
        target: TargetConfig {
            endpoint: endpoint("sqlite:rbac"),
            deletes: Deletes::Tombstone,
            max_deletes: MaxDeletes { rows: 500, percent: 5.0 },
        },
        http: None,
        socket: SocketConfig { path: PathBuf::from("control.sock"), mode: 0o660 },
        history_keep: 1000,
        log: LogConfig { level: "info".to_owned(), format: LogFormat::Text },
        metrics_textfile: None,
    }
}

fn interval(interval: Duration) -> crate::schedule::Plan {
    crate::schedule::Plan::Interval(interval)
}

fn cron(text: &str) -> crate::schedule::Plan {
    crate::schedule::Plan::Cron(Cron::new(text, chrono_tz::UTC).unwrap().into())
}

/// One source at these times.
fn planned(plan: crate::schedule::Plan) -> Config {
    let config = config();
    Config { schedule: ScheduleConfig { plan, ..config.schedule }, ..config }
}

fn every(time: Duration) -> Config {
    planned(interval(time))
}

/// The request to override the schedule by an interval.
pub(crate) fn set(time: Duration) -> ScheduleRequest {
    ScheduleRequest { plan: Some(interval(time)), expected: None }
}

fn with_sources(names: &[&str]) -> Config {
    Config { sources: names.iter().map(|name| source(name)).collect(), ..config() }
}

fn file(hash: &str, config: Config) -> Loaded {
    Loaded {
        config,
        hash: hash.to_owned(),
        file_hash: hash.to_owned(),
        origins: crate::config::Origins::default(),
        companions: Companions::default(),
        warnings: Vec::new(),
    }
}

fn broken(message: &str) -> Result<Loaded, Refused> {
    let origin = PathBuf::from("rbac-sync.toml");
    let problem = Problem { origin, position: Some((3, 1)), key: None, message: message.to_owned() };
    Err(Refused { problems: vec![problem], companions: Companions::default() })
}

fn request(mode: Mode) -> RunRequest {
    RunRequest { trigger: Trigger::Api, source: None, mode, dry_run: false, allow_deletes: false, key: None }
}

/// A supervisor in a test.
pub(crate) struct Test {
    pub(crate) handle: Handle,
    pub(crate) task: JoinHandle<()>,
    pub(crate) pulse: Option<Pulse>,
    pub(crate) stop: CancellationToken,
    metrics: Metrics,
}

/// Starts one in that world.
pub(crate) fn started(fake: &Fake, config: Config) -> Test {
    let stop = CancellationToken::new();
    let metrics = Metrics::new();
    let started = start(fake.clone(), file("at start", config), metrics.clone(), stop.clone());
    Test { handle: started.handle, task: started.task, pulse: Some(started.pulse), stop, metrics }
}

impl Test {
    pub(crate) async fn until(&self, mut reached: impl FnMut(&Snapshot) -> bool) -> Arc<Snapshot> {
        let mut watch = self.handle.watch();
        let snapshot = timeout(SECOND * 7200, watch.wait_for(|snapshot| reached(snapshot))).await;
        snapshot.expect("the supervisor gets there").expect("the supervisor lives").clone()
    }

    async fn until_running(&self) -> Uuid {
        self.until(|s| s.status.is_running).await.status.running[0].run_id
    }

    async fn until_idle(&self) {
        self.until(|s| !s.status.is_running && !s.history.is_empty()).await;
    }

    async fn run(&self, mode: Mode) -> Uuid {
        self.handle.run(request(mode)).await.unwrap().runs[0]
    }

    async fn result(&self, run: Uuid) -> RunRecord {
        timeout(SECOND * 7200, self.handle.finished(run)).await.expect("it ends").expect("it is known")
    }
}
