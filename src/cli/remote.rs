//! The commands that ask a running daemon.

use std::time::Duration;

use chrono::{DateTime, Utc};
use hyper::Method;
use tokio::time::Instant;
use uuid::Uuid;

use super::args::{
    AuditArgs, ClientArgs, HistoryArgs, LogLevelArgs, PauseArgs, RunArgs, ScheduleArgs, ScheduleChange, VerifyArgs,
};
use super::client::{Client, Reply};
use super::exit::{Exit, Failure};
use super::feed::Feed;
use super::{live, print, show};
use crate::api::wire::{Audit, Cancelled, Health, HistoryPage, Paused, RunAccepted, RunBody, Runs, ScheduleBody};
use crate::engine::Mode;
use crate::history::RunRecord;
use crate::schedule::Cron;
use crate::supervisor::{LogLevel, ReloadOutcome, Schedule, Status};

type Outcome = Result<Exit, Failure>;

/// One request of `run --wait`; a wait that lasts longer is asked again.
const WAIT_STEP: Duration = Duration::from_secs(30);
/// Enough to see whether a cron expression means what was meant.
const TIMES_SHOWN: usize = 5;

pub(super) async fn status(args: &ClientArgs) -> Outcome {
    let reply = Client::new(args)?.get("/sync/status").await?;
    answer(args, &reply, |status: Status| show::status(&status))
}

pub(super) async fn run(args: &RunArgs) -> Outcome {
    let client = Client::new(&args.client)?;
    let body = RunBody {
        mode: Some(args.run.mode.into()),
        dry_run: args.run.dry_run,
        source: args.run.source.clone(),
        allow_deletes: args.run.allow_deletes,
    };
    // Before the run is asked for, so that its start is not missed. Who only gets JSON sees no progress.
    let feed = if args.wait.is_some() && !args.client.json { Feed::open(&client, None).await.ok() } else { None };
    let reply = client.send_json(Method::POST, "/sync/run", &body).await?;
    let accepted: RunAccepted = reply.read()?;
    let Some(limit) = args.wait else {
        return answer(&args.client, &reply, |_: RunAccepted| show::accepted(&accepted));
    };
    let runs = ids(&accepted);
    let runs = if args.client.json {
        all_ended(&client, &runs, limit).await?
    } else {
        tokio::select! {
            ended = all_ended(&client, &runs, limit) => ended?,
            () = live::show(feed, &runs) => unreachable!("it goes on until it is dropped"),
        }
    };
    ended(&args.client, runs)
}

/// Prints runs that have ended.
fn ended(args: &ClientArgs, runs: Vec<RunRecord>) -> Outcome {
    let success = runs.iter().all(|run| run.success == Some(true));
    match (args.json, runs.as_slice()) {
        (true, [run]) => print::json(run)?,
        (true, _) => print::json(&Runs { runs: runs.into_iter().map(Into::into).collect() })?,
        (false, _) => print::out(&show::results(&runs))?,
    }
    Ok(if success { Exit::Done } else { Exit::Failed })
}

/// Brings the target up to date first, for what changed a moment ago is no difference.
pub(super) async fn verify(args: &VerifyArgs) -> Outcome {
    let client = Client::new(&args.client)?;
    let run = async |mode, comparing| {
        let body =
            RunBody { mode: Some(mode), dry_run: comparing, source: args.source.clone(), allow_deletes: comparing };
        let accepted: RunAccepted = client.send_json(Method::POST, "/sync/run", &body).await?.read()?;
        all_ended(&client, &ids(&accepted), None).await
    };
    let failed = |runs: &[RunRecord]| runs.iter().any(|run| run.success != Some(true));
    let caught_up = run(Mode::Delta, false).await?;
    if failed(&caught_up) {
        return ended(&args.client, caught_up);
    }
    let compared = run(Mode::Full, true).await?;
    if failed(&compared) {
        return ended(&args.client, compared);
    }
    let differences: u64 = compared.iter().map(|run| run.levels.changed()).sum();
    if args.client.json {
        print::json(&serde_json::json!({ "differences": differences, "runs": compared }))?;
    } else {
        print::out(&show::differences(&compared))?;
    }
    Ok(if differences == 0 { Exit::Done } else { Exit::Failed })
}

