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

use std::collections::VecDeque;
use std::path::PathBuf;

use chrono::TimeDelta;
use proptest::prelude::*;
use tokio::time::timeout;

use super::outside::Remembered;
use super::*;
use crate::config::{
    Deletes, Dialect, Endpoint, LogConfig, LogFormat, MaxDeletes, Problem, ScheduleConfig, SocketConfig, SourceConfig,
    TargetConfig,
};
use crate::engine::{Class, Counts, Levels, Mode, Settings, Side};
use crate::history::{Actor, Change, Trigger, Via};
use crate::schedule::{Control, Cron, Override, Pause};

const SECOND: Duration = Duration::from_secs(1);

/// How a run goes; without a plan it succeeds at once and finds nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Plan {
    /// Succeeds and inserts so many series.
    Rows(u64),
    /// Fails.
    Fail(Side, Class),
    /// Panics.
    Panic,
    /// Goes on until the world releases it, or it is cancelled.
    Hold,
    /// Goes on for so long, cancelled or not.
    Stubborn(Duration),
}

/// A run that the world was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    settings: Settings,
    target: String,
    at: Instant,
}

/// What the world does and what happened to it.
#[derive(Debug)]
pub(crate) struct State {
    plans: VecDeque<Plan>,
    release: bool,
    pub(crate) runs: Vec<Seen>,
    under_way: Vec<SourceName>,
    overlapped: bool,
    target_down: bool,
    served_by: Option<String>,
    residents: Vec<String>,
    lock_lost: bool,
    released: Vec<String>,
    opened: usize,
    control: Control,
    earlier: Vec<RunRecord>,
    save_fails: bool,
    saved: Vec<Control>,
    recorded: Vec<Uuid>,
    noted: Vec<Change>,
    file: Result<Loaded, Vec<Problem>>,
    load_takes: Duration,
    pub(crate) loads: usize,
    proof_fails: bool,
    proofs: Vec<String>,
    log_level: String,
    textfiles: usize,
    clock_set_by: TimeDelta,
    chance: f64,
}

/// A scripted world; clones are the same world.
#[derive(Clone, Debug)]
pub(crate) struct Fake {
    state: watch::Sender<State>,
    born: Instant,
}

impl Fake {
    pub(crate) fn new() -> Self {
        let state = State {
            plans: VecDeque::new(),
            release: false,
            runs: Vec::new(),
            under_way: Vec::new(),
            overlapped: false,
            target_down: false,
            served_by: None,
            residents: Vec::new(),
            lock_lost: false,
            released: Vec::new(),
            opened: 0,
            control: Control::default(),
            earlier: Vec::new(),
            save_fails: false,
            saved: Vec::new(),
            recorded: Vec::new(),
            noted: Vec::new(),
            file: Ok(file("at start", config())),
            load_takes: Duration::ZERO,
            loads: 0,
            proof_fails: false,
            proofs: Vec::new(),
            log_level: String::new(),
            textfiles: 0,
            clock_set_by: TimeDelta::zero(),
            chance: 0.5,
        };
        Self { state: watch::Sender::new(state), born: Instant::now() }
    }

    pub(crate) fn plan(&self, plans: impl IntoIterator<Item = Plan>) {
        self.change(|state| state.plans.extend(plans));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        self.state.send_modify(change);
    }

    fn see<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.borrow())
    }

    pub(crate) async fn until(&self, reached: impl FnMut(&State) -> bool) {
        let mut states = self.state.subscribe();
        let waited = timeout(SECOND * 7200, states.wait_for(reached)).await;
        waited.expect("the world gets there").expect("the world stays");
    }

    async fn until_any_time(&self, reached: impl FnMut(&State) -> bool) {
        let mut states = self.state.subscribe();
        states.wait_for(reached).await.expect("the world stays");
    }

    /// Seconds between the starts of the runs.
    fn gaps(&self) -> Vec<u64> {
        self.see(|state| state.runs.windows(2).map(|pair| (pair[1].at - pair[0].at).as_secs()).collect())
    }
}

/// Takes a run out of those under way, also when it panics.
struct Over<'a>(&'a Fake, SourceName);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.under_way.retain(|source| *source != self.1));
    }
}

impl Outside for Fake {
    type Source = SourceConfig;
    type Target = String;

    fn source(&self, config: &SourceConfig) -> SourceConfig {
        config.clone()
    }

    fn target(&self, config: &TargetConfig) -> String {
        config.endpoint.url.clone()
    }

    fn now(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + self.born.elapsed() + self.see(|state| state.clock_set_by)
    }

    fn chance(&self) -> f64 {
        self.see(|state| state.chance)
    }

    fn set_log_level(&self, level: &str) {
        self.change(|state| level.clone_into(&mut state.log_level));
    }

