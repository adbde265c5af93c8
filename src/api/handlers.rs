//! One function for each route. A read answers from the snapshot; a change asks the supervisor.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;
use http_body_util::{Either, Full};
use hyper::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use super::guests::Guest;
use super::input::{self, Query};
use super::places::Places;
use super::problem::{Kind, Problem};
use super::router::{Front, Reply};
use super::stay::Stay;
use super::wire::{Audit, Cancelled, ConfigReply, HistoryPage, Live, Paused, RunAccepted, RunOf, Runs};
use super::{Peer, condition};
use crate::config::SourceName;
use crate::engine::Mode;
use crate::history::{self, Actor, RunRecord, Trigger};
use crate::supervisor::{Denied, Handle, ReloadTrigger, RunRequest, Schedule, ScheduleRequest, Snapshot};

/// Time for the supervisor to answer a command.
const COMMAND_TIME: Duration = Duration::from_secs(30);

/// One request with what it needs.
pub(super) struct Call<'a> {
    pub(super) front: &'a Front,
    pub(super) guest: &'a Arc<Guest>,
    pub(super) peer: Peer,
    pub(super) actor: &'a Actor,
    pub(super) head: &'a Parts,
    pub(super) snapshot: &'a Snapshot,
    pub(super) query: Query<'a>,
    pub(super) body: Bytes,
}

impl Call<'_> {
    /// The supervisor, asked in the name of whoever sent the request.
    fn handle(&self) -> Handle {
        self.front.app.handle.by(self.actor.clone(), self.peer.via())
    }

    /// Lets the request stay in one of the places; `None`: there is none for its sender.
    pub(super) fn stay(&self, places: &Places) -> Option<Stay> {
        Stay::begin(self.front, places, (self.guest, self.peer, self.actor), self.head, &self.snapshot.config)
    }

    /// Lets the request wait for a run.
    fn wait(&self) -> Result<Stay, Problem> {
        let stay = self.stay(&self.front.waits);
        stay.ok_or_else(|| Problem::new(Kind::Busy, "too many requests wait for runs; ask without wait, or later"))
    }
}

type Answer = Result<Reply, Problem>;

pub(super) fn status(call: &Call<'_>) -> Answer {
    Ok(json_reply(StatusCode::OK, &call.snapshot.status))
}

pub(super) async fn run(call: &Call<'_>) -> Answer {
    let wait = call.query.wait()?;
    let request = run_request(call)?;
    let stay = wait.map(|_| call.wait()).transpose()?;
    let admitted = ask(call, call.handle().run(request)).await?;
    let ended = match (wait, stay) {
        (Some(wait), Some(mut stay)) => all_finished(call, &mut stay, &admitted.runs, wait).await,
        _ => None,
    };
    match ended.as_deref() {
        Some([run]) => Ok(json_reply(StatusCode::OK, run)),
        Some(runs) => Ok(json_reply(StatusCode::OK, &Runs { runs: runs.to_vec() })),
        None => accepted(call, &admitted.runs),
    }
}

fn run_request(call: &Call<'_>) -> Result<RunRequest, Problem> {
    let body = input::run(&call.body)?;
    let name = |text: String| SourceName::new(&text).ok_or_else(|| Denied::UnknownSource(shortened(&text)));
    Ok(RunRequest {
        trigger: match call.peer {
            Peer::Unix(_) => Trigger::Socket,
            Peer::Tcp { .. } => Trigger::Api,
        },
        source: body.source.map(name).transpose()?,
        mode: body.mode.unwrap_or(Mode::Delta),
        dry_run: body.dry_run,
        allow_deletes: body.allow_deletes,
        key: input::idempotency_key(&call.head.headers)?,
    })
}

/// A wrong name as it is safe to send back: no control characters, not longer than a name.
fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(32).collect()
}

fn accepted(call: &Call<'_>, ids: &[Uuid]) -> Answer {
    let Some(&run_id) = ids.first() else {
        return Err(Problem::new(Kind::Stopping, "no run was started"));
    };
    let snapshot = call.front.app.handle.snapshot();
    let run_of = |&run_id: &Uuid| RunOf { source: snapshot.run(run_id).map(|run| run.source), run_id };
    let runs = if ids.len() > 1 { ids.iter().map(run_of).collect() } else { Vec::new() };
    let mut reply = json_reply(StatusCode::ACCEPTED, &RunAccepted { run_id, runs });
    if let Ok(location) = HeaderValue::from_str(&format!("/sync/runs/{run_id}")) {
        reply.headers_mut().insert(LOCATION, location);
    }
    Ok(reply)
}

