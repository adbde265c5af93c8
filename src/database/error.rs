//! Why work on a database failed: which side, what kind, and a text that is safe to show.

use std::fmt;

/// The side of the run that an error comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The archive's database.
    Source,
    /// The RBAC database.
    Target,
    /// The run itself.
    Run,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Target => "target",
            Self::Run => "run",
        })
    }
}

/// What can be done about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Passes by itself: retry (a server that is down, a lock, a timeout).
    Transient,
    /// Stays until somebody acts (a missing table or grant, the brake on deletes).
    Permanent,
    /// The configuration is wrong (a refused password, an unknown database).
    Config,
    /// Somebody cancelled the run.
    Cancelled,
}

impl Class {
    /// As the API spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Permanent => "permanent",
            Self::Config => "config",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A failed run, or a failed step of one. `Display` is one line for an operator, without row values
/// and secrets; [`Error::with_side`] also names the side.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct Error {
    /// Where it happened.
    pub side: Side,
    /// What can be done.
    pub class: Class,
    text: String,
}

impl Error {
    /// An error with a text that is safe to show.
    pub fn new(side: Side, class: Class, text: impl Into<String>) -> Self {
        Self { side, class, text: text.into() }
    }

    /// The text with its side before it, for a place that does not name the side itself.
    #[must_use]
    pub fn with_side(&self) -> String {
        format!("{}: {self}", self.side)
    }
}
