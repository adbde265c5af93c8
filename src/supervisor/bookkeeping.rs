//! The supervisor and the target beside its runs: opening it, what operators said, records of runs;
//! and the file for node_exporter.

use std::io;
use std::sync::Arc;

use tokio::time::Instant;

use super::lane::Loudness;
use super::outside::{Opened, Outside, Remembered};
use super::{Done, Supervisor, TEXTFILE_EVERY};
use crate::engine::{Class, Error, Side};
use crate::history::RunRecord;
use crate::telemetry::message;

impl<O: Outside> Supervisor<O> {
    // The target.

    pub(super) fn open_target(&mut self) {
        self.link.opening();
        let (outside, target, number) = (self.outside.clone(), self.link.target.clone(), self.link.number);
        let limit = self.config.history_keep;
        let former = self.link.take_former();
        let work = async move {
            if let Some(former) = former {
                // A run that still goes on there ends at its next write, once somebody takes that target.
                outside.release(&former).await;
            }
            outside.open(&target, limit).await
        };
        self.spawn(work, move |result| Done::Opened { link: number, result: result.unwrap_or_else(panicked) });
    }

    pub(super) fn target_opened(&mut self, result: Result<Opened, Error>) {
        let (now, at) = (Instant::now(), self.outside.now());
        self.link.reach.seen(result.as_ref().err(), at);
        match result {
            Ok(Opened::Active(remembered)) => self.serve(remembered, now),
            Ok(Opened::Standby(holder)) => self.stand_by(holder, now),
            Err(error) => {
                match self.link.complaints.heard(&error.to_string(), now) {
                    Loudness::Error => {
                        tracing::error!(message_id = message::TARGET_LOST, side = "target", class = ?error.class, "cannot open the target: {error}")
                    }
                    Loudness::Repeated(times) => {
                        tracing::warn!(side = "target", class = ?error.class, times, "still cannot open the target: {error}");
                    }
                    Loudness::Silent => {}
                }
                self.link.failed(now);
                for index in 0..self.lanes.len() {
                    self.withdraw(index, &error);
                }
            }
        }
    }

    fn serve(&mut self, remembered: Remembered, now: Instant) {
        if self.link.served_by().is_some() {
            tracing::info!(message_id = message::TAKEOVER, "the other daemon has ended: this one takes over");
        }
        self.link.opened(now);
        tracing::info!(message_id = message::TARGET_OPEN, url = %self.config.target.endpoint, "the target is open");
        if self.link.needs_holding() {
            let (outside, target, number) = (self.outside.clone(), self.link.target.clone(), self.link.number);
            let work = async move { outside.lost(&target).await };
            self.spawn(work, move |error| Done::LockLost {
                link: number,
                error: error.unwrap_or_else(|| {
                    Error::new(Side::Target, Class::Transient, "the task that holds the lock panicked; see the log")
                }),
            });
        }
        let before = self.plan();
        let outdated = self.intent.loaded(remembered.control, &self.config.schedule.plan);
        self.plan_may_differ(&before);
        self.history.merge(remembered.runs);
        self.changes.merge(remembered.changes, self.config.history_keep);
        if outdated {
            self.note_outdated_schedule();
        }
        self.residents.set(remembered.sources);
        self.residents.tell(&self.config);
        self.recall_successes();
    }

    /// Sources that had no success in this life of the daemon show that of an earlier one.
    fn recall_successes(&mut self) {
        for lane in self.lanes.iter_mut().filter(|lane| lane.last_success.is_none()) {
            let theirs = |record: &&Arc<RunRecord>| {
                record.success == Some(true) && !record.dry_run && record.source == lane.config.name.as_str()
            };
            lane.last_success = self.history.records().iter().find(theirs).and_then(|record| record.finished);
        }
    }

    // The bookkeeping in the target.

    pub(super) fn has_unwritten(&self) -> bool {
        self.intent.unsaved().is_some() || self.link.unrecorded().is_some() || self.link.unnoted().is_some()
    }

    /// Writes the next piece: what operators said first, then that they did, then runs in their order.
    pub(super) fn write_bookkeeping(&mut self) {
        let (outside, target, number) = (self.outside.clone(), self.link.target.clone(), self.link.number);
        if let Some((version, control)) = self.intent.unsaved() {
            self.link.writing();
            let work = async move { outside.save(&target, &control).await };
            self.spawn(work, move |result| Done::Saved {
                link: number,
                version,
                result: result.unwrap_or_else(panicked),
            });
        } else if let Some(change) = self.link.unnoted().cloned() {
            self.link.writing();
            let (keep, written) = (self.config.history_keep, change.clone());
            let work = async move { outside.note(&target, &written, keep).await };
            self.spawn(work, move |result| Done::Noted {
                link: number,
                change,
                result: result.unwrap_or_else(panicked),
            });
        } else if let Some(record) = self.link.unrecorded().cloned() {
            self.link.writing();
            let (keep, written) = (self.config.history_keep, record.clone());
            let work = async move { outside.record(&target, &written, keep).await };
            self.spawn(work, move |result| Done::Recorded {
                link: number,
                record,
                result: result.unwrap_or_else(panicked),
            });
        }
    }

    pub(super) fn control_saved(&mut self, version: u64, result: &Result<(), Error>) {
        self.link.written(result.as_ref().err(), Instant::now());
        match result {
            Ok(()) => self.intent.saved(version),
            Err(error) => tracing::warn!("pause and schedule are in effect but not yet kept in the target: {error}"),
        }
    }

    pub(super) fn run_recorded(&mut self, record: &RunRecord, result: &Result<(), Error>) {
        self.link.written(result.as_ref().err(), Instant::now());
        match result {
            Ok(()) => self.link.settled(record),
            Err(error) if error.class == Class::Transient => {
                tracing::warn!(run_id = %record.run_id, "the run is not yet recorded in the target: {error}");
            }
            Err(error) => {
                tracing::error!(run_id = %record.run_id, "the run is not recorded in the target: {error}");
                self.link.settled(record);
            }
        }
    }

    // The file for node_exporter.

    pub(super) fn write_textfile(&mut self) {
        let Some(path) = self.config.metrics_textfile.clone() else { return };
        if self.textfile.writing || self.textfile.due > Instant::now() {
            return;
        }
        self.textfile.writing = true;
        self.textfile.due = Instant::now() + TEXTFILE_EVERY;
        let text = self.metrics.render_for_a_collector(&self.snapshot.borrow());
        let outside = self.outside.clone();
        self.spawn(async move { outside.write(path, text).await }, |result| {
            Done::TextfileWritten(result.unwrap_or_else(|| Err(io::Error::other("panicked; see the log for where"))))
        });
    }

    pub(super) fn textfile_written(&mut self, result: &io::Result<()>) {
        self.textfile.writing = false;
        if let (Err(error), false) = (result, self.textfile.failed) {
            tracing::warn!("cannot write metrics.textfile: {error}");
        }
        self.textfile.failed = result.is_err();
    }
}

/// The result of work that panicked.
fn panicked<T>() -> Result<T, Error> {
    Err(Error::new(Side::Run, Class::Transient, "panicked; see the log for where"))
}
