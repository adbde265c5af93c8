//! A configuration that was refused only because a database could not be reached is tried again by itself, ever
//! more rarely, until the database answers or somebody asks for a reload. Pure.

use std::time::Duration;

use tokio::time::Instant;

use super::Asked;

/// Wait before the first attempt; each one behind it waits twice as long as the one before.
const FIRST: Duration = Duration::from_secs(60);
/// The longest wait: an attempt is one login, and somebody may be waiting for the new configuration.
const LONGEST: Duration = Duration::from_secs(600);

/// An attempt to come.
pub(super) struct Again {
    pub(super) due: Instant,
    pub(super) asked: Asked,
}

impl Again {
    /// Behind an attempt that was refused. It counts as the same reload, by whoever asked for that one.
    pub(super) fn behind(asked: &Asked, now: Instant) -> Self {
        let Asked { trigger, ref askers, attempt, .. } = *asked;
        let attempt = attempt + 1;
        let asked = Asked { trigger, askers: askers.clone(), replies: Vec::new(), attempt };
        Self { due: now + wait(attempt), asked }
    }
}

/// Before that attempt; the reload itself was number 0.
fn wait(attempt: u32) -> Duration {
    let doubled = 1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST.saturating_mul(doubled).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_ten_minutes() {
        let waits: Vec<u64> = (1..=6).map(|attempt| wait(attempt).as_secs()).collect();
        assert_eq!(waits, [60, 120, 240, 480, 600, 600]);
        assert_eq!(wait(u32::MAX), LONGEST);
    }
}