    async fn run(
        &self,
        settings: Settings,
        _: &SourceConfig,
        target: &String,
        progress: watch::Sender<Levels>,
        cancel: CancellationToken,
    ) -> RunReport {
        let mut plan = None;
        let (mode, source, target) = (settings.mode, settings.source.clone(), target.clone());
        self.change(|state| {
            state.overlapped |= state.under_way.contains(&source);
            state.under_way.push(source.clone());
            plan = state.plans.pop_front();
            state.runs.push(Seen { settings, target, at: Instant::now() });
        });
        let _over = Over(self, source);
        let mut report = RunReport { mode, levels: Levels::default(), verified_since: None, error: None };
        match plan {
            None => {}
            Some(Plan::Rows(inserted)) => report.levels.series = Counts { inserted, ..Counts::default() },
            Some(Plan::Fail(side, class)) => report.error = Some(Error::new(side, class, "as planned")),
            Some(Plan::Panic) => panic!("as planned"),
            Some(Plan::Stubborn(time)) => tokio::time::sleep(time).await,
            Some(Plan::Hold) => {
                report.levels.study = Counts { unchanged: 7, ..Counts::default() };
                progress.send_replace(report.levels);
                tokio::select! {
                    () = cancel.cancelled() => {
                        report.error = Some(Error::new(Side::Run, Class::Cancelled, "cancelled"));
                    }
                    () = self.until(|state| state.release) => {}
                }
            }
        }
        report
    }

    async fn prove_source(&self, source: &SourceConfig) -> Result<(), Error> {
        self.change(|state| state.proofs.push(source.name.to_string()));
        let refused = Error::new(Side::Source, Class::Config, "password refused");
        self.see(|state| if state.proof_fails { Err(refused) } else { Ok(()) })
    }

    async fn prove_target(&self, target: &String) -> Result<(), Error> {
        self.change(|state| state.proofs.push(target.clone()));
        Ok(())
    }

    async fn open(&self, _: &String, _: usize) -> Result<Opened, Error> {
        self.change(|state| state.opened += 1);
        self.see(|state| {
            if state.target_down {
                return Err(Error::new(Side::Target, Class::Transient, "connection refused"));
            }
            if let Some(holder) = &state.served_by {
                return Ok(Opened::Standby(holder.clone()));
            }
            let (control, runs) = (state.control.clone(), state.earlier.clone());
            Ok(Opened::Active(Remembered { control, runs, changes: Vec::new(), sources: state.residents.clone() }))
        })
    }

    async fn lost(&self, _: &String) -> Error {
        self.until_any_time(|state| state.lock_lost).await;
        self.change(|state| state.lock_lost = false);
        Error::new(Side::Target, Class::Transient, "the session has ended")
    }

    async fn release(&self, target: &String) {
        self.change(|state| state.released.push(target.clone()));
    }

    async fn save(&self, _: &String, control: &Control) -> Result<(), Error> {
        if self.see(|state| state.save_fails) {
            return Err(Error::new(Side::Target, Class::Transient, "locked"));
        }
        self.change(|state| state.saved.push(control.clone()));
        Ok(())
    }

    async fn record(&self, _: &String, record: &RunRecord, _: usize) -> Result<(), Error> {
        self.change(|state| state.recorded.push(record.run_id));
        Ok(())
    }

    async fn note(&self, _: &String, change: &Change, _: usize) -> Result<(), Error> {
        self.change(|state| state.noted.push(change.clone()));
        Ok(())
    }

    async fn load(&self) -> Result<Loaded, Vec<Problem>> {
        tokio::time::sleep(self.see(|state| state.load_takes)).await;
        self.change(|state| state.loads += 1);
        self.see(|state| state.file.clone())
    }

    async fn write(&self, _: PathBuf, _: String) -> io::Result<()> {
        self.change(|state| state.textfiles += 1);
        Ok(())
    }
}

fn endpoint(url: &str) -> Endpoint {
    Endpoint { dialect: Dialect::Sqlite, url: url.to_owned(), password: None }
}

fn source(name: &str) -> SourceConfig {
    SourceConfig {
        name: SourceName::new(name).unwrap(),
        endpoint: endpoint(&format!("sqlite:{name}")),
        time_zone: chrono_tz::Tz::UTC,
        overlap: Duration::from_secs(360),
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
        companions: crate::config::Companions::default(),
        warnings: Vec::new(),
    }
}

fn broken(message: &str) -> Result<Loaded, Vec<Problem>> {
    let origin = PathBuf::from("rbac-sync.toml");
    Err(vec![Problem { origin, position: Some((3, 1)), key: None, message: message.to_owned() }])
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
}

/// Starts one in that world.
pub(crate) fn started(fake: &Fake, config: Config) -> Test {
    let stop = CancellationToken::new();
    let started = start(fake.clone(), file("at start", config), Metrics::new(), stop.clone());
    Test { handle: started.handle, task: started.task, pulse: Some(started.pulse), stop }
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
