//! Studies with their series on their way into the target: compared with its rows, and written where they differ. Knows
//! one session with the target and nothing of the run, so that sheets can be written beside each other.

use std::collections::HashMap;

use super::plan::Comparison;
use super::{Error, Levels};
use crate::model::{Series, Study};
use crate::source::SourceSeries;
use crate::target::{Candidate, TargetSession};

/// Studies whose patients and institutions are in the target.
pub(super) struct Sheet {
    /// Complete.
    pub(super) studies: Vec<Study>,
    /// All their series; complete but for the study's `id`.
    pub(super) series: Vec<SourceSeries>,
}

/// What became of a sheet.
#[derive(Default)]
pub(super) struct Written {
    /// What was written and what was equal.
    pub(super) levels: Levels,
    /// Live series of its studies that the source has not.
    pub(super) absent: Vec<Candidate>,
}

impl Sheet {
    /// How many ids its rows take if all of them are new.
    pub(super) fn rows(&self) -> usize {
        self.studies.len() + self.series.len()
    }

    /// Writes it; the transaction is left open.
    pub(super) async fn write(self, target: &mut TargetSession) -> Result<Written, Error> {
        let Self { studies: wanted, series } = self;
        let mut comparison = Comparison::new(&wanted);
        let uids = wanted.iter().map(|study| study.study_uid.as_str()).collect();
        target.show_studies(uids, |row| comparison.show(row)).await?;
        let plan = comparison.end().plan(wanted);
        let known: Vec<i64> = plan.update.iter().chain(&plan.unchanged).map(|(id, _)| *id).collect();
        let mut written = Written::default();
        written.levels.study += plan.counts();
        let first = target.allocate(plan.insert.len()).await?;
        let inserted: Vec<(i64, &Study)> = (first..).zip(&plan.insert).collect();
        let updated = by_id(&plan.update);
        target.insert(&inserted).await?;
        target.upsert(&updated).await?;

        let all: Vec<(i64, &Study)> = [inserted, updated, by_id(&plan.unchanged)].concat();
        let ids: HashMap<i64, i64> = all.iter().map(|(id, study)| (study.source_pk, *id)).collect();
        let series = series.into_iter().filter_map(|series| {
            let study_fk = *ids.get(&series.study_pk)?;
            Some(Series { study_fk, ..series.row })
        });
        let uids = all.iter().map(|(id, study)| (*id, study.study_uid.as_str())).collect();
        write_series(series.collect(), &known, &uids, target, &mut written).await?;
        Ok(written)
    }
}

/// Writes all series of some studies; `known` are those of the studies that were there before, `uids` the UIDs of all
/// of them.
async fn write_series(
    wanted: Vec<Series>,
    known: &[i64],
    uids: &HashMap<i64, &str>,
    target: &mut TargetSession,
    written: &mut Written,
) -> Result<(), Error> {
    let mut comparison = Comparison::new(&wanted);
    if !known.is_empty() {
        target.show_series(known, |row| comparison.show(row)).await?;
    }
    let plan = comparison.end().plan(wanted);
    written.levels.series += plan.counts();
    let first = target.allocate(plan.insert.len()).await?;
    let inserted: Vec<(i64, &Series)> = (first..).zip(&plan.insert).collect();
    target.insert(&inserted).await?;
    target.upsert(&by_id(&plan.update)).await?;
    let absent = plan.absent.into_iter().map(|series| Candidate {
        id: series.id,
        source_pk: series.row.source_pk,
        study_id: series.row.study_fk,
        study_uid: uids.get(&series.row.study_fk).copied().unwrap_or_default().to_owned(),
        series_uid: series.row.series_uid,
        ..Candidate::default()
    });
    written.absent.extend(absent);
    Ok(())
}

pub(super) fn by_id<T>(rows: &[(i64, T)]) -> Vec<(i64, &T)> {
    rows.iter().map(|(id, row)| (*id, row)).collect()
}
