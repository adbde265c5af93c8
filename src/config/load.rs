//! From a file and the environment to a [`Config`]. (Under construction.)

use std::path::Path;

use super::{Config, Environment, Problem};

/// A configuration that passed.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// SHA-256 (hex) of what was read: the file, the variables, and the secret files.
    pub hash: String,
    /// What works but should be changed, such as a password inside a URL.
    pub warnings: Vec<Problem>,
}

/// Reads and validates; finds every error at once.
///
/// # Errors
/// All that is wrong, in the order of the file.
pub fn load(path: &Path, environment: &Environment) -> Result<Loaded, Vec<Problem>> {
    let _ = (path, environment);
    Err(Vec::new())
}
