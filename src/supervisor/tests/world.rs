//! The world that the supervisor acts on, scripted: what runs, databases and files do, and what they were asked.

use super::super::outside::Remembered;
use super::*;

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
    pub(super) settings: Settings,
    pub(super) target: String,
    pub(super) at: Instant,
}

/// What the world does and what happened to it.
#[derive(Debug)]
pub(crate) struct State {
    pub(super) plans: VecDeque<Plan>,
    pub(super) release: bool,
    pub(crate) runs: Vec<Seen>,
    pub(super) under_way: Vec<SourceName>,
    pub(super) overlapped: bool,
    pub(super) target_down: bool,
    pub(super) served_by: Option<String>,
    pub(super) residents: Vec<String>,
    pub(super) lock_lost: bool,
    pub(super) released: Vec<String>,
    pub(super) opened: usize,
    pub(super) control: Control,
    pub(super) earlier: Vec<RunRecord>,
    pub(super) save_fails: bool,
    pub(super) saved: Vec<Control>,
    pub(super) recorded: Vec<Uuid>,
    pub(super) noted: Vec<Change>,
    pub(super) file: Result<Loaded, Refused>,
    pub(super) load_takes: Duration,
    pub(crate) loads: usize,
    pub(super) proof_fails: Option<Class>,
    pub(super) proofs: Vec<String>,
    pub(super) log_level: String,
    pub(super) textfiles: usize,
    pub(super) clock_set_by: TimeDelta,
    pub(super) chance: f64,
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
            proof_fails: None,
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

    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        self.state.send_modify(change);
    }

    pub(super) fn see<T>(&self, look: impl FnOnce(&State) -> T) -> T {
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
    pub(super) fn gaps(&self) -> Vec<u64> {
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
        self.see(|state| match state.proof_fails {
            Some(class) => Err(Error::new(Side::Source, class, "as planned")),
            None => Ok(()),
        })
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

    async fn load(&self) -> Result<Loaded, Refused> {
        tokio::time::sleep(self.see(|state| state.load_takes)).await;
        self.change(|state| state.loads += 1);
        self.see(|state| state.file.clone())
    }

    async fn write(&self, _: PathBuf, _: String) -> io::Result<()> {
        self.change(|state| state.textfiles += 1);
        Ok(())
    }
}