fn ids(accepted: &RunAccepted) -> Vec<Uuid> {
    if accepted.runs.is_empty() {
        return vec![accepted.run_id];
    }
    accepted.runs.iter().map(|run| run.run_id).collect()
}

async fn all_ended(client: &Client, ids: &[Uuid], limit: Option<Duration>) -> Result<Vec<RunRecord>, Failure> {
    let deadline = limit.map(|limit| Instant::now() + limit);
    let mut runs = Vec::with_capacity(ids.len());
    for &id in ids {
        runs.push(wait_for(client, id, deadline).await?);
    }
    Ok(runs)
}

async fn wait_for(client: &Client, id: Uuid, deadline: Option<Instant>) -> Result<RunRecord, Failure> {
    loop {
        let left = deadline.map_or(WAIT_STEP, |deadline| deadline.saturating_duration_since(Instant::now()));
        let step = left.min(WAIT_STEP);
        let path = format!("/sync/runs/{id}?wait={}ms", step.as_millis());
        let asked = Instant::now();
        let run: RunRecord = client.get_slowly(&path, step).await?.read()?;
        if run.finished.is_some() {
            return Ok(run);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Failure::new(Exit::Busy, format!("run {id} is still going; it was not cancelled")));
        }
        if asked.elapsed() < step / 2 {
            return Err(Failure::new(Exit::Busy, format!("the daemon stops before run {id} has ended")));
        }
    }
}

pub(super) async fn cancel(args: &ClientArgs) -> Outcome {
    let reply = Client::new(args)?.send_empty(Method::POST, "/sync/cancel").await?;
    answer(args, &reply, |cancelled: Cancelled| {
        cancelled.run_ids.iter().map(|id| format!("cancelling run {id}\n")).collect()
    })
}

pub(super) async fn pause(args: &PauseArgs) -> Outcome {
    let body = crate::api::pause_body(args.reason.clone(), args.duration);
    let reply = Client::new(&args.client)?.send_json(Method::POST, "/sync/pause", &body).await?;
    answer(&args.client, &reply, |paused: Paused| show::paused(&paused))
}

pub(super) async fn resume(args: &ClientArgs) -> Outcome {
    let reply = Client::new(args)?.send_empty(Method::POST, "/sync/resume").await?;
    answer(args, &reply, |paused: Paused| show::paused(&paused))
}

pub(super) async fn schedule(args: &ScheduleArgs) -> Outcome {
    let path = "/sync/schedule";
    let client = Client::new(&args.client)?;
    let reply = match &args.change {
        None | Some(ScheduleChange::Show) => client.get(path).await?,
        Some(ScheduleChange::Reset { if_match }) => {
            client.only_if(if_match.as_deref()).send_empty(Method::DELETE, path).await?
        }
        Some(ScheduleChange::Set { interval, cron, time_zone, if_match }) => {
            if interval.is_some_and(|interval| interval.subsec_nanos() != 0) {
                return Err(Failure::new(Exit::Usage, "the interval must be whole seconds"));
            }
            let interval_sec = interval.map(|interval| interval.as_secs());
            let body = ScheduleBody { interval_sec, cron: cron.clone(), time_zone: time_zone.clone() };
            client.only_if(if_match.as_deref()).send_json(Method::PUT, path, &body).await?
        }
    };
    let schedule: Schedule = reply.read()?;
    let next = next_times(&schedule, Utc::now());
    if !args.client.json {
        print::out(&show::schedule_with_times(&schedule, &next))?;
        return Ok(Exit::Done);
    }
    // Beside what the daemon answered: the tag, which came in a header, and what a person wants to see.
    let mut value: serde_json::Value = reply.read()?;
    value["etag"] = reply.tag.clone().into();
    if !next.is_empty() {
        value["next"] = serde_json::json!(next);
    }
    print::json(&value)?;
    Ok(Exit::Done)
}

