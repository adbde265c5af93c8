//! The supervisor at its main work: runs, the target they need, and the records they leave.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

use super::admission::Ticket;
use super::lane::{Active, Lane, Loudness};
use super::outside::Outside;
use super::{Admitted, Denied, Done, RunRequest, Supervisor};
use crate::config::SourceName;
use crate::engine::{Class, Error, Levels, RunReport, Settings, Side};
use crate::history::{Actor, RunRecord, Trigger};
use crate::schedule::Moment;
use crate::telemetry::message;

/// The longest interval there is. A run before a weekend without runs gets no larger share of it.
const LONGEST_GAP: Duration = Duration::from_secs(86_400);

impl<O: Outside> Supervisor<O> {
    // Requests.

    /// Admits a request, unless it is one that came before.
    pub(super) fn admit(&mut self, request: &RunRequest, actor: &Actor) -> Result<Admitted, Denied> {
        if let Some(before) = self.repeats.find(actor, request, Instant::now())? {
            return Ok(before);
        }
        let admitted = self.admit_anew(request, actor)?;
        self.repeats.keep(actor, request, &admitted, Instant::now());
        Ok(admitted)
    }

    fn admit_anew(&mut self, request: &RunRequest, actor: &Actor) -> Result<Admitted, Denied> {
        let wanted = |lane: &&mut Lane<O::Source>| {
            !lane.leaving && request.source.as_ref().is_none_or(|source| *source == lane.config.name)
        };
        let mut lanes: Vec<_> = self.lanes.iter_mut().filter(wanted).collect();
        if let (Some(source), true) = (&request.source, lanes.is_empty()) {
            return Err(Denied::UnknownSource(source.to_string()));
        }
        // All or none: half of a request would be hard to explain.
        lanes.iter().try_for_each(|lane| lane.slots.check(request))?;
        let runs = lanes.iter_mut().map(|lane| lane.slots.admit(request, actor)).collect::<Result<_, _>>()?;
        // Whoever asks wants an answer: a run, or what is wrong with the target now.
        self.link.hurry(Instant::now());
        Ok(Admitted { runs })
    }

    pub(super) fn cancel(&mut self) -> Result<Vec<Uuid>, Denied> {
        let active: Vec<_> = self.lanes.iter().filter_map(|lane| lane.active.as_ref()).collect();
        if active.is_empty() {
            return Err(Denied::NothingToCancel);
        }
        active.iter().for_each(|active| active.cancel.cancel());
        Ok(active.iter().map(|active| active.ticket.run_id).collect())
    }

    // Runs.

    /// Whether the schedule may start a run of that source now or later, other things unchanged.
    pub(super) fn may_run_on_schedule(&self, lane: &Lane<O::Source>) -> bool {
        self.link.is_open() && self.intent.pause().is_none() && lane.active.is_none() && !lane.leaving
    }

    pub(super) fn start_runs(&mut self) {
        if !self.link.is_open() {
            return;
        }
        for index in 0..self.lanes.len() {
            let (timing, scheduled) = (self.timing(), self.may_run_on_schedule(&self.lanes[index]));
            if let Some(ticket) = self.lanes[index].next(&timing, scheduled) {
                self.start_run(index, ticket);
            }
        }
    }

    fn start_run(&mut self, index: usize, ticket: Ticket) {
        let gap = self.gap().min(LONGEST_GAP);
        let lane = &mut self.lanes[index];
        let name = lane.config.name.clone();
        let pace = lane.config.pace;
        let scheduled = matches!(ticket.trigger, Trigger::Schedule | Trigger::Start);
        let settings = Settings {
            mode: ticket.mode,
            dry_run: ticket.dry_run,
            allow_deletes: ticket.allow_deletes,
            sweep_budget: gap.mul_f64(pace.sweep_percent / 100.0),
            scan_percent: scheduled.then_some(pace.scan_percent),
            ..Settings::new(&lane.config, &self.config.target)
        };
        // An error span, so that no filter takes the fields away from a line that it lets through.
        let (run_id, trigger, config_generation) =
            (ticket.run_id, ticket.trigger.as_str(), self.config_status.generation);
        let span = tracing::error_span!("run", %run_id, source = %name, trigger, config_generation);
        let (progress, counts) = watch::channel(Levels::default());
        let cancel = CancellationToken::new();
        let (outside, source, target) = (self.outside.clone(), lane.source.clone(), self.link.target.clone());
        let (run, token) = (ticket.run_id, cancel.clone());
        lane.active = Some(Active {
            ticket,
            started: self.outside.now(),
            since: Instant::now(),
            link: self.link.number,
            span: span.clone(),
            progress: counts,
            cancel,
        });
        let work = async move { outside.run(settings, &source, &target, progress, token).await };
        self.spawn(work.instrument(span), move |report| Done::Run { source: name, run, report });
    }

