//! One thing that is wrong with the configuration, and where.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// `file:line:column: message`; never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, or the environment variable.
    pub origin: PathBuf,
    /// Line and column, from 1, where known.
    pub position: Option<(usize, usize)>,
    /// The key, such as `source.overlap`, where known.
    pub key: Option<String>,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.origin.display())?;
        if let Some((line, column)) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)
    }
}
