//! The RBAC database.
//!
//! Owns the tables `rbac_*` and `sync_*`: their schema, their rows, the cursors, and the bookkeeping of
//! the daemon. It touches no other table. What a row should hold is decided elsewhere.

mod bookkeeping;
mod deletes;
mod rows;
mod schema;
mod session;
mod stepwise;
mod sweeps;

use crate::config::TargetConfig;
use crate::database::{Access, Error, Inspection, Side, Slot};
use schema::Installed;

pub use deletes::Candidate;
pub use session::{Cursor, Existing, TargetSession};
pub use sweeps::Pass;

/// The RBAC database. Connects when it is first asked and again after a failure; any number of
/// tasks may use it at a time.
#[derive(Debug)]
pub struct Target {
    slot: Slot,
    /// Sessions for those who only look: they must not make an SQLite file that is not there.
    look: Slot,
}

impl Target {
    /// Describes the target; does no I/O.
    #[must_use]
    pub fn new(config: &TargetConfig) -> Self {
        let slot = |access| Slot::new(config.endpoint.clone(), Side::Target, access);
        Self { slot: slot(Access::ReadWrite), look: slot(Access::Look) }
    }

    /// Logs in, and creates or migrates the tables of this program. Call it once before the others.
    ///
    /// # Errors
    /// The database is unreachable, refuses the login, lacks grants, or was made by a newer version.
    pub async fn open(&self) -> Result<(), Error> {
        let mut lease = self.slot.lease().await?;
        schema::install(&mut lease).await?;
        lease.release();
        Ok(())
    }

    /// Logs in and looks, without creating tables.
    ///
    /// # Errors
    /// As [`Target::open`].
    pub async fn inspect(&self) -> Result<Inspection, Error> {
        let mut lease = self.look.lease().await?;
        let server = lease.server_version().await?;
        let findings = match schema::look(&mut lease).await? {
            Installed::Nothing => {
                schema::may_create(&mut lease).await?;
                vec!["no tables yet: the first run creates them".to_owned()]
            }
            Installed::Partly => vec!["an installation that was interrupted: the first run completes it".to_owned()],
            Installed::Current => vec!["tables of rbac-sync, current version".to_owned()],
        };
        lease.release();
        Ok(Inspection { server, findings, advice: Vec::new() })
    }
}
