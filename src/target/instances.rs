//! The instance level in the target: its table, its rows, and deleting them in steps. A series may have a million
//! instances, and nothing here reads or writes more than it is asked for at once.

use std::collections::HashMap;

use super::Target;
use super::deletes::Candidate;
use super::rows::column_list;
use super::schema;
use super::session::{Standing, TargetSession};
use crate::config::{Deletes, Dialect};
use crate::database::{Cells, Damage, Error, Param, bigint};
use crate::model::{Instance, Record};
use crate::source::Level;

/// Instances that are deleted in one transaction.
const STEP: u64 = 10_000;

/// How many instances of a series the target has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InstanceCount {
    /// With and without a tombstone.
    pub all: u64,
    /// Without one.
    pub live: u64,
}

impl TargetSession {
    /// Makes the table of this level if it is missing; a dry run does without it.
    ///
    /// # Errors
    /// The login may not create tables, or the database failed.
    pub async fn make_instances(&mut self, target: &Target) -> Result<(), Error> {
        if self.has_instances || self.dry_run {
            return Ok(());
        }
        let _one_at_a_time = target.making.lock().await;
        if !schema::has_instances(&mut self.lease).await? {
            self.begin().await?;
            if self.lease.dialect() == Dialect::Mysql {
                // There each statement of DDL ends the transaction.
                self.commit().await?;
            }
            schema::make_instances(&mut self.lease).await?;
            self.commit().await?;
        }
        self.has_instances = true;
        Ok(())
    }

    /// Forgets how far this level has been read: it is switched off, its rows are not kept in step, and when it
    /// is switched on again all of them are compared.
    ///
    /// # Errors
    /// The database failed.
    pub async fn leave_instances(&mut self) -> Result<(), Error> {
        let source = [Param::int(self.source_fk)];
        self.write("DELETE FROM sync_cursor WHERE source_fk = $1 AND level = 'instance'", &source).await?;
        self.write("DELETE FROM sync_sweep WHERE source_fk = $1 AND pass = 'instance'", &source).await?;
        self.commit().await
    }

    /// The live series of studies with these UIDs.
    ///
    /// # Errors
    /// The database failed.
    pub async fn live_series(&mut self, study_uids: Vec<&str>) -> Result<Vec<Candidate>, Error> {
        let sql = format!(
            "SELECT e.id, e.source_pk, s.id, s.study_uid, e.series_uid FROM rbac_series e \
             JOIN rbac_study s ON s.id = e.study_fk \
             WHERE {} AND s.source_fk = $2 AND s.deleted_at IS NULL AND e.deleted_at IS NULL",
            self.any("s.study_uid")
        );
        let series = |cells: &dyn Cells| {
            Ok(Candidate {
                id: cells.key(0)?,
                source_pk: cells.key(1)?,
                study_id: cells.key(2)?,
                study_uid: cells.name(3)?,
                series_uid: cells.name(4)?,
                ..Candidate::default()
            })
        };
        self.read(sql, &[Param::Texts(study_uids), Param::int(self.source_fk)], series).await
    }

    /// How many instances these series have, by the series' `id`; none where there are none.
    ///
    /// # Errors
    /// The database failed.
    pub async fn instance_counts(&mut self, series_ids: &[i64]) -> Result<HashMap<i64, InstanceCount>, Error> {
        if !self.has_instances {
            return Ok(HashMap::new());
        }
        let sql = format!(
            "SELECT series_fk, count(*), count(*) - count(deleted_at) FROM rbac_instance WHERE {} GROUP BY series_fk",
            self.any("series_fk")
        );
        let count = |cells: &dyn Cells| {
            let count = InstanceCount { all: cells.key(1)?.unsigned_abs(), live: cells.key(2)?.unsigned_abs() };
            Ok((cells.key(0)?, count))
        };
        Ok(self.read(sql, &[Param::Ints(series_ids)], count).await?.into_iter().collect())
    }

