//! One run: from hints to rows.
//!
//! A *hint* names a patient or a study to look at again; it never says what to write. [`project`]
//! looks again: it reads the patient, or the study with all its series, from one moment of the source;
//! [`apply`] compares that with the target ([`plan`], pure) and writes what differs. [`delta`] takes hints from
//! `updated_time`, [`sweep`] from every pk, [`rolling`] from every pk a part at a time. Rows that are
//! gone from the source are collected ([`gone`]), judged together at the end ([`brake`]), and deleted.
//!
//! ```text
//! delta: changed patients -> studies of them -+
//!        changed studies ---------------------+-> project -> apply -> upserts + cursor, one transaction a batch
//!        changed series -> their studies -----+                |
//! sweep, rolling: every patient and study ----+                +-> gone -> brake -> deletes + cursor
//! ```
//!
//! Where the instance level is switched on, a changed instance names its series, and [`instances`] looks at all
//! instances of that series again; it does so too for a series of a study that was looked at, when it has another
//! number of them in the source than in the target.
//!
//! A first load into PostgreSQL writes several pages at a time ([`pens`]).
//!
//! The same hint twice, or a hint for nothing, does no harm: equal rows are not written. That is why a
//! delta may read far back, and why a run may end anywhere.

mod apply;
mod brake;
mod cursor;
mod delta;
mod gone;
#[cfg(test)]
mod histories;
mod instances;
mod institutions;
mod memory;
mod orphans;
mod owner;
mod pens;
mod plan;
mod polls;
mod project;
mod reader;
mod report;
mod rolling;
mod scan;
mod sheet;
mod sweep;

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{MutexGuard, watch};
use tokio_util::sync::CancellationToken;

pub use crate::database::{Class, Error, Side};
pub use memory::Memory;
pub use plan::{Plan, plan};
pub use report::{Counts, Levels, Mode, RunReport};

use crate::config::{Deletes, MaxDeletes, SourceConfig, SourceName, TargetConfig};
use crate::source::{LEVELS, Level, Snapshot, Source};
use crate::target::{Cursor, Target, TargetSession};
use gone::Gone;
use institutions::Institutions;
use memory::OWN;
use pens::Pens;
use project::Seen;
use reader::Reader;

/// A cancelled run ends at the next batch; one that is stuck in a statement is dropped after this time,
/// which takes its transaction back.
const CANCEL_GRACE: Duration = Duration::from_secs(5);
/// A view of the source is held no longer than this, so that the archive's vacuum is not held up.
const SNAPSHOT_AGE: Duration = Duration::from_secs(30);

/// What one run is to do; a copy, so that a reload never changes a run under way.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The source's name in the target.
    pub source: SourceName,
    /// What to read.
    pub mode: Mode,
    /// Read all, write nothing, report what would change.
    pub dry_run: bool,
    /// Lets this run pass the brake on deletes.
    pub allow_deletes: bool,
    /// How far before the cursor a delta reads again.
    pub overlap: Duration,
    /// Whether the instance level is mirrored too.
    pub instances: bool,
    /// What becomes of rows that are gone from the source.
    pub deletes: Deletes,
    /// The brake on deletes.
    pub max_deletes: MaxDeletes,
    /// How often a pass of the rolling comparison may begin.
    pub sweep_every: Duration,
    /// How long this run may spend on the rolling comparison; zero: none.
    pub sweep_budget: Duration,
    /// Percent of the time that scans without an index may take; none: this run scans at once, because
    /// somebody asked for it.
    pub scan_percent: Option<f64>,
}

impl Settings {
    /// A delta of one source without a rolling comparison, as the configuration wants it.
    #[must_use]
    pub fn new(source: &SourceConfig, target: &TargetConfig) -> Self {
        Self {
            source: source.name.clone(),
            mode: Mode::Delta,
            dry_run: false,
            allow_deletes: false,
            overlap: source.overlap,
            instances: source.instances,
            deletes: target.deletes,
            max_deletes: target.max_deletes,
            sweep_every: source.pace.sweep_every,
            sweep_budget: Duration::ZERO,
            scan_percent: None,
        }
    }
}

/// Does one run. Every failure is in the report, with the counts of what was committed before it.
/// `progress` is sent the counts so far after each batch. Cancelling ends the run with
/// [`Class::Cancelled`].
pub async fn run(
    settings: &Settings,
    source: &Source,
    target: &Target,
    progress: &watch::Sender<Levels>,
    cancel: &CancellationToken,
) -> RunReport {
    progress.send_replace(Levels::none(settings.instances));
    let mut mode = settings.mode;
    let mut verified_since = None;
    let cancelled = || Error::new(Side::Run, Class::Cancelled, "cancelled");
    let stuck = async {
        cancel.cancelled().await;
        tokio::time::sleep(CANCEL_GRACE).await;
    };
    let result = tokio::select! {
        result = attempt(settings, source, target, progress, cancel, &mut mode, &mut verified_since) => result,
        () = stuck => Err(cancelled()),
    };
    let levels = *progress.borrow();
    RunReport { mode, levels, verified_since, error: result.err() }
}

