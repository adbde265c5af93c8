//! The latest ended runs in memory.

use std::collections::HashSet;
use std::sync::Arc;

use super::RunRecord;

/// Quiet runs kept beside the others. An idle archive with an interval of 5 s has 17,000 of them a
/// day; a few show that the daemon is at work, more would only push out what happened.
const QUIET_KEPT: usize = 100;

/// Ended runs, newest first: up to `keep` that did something or failed, and the latest hundred quiet
/// ones (see [`RunRecord::is_quiet`]).
#[derive(Debug)]
pub struct Ring {
    records: Arc<Vec<Arc<RunRecord>>>,
    keep: usize,
}

impl Ring {
    /// An empty ring.
    #[must_use]
    pub fn new(keep: usize) -> Self {
        Self { records: Arc::default(), keep }
    }

    /// Adds the run that ended last.
    pub fn push(&mut self, record: Arc<RunRecord>) {
        let records = std::iter::once(record).chain(self.records.iter().cloned());
        self.records = Arc::new(trimmed(records, self.keep));
    }

    /// Adds the runs of an earlier life of the daemon; those that are there already stay as they are.
    pub fn merge(&mut self, earlier: Vec<RunRecord>) {
        let known: HashSet<_> = self.records.iter().map(|record| record.run_id).collect();
        let earlier = earlier.into_iter().filter(|record| !known.contains(&record.run_id)).map(Arc::new);
        let mut records: Vec<_> = self.records.iter().cloned().chain(earlier).collect();
        records.sort_by_key(|record| std::cmp::Reverse((record.finished, record.run_id)));
        self.records = Arc::new(trimmed(records.into_iter(), self.keep));
    }

    /// Changes how many runs are kept.
    pub fn set_keep(&mut self, keep: usize) {
        self.keep = keep;
        self.records = Arc::new(trimmed(self.records.iter().cloned(), keep));
    }

    /// The runs, newest first.
    #[must_use]
    pub fn records(&self) -> &Arc<Vec<Arc<RunRecord>>> {
        &self.records
    }
}

fn trimmed(newest_first: impl Iterator<Item = Arc<RunRecord>>, keep: usize) -> Vec<Arc<RunRecord>> {
    let (mut quiet, mut others) = (0, 0);
    newest_first
        .filter(|record| {
            let (count, most) = if record.is_quiet() { (&mut quiet, QUIET_KEPT) } else { (&mut others, keep) };
            *count += 1;
            *count <= most
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta, Utc};
    use uuid::Uuid;

    use super::*;
    use crate::engine::{Levels, Mode};
    use crate::history::{RunState, Trigger};

    fn record(second: i64, quiet: bool) -> RunRecord {
        let finished = DateTime::<Utc>::UNIX_EPOCH + TimeDelta::seconds(second);
        RunRecord {
            run_id: Uuid::now_v7(),
            state: RunState::Finished,
            trigger: if quiet { Trigger::Schedule } else { Trigger::Api },
            actor: None,
            mode: Mode::Delta,
            source: "main".to_owned(),
            dry_run: false,
            started: Some(finished),
            finished: Some(finished),
            success: Some(true),
            processed: 0,
            levels: Levels::default(),
            duration_ms: Some(0),
            error: None,
        }
    }

    #[test]
    fn quiet_runs_never_push_out_the_others() {
        let mut ring = Ring::new(2);
        ring.push(Arc::new(record(0, false)));
        for second in 1..=500 {
            ring.push(Arc::new(record(second, true)));
        }
        assert_eq!(ring.records().len(), QUIET_KEPT + 1);
        assert!(!ring.records().last().unwrap().is_quiet());
        assert_eq!(ring.records()[0].finished.unwrap().timestamp(), 500, "the newest comes first");
    }

    #[test]
    fn keeps_the_latest_runs_that_did_something() {
        let mut ring = Ring::new(3);
        (0..9).for_each(|second| ring.push(Arc::new(record(second, false))));
        let seconds: Vec<_> = ring.records().iter().map(|r| r.finished.unwrap().timestamp()).collect();
        assert_eq!(seconds, [8, 7, 6]);
        ring.set_keep(1);
        assert_eq!(ring.records().len(), 1);
    }

    #[test]
    fn merging_the_runs_of_an_earlier_life_keeps_the_order_and_doubles_none() {
        let mut ring = Ring::new(10);
        let both = record(5, false);
        ring.push(Arc::new(both.clone()));
        ring.merge(vec![both, record(3, false), record(4, false)]);
        let seconds: Vec<_> = ring.records().iter().map(|r| r.finished.unwrap().timestamp()).collect();
        assert_eq!(seconds, [5, 4, 3]);
    }
}
