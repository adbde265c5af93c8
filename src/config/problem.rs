//! One thing that is wrong with the configuration, and where.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

/// `file:line:column: message`; never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, or the environment variable.
    #[serde(serialize_with = "as_shown")]
    pub origin: PathBuf,
    /// Line and column, from 1, where known.
    pub position: Option<(usize, usize)>,
    /// The key, such as `source.overlap`, where known.
    pub key: Option<String>,
    /// What is wrong and what to do.
    pub message: String,
}

/// A path need not be UTF-8, and JSON must be.
fn as_shown<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
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
