//! The log level at run time: an operator's for a while, else the configuration's. It does not outlive a
//! restart, so that nobody forgets a verbose log.

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

use super::outside::Outside;
use super::{LogLevel, LogRequest, Origin, Supervisor};
use crate::history::Actor;

/// A level in place of the configuration's.
#[derive(Clone, Debug)]
pub(super) struct LogOverride {
    level: String,
    /// When it is over, whatever the clock on the wall is set to meanwhile.
    pub(super) ends: Instant,
    until: DateTime<Utc>,
}

impl<O: Outside> Supervisor<O> {
    /// The level in effect.
    pub(super) fn log_level(&self) -> LogLevel {
        match &self.log_override {
            Some(set) => LogLevel { level: set.level.clone(), origin: Origin::Api, until: Some(set.until) },
            None => LogLevel { level: self.config.log.level.clone(), origin: Origin::File, until: None },
        }
    }

    pub(super) fn set_log_level(&mut self, request: Option<LogRequest>, actor: &Actor) -> LogLevel {
        let (now, at) = (Instant::now(), self.outside.now());
        self.log_override = request.map(|request| {
            let until = TimeDelta::from_std(request.duration).ok().and_then(|length| at.checked_add_signed(length));
            LogOverride {
                level: request.level,
                ends: now + request.duration,
                until: until.unwrap_or(DateTime::<Utc>::MAX_UTC),
            }
        });
        let level = self.log_level();
        let until = level.until.map(|until| until.to_rfc3339());
        // Before the change, which may silence it; loud enough for a log that has warnings only.
        tracing::warn!(%actor, level = level.level, until, "the log level changes");
        self.outside.set_log_level(&level.level);
        level
    }

    /// The configuration has another level: an operator's one is over.
    pub(super) fn configured_log_level(&mut self, level: &str) {
        self.log_override = None;
        self.outside.set_log_level(level);
    }

    pub(super) fn end_log_level_in_time(&mut self) {
        if self.log_override.as_ref().is_some_and(|set| set.ends <= Instant::now()) {
            self.log_override = None;
            self.outside.set_log_level(&self.config.log.level);
            self.note_end("log-level");
        }
    }
}
