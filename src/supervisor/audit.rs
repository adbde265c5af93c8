//! The record of who changed what: a line in the log for every order, and a row in the target for every one
//! that changed something beside a run (a run is a row of its own, with its actor).

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::outside::Outside;
use super::{Command, Denied, ReloadOutcome, ScheduleRequest, Supervisor};
use crate::engine::{Class, Error};
use crate::history::{Actor, Change, Via};
use crate::telemetry::message;

/// The detail of what has ended by itself.
const EXPIRED: &str = "expired";

/// Who asked, and by which way.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    pub(super) actor: Actor,
    pub(super) via: Via,
}

/// What an order asks for, in words that hold no secret.
pub(super) struct Deed {
    pub(super) action: &'static str,
    detail: Map<String, Value>,
}

impl Deed {
    fn new(action: &'static str, detail: Value) -> Self {
        let detail = if let Value::Object(detail) = detail { detail } else { Map::new() };
        Self { action, detail }
    }

    pub(super) fn of(command: &Command) -> Self {
        match command {
            Command::Run(request, _) => Self::new(
                "run",
                json!({
                    "mode": request.mode.as_str(),
                    "source": request.source.as_ref().map(ToString::to_string),
                    "dry_run": request.dry_run.then_some(true),
                    "allow_deletes": request.allow_deletes.then_some(true),
                }),
            ),
            Command::Cancel(_) => Self::new("cancel", Value::Null),
            Command::Pause(request, _) => {
                let time = request.duration.map(|time| time.as_secs());
                Self::new("pause", json!({ "reason": request.reason, "for_sec": time }))
            }
            Command::Resume(_) => Self::new("resume", Value::Null),
            Command::SetSchedule(ScheduleRequest { plan: Some(plan), .. }, _) => {
                Self::new("schedule", json!({ "runs": plan.to_string() }))
            }
            Command::SetSchedule(ScheduleRequest { plan: None, .. }, _) => Self::new("schedule-reset", Value::Null),
            Command::SetLogLevel(request, _) => {
                let time = request.as_ref().map(|request| request.duration.as_secs());
                let level = request.as_ref().map(|request| &request.level);
                Self::new("log-level", json!({ "level": level, "for_sec": time }))
            }
            Command::Reload(..) => Self::new("reload", Value::Null),
        }
    }

    /// Whether a row is due whatever else has changed: a run has one of its own, but not one that says who let
    /// it past the brake on deletes.
    pub(super) fn changes_by_itself(&self) -> bool {
        match self.action {
            "cancel" | "log-level" => true,
            "run" => self.detail.get("allow_deletes").is_some_and(|value| *value == true),
            _ => false,
        }
    }
}

/// The line in the log.
pub(super) fn line(asker: &Asker, deed: &Deed, result: &str) {
    let Asker { actor, via } = asker;
    let mut detail = deed.detail.clone();
    detail.retain(|_, value| !value.is_null());
    let detail = Value::Object(detail);
    let (remote, action) = (via.remote().map(tracing::field::display), deed.action);
    let expired = deed.detail.contains_key(EXPIRED);
    let message_id = match (action, result) {
        ("pause", "ok") => Some(message::PAUSED),
        ("resume", "ok") if expired => Some(message::PAUSE_EXPIRED),
        ("resume", "ok") => Some(message::RESUMED),
        _ => None,
    };
    let why = if expired { ", its time is over" } else { "" };
    tracing::info!(
        target: "rbac_sync::audit",
        message_id, %actor, listener = via.as_str(), remote, action, %detail, result, "{action} by {actor}: {result}{why}"
    );
}

/// The result of an order in one word or more.
pub(super) fn result(denied: Option<&Denied>) -> String {
    denied.map_or_else(|| "ok".to_owned(), |denied| format!("denied: {denied}"))
}

impl<O: Outside> Supervisor<O> {
    /// Keeps a change, here and in the target.
    pub(super) fn note(&mut self, asker: &Asker, deed: Deed) {
        let Asker { actor, via } = asker.clone();
        let change = Arc::new(Change::new(self.outside.now(), actor, via, deed.action, deed.detail));
        self.changes.push(change.clone(), self.config.history_keep);
        if self.link.push_change(change) {
            tracing::warn!("too many changes wait to be recorded in the target; the oldest is in the log only");
        }
    }

    /// Tells and keeps that something has ended by itself, as whoever asked for it wanted.
    pub(super) fn note_end(&mut self, action: &'static str) {
        self.note_own(Deed::new(action, json!({ EXPIRED: true })));
    }

    /// Tells and keeps that the schedule set through the API is over, for the file was edited while no daemon ran.
    pub(super) fn note_outdated_schedule(&mut self) {
        self.note_own(Deed::new("schedule-reset", json!({ "file_edited": true })));
    }

    fn note_own(&mut self, deed: Deed) {
        let asker = Asker { actor: Actor::daemon(), via: Via::Daemon };
        line(&asker, &deed, "ok");
        self.note(&asker, deed);
    }

    /// A reload has ended that somebody asked for.
    pub(super) fn note_reload(&mut self, asker: &Asker, outcome: &ReloadOutcome, generation_before: u64) {
        let mut deed = Deed::new(
            "reload",
            json!({
                "generation": outcome.generation,
                "changed": outcome.changed,
                "restart_required": outcome.restart_required,
            }),
        );
        if outcome.success {
            line(asker, &deed, "ok");
        } else {
            deed.detail.clear();
            line(asker, &deed, "refused");
        }
        if outcome.generation != generation_before {
            self.note(asker, deed);
        }
    }

    pub(super) fn change_noted(&mut self, change: &Change, result: &Result<(), Error>) {
        self.link.written(result.as_ref().err(), Instant::now());
        match result {
            Ok(()) => self.link.noted(change),
            Err(error) if error.class == Class::Transient => {
                tracing::warn!(action = change.action, "a change is not yet recorded in the target: {error}");
            }
            Err(error) => {
                tracing::error!(action = change.action, "a change is not recorded in the target: {error}");
                self.link.noted(change);
            }
        }
    }
}
