//! Rows that are gone from the source: finding them in the target, and tombstoning or removing them.

use std::fmt;

use super::session::TargetSession;
use crate::config::Deletes;
use crate::database::{Cells, Damage, Error, Param};
use crate::source::Level;

/// A live row of the target that may be gone from the source.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Candidate {
    /// Its `id`.
    pub id: i64,
    /// Its pk in the archive.
    pub source_pk: i64,
    /// `id` of its study; of a patient 0.
    pub study_id: i64,
    /// UID of its study; of a patient empty.
    pub study_uid: String,
    /// UID of the series, of an instance that of its series; on other levels empty.
    pub series_uid: String,
    /// `id` of the series of an instance; on other levels 0.
    pub series_id: i64,
    /// UID of the instance; on other levels empty.
    pub instance_uid: String,
}

/// Live rows that were tombstoned or removed, by level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// `rbac_study`
    pub studies: u64,
    /// `rbac_series`
    pub series: u64,
    /// `rbac_instance`
    pub instances: u64,
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Candidate(id {}, pk {})", self.id, self.source_pk)
    }
}

fn patient(cells: &dyn Cells) -> Result<Candidate, Damage> {
    Ok(Candidate { id: cells.key(0)?, source_pk: cells.key(1)?, ..Candidate::default() })
}

fn study(cells: &dyn Cells) -> Result<Candidate, Damage> {
    Ok(Candidate { study_id: cells.key(0)?, study_uid: cells.name(2)?, ..patient(cells)? })
}

impl TargetSession {
    /// Of live patients or studies with `after < source_pk <= upto` those that are not `there`, by pk and UID (empty
    /// of a patient); at most `limit` rows are looked at, ascending, and the pk of the last one says that there may be
    /// more.
    ///
    /// # Errors
    /// The database failed.
    pub async fn missing_between(
        &mut self,
        level: Level,
        after: i64,
        upto: i64,
        limit: usize,
        there: impl Fn(i64, &str) -> bool + Sync,
    ) -> Result<(Vec<Candidate>, Option<i64>), Error> {
        let (columns, table) = if level == Level::Patient {
            ("id, source_pk, ''", "rbac_patient")
        } else {
            ("id, source_pk, study_uid", "rbac_study")
        };
        let sql = format!(
            "SELECT {columns} FROM {table} WHERE source_fk = $1 AND source_pk > $2 AND source_pk <= $3 \
             AND deleted_at IS NULL ORDER BY source_pk LIMIT $4"
        );
        let params = [Param::int(self.source_fk), Param::int(after), Param::int(upto), Param::int(limit as i64)];
        let decode = if level == Level::Patient { patient } else { study };
        let (mut missing, mut count, mut last) = (Vec::new(), 0, None);
        let look = |cells: &dyn Cells| {
            (count, last) = (count + 1, Some(cells.key(1)?));
            if !there(cells.key(1)?, cells.str(2)?.unwrap_or_default()) {
                missing.push(decode(cells)?);
            }
            Ok(())
        };
        self.read(sql, &params, look).await?;
        Ok((missing, last.filter(|_| count == limit)))
    }

    /// Live studies of the patients with these pks in the archive.
    ///
    /// # Errors
    /// The database failed.
    pub async fn live_studies_of(&mut self, patient_pks: &[i64]) -> Result<Vec<Candidate>, Error> {
        let sql = format!(
            "SELECT s.id, s.source_pk, s.study_uid FROM rbac_study s JOIN rbac_patient p ON p.id = s.patient_fk \
             WHERE {} AND p.source_fk = $2 AND s.deleted_at IS NULL",
            self.any("p.source_pk")
        );
        let params = [Param::Ints(patient_pks), Param::int(self.source_fk)];
        self.read(sql, &params, study).await
    }

    /// How many live series these studies have.
    ///
    /// # Errors
    /// The database failed.
    pub async fn live_series_count(&mut self, study_ids: &[i64]) -> Result<u64, Error> {
        let sql = format!("SELECT count(*) FROM rbac_series WHERE {} AND deleted_at IS NULL", self.any("study_fk"));
        self.count_all(sql, study_ids).await
    }

    /// Whether a level of this source has at least `count` live rows; looks at no more rows than that.
    ///
    /// # Errors
    /// The database failed.
    pub async fn has_live(&mut self, level: Level, count: u64) -> Result<bool, Error> {
        let from = match level {
            Level::Patient => "rbac_patient r WHERE r.source_fk = $1",
            Level::Study => "rbac_study r WHERE r.source_fk = $1",
            Level::Series => "rbac_series r JOIN rbac_study s ON s.id = r.study_fk WHERE s.source_fk = $1",
            Level::Instance => {
                "rbac_instance r JOIN rbac_series e ON e.id = r.series_fk JOIN rbac_study s ON s.id = e.study_fk \
                 WHERE s.source_fk = $1"
            }
        };
        let sql =
            format!("SELECT count(*) FROM (SELECT 1 AS one FROM {from} AND r.deleted_at IS NULL LIMIT $2) some_rows");
        let limit = i64::try_from(count).unwrap_or(i64::MAX);
        let found = self.read(sql, &[Param::int(self.source_fk), Param::int(limit)], |cells| cells.key(0)).await?;
        Ok(found.first().is_some_and(|found| *found >= limit))
    }

