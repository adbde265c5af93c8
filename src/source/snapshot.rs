//! One moment of an archive, and what can be asked of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use chrono::{NaiveDateTime, TimeZone as _};

use super::Level;
use super::queries::Queries;
use super::rows::{self, Hint, Key, SourcePatient, SourceSeries, SourceStudy};
use crate::database::{Class, Error, Lease, Param, Side, Value};
use crate::model::{Identifier, Links, joined};

/// The transactions that a view of a PostgreSQL archive does not show: those with an ID from `xmin` on
/// may be under way, those from `xmax` on had not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// The oldest transaction under way.
    pub xmin: i64,
    /// The next transaction.
    pub xmax: i64,
}

/// A read-only transaction that sees one moment of the archive. Give it back with
/// [`Snapshot::close`]; dropping it closes its session.
pub struct Snapshot {
    pub(super) lease: Lease,
    pub(super) queries: Arc<Queries>,
    time_zone: chrono_tz::Tz,
    begun: Instant,
}

impl Snapshot {
    pub(super) async fn begin(
        mut lease: Lease,
        queries: Arc<Queries>,
        time_zone: chrono_tz::Tz,
    ) -> Result<Self, Error> {
        lease.begin_snapshot().await?;
        Ok(Self { lease, queries, time_zone, begun: Instant::now() })
    }

    /// The zone of the archive's JVM.
    #[must_use]
    pub fn time_zone(&self) -> chrono_tz::Tz {
        self.time_zone
    }

    /// When this moment was.
    #[must_use]
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// Moves on to the present moment.
    ///
    /// # Errors
    /// The database failed.
    pub async fn renew(&mut self) -> Result<(), Error> {
        self.lease.commit().await?;
        self.lease.begin_snapshot().await?;
        self.begun = Instant::now();
        Ok(())
    }

    /// Ends it and keeps the session for the next one.
    ///
    /// # Errors
    /// The database failed.
    pub async fn close(mut self) -> Result<(), Error> {
        self.lease.commit().await?;
        self.lease.release();
        Ok(())
    }

    /// The database server's clock as the archive's JVM would write it.
    ///
    /// # Errors
    /// The database failed.
    pub async fn now(&mut self) -> Result<NaiveDateTime, Error> {
        let clock = self.lease.fetch(&self.queries.clock, &[], |cells| cells.time(0)).await?;
        let utc = clock.first().copied().flatten();
        let utc = utc.ok_or_else(|| Error::new(Side::Source, Class::Permanent, "the database has no clock"))?;
        Ok(self.time_zone.from_utc_datetime(&utc).naive_local())
    }

    /// Which transactions this view does not show; `None` where the database cannot tell.
    ///
    /// # Errors
    /// The database failed.
    pub async fn horizon(&mut self) -> Result<Option<Horizon>, Error> {
        let Some(sql) = self.queries.horizon.clone() else { return Ok(None) };
        let rows =
            self.lease.fetch(&sql, &[], |cells| Ok(Horizon { xmin: cells.key(0)?, xmax: cells.key(1)? })).await?;
        Ok(rows.first().copied())
    }

    /// The largest `updated_time` of a level that is not later than `now`; none if there is none.
    ///
    /// # Errors
    /// The database failed.
    pub async fn newest(&mut self, level: Level, now: NaiveDateTime) -> Result<Option<NaiveDateTime>, Error> {
        let now = [Param::Cell(Value::Time(Some(now)))];
        let rows = self.lease.fetch(&self.queries.newest[level as usize], &now, |cells| cells.time(0)).await?;
        Ok(rows.first().copied().flatten())
    }