async fn attempt(
    settings: &Settings,
    source: &Source,
    target: &Target,
    progress: &watch::Sender<Levels>,
    cancel: &CancellationToken,
    mode: &mut Mode,
    verified_since: &mut Option<DateTime<Utc>>,
) -> Result<(), Error> {
    let mut session = target.session(&settings.source, settings.dry_run).await?;
    if settings.instances {
        session.make_instances(target).await?;
    }
    let mut cursors = session.cursors().await?;
    if !settings.instances && cursors[Level::Instance as usize].take().is_some() {
        session.leave_instances().await?;
    }
    let mut memory = source.memory().await;
    memory.serve(target.tenure());
    if memory.passes.is_none() {
        memory.recall(session.passes().await?);
    }
    memory.gone[OWN] = Gone::default();
    memory.gone = std::mem::take(&mut memory.gone).map(|gone| gone.for_run(settings));
    let snapshot = source.snapshot().await?;
    let institutions = Institutions::load(&mut session).await?;
    let mut run = Run {
        settings,
        snapshot: Reader::new(snapshot),
        target: session,
        progress,
        cancel,
        uncommitted: Levels::default(),
        institutions,
        memory,
        look: OWN,
        pens: None,
        follows: false,
        seen: Seen::default(),
    };
    run.memory.begin();
    let done = Box::pin(run.work(cursors, mode)).await;
    if !done.as_ref().is_err_and(|error| error.side == Side::Target || error.class == Class::Cancelled) {
        run.memory.kept();
    }
    done?;
    *verified_since = run.verified_since();
    run.snapshot.into_inner().close().await?;
    run.target.close();
    Ok(())
}

/// The passes of the rolling comparison; the number is their index everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Access control IDs, marks and presence of studies and series.
    Access = 0,
    /// Every patient.
    Patients = 1,
    /// Every study with its series.
    Studies = 2,
    /// Every instance, by series; only where that level is switched on.
    Instances = 3,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Access, Self::Patients, Self::Studies, Self::Instances];

    fn active(instances: bool) -> &'static [Self] {
        if instances { &Self::ALL } else { &Self::ALL[..Self::Instances as usize] }
    }
}

/// A run under way.
struct Run<'a> {
    settings: &'a Settings,
    snapshot: Reader<Snapshot>,
    target: TargetSession,
    progress: &'a watch::Sender<Levels>,
    cancel: &'a CancellationToken,
    /// Counts of the transaction under way.
    uncommitted: Levels,
    institutions: Institutions,
    memory: MutexGuard<'a, Memory>,
    /// The index of the look under way, in [`Memory::gone`].
    look: usize,
    /// Write studies beside this session, in a load.
    pens: Option<Pens>,
    /// Whether the instances of each study that is looked at are counted; where all are read anyway they are not.
    follows: bool,
    seen: Seen,
}

impl Run<'_> {
    /// Looks at what the settings ask for; `mode` becomes what that was.
    async fn work(&mut self, cursors: [Option<Cursor>; LEVELS], mode: &mut Mode) -> Result<(), Error> {
        // A level without a cursor, or with one inside the first load, has rows that were never read.
        let mirrored = &cursors[..Level::mirrored(self.settings.instances).len()];
        let loading = mirrored.iter().any(|cursor| cursor.is_none_or(|cursor| cursor.load_pk.is_some()));
        if loading {
            *mode = Mode::Full;
            Box::pin(self.load(cursors)).await?;
        } else if self.settings.mode == Mode::Full || (self.settings.allow_deletes && self.memory.may_hold_more()) {
            // Not all that is gone is known or was kept: who allows it allows a look at all.
            *mode = Mode::Full;
            Box::pin(self.full()).await?;
        } else {
            self.follows = self.settings.instances;
            Box::pin(self.delta(cursors.map(Option::unwrap_or_default))).await?;
        }
        self.memory.orphans.error().map_or(Ok(()), Err)
    }

    /// Ends a batch: keeps its rows and counts, and moves the view of the source on when it is old.
    async fn commit(&mut self) -> Result<(), Error> {
        self.split().1.commit().await?;
        self.check_cancelled()?;
        if self.snapshot.begun().elapsed() > SNAPSHOT_AGE {
            self.renew().await?;
        }
        Ok(())
    }

    /// Keeps what was written so far, before the source is read again: an archive that is slow or frozen
    /// must not hold the target's locks, which the runs of the others need. Cursors move later, so rows
    /// that are kept early are looked at again if the run ends here.
    async fn keep_rows(&mut self) -> Result<(), Error> {
        if self.target.is_writing() { self.split().1.commit().await } else { Ok(()) }
    }

    /// Moves the view of the source to the present: what was seen has to be seen again.
    async fn renew(&mut self) -> Result<(), Error> {
        self.seen = Seen::default();
        self.snapshot.renew().await
    }
}