/// The ended runs, or `None` when one of them is still going after `wait`, or when the request may not stay so long.
async fn all_finished(call: &Call<'_>, stay: &mut Stay, ids: &[Uuid], wait: Duration) -> Option<Vec<Arc<RunRecord>>> {
    let deadline = Instant::now() + wait;
    let mut ended = Vec::with_capacity(ids.len());
    for &id in ids {
        let record = tokio::select! {
            record = call.front.app.handle.finished(id) => record,
            () = tokio::time::sleep_until(deadline) => None,
            () = stay.over() => None,
        };
        ended.push(Arc::new(record.filter(|record| record.finished.is_some())?));
    }
    Some(ended)
}

pub(super) async fn run_by_id(call: &Call<'_>, id: &str) -> Answer {
    let id = Uuid::try_parse(id).map_err(|_| Problem::new(Kind::Malformed, "a run ID is a UUID"))?;
    if let Some(wait) = call.query.wait()? {
        let mut stay = call.wait()?;
        all_finished(call, &mut stay, &[id], wait).await;
        if let Some(refused) = stay.refused() {
            return Err(refused);
        }
    }
    match call.front.app.handle.snapshot().run(id) {
        Some(run) => Ok(json_reply(StatusCode::OK, &run)),
        None => Err(Problem::new(Kind::UnknownRun, "no run has this ID, or it has left the history")),
    }
}

pub(super) async fn cancel(call: &Call<'_>) -> Answer {
    input::nothing(&call.body)?;
    let run_ids = ask(call, call.handle().cancel()).await?;
    Ok(json_reply(StatusCode::ACCEPTED, &Cancelled { run_ids }))
}

pub(super) fn schedule(call: &Call<'_>) -> Answer {
    Ok(schedule_reply(&call.snapshot.status.schedule))
}

pub(super) async fn set_schedule(call: &Call<'_>) -> Answer {
    let expected = condition::expected(&call.head.headers)?;
    let plan = input::schedule(&call.body, call.snapshot.config.schedule.time_zone)?;
    let request = ScheduleRequest { plan: Some(plan), expected };
    Ok(schedule_reply(&ask(call, call.handle().set_schedule(request)).await?))
}

pub(super) async fn reset_schedule(call: &Call<'_>) -> Answer {
    input::nothing(&call.body)?;
    let request = ScheduleRequest { plan: None, expected: condition::expected(&call.head.headers)? };
    Ok(schedule_reply(&ask(call, call.handle().set_schedule(request)).await?))
}

fn schedule_reply(schedule: &Schedule) -> Reply {
    condition::tagged(json_reply(StatusCode::OK, schedule), &schedule.tag())
}

pub(super) fn log_level(call: &Call<'_>) -> Answer {
    Ok(json_reply(StatusCode::OK, &call.snapshot.status.log_level))
}

pub(super) async fn set_log_level(call: &Call<'_>) -> Answer {
    let request = input::log_level(&call.body)?;
    Ok(json_reply(StatusCode::OK, &ask(call, call.handle().set_log_level(Some(request))).await?))
}

pub(super) async fn reset_log_level(call: &Call<'_>) -> Answer {
    input::nothing(&call.body)?;
    Ok(json_reply(StatusCode::OK, &ask(call, call.handle().set_log_level(None)).await?))
}

pub(super) async fn pause(call: &Call<'_>) -> Answer {
    let request = input::pause(&call.body)?;
    let pause = ask(call, call.handle().pause(request)).await?;
    Ok(json_reply(StatusCode::OK, &Paused { paused: true, pause: Some(pause) }))
}

pub(super) async fn resume(call: &Call<'_>) -> Answer {
    input::nothing(&call.body)?;
    ask(call, call.handle().resume()).await?;
    Ok(json_reply(StatusCode::OK, &Paused { paused: false, pause: None }))
}

