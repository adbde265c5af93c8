//! Waiting for states, never for times.

use std::time::{Duration, Instant};

/// How often a state is looked at.
const PAUSE: Duration = Duration::from_millis(50);

/// Waits until `look` says `Ok`; its last `Err` says what was seen instead when `cap` is over.
pub(crate) async fn eventually<T>(what: &str, cap: Duration, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match look().await {
            Ok(value) => return value,
            Err(seen) if start.elapsed() >= cap => panic!("{what}: not within {cap:?}; last seen: {seen}"),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// `Ok` when `condition` holds, for [`eventually`].
pub(crate) fn check(condition: bool, seen: impl ToString) -> Result<(), String> {
    if condition { Ok(()) } else { Err(seen.to_string()) }
}
