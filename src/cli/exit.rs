//! How the program ends.

use std::process::ExitCode;

/// Every exit code that the program has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: the run failed, or something is unhealthy.
    Failed,
    /// 2: wrong usage.
    Usage,
    /// 69: the daemon cannot be reached.
    Unreachable,
    /// 75: busy or timed out; try again.
    Busy,
    /// 77: not allowed.
    NotAllowed,
    /// 78: the configuration is wrong.
    Config,
}

impl Exit {
    /// The number that the shell sees.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 69,
            Self::Busy => 75,
            Self::NotAllowed => 77,
            Self::Config => 78,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A command that ends early: with this code and these words on standard error.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(super) struct Failure {
    pub(super) exit: Exit,
    text: String,
}

impl Failure {
    pub(super) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: text.into() }
    }
}
