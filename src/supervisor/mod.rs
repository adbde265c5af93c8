//! The one task that owns configuration, timers and what is running. (Body under construction.)

mod command;
mod snapshot;

pub use command::{Admitted, Command, Denied, Handle, PauseRequest, ReloadOutcome, ReloadTrigger, RunRequest};
pub use snapshot::{
    ConfigStatus, LastResult, Reachability, Running, Schedule, ScheduleOrigin, Snapshot, SourceStatus, Status,
};