    /// Rows behind `(updated_time, pk)` in that order, at most `limit`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn changed(
        &mut self,
        level: Level,
        after: (NaiveDateTime, i64),
        limit: usize,
    ) -> Result<Vec<Hint>, Error> {
        let params = [Param::Cell(Value::Time(Some(after.0))), Param::int(after.1), Param::int(limit as i64)];
        let hints = self.lease.fetch(&self.queries.changed[level as usize], &params, rows::hint).await?;
        Ok(hints.into_iter().flatten().collect())
    }

    /// Whether an index makes [`Snapshot::changed`] cheap.
    #[must_use]
    pub fn is_indexed(&self, level: Level) -> bool {
        self.queries.indexed[level as usize]
    }

    /// The largest pk of a level; 0 of an empty table.
    ///
    /// # Errors
    /// The database failed.
    pub async fn newest_pk(&mut self, level: Level) -> Result<i64, Error> {
        let rows = self.lease.fetch(&self.queries.newest_pk[level as usize], &[], |cells| cells.int(0)).await?;
        Ok(rows.first().copied().flatten().unwrap_or(0))
    }

    /// Rows behind a pk, ascending, at most `limit`: each pk and what to look at.
    ///
    /// # Errors
    /// The database failed.
    pub async fn added(&mut self, level: Level, after: i64, limit: usize) -> Result<Vec<(i64, i64)>, Error> {
        let params = [Param::int(after), Param::int(limit as i64)];
        let sql = &self.queries.added[level as usize];
        self.lease.fetch(sql, &params, |cells| Ok((cells.key(0)?, cells.key(1)?))).await
    }

    /// Keys of patients, studies or series behind `after`, ascending, at most `limit`; a patient has no UID.
    ///
    /// # Errors
    /// The database failed.
    pub async fn keys_after(&mut self, level: Level, after: i64, limit: usize) -> Result<Vec<Key>, Error> {
        let sql = &self.queries.keys_after[level.min(Level::Series) as usize];
        self.lease.fetch(sql, &[Param::int(after), Param::int(limit as i64)], rows::key).await
    }

    /// Patients with their identifiers, by pk; a pk that is gone is left out.
    ///
    /// # Errors
    /// The database failed.
    pub async fn patients(&mut self, pks: &[i64]) -> Result<Vec<SourcePatient>, Error> {
        let names = self.queries.names;
        let keys = [Param::Ints(pks)];
        let mut patients = self.lease.fetch(&self.queries.patients, &keys, |cells| rows::patient(cells, names)).await?;
        let rows = self.lease.fetch(&self.queries.identifiers, &keys, rows::identifier).await?;
        let mut identifiers: HashMap<i64, Vec<Identifier>> = HashMap::new();
        for (pk, identifier) in rows {
            identifiers.entry(pk).or_default().extend(identifier);
        }
        for patient in &mut patients {
            let mut own = identifiers.remove(&patient.row.source_pk).unwrap_or_default();
            if let Some(first) = own.first() {
                patient.row.patient_id = Some(first.patient_id.clone());
                patient.row.issuer.clone_from(&first.issuer);
            }
            own.sort_unstable();
            own.dedup();
            patient.row.identifiers = own;
        }
        Ok(patients)
    }

    /// Completes `links` so that every chain of merges which begins at one of `pks` can be followed to
    /// its end.
    ///
    /// # Errors
    /// The database failed.
    pub async fn follow_merges(&mut self, pks: impl IntoIterator<Item = i64>, links: &mut Links) -> Result<(), Error> {
        let mut asked = HashSet::new();
        let mut ask: Vec<i64> = pks.into_iter().filter(|pk| asked.insert(*pk)).collect();
        while !ask.is_empty() {
            let sql = &self.queries.merges;
            let found = self.lease.fetch(sql, &[Param::Ints(&ask)], |cells| Ok((cells.key(0)?, cells.key(1)?))).await?;
            ask = found.iter().map(|(_, to)| *to).filter(|to| asked.insert(*to)).collect();
            links.extend(found);
        }
        Ok(())
    }

    /// `pks` and every patient whose chain of merges leads to one of them, each once.
    ///
    /// # Errors
    /// The database failed.
    pub async fn with_merged_into(&mut self, pks: &[i64]) -> Result<Vec<i64>, Error> {
        let mut seen = HashSet::new();
        let mut ask: Vec<i64> = pks.iter().copied().filter(|pk| seen.insert(*pk)).collect();
        let mut all = ask.clone();
        while !ask.is_empty() {
            let found = self.lease.fetch(&self.queries.merged_into, &[Param::Ints(&ask)], |cells| cells.key(0)).await?;
            ask = found.into_iter().filter(|pk| seen.insert(*pk)).collect();
            all.extend(&ask);
        }
        Ok(all)
    }

    /// Studies with their access control IDs, by pk; a pk that is gone is left out.
    ///
    /// # Errors
    /// The database failed.
    pub async fn studies(&mut self, pks: &[i64]) -> Result<Vec<SourceStudy>, Error> {
        let names = self.queries.names;
        let keys = [Param::Ints(pks)];
        let mut studies = self.lease.fetch(&self.queries.studies, &keys, |cells| rows::study(cells, names)).await?;
        if let Some(sql) = self.queries.study_ids.clone() {
            let ids = self.access_control_ids(&sql, pks).await?;
            for study in &mut studies {
                study.row.access_control_ids = ids.get(&study.row.source_pk).and_then(|ids| join_ids(ids));
            }
        }
        Ok(studies)
    }

    /// All series of the studies with these pks, with their access control IDs, by study and pk.
    ///
    /// # Errors
    /// The database failed.
    pub async fn series_of(&mut self, study_pks: &[i64]) -> Result<Vec<SourceSeries>, Error> {
        let keys = [Param::Ints(study_pks)];
        let mut series = self.lease.fetch(&self.queries.series, &keys, SourceSeries::from_cells).await?;
        if let Some(sql) = self.queries.series_ids.clone() {
            let ids = self.access_control_ids(&sql, study_pks).await?;
            for series in &mut series {
                series.row.access_control_ids = ids.get(&series.row.source_pk).and_then(|ids| join_ids(ids));
            }
        }
        Ok(series)
    }

    async fn access_control_ids(&mut self, sql: &Arc<str>, pks: &[i64]) -> Result<HashMap<i64, Vec<String>>, Error> {
        let rows = self.lease.fetch(sql, &[Param::Ints(pks)], |cells| Ok((cells.key(0)?, cells.name(1)?))).await?;
        let mut ids: HashMap<i64, Vec<String>> = HashMap::new();
        for (owner, id) in rows {
            ids.entry(owner).or_default().push(id);
        }
        Ok(ids)
    }

    /// Keys of the studies whose patient has one of these pks.
    ///
    /// # Errors
    /// The database failed.
    pub async fn studies_of_patients(&mut self, patient_pks: &[i64]) -> Result<Vec<Key>, Error> {
        let keys = [Param::Ints(patient_pks)];
        self.lease.fetch(&self.queries.studies_of_patients, &keys, rows::key).await
    }

    /// Which of these studies exist and are not being deleted, with their pk.
    ///
    /// # Errors
    /// The database failed.
    pub async fn studies_by_uid(&mut self, uids: Vec<&str>) -> Result<HashMap<String, i64>, Error> {
        let sql = &self.queries.studies_by_uid;
        let rows = self
            .lease
            .fetch(sql, &[Param::Texts(uids)], |cells| Ok((cells.name(0)?, cells.key(1)?, cells.flag(2)?)))
            .await?;
        Ok(rows.into_iter().filter(|(.., deleting)| !deleting).map(|(uid, pk, _)| (uid, pk)).collect())
    }

    /// Which of these patients exist.
    ///
    /// # Errors
    /// The database failed.
    pub async fn patients_alive(&mut self, pks: &[i64]) -> Result<HashSet<i64>, Error> {
        let keys = [Param::Ints(pks)];
        Ok(self.lease.fetch(&self.queries.patients_alive, &keys, |cells| cells.key(0)).await?.into_iter().collect())
    }

    /// The series of these studies, as pairs of UIDs, where the study is not being deleted.
    ///
    /// # Errors
    /// The database failed.
    pub async fn series_alive(&mut self, study_uids: Vec<&str>) -> Result<HashSet<(String, String)>, Error> {
        let uids = [Param::Texts(study_uids)];
        let rows =
            self.lease.fetch(&self.queries.series_alive, &uids, |cells| Ok((cells.name(0)?, cells.name(1)?))).await?;
        Ok(rows.into_iter().collect())
    }
}

pub(super) fn join_ids(ids: &[String]) -> Option<String> {
    joined(ids.iter().map(String::as_str))
}
