//! The RBAC database.
//!
//! Owns the tables `rbac_*` and `sync_*`: their schema, their rows, the cursors, and the bookkeeping of
//! the daemon. It touches no other table. What a row should hold is decided elsewhere.

mod bookkeeping;
mod deletes;
mod file;
mod forget;
mod instances;
mod lock;
mod rows;
mod schema;
mod session;
mod statistics;
mod stepwise;
mod sweeps;
mod write;

use crate::config::TargetConfig;
use crate::database::{Access, Error, Inspection, Side, Slot};
use lock::Lock;
use schema::Installed;

pub use deletes::{Candidate, Ended};
pub use forget::Forgotten;
pub use instances::InstanceCount;
pub use lock::Claim;
pub use session::{Cursor, Existing, Standing, TargetSession};
pub use statistics::Sample;
pub use sweeps::{Pass, Passes};

/// The RBAC database. Connects when it is first asked and again after a failure; any number of
/// tasks may use it at a time.
#[derive(Debug)]
pub struct Target {
    slot: Slot,
    /// Sessions for those who only look: they must not make an SQLite file that is not there.
    look: Slot,
    lock: Lock,
    /// Sessions of several sources make the table of the instance level one after the other.
    making: tokio::sync::Mutex<()>,
}

impl Target {
    /// Describes the target; does no I/O.
    #[must_use]
    pub fn new(config: &TargetConfig) -> Self {
        let slot = |access| Slot::new(config.endpoint.clone(), Side::Target, access);
        Self {
            slot: slot(Access::ReadWrite),
            look: slot(Access::Look),
            lock: Lock::default(),
            making: tokio::sync::Mutex::default(),
        }
    }

    /// Logs in and looks, without creating tables: whether a run could write here. Of MySQL only a write tells.
    ///
    /// # Errors
    /// As [`Target::claim`].
    pub async fn inspect(&self) -> Result<Inspection, Error> {
        // A look at a file that is not there sees an empty database, whatever the place.
        if let Some(file) = self.look.endpoint().file() {
            file::may_write(&file)?;
        }
        let mut lease = self.look.lease().await?;
        let server = lease.server_version().await?;
        let findings = match schema::look(&mut lease).await? {
            Installed::Nothing => {
                schema::may_create(&mut lease).await?;
                vec!["no tables yet: the first run creates them".to_owned()]
            }
            Installed::Partly => vec!["an installation that was interrupted: the first run completes it".to_owned()],
            Installed::Older(version) => {
                schema::may_create(&mut lease).await?;
                schema::may_write(&mut lease).await?;
                vec![format!("tables of rbac-sync, version {version}: the next run upgrades them")]
            }
            Installed::Current => {
                schema::may_write(&mut lease).await?;
                vec!["tables of rbac-sync, current version".to_owned()]
            }
        };
        lease.release();
        Ok(Inspection { server, findings, advice: Vec::new() })
    }
}
