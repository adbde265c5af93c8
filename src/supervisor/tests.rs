//! The loop against a scripted world and tokio's paused clock: no database, no file, no waiting.

use std::collections::VecDeque;
use std::path::PathBuf;

use chrono::TimeDelta;
use proptest::prelude::*;
use tokio::time::timeout;

use super::outside::Remembered;
use super::*;
use crate::config::{
    Deletes, Dialect, Endpoint, LogConfig, LogFormat, MaxDeletes, Problem, SocketConfig, SourceConfig, TargetConfig,
};
use crate::engine::{Counts, Levels, Mode, Settings};
use crate::history::Trigger;
use crate::schedule::{Control, IntervalOverride, Pause};

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
    file: Result<Loaded, Vec<Problem>>,
    load_takes: Duration,
    pub(crate) loads: usize,
    proof_fails: bool,
    proofs: Vec<String>,
    log_level: String,
    textfiles: usize,
    clock_set_by: TimeDelta,
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
            file: Ok(file("at start", config())),
            load_takes: Duration::ZERO,
            loads: 0,
            proof_fails: false,
            proofs: Vec::new(),
            log_level: String::new(),
            textfiles: 0,
            clock_set_by: TimeDelta::zero(),
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
            Ok(Opened::Active(Remembered { control, runs, sources: state.residents.clone() }))
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
        interval: SECOND * 5,
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
    RunRequest { trigger: Trigger::Api, source: None, mode, dry_run: false, allow_deletes: false }
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

// Two daemons on one target.

const OTHER: &str = "daemon on host b, process 7";

#[tokio::test(start_paused = true)]
async fn a_standby_runs_nothing_refuses_what_would_be_lost_and_takes_over_within_a_second() {
    let fake = Fake::new();
    fake.change(|state| state.served_by = Some(OTHER.to_owned()));
    let test = started(&fake, config());
    let snapshot = test.until(|s| s.status.standby).await;
    assert_eq!(snapshot.status.served_by.as_deref(), Some(OTHER));
    assert_eq!((snapshot.status.next_run, snapshot.status.target.reachable), (None, Some(true)));
    let denied = Denied::Standby(OTHER.to_owned());
    assert_eq!(test.handle.run(request(Mode::Delta)).await, Err(denied.clone()));
    assert_eq!(test.handle.pause(PauseRequest::default()).await, Err(denied.clone()));
    assert_eq!(test.handle.set_interval(Some(SECOND * 9)).await, Err(denied.clone()));
    assert_eq!(test.handle.resume().await, Err(denied));
    tokio::time::sleep(SECOND * 60).await;
    assert!(fake.see(|state| state.runs.is_empty() && state.opened >= 50));
    let freed = Instant::now();
    fake.change(|state| state.served_by = None);
    fake.until(|state| !state.runs.is_empty()).await;
    assert!(freed.elapsed() <= SECOND, "{:?}", freed.elapsed());
    assert!(!test.until(|s| !s.status.standby).await.status.standby);
}

