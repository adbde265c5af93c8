//! How far a run has come and how fast it goes. Pure: the moments are given.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use crate::engine::{Counts, Levels};
use crate::history::RunRecord;

/// A run is told at most this often. The first time after as long, too: most runs are shorter.
const TOLD_EVERY: Duration = Duration::from_millis(200);

/// How far a run has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The run.
    pub run_id: Uuid,
    /// Its source.
    pub source: String,
    /// Rows compared so far on all levels, changed or not.
    pub processed: u64,
    /// Rows compared per second on all levels since the progress before this one.
    pub rows_per_sec: f64,
    /// Each level.
    pub levels: Speeds,
}

/// The levels of a [`Progress`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Speeds {
    /// `rbac_institution`
    pub institution: Speed,
    /// `rbac_patient`
    pub patient: Speed,
    /// `rbac_study`
    pub study: Speed,
    /// `rbac_series`
    pub series: Speed,
    /// `rbac_instance`; none where that level is switched off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Speed>,
}

/// One level of a [`Progress`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Rows compared so far.
    pub processed: u64,
    /// Those of them that were written.
    pub changed: u64,
    /// Rows compared per second since the progress before this one.
    pub rows_per_sec: f64,
}

/// Measures one run.
#[derive(Debug)]
pub(super) struct Meter {
    run_id: Uuid,
    told: Instant,
    levels: Levels,
}

impl Meter {
    /// A run that begins.
    pub(super) fn new(run_id: Uuid, now: Instant) -> Self {
        Self { run_id, told: now, levels: Levels::default() }
    }

    pub(super) fn run_id(&self) -> Uuid {
        self.run_id
    }

    /// What is to be told of the run now, if anything is.
    pub(super) fn read(&mut self, run: &RunRecord, now: Instant) -> Option<Progress> {
        let passed = now.duration_since(self.told);
        if run.levels == self.levels || passed < TOLD_EVERY {
            return None;
        }
        let (old, new) = (self.levels, run.levels);
        let speed = |old: Counts, new: Counts| Speed {
            processed: new.processed(),
            changed: new.changed(),
            rows_per_sec: per_second(old.processed(), new.processed(), passed),
        };
        self.told = now;
        self.levels = new;
        Some(Progress {
            run_id: run.run_id,
            source: run.source.clone(),
            processed: new.processed(),
            rows_per_sec: per_second(old.processed(), new.processed(), passed),
            levels: Speeds {
                institution: speed(old.institution, new.institution),
                patient: speed(old.patient, new.patient),
                study: speed(old.study, new.study),
                series: speed(old.series, new.series),
                instance: new.instance.map(|new| speed(old.instance.unwrap_or_default(), new)),
            },
        })
    }
}

/// To a tenth, for more digits would mean nothing.
fn per_second(old: u64, new: u64, passed: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a rate, rounded anyway")]
    let rows = new.saturating_sub(old) as f64;
    (rows / passed.as_secs_f64() * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::record;

    fn run(studies: u64, series: u64) -> RunRecord {
        let rows = |unchanged| Counts { unchanged, inserted: 1, ..Counts::default() };
        RunRecord { levels: Levels { study: rows(studies), series: rows(series), ..Levels::default() }, ..record(1) }
    }

    #[test]
    fn a_run_is_told_a_few_times_a_second_and_only_while_it_gets_further() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut meter = Meter::new(record(1).run_id, start);
        assert_eq!(meter.read(&run(10, 20), at(199)), None, "too early");
        assert!(meter.read(&run(10, 20), at(200)).is_some());
        assert_eq!(meter.read(&run(10, 20), at(5000)), None, "no further");
        assert!(meter.read(&run(10, 21), at(5001)).is_some());
        assert_eq!(meter.read(&run(10, 22), at(5002)), None, "too early again");
        assert!(meter.read(&run(10, 22), at(5201)).is_some(), "what was held back is told later");
    }

    #[test]
    fn the_rate_is_that_since_the_last_time() {
        let start = Instant::now();
        let mut meter = Meter::new(record(1).run_id, start);
        meter.read(&run(99, 199), start + Duration::from_secs(1)).expect("told");
        let told = meter.read(&run(100, 219), start + Duration::from_secs(3)).expect("told");
        assert_eq!((told.processed, told.rows_per_sec), (321, 10.5));
        assert_eq!(told.levels.study, Speed { processed: 101, changed: 1, rows_per_sec: 0.5 });
        assert_eq!(told.levels.series, Speed { processed: 220, changed: 1, rows_per_sec: 10.0 });
        assert_eq!(told.levels.patient, Speed::default());
    }
}