pub(super) fn history(call: &Call<'_>) -> Answer {
    let limit = call.query.limit()?;
    let page = history::page(&call.snapshot.history, call.query.before()?, limit);
    let next = page.before.map(|before| format!("/sync/history?limit={limit}&before={before}"));
    Ok(json_reply(StatusCode::OK, &HistoryPage { runs: page.records, next }))
}

pub(super) fn audit(call: &Call<'_>) -> Answer {
    let limit = call.query.limit()?;
    let page = history::page(&call.snapshot.changes, call.query.before()?, limit);
    let next = page.before.map(|before| format!("/sync/audit?limit={limit}&before={before}"));
    Ok(json_reply(StatusCode::OK, &Audit { changes: page.records, next }))
}

pub(super) fn health(call: &Call<'_>) -> Answer {
    let health = super::health::health(call.snapshot, is_alive(call), Utc::now());
    Ok(json_reply(ok_or_unavailable(health.ok), &health))
}

pub(super) fn live(call: &Call<'_>) -> Answer {
    let live = is_alive(call);
    Ok(json_reply(ok_or_unavailable(live), &Live { live }))
}

pub(super) fn ready(call: &Call<'_>) -> Answer {
    let ready = super::health::ready(call.snapshot, is_alive(call));
    Ok(json_reply(ok_or_unavailable(ready.ready), &ready))
}

/// The supervisor holds the sending end of the snapshots for as long as it lives.
fn is_alive(call: &Call<'_>) -> bool {
    call.front.app.handle.watch().has_changed().is_ok()
}

fn ok_or_unavailable(ok: bool) -> StatusCode {
    if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

pub(super) fn metrics(call: &Call<'_>) -> Answer {
    let text = call.front.app.metrics.render(call.snapshot);
    Ok(reply(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text))
}

pub(super) fn config(call: &Call<'_>) -> Answer {
    let status = call.snapshot.status.config.clone();
    let provenance = &call.snapshot.provenance;
    let config = ConfigReply {
        generation: status.generation,
        hash: status.hash,
        loaded: status.loaded,
        last_reload_successful: status.last_reload_successful,
        errors: status.errors,
        restart_required: status.restart_required,
        config: crate::config::describe(&call.snapshot.config),
        keys: crate::config::key_states(&call.snapshot.config, &provenance.origins, &provenance.pending),
        last_reload: provenance.last_reload.clone(),
    };
    Ok(json_reply(StatusCode::OK, &config))
}

pub(super) async fn reload(call: &Call<'_>) -> Answer {
    input::nothing(&call.body)?;
    let trigger = match call.peer {
        Peer::Unix(_) => ReloadTrigger::Socket,
        Peer::Tcp { .. } => ReloadTrigger::Api,
    };
    let outcome = ask(call, call.handle().reload(trigger)).await?;
    if outcome.success {
        return Ok(json_reply(StatusCode::OK, &outcome));
    }
    let detail = format!("the configuration before it stays in effect: {}", outcome.errors.join("; "));
    Err(Problem::new(Kind::ConfigurationRefused, detail).with(json!(outcome)))
}

pub(super) fn openapi() -> Answer {
    Ok(reply(StatusCode::OK, "application/json", super::openapi::document()))
}

/// A command's answer. Those who ask have places of their own: a reload can take long, and whoever asks for many
/// leaves room.
async fn ask<T>(call: &Call<'_>, command: impl Future<Output = Result<T, Denied>>) -> Result<T, Problem> {
    let place = call.front.changes.take(call.actor, call.guest);
    let _place = place.ok_or_else(|| Problem::new(Kind::Busy, "too many requests change things; try again later"))?;
    let answer = tokio::time::timeout(COMMAND_TIME, command).await;
    answer
        .map_err(|_| Problem::new(Kind::Timeout, "it may still be carried out; see GET /sync/status"))?
        .map_err(Into::into)
}

fn json_reply(status: StatusCode, body: &impl Serialize) -> Reply {
    let text = serde_json::to_string(body).expect("replies have text keys and no value that JSON lacks");
    reply(status, "application/json", text + "\n")
}

fn reply(status: StatusCode, content_type: &'static str, text: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Either::Left(Full::new(text.into())));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}
