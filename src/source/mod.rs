//! Reading an archive's database.
//!
//! Owns the archive's tables: which exist ([`shape`]), how they are asked ([`queries`]) and what a row
//! means. Values leave this room normalised as the target wants them; keys of the target are not known
//! here and stay open. Nothing here writes, and no rule about deletes or merges lives here.

mod access;
mod instances;
mod queries;
mod rows;
mod shape;
mod snapshot;

use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard};

pub use access::{AccessIds, AccessMap};
pub use instances::{SeriesPlace, SourceInstance};
pub use rows::{Hint, Key, SourcePatient, SourceSeries, SourceStudy};
pub use snapshot::{Horizon, Snapshot};

use crate::config::SourceConfig;
use crate::database::{Access, Error, Inspection, Side, Slot};
use crate::engine::Memory;
use queries::Queries;
use shape::Shape;

/// A level of the archive that has its own `updated_time`, and so its own cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Table `patient`.
    Patient,
    /// Table `study`.
    Study,
    /// Table `series`.
    Series,
    /// Table `instance`, where it is switched on.
    Instance,
}

/// How many levels there are.
pub const LEVELS: usize = Level::ALL.len();

impl Level {
    /// From the top.
    pub const ALL: [Self; 4] = [Self::Patient, Self::Study, Self::Series, Self::Instance];

    /// The levels that are mirrored, from the top.
    #[must_use]
    pub fn mirrored(instances: bool) -> &'static [Self] {
        if instances { &Self::ALL } else { &Self::ALL[..Self::Instance as usize] }
    }

    /// The table in the archive, and the level's name in `sync_cursor`.
    #[must_use]
    pub fn table(self) -> &'static str {
        match self {
            Self::Patient => "patient",
            Self::Study => "study",
            Self::Series => "series",
            Self::Instance => "instance",
        }
    }
}

/// How an archive stores person names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NameForm {
    /// Three columns, each a whole group.
    Groups,
    /// Fifteen columns: five components of three groups (before 5.23).
    Components,
}

/// One archive's database. Connects when it is first asked and again after a failure; its session is
/// read-only.
#[derive(Debug)]
pub struct Source {
    slot: Slot,
    time_zone: chrono_tz::Tz,
    instances: bool,
    memory: Mutex<Memory>,
}

impl Source {
    /// Describes the source; does no I/O.
    #[must_use]
    pub fn new(config: &SourceConfig) -> Self {
        let slot = Slot::new(config.endpoint.clone(), Side::Source, Access::ReadOnly);
        Self { slot, time_zone: config.time_zone, instances: config.instances, memory: Mutex::default() }
    }

    /// What the runs of this source remember of each other, opaque here; one run at a time holds it.
    pub async fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().await
    }

    /// Opens a view of one moment. The shape of the archive is looked at each time, for an upgrade may
    /// change it under an open session.
    ///
    /// # Errors
    /// The database is unreachable, refuses the login, or lacks tables, columns or grants.
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        let mut lease = self.slot.lease().await?;
        let shape = Shape::read(&mut lease, self.instances).await?;
        let queries = Arc::new(Queries::new(lease.dialect(), &shape));
        Snapshot::begin(lease, queries, self.time_zone).await
    }

    /// Logs in and looks at what this archive has.
    ///
    /// # Errors
    /// As [`Source::snapshot`].
    pub async fn inspect(&self) -> Result<Inspection, Error> {
        let mut lease = self.slot.lease().await?;
        let shape = Shape::read(&mut lease, self.instances).await?;
        let server = lease.server_version().await?;
        let (mut findings, mut advice) = (shape.findings(), shape.advice(lease.dialect()));
        let queries = Arc::new(Queries::new(lease.dialect(), &shape));
        let mut snapshot = Snapshot::begin(lease, queries, self.time_zone).await?;
        let now = snapshot.now().await?;
        if let Some(newest) = snapshot.newest(Level::Study, now + chrono::TimeDelta::days(36_500)).await? {
            findings.push(format!("newest study change: {newest}; the clock in {}: {now}", self.time_zone));
            if newest > now + chrono::TimeDelta::minutes(5) {
                advice.push(format!(
                    "the newest study change lies ahead of the clock in {}: is time_zone the zone of the archive's JVM?",
                    self.time_zone
                ));
            }
        }
        snapshot.close().await?;
        Ok(Inspection { server, findings, advice })
    }
}
