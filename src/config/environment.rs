//! The environment variables that override keys. (Under construction.)

use std::collections::BTreeMap;
use std::path::Path;

use super::Problem;

/// `RBAC_SYNC_*` variables: those of the process, and behind them those of an env file.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Reads the process's variables and `env_file` (default: `.env` in the working folder, if there
    /// is one). Read again at each reload.
    ///
    /// # Errors
    /// The env file cannot be read or parsed.
    pub fn read(env_file: Option<&Path>) -> Result<Self, Vec<Problem>> {
        let _ = env_file;
        Ok(Self(BTreeMap::new()))
    }
}