    /// Of these rows, those that are still live and still stand for the same pk: a row that was written
    /// again since it was found is not gone.
    ///
    /// # Errors
    /// The database failed.
    pub async fn still_live(&mut self, level: Level, candidates: &[Candidate]) -> Result<Vec<i64>, Error> {
        let table = resource_table(level);
        let ids: Vec<i64> = candidates.iter().map(|candidate| candidate.id).collect();
        let sql = format!("SELECT id, source_pk FROM {table} WHERE {} AND deleted_at IS NULL", self.any("id"));
        let rows = self.read(sql, &[Param::Ints(&ids)], |cells| Ok((cells.key(0)?, cells.key(1)?))).await?;
        let same = |(id, pk): &(i64, i64)| candidates.iter().any(|c| c.id == *id && c.source_pk == *pk);
        Ok(rows.into_iter().filter(same).map(|(id, _)| id).collect())
    }

    /// Tombstones or removes series with all their instances. Those of a large series are deleted before, in
    /// [steps](TargetSession::instance_steps).
    ///
    /// # Errors
    /// The database failed.
    pub async fn delete_series(&mut self, ids: &[i64], deletes: Deletes) -> Result<Ended, Error> {
        let instances = self.end_instances("series_fk", ids, deletes).await?;
        Ok(Ended { studies: 0, series: self.end("rbac_series", "id", ids, deletes).await?, instances })
    }

    /// Tombstones or removes studies with all their series and their instances, as
    /// [`delete_series`](TargetSession::delete_series) does.
    ///
    /// # Errors
    /// The database failed.
    pub async fn delete_studies(&mut self, ids: &[i64], deletes: Deletes) -> Result<Ended, Error> {
        let mut instances = 0;
        if self.has_instances {
            let of_studies = format!("SELECT id FROM rbac_series WHERE {}", self.any("study_fk"));
            let series = self.read(of_studies, &[Param::Ints(ids)], |cells| cells.key(0)).await?;
            instances = self.end_instances("series_fk", &series, deletes).await?;
        }
        let series = self.end("rbac_series", "study_fk", ids, deletes).await?;
        Ok(Ended { studies: self.end("rbac_study", "id", ids, deletes).await?, series, instances })
    }

    /// Tombstones or removes patients; one that still has a live study stays, for a live row never has a
    /// deleted parent. Answers how many.
    ///
    /// # Errors
    /// The database failed.
    pub async fn delete_patients(&mut self, ids: &[i64], deletes: Deletes) -> Result<u64, Error> {
        let sql = format!(
            "SELECT id FROM rbac_patient p WHERE {} AND NOT EXISTS \
             (SELECT 1 FROM rbac_study s WHERE s.patient_fk = p.id AND s.deleted_at IS NULL)",
            self.any("id")
        );
        let childless = self.read(sql, &[Param::Ints(ids)], |cells| cells.key(0)).await?;
        if deletes == Deletes::Remove {
            // Tombstones from the time before `deletes = "remove"` go with their patient.
            let dead = format!("SELECT id FROM rbac_study WHERE {}", self.any("patient_fk"));
            let dead = self.read(dead, &[Param::Ints(&childless)], |cells| cells.key(0)).await?;
            self.delete_studies(&dead, deletes).await?;
            let identifiers = format!("DELETE FROM rbac_patient_identifier WHERE {}", self.any("patient_fk"));
            self.write(identifiers, &[Param::Ints(&childless)]).await?;
            let merged = format!("UPDATE rbac_patient SET merged_into_fk = NULL WHERE {}", self.any("merged_into_fk"));
            self.write(merged, &[Param::Ints(&childless)]).await?;
        }
        self.end("rbac_patient", "id", &childless, deletes).await
    }

    /// How many rows a statement counts, all parts of a long list together.
    async fn count_all(&mut self, sql: String, keys: &[i64]) -> Result<u64, Error> {
        let counts = self.read(sql, &[Param::Ints(keys)], |cells| cells.key(0)).await?;
        Ok(counts.into_iter().map(i64::unsigned_abs).sum())
    }

    pub(super) async fn end(&mut self, table: &str, key: &str, keys: &[i64], deletes: Deletes) -> Result<u64, Error> {
        if keys.is_empty() {
            return Ok(0);
        }
        let any = self.any(key);
        let count = format!("SELECT count(*) FROM {table} WHERE {any} AND deleted_at IS NULL");
        let count = self.count_all(count, keys).await?;
        let sql = match deletes {
            Deletes::Tombstone => {
                format!("UPDATE {table} SET deleted_at = $2, synced_at = $2 WHERE {any} AND deleted_at IS NULL")
            }
            Deletes::Remove => format!("DELETE FROM {table} WHERE {any}"),
        };
        let mut params = vec![Param::Ints(keys)];
        if deletes == Deletes::Tombstone {
            params.push(Param::Instant(Some(self.now)));
        }
        self.write(sql, &params).await?;
        Ok(count)
    }
}

fn resource_table(level: Level) -> &'static str {
    match level {
        Level::Patient => "rbac_patient",
        Level::Study => "rbac_study",
        Level::Series => "rbac_series",
        Level::Instance => "rbac_instance",
    }
}