    pub(super) fn run_ended(&mut self, source: &SourceName, run: Uuid, report: Option<RunReport>) {
        let is_it = |lane: &Lane<O::Source>| {
            lane.config.name == *source && lane.active.as_ref().is_some_and(|active| active.ticket.run_id == run)
        };
        let index = self.lanes.iter().position(is_it).expect("a lane stays until its run has ended");
        let timing = self.timing();
        let Moment { now, at } = timing.moment;
        let lane = &mut self.lanes[index];
        let active = lane.active.take().expect("found by its active run");
        lane.slots.end();
        let report = report.unwrap_or_else(|| RunReport {
            mode: active.ticket.mode,
            levels: *active.progress.borrow(),
            verified_since: None,
            error: Some(Error::new(Side::Run, Class::Transient, "the run panicked; see the log for where")),
        });
        let error = report.error.as_ref();
        lane.ended(&active.ticket, error, &timing);
        lane.verified_since = report.verified_since.or(lane.verified_since);
        let same_target = active.link == self.link.number;
        match error {
            None => {
                if same_target && !active.ticket.dry_run {
                    self.residents.add(source.as_str());
                }
                lane.reach.seen(None, at);
                if same_target {
                    self.link.reach.seen(None, at);
                }
            }
            Some(Error { class: Class::Cancelled, .. } | Error { side: Side::Run, .. }) => {}
            Some(Error { side: Side::Source, .. }) => lane.reach.seen(error, at),
            Some(Error { side: Side::Target, .. }) if same_target => {
                self.link.reach.seen(error, at);
                if self.link.is_open() {
                    self.link.failed(now);
                }
            }
            Some(Error { side: Side::Target, .. }) => {}
        }
        let span = active.span.clone();
        span.in_scope(|| log_end(&mut self.lanes[index], &active, &report, now));
        let record = self.lanes[index].record(&active.ticket, Some(&active), &report, at);
        self.keep(record);
    }

    /// Ends the run that waits, if one does, before it began.
    pub(super) fn withdraw(&mut self, index: usize, error: &Error) {
        let now = self.outside.now();
        let lane = &mut self.lanes[index];
        let Some(ticket) = lane.slots.withdraw() else { return };
        tracing::warn!(run_id = %ticket.run_id, source = %lane.config.name, side = %error.side, "run not started: {error}");
        let (mode, levels) = (ticket.mode, Levels::default());
        let report = RunReport { mode, levels, verified_since: None, error: Some(error.clone()) };
        let record = lane.record(&ticket, None, &report, now);
        self.keep(record);
    }

    fn keep(&mut self, record: RunRecord) {
        self.metrics.run_finished(&record);
        let record = Arc::new(record);
        self.history.push(record.clone());
        if !record.is_quiet() && self.link.push(record) {
            tracing::warn!("too many runs wait to be recorded in the target; the oldest is kept in memory only");
        }
    }
}

/// One line for each run that somebody may want to read about.
fn log_end<S>(lane: &mut Lane<S>, active: &Active, report: &RunReport, now: Instant) {
    let (processed, changed) = (report.levels.processed(), report.levels.changed());
    // Not as u128, which the JSON log writes as a text.
    let duration_ms = u64::try_from(now.duration_since(active.since).as_millis()).unwrap_or(u64::MAX);
    let mode = report.mode.as_str();
    let dry_run = active.ticket.dry_run;
    let Some(error) = &report.error else {
        let recovered = !dry_run && lane.complaints.over();
        if recovered {
            tracing::info!(
                message_id = message::SOURCE_BACK,
                mode,
                processed,
                changed,
                duration_ms,
                "run done: {changed} rows changed in {duration_ms} ms; it works again"
            );
        } else if changed > 0 || active.ticket.trigger != Trigger::Schedule {
            tracing::info!(
                mode,
                dry_run,
                processed,
                changed,
                duration_ms,
                "run done: {changed} rows changed in {duration_ms} ms"
            );
        } else {
            tracing::debug!(mode, processed, duration_ms, "run done, nothing had changed");
        }
        return;
    };
    if error.class == Class::Cancelled {
        tracing::info!(mode, processed, changed, duration_ms, "run cancelled");
        return;
    }
    let (side, class) = (error.side, error.class);
    match lane.complaints.heard(&error.to_string(), now) {
        Loudness::Error => {
            tracing::error!(message_id = message::of_failed_run(error), %side, ?class, mode, processed, changed, duration_ms, "run failed: {side}: {error}")
        }
        Loudness::Repeated(times) => tracing::warn!(%side, ?class, times, "runs still fail: {side}: {error}"),
        Loudness::Silent => tracing::debug!(%side, ?class, %error, "run failed again"),
    }
}
