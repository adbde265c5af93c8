//! A daemon from start to end. (Under construction.)

use std::path::PathBuf;

use crate::config::Problem;

/// What the command line says of a daemon.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration file.
    pub config: PathBuf,
    /// The env file, if one was named.
    pub env_file: Option<PathBuf>,
}

/// Why a daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration is wrong: exit code 78.
    #[error("the configuration is wrong")]
    Config(Vec<Problem>),
    /// Something else, such as an address in use: exit code 1.
    #[error("{0}")]
    Start(String),
}

/// Runs until SIGTERM or SIGINT, or until `stop` is cancelled.
///
/// # Errors
/// It could not start.
pub async fn run(options: Options, stop: tokio_util::sync::CancellationToken) -> Result<(), Failure> {
    let _ = (options, stop);
    Ok(())
}
