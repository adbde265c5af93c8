//! Work on the target without a daemon: only while no other process serves it.

use tokio_util::sync::CancellationToken;

use super::exit::{Exit, Failure};
use crate::target::{Claim, Target};

/// Claims the target (until that is cancelled), does the work, and keeps the lock meanwhile. `role` is what
/// others are told.
pub(super) async fn serving<T>(
    target: &Target,
    role: &str,
    cancel: &CancellationToken,
    work: impl Future<Output = T>,
) -> Result<T, Failure> {
    let claim = tokio::select! {
        claim = target.claim(role) => claim,
        () = cancel.cancelled() => return Err(Failure::new(Exit::Failed, "cancelled")),
    };
    match claim {
        Ok(Claim::Held) => {}
        Ok(Claim::Elsewhere(holder)) => {
            let text = format!(
                "another process serves this target: {holder}; ask it with \"rbac-sync run\", or stop it and try again"
            );
            return Err(Failure::new(Exit::Busy, text));
        }
        Err(error) => return Err(Failure::new(Exit::Failed, error.with_side())),
    }
    let hold = async {
        loop {
            let error = target.lost().await;
            tracing::warn!(side = "target", %error, "the lock on the target is lost");
            // If that fails, or somebody else was faster, the work ends at its next write.
            let _ = target.claim(role).await;
        }
    };
    let outcome = tokio::select! {
        outcome = work => outcome,
        () = hold => unreachable!("the loop has no end"),
    };
    target.release().await;
    Ok(outcome)
}