/// The next times of a cron expression. Worked out here: the reply has a tag, so it shows no passing time.
fn next_times(schedule: &Schedule, now: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let zone = schedule.time_zone.as_deref().and_then(|zone| zone.parse().ok());
    let cron = schedule.cron.as_deref().zip(zone).and_then(|(text, zone)| Cron::new(text, zone).ok());
    let Some(cron) = cron else { return Vec::new() };
    std::iter::successors(Some(cron.next(now)), |at| Some(cron.next(*at))).take(TIMES_SHOWN).collect()
}

pub(super) async fn log_level(args: &LogLevelArgs) -> Outcome {
    let path = "/log/level";
    let client = Client::new(&args.client)?;
    let reply = match &args.level {
        Some(level) => {
            let body = crate::api::log_level_body(level.clone(), args.duration);
            client.send_json(Method::PUT, path, &body).await?
        }
        None if args.reset => client.send_empty(Method::DELETE, path).await?,
        None => client.get(path).await?,
    };
    answer(&args.client, &reply, |level: LogLevel| show::log_level(&level) + "\n")
}

pub(super) async fn history(args: &HistoryArgs) -> Outcome {
    let reply = Client::new(&args.client)?.get(&page("/sync/history", args.limit, args.before)).await?;
    let page: HistoryPage = reply.read()?;
    let outcome = answer(&args.client, &reply, |page: HistoryPage| show::history(&page.runs));
    say_older(page.next.and(page.runs.last()).map(|last| last.run_id));
    outcome
}

pub(super) async fn audit(args: &AuditArgs) -> Outcome {
    let reply = Client::new(&args.client)?.get(&page("/sync/audit", args.limit, args.before)).await?;
    let page: Audit = reply.read()?;
    let outcome = answer(&args.client, &reply, |page: Audit| show::audit(&page));
    say_older(page.next.and(page.changes.last()).map(|last| last.change_id));
    outcome
}

fn page(path: &str, limit: u16, before: Option<Uuid>) -> String {
    let before = before.map_or_else(String::new, |before| format!("&before={before}"));
    format!("{path}?limit={limit}{before}")
}

/// Says to a person how to go on from the last one that was shown, if there is something older.
fn say_older(last: Option<Uuid>) {
    if let Some(last) = last.filter(|_| print::stderr_is_terminal()) {
        print::error(&format!("there are older ones: --before {last}"));
    }
}

pub(super) async fn reload(args: &ClientArgs) -> Outcome {
    let reply = Client::new(args)?.send_empty(Method::POST, "/config/reload").await?;
    let outcome: ReloadOutcome = reply.read()?;
    if args.json {
        print::json(&outcome)?;
    } else if outcome.success {
        outcome.warnings.iter().for_each(|warning| print::error(&format!("warning: {warning}")));
        print::out(&show::reloaded(&outcome))?;
    } else {
        outcome.errors.iter().for_each(|error| print::error(error));
        print::error(&show::refused(&outcome));
    }
    Ok(if outcome.success { Exit::Done } else { Exit::Config })
}

pub(super) async fn health(args: &ClientArgs) -> Outcome {
    let reply = Client::new(args)?.get("/health").await?;
    let health: Health = reply.read()?;
    answer(args, &reply, |health: Health| show::health(&health))?;
    Ok(if health.ok && reply.status == 200 { Exit::Done } else { Exit::Failed })
}

/// Prints a reply: as it came with `--json`, else in words.
fn answer<T: serde::de::DeserializeOwned>(
    args: &ClientArgs,
    reply: &Reply,
    words: impl FnOnce(T) -> String,
) -> Outcome {
    if args.json {
        print::out(&reply.text)?;
    } else {
        print::out(&words(reply.read()?))?;
    }
    Ok(Exit::Done)
}
