//! An embedded archive, a simulator that keeps changing it, and the real daemon on them. (Under
//! construction.)

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::daemon;

/// What the command line says of a demo.
#[derive(Clone, Debug)]
pub struct Options {
    /// HTTP address.
    pub listen: SocketAddr,
    /// Where the files go; `None`: a temporary folder that goes with the demo.
    pub dir: Option<PathBuf>,
    /// Studies to begin with.
    pub studies: u32,
    /// Ends by itself after this time.
    pub duration: Option<Duration>,
}

/// Runs the demo until it is told to stop or its time is over.
///
/// # Errors
/// The folder or the address cannot be used.
pub async fn run(options: Options) -> Result<(), daemon::Failure> {
    let _ = options;
    Ok(())
}
