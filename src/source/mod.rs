//! Reading an archive's database. (Body under construction.)

use crate::config::SourceConfig;
use crate::engine::Error;

/// One archive's database. Connects when it is first asked and again after a failure; holds at most
/// one session, which is read-only.
#[derive(Debug)]
pub struct Source {}

impl Source {
    /// Describes the source; does no I/O.
    #[must_use]
    pub fn new(config: &SourceConfig) -> Self {
        let _ = config;
        Self {}
    }

    /// Logs in and looks at what this archive has.
    ///
    /// # Errors
    /// The database is unreachable, refuses the login, or lacks tables, columns or grants.
    pub async fn inspect(&self) -> Result<Inspection, Error> {
        Ok(Inspection { server: String::new(), findings: Vec::new(), advice: Vec::new() })
    }
}

/// What `check --connect` says about a database.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Inspection {
    /// Product and version.
    pub server: String,
    /// What was found, one line each ("patient IDs: patient_id.patient_fk, as since 5.31").
    pub findings: Vec<String>,
    /// What would help, one line each, with the DDL.
    pub advice: Vec<String>,
}
