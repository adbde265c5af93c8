//! The instance level of an archive: rows of table `instance`, and the series that they belong to.
//!
//! A series may have a million of them, and nothing here reads more than it is asked for at once. Within a series
//! they are read in the order of their UIDs, for that is the index which every release has.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use chrono::NaiveDateTime;

use super::queries::Writer;
use super::rows::{self, Hint};
use super::snapshot::Snapshot;
use crate::database::{Cells, Damage, Error, Param, Value};
use crate::model::Instance;

/// A series as its instances need it.
#[derive(Clone, PartialEq, Eq)]
pub struct SeriesPlace {
    /// The series' pk.
    pub pk: i64,
    /// The pk of its study.
    pub study_pk: i64,
    /// The UID of its study.
    pub study_uid: String,
    /// Its UID.
    pub series_uid: String,
    /// Whether the archive is deleting the study.
    pub deleting: bool,
    /// Whether its instances are purged to metadata: rows that are absent are then not deleted.
    pub purged: bool,
}

impl fmt::Debug for SeriesPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SeriesPlace(pk {})", self.pk)
    }
}

/// An instance as the archive has it.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceInstance {
    /// The row; `series_fk` is still open.
    pub row: Instance,
    /// The pk of its series.
    pub series_pk: i64,
}

impl fmt::Debug for SourceInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceInstance(pk {})", self.row.source_pk)
    }
}

/// The statements of this level.
#[derive(Debug)]
pub(super) struct Statements {
    places: Arc<str>,
    places_of_studies: Arc<str>,
    counts: Arc<str>,
    of_series: Arc<str>,
    after: Arc<str>,
    named: Arc<str>,
    alive: Arc<str>,
    purged: Arc<str>,
    changed_between: Arc<str>,
    newest_upto: Arc<str>,
}

impl Statements {
    pub(super) fn new(write: &Writer<'_>) -> Self {
        let deleting = write.flag("s", "study", "study_deleting");
        let is_purged = if write.shape.has("series", "inst_purge_state") { "e.inst_purge_state = 1" } else { "1 = 0" };
        let purged = write.bigint(&format!("CASE WHEN {is_purged} THEN 1 ELSE 0 END"));
        let places = |key: &str| {
            format!(
                "SELECT e.pk, e.study_fk, s.study_iuid, e.series_iuid, {deleting}, {purged} \
                 FROM series e JOIN study s ON s.pk = e.study_fk WHERE {} ORDER BY e.pk",
                write.any(key)
            )
            .into()
        };
        let columns = format!(
            "i.pk, i.series_fk, i.sop_iuid, i.sop_cuid, {}, {}, {}",
            write.int("i", "instance", "inst_no"),
            write.time("i", "instance", "created_time"),
            write.time("i", "instance", "updated_time"),
        );
        Self {
            places: places("e.pk"),
            places_of_studies: places("e.study_fk"),
            counts: format!(
                "SELECT series_fk, count(*) FROM instance WHERE {} GROUP BY series_fk",
                write.any("series_fk")
            )
            .into(),
            of_series: format!("SELECT {columns} FROM instance i WHERE {}", write.any("i.series_fk")).into(),
            after: format!(
                "SELECT {columns} FROM instance i WHERE i.series_fk = $1 AND i.sop_iuid > $2 \
                 ORDER BY i.sop_iuid LIMIT $3"
            )
            .into(),
            named: format!("SELECT sop_iuid FROM instance WHERE {} AND series_fk = $2", write.any("sop_iuid")).into(),
            alive: format!(
                "SELECT s.study_iuid, e.series_iuid, i.sop_iuid FROM instance i JOIN series e ON e.pk = i.series_fk \
                 JOIN study s ON s.pk = e.study_fk WHERE {} AND {deleting} = 0",
                write.any("i.sop_iuid")
            )
            .into(),
            purged: format!(
                "SELECT s.study_iuid, e.series_iuid FROM series e JOIN study s ON s.pk = e.study_fk \
                 WHERE {} AND {is_purged}",
                write.any("s.study_iuid")
            )
            .into(),
            changed_between: "SELECT pk, series_fk, updated_time FROM instance \
                              WHERE pk > $1 AND pk <= $2 AND updated_time >= $3 ORDER BY pk"
                .into(),
            newest_upto: "SELECT max(pk) FROM instance WHERE pk <= $1".into(),
        }
    }
}

fn place(cells: &dyn Cells) -> Result<SeriesPlace, Damage> {
    Ok(SeriesPlace {
        pk: cells.key(0)?,
        study_pk: cells.key(1)?,
        study_uid: cells.name(2)?,
        series_uid: cells.name(3)?,
        deleting: cells.flag(4)?,
        purged: cells.flag(5)?,
    })
}