    /// Shows the instances of one series that have these UIDs.
    ///
    /// # Errors
    /// The database failed.
    pub async fn show_named(
        &mut self,
        series_id: i64,
        uids: Vec<&str>,
        mut show: impl FnMut(&Standing<'_, Instance>) -> Result<(), Damage> + Send,
    ) -> Result<(), Error> {
        let sql = format!(
            "SELECT id, {}, {} FROM {} WHERE {} AND series_fk = $2",
            bigint(self.lease.dialect(), "CASE WHEN deleted_at IS NULL THEN 0 ELSE 1 END"),
            column_list::<Instance>(),
            Instance::TABLE,
            self.any("instance_uid")
        );
        let params = [Param::Texts(uids), Param::int(series_id)];
        self.read(sql, &params, |cells| show(&Standing::new(cells))).await.map(drop)
    }

    /// `id`, pk and UID of live instances of one series behind a UID, at most `limit`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn live_instances_after(
        &mut self,
        series_id: i64,
        uid: &str,
        limit: usize,
    ) -> Result<Vec<(i64, i64, String)>, Error> {
        let sql = "SELECT id, source_pk, instance_uid FROM rbac_instance \
                   WHERE series_fk = $1 AND instance_uid > $2 AND deleted_at IS NULL ORDER BY instance_uid LIMIT $3";
        let params = [Param::int(series_id), Param::text(uid), Param::int(limit as i64)];
        self.read(sql, &params, |cells| Ok((cells.key(0)?, cells.key(1)?, cells.name(2)?))).await
    }

    /// Tombstones or removes instances; answers how many of them were live.
    ///
    /// # Errors
    /// The database failed.
    pub async fn delete_instances(&mut self, ids: &[i64], deletes: Deletes) -> Result<u64, Error> {
        self.end_instances("id", ids, deletes).await
    }

    /// The series whose instances have to be deleted before these studies or series are, in parts of which each
    /// is one call of [`TargetSession::delete_some_instances`]; a large series stands in several.
    ///
    /// # Errors
    /// The database failed.
    pub async fn instance_steps(
        &mut self,
        level: Level,
        ids: &[i64],
        deletes: Deletes,
    ) -> Result<Vec<Vec<i64>>, Error> {
        // A dry run deletes nothing, so it can count all at once.
        if !self.has_instances || self.dry_run || ids.is_empty() {
            return Ok(Vec::new());
        }
        let of_studies = format!("SELECT id FROM rbac_series WHERE {}", self.any("study_fk"));
        let series = match level {
            Level::Study => self.read(of_studies, &[Param::Ints(ids)], |cells| cells.key(0)).await?,
            Level::Patient | Level::Series | Level::Instance => ids.to_vec(),
        };
        let counts = self.instance_counts(&series).await?;
        let rows = |count: &InstanceCount| if deletes == Deletes::Remove { count.all } else { count.live };
        let mut counts: Vec<(i64, u64)> = counts.iter().map(|(id, count)| (*id, rows(count))).collect();
        counts.sort_unstable();
        Ok(steps(&counts))
    }

    /// Tombstones or removes instances of these series, but no more than one transaction should; answers how many
    /// of them were live.
    ///
    /// # Errors
    /// The database failed.
    pub async fn delete_some_instances(&mut self, series_ids: &[i64], deletes: Deletes) -> Result<u64, Error> {
        let left = if deletes == Deletes::Tombstone { " AND deleted_at IS NULL" } else { "" };
        let sql = format!("SELECT id FROM rbac_instance WHERE {}{left} LIMIT $2", self.any("series_fk"));
        let limit = Param::int(STEP.cast_signed());
        let ids = self.read(sql, &[Param::Ints(series_ids), limit], |cells| cells.key(0)).await?;
        self.end_instances("id", &ids, deletes).await
    }

    pub(super) async fn end_instances(&mut self, key: &str, keys: &[i64], deletes: Deletes) -> Result<u64, Error> {
        if !self.has_instances {
            return Ok(0);
        }
        self.end(Instance::TABLE, key, keys, deletes).await
    }
}

/// Series with so many rows each, in parts of at most [`STEP`] rows; one with more stands in as many parts as it
/// needs.
fn steps(counts: &[(i64, u64)]) -> Vec<Vec<i64>> {
    let mut steps = Vec::new();
    let (mut part, mut rows) = (Vec::new(), 0);
    for &(id, count) in counts.iter().filter(|(_, count)| *count > 0) {
        if count > STEP {
            steps.extend(std::iter::repeat_n(vec![id], usize::try_from(count.div_ceil(STEP)).unwrap_or(usize::MAX)));
            continue;
        }
        if rows + count > STEP {
            steps.push(std::mem::take(&mut part));
            rows = 0;
        }
        part.push(id);
        rows += count;
    }
    if !part.is_empty() {
        steps.push(part);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_many_small_series_or_a_part_of_a_large_one() {
        let counts = [(1, 4000), (2, 0), (3, 25_000), (4, 6000), (5, 1)];
        assert_eq!(steps(&counts), [vec![3], vec![3], vec![3], vec![1, 4], vec![5]]);
        assert!(steps(&[]).is_empty());
    }
}