#[tokio::test(start_paused = true)]
async fn a_lost_lock_is_asked_for_again_and_a_daemon_that_lost_it_obeys_what_the_other_was_told() {
    let fake = Fake::new();
    let test = started(&fake, config());
    test.until_idle().await;
    test.handle.pause(PauseRequest::default()).await.unwrap();
    fake.until(|state| state.saved.len() == 1).await;
    let opened = fake.see(|state| state.opened);
    fake.change(|state| {
        state.lock_lost = true;
        state.served_by = Some(OTHER.to_owned());
    });
    test.until(|s| s.status.standby && !s.status.paused).await;
    // The other one was told to resume, and saved that.
    fake.change(|state| (state.served_by, state.control) = (None, Control::default()));
    let runs = fake.see(|state| state.runs.len());
    fake.until(|state| state.runs.len() > runs).await;
    assert!(fake.see(|state| state.opened > opened));
    assert!(!test.until(|s| !s.status.standby).await.status.paused);
    assert_eq!(fake.see(|state| state.saved.len()), 1, "nothing of the old life is saved over it");
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_stops_gives_the_target_back_after_its_last_run() {
    let fake = Fake::new();
    fake.plan([Plan::Stubborn(SECOND * 20)]);
    let test = started(&fake, config());
    test.until_running().await;
    test.stop.cancel();
    tokio::time::sleep(SECOND * 10).await;
    assert!(fake.see(|state| state.released.is_empty()), "a run is still under way");
    test.task.await.unwrap();
    assert_eq!(fake.see(|state| state.released.clone()), ["sqlite:rbac"]);
}

#[tokio::test(start_paused = true)]
async fn sources_that_stand_in_the_target_and_are_not_configured_are_named() {
    let fake = Fake::new();
    fake.change(|state| state.residents = vec!["main".to_owned(), "gone".to_owned()]);
    let test = started(&fake, config());
    let snapshot = test.until(|s| !s.status.unconfigured_sources.is_empty()).await;
    assert_eq!(snapshot.status.unconfigured_sources, ["gone"]);
    fake.until(|state| !state.runs.is_empty()).await;
    test.until_idle().await;
    fake.change(|state| state.file = Ok(file("renamed", with_sources(&["renamed"]))));
    test.handle.reload(ReloadTrigger::Api).await.unwrap();
    assert_eq!(test.handle.snapshot().status.unconfigured_sources, ["gone", "main"]);
}

// The schedule.

#[tokio::test(start_paused = true)]
async fn the_first_run_comes_at_start_and_the_others_at_a_fixed_rate() {
    let fake = Fake::new();
    fake.plan([Plan::Stubborn(SECOND * 2), Plan::Stubborn(SECOND * 12)]);
    let test = started(&fake, config());
    let begin = Instant::now();
    let snapshot = test.until(|s| s.history.len() >= 4).await;
    assert_eq!(fake.see(|state| state.runs[0].at), begin);
    assert_eq!(fake.gaps()[..3], [5, 15, 5], "a run of 12 s swallows two ticks, and the grid stays");
    let triggers: Vec<_> = snapshot.history.iter().rev().map(|run| run.trigger).collect();
    assert_eq!(triggers[..2], [Trigger::Start, Trigger::Schedule]);
}

#[tokio::test(start_paused = true)]
async fn a_changed_interval_takes_effect_at_once_and_is_kept() {
    let fake = Fake::new();
    let test = started(&fake, Config { interval: SECOND * 3600, ..config() });
    test.until_idle().await;
    let schedule = test.handle.set_interval(Some(SECOND)).await.unwrap();
    assert_eq!(schedule, Schedule { interval_sec: 1, origin: ScheduleOrigin::Api });
    fake.until(|state| state.runs.len() == 4).await;
    assert_eq!(fake.gaps(), [1, 1, 1]);
    test.handle.set_interval(Some(SECOND * 60)).await.unwrap();
    fake.until(|state| state.runs.len() == 5).await;
    assert_eq!(fake.gaps()[3], 60);
    let schedule = test.handle.set_interval(None).await.unwrap();
    assert_eq!(schedule, Schedule { interval_sec: 3600, origin: ScheduleOrigin::File });
    fake.until(|state| state.saved.last().is_some_and(|control| control.interval.is_none())).await;
    assert!(fake.see(|state| state.saved.iter().any(|control| control.interval.is_some())));
}

#[tokio::test(start_paused = true)]
async fn a_pause_stops_scheduled_runs_but_not_forced_ones() {
    let fake = Fake::new();
    let test = started(&fake, config());
    test.until_idle().await;
    test.handle.pause(PauseRequest { reason: Some("upgrade".to_owned()), duration: None }).await.unwrap();
    fake.until(|state| state.saved.iter().any(|control| control.pause.is_some())).await;
    tokio::time::sleep(SECOND * 600).await;
    assert_eq!(fake.see(|state| state.runs.len()), 1);
    assert_eq!(test.handle.snapshot().status.next_run, None);
    let run = test.run(Mode::Delta).await;
    assert_eq!(test.result(run).await.success, Some(true));
    assert!(test.handle.snapshot().status.paused, "a forced run does not end the pause");
    test.handle.resume().await.unwrap();
    fake.until(|state| state.runs.len() == 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_ends_by_itself_also_when_the_clock_is_set_forward() {
    let fake = Fake::new();
    let test = started(&fake, config());
    test.until_idle().await;
    let hour = PauseRequest { reason: None, duration: Some(SECOND * 3600) };
    test.handle.pause(hour.clone()).await.unwrap();
    let paused = Instant::now();
    test.until(|s| !s.status.paused).await;
    assert_eq!(paused.elapsed().as_secs(), 3600);
    test.handle.pause(hour).await.unwrap();
    let paused = Instant::now();
    fake.change(|state| state.clock_set_by = TimeDelta::hours(2));
    test.until(|s| !s.status.paused).await;
    assert!(paused.elapsed() <= WALL_CLOCK_EVERY);
}

#[tokio::test(start_paused = true)]
async fn a_pause_and_an_interval_of_an_earlier_life_are_in_effect_before_the_first_run() {
    let fake = Fake::new();
    let pause = Pause { reason: None, actor: None, since: DateTime::UNIX_EPOCH, until: None };
    let interval = IntervalOverride { interval: SECOND * 30, file_interval: SECOND * 5 };
    fake.change(|state| state.control = Control { pause: Some(pause), interval: Some(interval) });
    let test = started(&fake, config());
    let status = test.until(|s| s.status.paused).await.status.clone();
    assert_eq!(status.schedule, Schedule { interval_sec: 30, origin: ScheduleOrigin::Api });
    tokio::time::sleep(SECOND * 100).await;
    assert!(fake.see(|state| state.runs.is_empty() && state.saved.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_saved_again_until_it_is_kept() {
    let fake = Fake::new();
    fake.change(|state| state.save_fails = true);
    let test = started(&fake, config());
    test.until_idle().await;
    test.handle.pause(PauseRequest::default()).await.unwrap();
    tokio::time::sleep(SECOND * 60).await;
    assert!(test.handle.snapshot().status.paused, "in effect all the same");
    fake.change(|state| state.save_fails = false);
    fake.until(|state| state.saved.len() == 1).await;
}

// Requests.

#[tokio::test(start_paused = true)]
async fn during_a_run_one_more_is_queued_and_further_requests_join_it() {
    let fake = Fake::new();
    fake.plan([Plan::Hold]);
    let test = started(&fake, config());
    let first = test.until_running().await;
    let second = test.run(Mode::Delta).await;
    assert_ne!(first, second);
    assert_eq!(test.run(Mode::Full).await, second, "it is upgraded");
    let denied = test.handle.run(RunRequest { dry_run: true, ..request(Mode::Delta) }).await;
    assert_eq!(denied, Err(Denied::QueueTaken));
    fake.change(|state| state.release = true);
    assert_eq!(test.result(second).await.mode, Mode::Full);
    assert_eq!(fake.see(|state| state.runs.len()), 2);
}

#[tokio::test(start_paused = true)]
async fn sources_run_side_by_side_and_a_request_can_name_one() {
    let fake = Fake::new();
    fake.plan([Plan::Hold, Plan::Hold]);
    let test = started(&fake, with_sources(&["main", "annex"]));
    test.until(|s| s.status.running.len() == 2).await;
    let name = SourceName::new("annex");
    let admitted = test.handle.run(RunRequest { source: name, ..request(Mode::Delta) }).await.unwrap();
    assert_eq!(admitted.runs.len(), 1);
    let all = test.handle.run(request(Mode::Delta)).await.unwrap();
    assert_eq!(all.runs[1], admitted.runs[0], "in the order of the configuration, and joined");
    let unknown = RunRequest { source: SourceName::new("attic"), ..request(Mode::Delta) };
    assert_eq!(test.handle.run(unknown).await, Err(Denied::UnknownSource("attic".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn cancelling_ends_the_run_under_way_and_is_no_failure() {
    let fake = Fake::new();
    fake.plan([Plan::Hold]);
    let test = started(&fake, config());
    let run = test.until(|s| s.status.running.iter().any(|run| run.processed == 7)).await.status.running[0].run_id;
    assert_eq!(test.handle.cancel().await, Ok(vec![run]));
    let record = test.result(run).await;
    assert_eq!((record.success, record.processed), (Some(false), 7));
    assert_eq!(test.handle.snapshot().status.sources[0].consecutive_failures, 0);
    assert_eq!(test.handle.cancel().await, Err(Denied::NothingToCancel));
}

// Failures.

#[tokio::test(start_paused = true)]
async fn failures_back_off_and_a_success_brings_the_interval_back() {
    let fake = Fake::new();
    fake.plan([Plan::Fail(Side::Source, Class::Transient); 5]);
    let test = started(&fake, Config { interval: SECOND, ..config() });
    let failing = test.until(|s| s.status.sources[0].consecutive_failures == 5).await;
    assert_eq!(failing.status.sources[0].reachability.reachable, Some(false));
    assert_eq!(failing.status.target.reachable, Some(true), "it was opened");
    fake.until(|state| state.runs.len() == 8).await;
    assert_eq!(fake.gaps(), [5, 10, 20, 40, 60, 1, 1]);
    let recovered = test.until(|s| s.status.sources[0].consecutive_failures == 0).await;
    assert_eq!(recovered.status.sources[0].reachability.reachable, Some(true));
    assert!(recovered.status.sources[0].last_success.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_says_nothing_about_the_state_of_the_source() {
    let fake = Fake::new();
    let test = started(&fake, Config { interval: SECOND * 3600, ..config() });
    test.until_idle().await;
    let before = test.handle.snapshot().status.sources[0].clone();
    fake.plan([Plan::Fail(Side::Run, Class::Permanent), Plan::Rows(3)]);
    for success in [false, true] {
        let dry = RunRequest { dry_run: true, ..request(Mode::Full) };
        let run = test.handle.run(dry).await.unwrap().runs[0];
        assert_eq!(test.result(run).await.success, Some(success));
    }
    assert_eq!(test.handle.snapshot().status.sources[0], before);
}

#[tokio::test(start_paused = true)]
async fn a_long_interval_does_not_delay_the_recovery() {
    let fake = Fake::new();
    fake.plan([Plan::Fail(Side::Source, Class::Transient)]);
    let _test = started(&fake, Config { interval: SECOND * 3600, ..config() });
    fake.until(|state| state.runs.len() == 3).await;
    assert_eq!(fake.gaps(), [5, 3600]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failed_run_and_the_next_one_goes_on() {
    let fake = Fake::new();
    fake.plan([Plan::Panic]);
    let test = started(&fake, config());
    let snapshot = test.until(|s| s.history.len() == 2).await;
    assert_eq!(snapshot.history[1].success, Some(false));
    let error = snapshot.history[1].error.as_deref().unwrap();
    assert!(error.contains("panicked") && !error.contains("as planned"), "without the payload: {error}");
    assert_eq!(snapshot.history[0].success, Some(true));
}

// The target.

#[tokio::test(start_paused = true)]
async fn runs_wait_for_a_target_that_opens_late() {
    let fake = Fake::new();
    fake.change(|state| state.target_down = true);
    let test = started(&fake, config());
    let down = test.until(|s| s.status.target.reachable == Some(false)).await;
    assert!(down.status.target.error.as_deref() == Some("connection refused"));
    fake.until(|state| state.opened == 4).await;
    assert!(fake.see(|state| state.runs.is_empty()));
    fake.change(|state| state.target_down = false);
    test.until(|s| s.status.target.reachable == Some(true) && !s.history.is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_while_the_target_is_down_wins_over_what_the_target_remembers() {
    let fake = Fake::new();
    let interval = IntervalOverride { interval: SECOND * 30, file_interval: SECOND * 5 };
    fake.change(|state| {
        state.target_down = true;
        state.control = Control { pause: None, interval: Some(interval) };
    });
    let test = started(&fake, config());
    test.until(|s| s.status.target.reachable == Some(false)).await;
    let pause = test.handle.pause(PauseRequest::default()).await.unwrap();
    fake.change(|state| state.target_down = false);
    fake.until(|state| state.saved == [Control { pause: Some(pause.clone()), interval: Some(interval) }]).await;
    assert!(fake.see(|state| state.runs.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_forced_run_without_a_target_fails_at_once_with_the_reason() {
    let fake = Fake::new();
    fake.change(|state| state.target_down = true);
    let test = started(&fake, config());
    fake.until(|state| state.opened == 5).await;
    let asked = Instant::now();
    let run = test.run(Mode::Delta).await;
    let record = test.result(run).await;
    assert_eq!(record.error.as_deref(), Some("target: connection refused"));
    assert!(asked.elapsed() < SECOND, "it does not wait for the next attempt");
    fake.change(|state| state.target_down = false);
    fake.until(|state| state.recorded.contains(&run)).await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_fails_in_a_run_is_opened_again_before_the_next_one() {
    let fake = Fake::new();
    fake.plan([Plan::Fail(Side::Target, Class::Transient)]);
    let test = started(&fake, config());
    test.until(|s| s.status.target.reachable == Some(false)).await;
    test.until(|s| s.status.sources[0].last_success.is_some()).await;
    assert_eq!(fake.see(|state| state.opened), 2);
    assert_eq!(test.handle.snapshot().status.target.reachable, Some(true));
}

#[tokio::test(start_paused = true)]
async fn only_runs_that_are_worth_it_are_recorded_and_those_of_an_earlier_life_are_shown() {
    let fake = Fake::new();
    let earlier = RunRecord { run_id: Uuid::now_v7(), ..finished_at(Utc::now() - TimeDelta::days(400_000)) };
    fake.change(|state| state.earlier = vec![earlier.clone()]);
    fake.plan([Plan::Rows(0), Plan::Rows(0), Plan::Rows(3), Plan::Rows(0)]);
    let test = started(&fake, config());
    let snapshot = test.until(|s| s.history.len() == 5).await;
    assert_eq!(snapshot.history[4].run_id, earlier.run_id);
    fake.until(|state| state.recorded.len() == 2).await;
    let worth_it = [snapshot.history[3].run_id, snapshot.history[1].run_id];
    assert_eq!(fake.see(|state| state.recorded.clone()), worth_it, "the first one and the one with rows");
}

fn finished_at(at: DateTime<Utc>) -> RunRecord {
    let report = RunReport { mode: Mode::Delta, levels: Levels::default(), verified_since: None, error: None };
    let ticket = admission::Ticket::scheduled(Trigger::Start);
    Lane::new(source("main"), Arc::new(()), Instant::now()).record(&ticket, None, &report, at)
}

// Reloads.

#[tokio::test(start_paused = true)]
async fn a_reload_applies_a_new_interval_at_once_and_ends_the_override() {
    let fake = Fake::new();
    let test = started(&fake, Config { interval: SECOND * 3600, ..config() });
    test.until_idle().await;
    test.handle.set_interval(Some(SECOND * 1800)).await.unwrap();
    fake.change(|state| state.file = Ok(file("edited", Config { interval: SECOND * 2, ..config() })));
    let outcome = test.handle.reload(ReloadTrigger::Api).await.unwrap();
    assert!(outcome.success);
    assert_eq!(outcome.generation, 2);
    let status = test.handle.snapshot().status.clone();
    assert_eq!(status.schedule, Schedule { interval_sec: 2, origin: ScheduleOrigin::File });
    fake.until(|state| state.runs.len() == 3).await;
    assert_eq!(fake.gaps(), [2, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_bad_file_keeps_the_old_configuration_and_the_old_file_heals_it() {
    let fake = Fake::new();
    let test = started(&fake, config());
    test.until_idle().await;
    fake.change(|state| state.file = broken("unknown key"));
    let outcome = test.handle.reload(ReloadTrigger::File).await.unwrap();
    assert!(!outcome.success);
    assert_eq!(outcome.errors, ["rbac-sync.toml:3:1: unknown key"]);
    let status = test.handle.snapshot().status.config.clone();
    assert_eq!((status.last_reload_successful, status.errors, status.generation), (false, outcome.errors, 1));
    fake.change(|state| state.file = Ok(file("at start", config())));
    let outcome = test.handle.reload(ReloadTrigger::File).await.unwrap();
    assert!(outcome.success && outcome.generation == 1 && outcome.changed.is_empty());
    let status = test.handle.snapshot().status.config.clone();
    assert!(status.last_reload_successful && status.errors.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_changed_endpoint_must_prove_itself_first() {
    let fake = Fake::new();
    let test = started(&fake, config());
    test.until_idle().await;
    let mut moved = config();
    moved.sources[0].endpoint = endpoint("sqlite:elsewhere");
    fake.change(|state| {
        state.proof_fails = true;
        state.file = Ok(file("moved", moved));
    });
    let outcome = test.handle.reload(ReloadTrigger::Api).await.unwrap();
    assert_eq!(outcome.errors, ["source \"main\": password refused"]);
    assert_eq!(*test.handle.snapshot().config, config(), "the old one stays whole");
    fake.change(|state| state.proof_fails = false);
    assert!(test.handle.reload(ReloadTrigger::Api).await.unwrap().success);
    assert_eq!(fake.see(|state| state.proofs.clone()), ["main", "main"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_reached_in_another_way_needs_no_proof() {
    let fake = Fake::new();
    let test = started(&fake, config());
    let mut edited = config();
    edited.sources[0].overlap = SECOND * 60;
    edited.log.level = "debug".to_owned();
    fake.change(|state| state.file = Ok(file("edited", edited)));
    assert!(test.handle.reload(ReloadTrigger::Signal).await.unwrap().success);
    assert!(fake.see(|state| state.proofs.is_empty()));
    assert_eq!(fake.see(|state| state.log_level.clone()), "debug");
    let seen = fake.see(|state| state.runs.len());
    fake.until(|state| state.runs.len() > seen + 1).await;
    assert_eq!(fake.see(|state| state.runs.last().unwrap().settings.overlap), SECOND * 60);
}

#[tokio::test(start_paused = true)]
async fn requests_during_a_reload_share_one_more() {
    let fake = Fake::new();
    fake.change(|state| state.load_takes = SECOND);
    let test = started(&fake, config());
    let reload = || test.handle.reload(ReloadTrigger::Api);
    let (a, b, c, d) = tokio::join!(reload(), reload(), reload(), reload());
    assert!([a, b, c, d].into_iter().all(|outcome| outcome.unwrap().success));
    assert_eq!(fake.see(|state| state.loads), 2);
}

#[tokio::test(start_paused = true)]
async fn sources_come_and_go_and_a_removed_one_ends_its_run() {
    let fake = Fake::new();
    fake.plan([Plan::Hold]);
    let test = started(&fake, config());
    let run = test.until_running().await;
    let queued = test.run(Mode::Delta).await;
    fake.change(|state| state.file = Ok(file("other", with_sources(&["annex"]))));
    assert!(test.handle.reload(ReloadTrigger::File).await.unwrap().success);
    assert_eq!(test.result(run).await.success, Some(false));
    assert_eq!(test.result(queued).await.success, Some(false));
    let status = test.until(|s| s.history[0].source == "annex").await.status.clone();
    assert_eq!(status.sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>(), ["annex"]);
    assert_eq!(fake.see(|state| state.proofs.clone()), ["annex"]);
}

#[tokio::test(start_paused = true)]
async fn another_target_is_opened_and_told_of_the_pause() {
    let fake = Fake::new();
    let test = started(&fake, config());
    test.until_idle().await;
    test.handle.pause(PauseRequest::default()).await.unwrap();
    fake.until(|state| state.saved.len() == 1).await;
    let mut moved = config();
    moved.target.endpoint = endpoint("sqlite:other");
    fake.change(|state| state.file = Ok(file("moved", moved)));
    assert!(test.handle.reload(ReloadTrigger::Api).await.unwrap().success);
    fake.until(|state| state.opened == 2 && state.saved.len() == 2).await;
    let run = test.run(Mode::Delta).await;
    assert_eq!(test.result(run).await.success, Some(true));
    assert_eq!(fake.see(|state| state.runs.last().unwrap().target.clone()), "sqlite:other");
}

// The end.

#[tokio::test(start_paused = true)]
async fn a_stop_ends_runs_records_them_and_denies_what_comes_later() {
    let fake = Fake::new();
    fake.plan([Plan::Hold]);
    let mut test = started(&fake, config());
    let run = test.until_running().await;
    let queued = test.run(Mode::Delta).await;
    test.stop.cancel();
    (&mut test.task).await.unwrap();
    assert_eq!(test.handle.run(request(Mode::Delta)).await, Err(Denied::Stopping));
    for id in [run, queued] {
        assert_eq!(test.result(id).await.success, Some(false));
        assert!(fake.see(|state| state.recorded.contains(&id)));
    }
    assert!(test.handle.snapshot().status.stopping);
}

#[tokio::test(start_paused = true)]
async fn a_drain_gives_up_after_its_deadline() {
    let fake = Fake::new();
    fake.plan([Plan::Stubborn(SECOND * 3600)]);
    let mut test = started(&fake, config());
    test.until_running().await;
    let stopped = Instant::now();
    test.stop.cancel();
    (&mut test.task).await.unwrap();
    assert_eq!(stopped.elapsed(), DRAIN);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reload_does_not_hold_up_a_stop() {
    let fake = Fake::new();
    fake.change(|state| state.load_takes = SECOND * 600);
    let mut test = started(&fake, config());
    let handle = test.handle.clone();
    let asked = tokio::spawn(async move { handle.reload(ReloadTrigger::Api).await });
    test.until_idle().await;
    let stopped = Instant::now();
    test.stop.cancel();
    (&mut test.task).await.unwrap();
    assert!(stopped.elapsed() < SECOND);
    assert_eq!(asked.await.unwrap(), Err(Denied::Stopping));
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_requests_is_bounded_and_every_one_is_answered() {
    let fake = Fake::new();
    fake.plan([Plan::Hold]);
    let test = started(&fake, config());
    test.until_running().await;
    let storm = (0..500).map(|_| test.handle.run(request(Mode::Delta)));
    let answers = futures_util::future::join_all(storm).await;
    let taken: std::collections::HashSet<_> = answers.iter().flatten().map(|admitted| admitted.runs[0]).collect();
    assert_eq!(taken.len(), 1, "all that were taken share one run");
    assert!(answers.iter().all(|answer| matches!(answer, Ok(_) | Err(Denied::Busy))));
    fake.change(|state| state.release = true);
    test.until_idle().await;
}

#[tokio::test(start_paused = true)]
async fn the_textfile_is_written_again_and_again() {
    let fake = Fake::new();
    let _test = started(&fake, Config { metrics_textfile: Some(PathBuf::from("rbac-sync.prom")), ..config() });
    let begin = Instant::now();
    fake.until(|state| state.textfiles == 5).await;
    assert_eq!(begin.elapsed(), TEXTFILE_EVERY * 4);
}

/// What may happen to a daemon, in any order.
#[derive(Clone, Debug)]
enum Event {
    Run { full: bool, dry_run: bool },
    Cancel,
    Pause(u64),
    Resume,
    Interval(Option<u64>),
    Reload { sources: usize },
    Target { down: bool },
    Plan(Plan),
    Time(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let plan = prop_oneof![
        (0u64..9).prop_map(Plan::Rows),
        (0u64..90).prop_map(|seconds| Plan::Stubborn(SECOND * u32::try_from(seconds).unwrap())),
        Just(Plan::Fail(Side::Source, Class::Transient)),
        Just(Plan::Fail(Side::Target, Class::Transient)),
        Just(Plan::Fail(Side::Run, Class::Permanent)),
        Just(Plan::Hold),
    ];
    prop_oneof![
        3 => any::<(bool, bool)>().prop_map(|(full, dry_run)| Event::Run { full, dry_run }),
        1 => Just(Event::Cancel),
        1 => (1u64..100).prop_map(Event::Pause),
        1 => Just(Event::Resume),
        1 => proptest::option::of(1u64..100).prop_map(Event::Interval),
        1 => (1usize..4).prop_map(|sources| Event::Reload { sources }),
        1 => any::<bool>().prop_map(|down| Event::Target { down }),
        3 => plan.prop_map(Event::Plan),
        4 => (0u64..100).prop_map(Event::Time),
    ]
}

async fn live_through(events: Vec<Event>) {
    let fake = Fake::new();
    let mut test = started(&fake, config());
    let mut promised = Vec::new();
    for (number, event) in events.into_iter().enumerate() {
        match event {
            Event::Run { full, dry_run } => {
                let mode = if full { Mode::Full } else { Mode::Delta };
                let answer = test.handle.run(RunRequest { dry_run, ..request(mode) }).await;
                assert!(matches!(answer, Ok(_) | Err(Denied::QueueTaken)), "{answer:?}");
                promised.extend(answer.into_iter().flat_map(|admitted| admitted.runs));
            }
            Event::Cancel => drop(test.handle.cancel().await),
            Event::Pause(seconds) => {
                let duration = Some(Duration::from_secs(seconds));
                test.handle.pause(PauseRequest { reason: None, duration }).await.unwrap();
            }
            Event::Resume => test.handle.resume().await.unwrap(),
            Event::Interval(seconds) => {
                test.handle.set_interval(seconds.map(Duration::from_secs)).await.unwrap();
            }
            Event::Reload { sources } => {
                let names = &["main", "annex", "attic"][3 - sources..];
                fake.change(|state| state.file = Ok(file(&number.to_string(), with_sources(names))));
                assert!(test.handle.reload(ReloadTrigger::File).await.unwrap().success);
            }
            Event::Target { down } => fake.change(|state| state.target_down = down),
            Event::Plan(plan) => fake.plan([plan]),
            Event::Time(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
        }
    }
    fake.change(|state| {
        state.target_down = false;
        state.release = true;
        state.plans.clear();
    });
    test.handle.resume().await.unwrap();
    for run in promised {
        assert!(test.result(run).await.finished.is_some(), "whoever was promised a run gets its result");
    }
    let names: Vec<_> = test.handle.snapshot().config.sources.iter().map(|source| source.name.clone()).collect();
    let before = fake.see(|state| state.runs.len());
    fake.until(|state| {
        let later = &state.runs[before..];
        names.iter().all(|name| later.iter().any(|run| run.settings.source == *name))
    })
    .await;
    assert!(!fake.see(|state| state.overlapped), "one run of a source at a time");
    test.stop.cancel();
    (&mut test.task).await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens in whatever order, and once it has passed: each promised run has a result, and
    /// the schedule goes on for every source.
    #[test]
    fn no_order_of_events_loses_a_run_or_stops_the_schedule(events in prop::collection::vec(event(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(live_through(events));
    }
}