fn instance(cells: &dyn Cells) -> Result<SourceInstance, Damage> {
    let row = Instance {
        source_pk: cells.key(0)?,
        series_fk: 0,
        instance_uid: cells.name(2)?,
        sop_class_uid: rows::clean(cells, 3)?,
        instance_number: cells.int(4)?,
        created_time: rows::millis(cells, 5)?,
        updated_time: rows::millis(cells, 6)?,
    };
    Ok(SourceInstance { row, series_pk: cells.key(1)? })
}

impl Snapshot {
    /// Series by pk; one that is gone is left out.
    ///
    /// # Errors
    /// The database failed.
    pub async fn places(&mut self, series_pks: &[i64]) -> Result<Vec<SeriesPlace>, Error> {
        self.lease.fetch(&self.queries.instances.places, &[Param::Ints(series_pks)], place).await
    }

    /// The series of studies with these pks.
    ///
    /// # Errors
    /// The database failed.
    pub async fn places_of_studies(&mut self, study_pks: &[i64]) -> Result<Vec<SeriesPlace>, Error> {
        self.lease.fetch(&self.queries.instances.places_of_studies, &[Param::Ints(study_pks)], place).await
    }

    /// How many instances these series have, by pk; none where there are none.
    ///
    /// # Errors
    /// The database failed.
    pub async fn instance_counts(&mut self, series_pks: &[i64]) -> Result<HashMap<i64, u64>, Error> {
        let keys = [Param::Ints(series_pks)];
        let count = |cells: &dyn Cells| Ok((cells.key(0)?, cells.key(1)?.unsigned_abs()));
        Ok(self.lease.fetch(&self.queries.instances.counts, &keys, count).await?.into_iter().collect())
    }

    /// All instances of these series; ask [`Snapshot::instance_counts`] first how many that are.
    ///
    /// # Errors
    /// The database failed.
    pub async fn instances_of(&mut self, series_pks: &[i64]) -> Result<Vec<SourceInstance>, Error> {
        self.lease.fetch(&self.queries.instances.of_series, &[Param::Ints(series_pks)], instance).await
    }

    /// Instances of one series behind a UID in the archive's order of UIDs, at most `limit`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn instances_after(
        &mut self,
        series_pk: i64,
        uid: &str,
        limit: usize,
    ) -> Result<Vec<SourceInstance>, Error> {
        let params = [Param::int(series_pk), Param::text(uid), Param::int(limit as i64)];
        self.lease.fetch(&self.queries.instances.after, &params, instance).await
    }

    /// Which of these UIDs a series has.
    ///
    /// # Errors
    /// The database failed.
    pub async fn instances_named(&mut self, series_pk: i64, uids: Vec<&str>) -> Result<HashSet<String>, Error> {
        let params = [Param::Texts(uids), Param::int(series_pk)];
        let found = self.lease.fetch(&self.queries.instances.named, &params, |cells| cells.name(0)).await?;
        Ok(found.into_iter().collect())
    }

    /// The places of instances with these UIDs, as triples of UIDs (study, series, instance), where the study is
    /// not being deleted.
    ///
    /// # Errors
    /// The database failed.
    pub async fn instances_alive(&mut self, uids: Vec<&str>) -> Result<HashSet<[String; 3]>, Error> {
        let triple = |cells: &dyn Cells| Ok([cells.name(0)?, cells.name(1)?, cells.name(2)?]);
        let found = self.lease.fetch(&self.queries.instances.alive, &[Param::Texts(uids)], triple).await?;
        Ok(found.into_iter().collect())
    }

    /// The series of these studies that are purged to metadata, as pairs of UIDs.
    ///
    /// # Errors
    /// The database failed.
    pub async fn series_purged(&mut self, study_uids: Vec<&str>) -> Result<HashSet<(String, String)>, Error> {
        let pair = |cells: &dyn Cells| Ok((cells.name(0)?, cells.name(1)?));
        let found = self.lease.fetch(&self.queries.instances.purged, &[Param::Texts(study_uids)], pair).await?;
        Ok(found.into_iter().collect())
    }

    /// Instances with `after < pk <= upto` that were changed at `since` or later.
    ///
    /// # Errors
    /// The database failed.
    pub async fn instances_changed(&mut self, after: i64, upto: i64, since: NaiveDateTime) -> Result<Vec<Hint>, Error> {
        let params = [Param::int(after), Param::int(upto), Param::Cell(Value::Time(Some(since)))];
        let hints = self.lease.fetch(&self.queries.instances.changed_between, &params, rows::hint).await?;
        Ok(hints.into_iter().flatten().collect())
    }

    /// The largest pk of an instance up to `upto`; none if there is none.
    ///
    /// # Errors
    /// The database failed.
    pub async fn newest_instance_upto(&mut self, upto: i64) -> Result<Option<i64>, Error> {
        let found = self.lease.fetch(&self.queries.instances.newest_upto, &[Param::int(upto)], |c| c.int(0)).await?;
        Ok(found.first().copied().flatten())
    }
}
