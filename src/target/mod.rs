//! The RBAC database. (Body under construction.)

use crate::config::TargetConfig;
use crate::engine::Error;
use crate::history::RunRecord;
use crate::schedule::Control;
use crate::source::Inspection;

/// The RBAC database. Connects when it is first asked and again after a failure; any number of
/// tasks may use it at a time.
#[derive(Debug)]
pub struct Target {}

impl Target {
    /// Describes the target; does no I/O.
    #[must_use]
    pub fn new(config: &TargetConfig) -> Self {
        let _ = config;
        Self {}
    }

    /// Logs in, and creates or migrates the tables of this program. Call it once before the others.
    ///
    /// # Errors
    /// The database is unreachable, refuses the login, lacks grants, or was made by a newer version.
    pub async fn open(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Logs in and looks, without writing.
    ///
    /// # Errors
    /// As [`Target::open`].
    pub async fn inspect(&self) -> Result<Inspection, Error> {
        Ok(Inspection { server: String::new(), findings: Vec::new(), advice: Vec::new() })
    }

    /// What operators said, from `sync_control`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn load_control(&self) -> Result<Control, Error> {
        Ok(Control::default())
    }

    /// Keeps what operators said.
    ///
    /// # Errors
    /// The database failed.
    pub async fn save_control(&self, control: &Control) -> Result<(), Error> {
        let _ = control;
        Ok(())
    }

    /// Ended runs from `sync_run`, newest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn recent_runs(&self, limit: usize) -> Result<Vec<RunRecord>, Error> {
        let _ = limit;
        Ok(Vec::new())
    }

    /// Keeps an ended run in `sync_run`, and drops the oldest past `keep`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn record_run(&self, record: &RunRecord, keep: usize) -> Result<(), Error> {
        let _ = (record, keep);
        Ok(())
    }
}
