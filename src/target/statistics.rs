//! What PostgreSQL knows about the tables while they are loaded. By itself it counts their rows minutes later; until
//! then it takes a table that was empty for a small one, and goes through the whole of it for each page of keys.

use super::session::TargetSession;
use crate::config::Dialect;
use crate::database::Error;
use crate::source::Level;

/// How many rows are looked at for the statistics of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// Few: enough for plans, taken in milliseconds.
    Quick,
    /// As many as the server's own statistics have.
    Usual,
}

impl TargetSession {
    /// Takes the statistics of the tables of a level, in a transaction of its own; call it after
    /// [`TargetSession::commit`]. The server leaves out what belongs to another login, or what is locked; where it
    /// gives up, the statistics stay as they are.
    ///
    /// # Errors
    /// The session is lost.
    pub async fn take_statistics(&mut self, level: Level, sample: Sample) -> Result<(), Error> {
        if self.dry_run || self.lease.dialect() != Dialect::Postgres {
            return Ok(());
        }
        self.begin().await?;
        self.lease.command("SET LOCAL client_min_messages = error").await?;
        if sample == Sample::Quick {
            self.lease.command("SET LOCAL default_statistics_target = 10").await?;
        }
        let tables = match level {
            Level::Patient => "rbac_patient, rbac_patient_identifier",
            Level::Study | Level::Series => "rbac_study, rbac_series",
            Level::Instance => "rbac_instance",
        };
        match self.lease.command(&format!("ANALYZE (SKIP_LOCKED) {tables}")).await {
            Ok(()) => self.commit().await,
            Err(error) => {
                tracing::debug!(%error, "no statistics of {tables}");
                self.roll_back().await
            }
        }
    }
}
