//! Reading the rows of the resource tables.

use std::collections::HashMap;

use super::session::{Existing, Standing, TargetSession};
use crate::database::{Damage, Error, Param, bigint};
use crate::model::{Identifier, Instance, Institution, Patient, Record, Series, Study};

pub(super) fn column_list<T: Record>() -> String {
    T::COLUMNS.iter().map(|column| column.name).collect::<Vec<_>>().join(", ")
}

impl TargetSession {
    /// Shows the rows of this source whose `key` is one of `keys`.
    async fn show<T: Record>(
        &mut self,
        key: &str,
        keys: Param<'_>,
        mut show: impl FnMut(&Standing<'_, T>) -> Result<(), Damage> + Send,
    ) -> Result<(), Error> {
        let deleted = if T::HAS_LIFE { "CASE WHEN deleted_at IS NULL THEN 0 ELSE 1 END" } else { "0" };
        let source = if T::HAS_SOURCE { " AND source_fk = $2" } else { "" };
        let sql = format!(
            "SELECT id, {}, {} FROM {} WHERE {}{source}",
            bigint(self.lease.dialect(), deleted),
            column_list::<T>(),
            T::TABLE,
            self.any(key)
        );
        let mut params = vec![keys];
        if T::HAS_SOURCE {
            params.push(Param::int(self.source_fk));
        }
        self.read(sql, &params, |cells| show(&Standing::new(cells))).await.map(drop)
    }

    /// The rows of this source whose `key` is one of `keys`.
    async fn existing<T: Record>(&mut self, key: &str, keys: Param<'_>) -> Result<Vec<Existing<T>>, Error> {
        let mut existing = Vec::new();
        let keep = |row: &Standing<'_, T>| {
            existing.push(row.read()?);
            Ok(())
        };
        self.show(key, keys, keep).await?;
        Ok(existing)
    }

    /// Patients by the archive's pk, with their identifiers.
    ///
    /// # Errors
    /// The database failed.
    pub async fn patients(&mut self, source_pks: &[i64]) -> Result<Vec<Existing<Patient>>, Error> {
        let mut patients = self.existing::<Patient>("source_pk", Param::Ints(source_pks)).await?;
        let ids: Vec<i64> = patients.iter().map(|patient| patient.id).collect();
        let sql = format!(
            "SELECT patient_fk, patient_id, issuer FROM rbac_patient_identifier WHERE {}",
            self.any("patient_fk")
        );
        let rows = self
            .read(sql, &[Param::Ints(&ids)], |cells| {
                Ok((cells.key(0)?, Identifier { patient_id: cells.name(1)?, issuer: cells.text(2)? }))
            })
            .await?;
        let mut identifiers: HashMap<i64, Vec<Identifier>> = HashMap::new();
        for (id, identifier) in rows {
            identifiers.entry(id).or_default().push(identifier);
        }
        for patient in &mut patients {
            patient.row.identifiers = identifiers.remove(&patient.id).unwrap_or_default();
            patient.row.identifiers.sort_unstable();
        }
        Ok(patients)
    }

    /// `id` of live patients by the archive's pk. A dry run takes every patient for live, for those that
    /// are not have been counted where they are inserted.
    ///
    /// # Errors
    /// The database failed.
    pub async fn live_patients(&mut self, source_pks: &[i64]) -> Result<HashMap<i64, i64>, Error> {
        let sql = format!(
            "SELECT source_pk, id FROM rbac_patient WHERE {} AND source_fk = $2 AND deleted_at IS NULL",
            self.any("source_pk")
        );
        let params = [Param::Ints(source_pks), Param::int(self.source_fk)];
        let rows = self.read(sql, &params, |cells| Ok((cells.key(0)?, cells.key(1)?))).await?;
        let mut ids: HashMap<i64, i64> = rows.into_iter().collect();
        if self.dry_run {
            for pk in source_pks {
                ids.entry(*pk).or_insert(-pk - 1);
            }
        }
        Ok(ids)
    }

    /// The archive's pks of the patients that these were merged into, as the target has it.
    ///
    /// # Errors
    /// The database failed.
    pub async fn survivors_of(&mut self, source_pks: &[i64]) -> Result<Vec<i64>, Error> {
        let sql = format!(
            "SELECT s.source_pk FROM rbac_patient p JOIN rbac_patient s ON s.id = p.merged_into_fk \
             WHERE {} AND p.source_fk = $2",
            self.any("p.source_pk")
        );
        let params = [Param::Ints(source_pks), Param::int(self.source_fk)];
        self.read(sql, &params, |cells| cells.key(0)).await
    }

    /// Studies by UID.
    ///
    /// # Errors
    /// The database failed.
    pub async fn studies(&mut self, uids: Vec<&str>) -> Result<Vec<Existing<Study>>, Error> {
        self.existing("study_uid", Param::Texts(uids)).await
    }

    /// Shows studies by UID.
    ///
    /// # Errors
    /// The database failed.
    pub async fn show_studies(
        &mut self,
        uids: Vec<&str>,
        show: impl FnMut(&Standing<'_, Study>) -> Result<(), Damage> + Send,
    ) -> Result<(), Error> {
        self.show("study_uid", Param::Texts(uids), show).await
    }

    /// Shows all series of studies, by the studies' `id`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn show_series(
        &mut self,
        study_ids: &[i64],
        show: impl FnMut(&Standing<'_, Series>) -> Result<(), Damage> + Send,
    ) -> Result<(), Error> {
        self.show("study_fk", Param::Ints(study_ids), show).await
    }

    /// Shows all instances of series; ask [`TargetSession::instance_counts`] first how many that are.
    ///
    /// # Errors
    /// The database failed.
    pub async fn show_instances(
        &mut self,
        series_ids: &[i64],
        show: impl FnMut(&Standing<'_, Instance>) -> Result<(), Damage> + Send,
    ) -> Result<(), Error> {
        self.show("series_fk", Param::Ints(series_ids), show).await
    }

    /// Every institution of this source: they are few.
    ///
    /// # Errors
    /// The database failed.
    pub async fn institutions(&mut self) -> Result<Vec<Existing<Institution>>, Error> {
        let sql = format!("SELECT id, {} FROM rbac_institution WHERE source_fk = $1", column_list::<Institution>());
        let source = [Param::int(self.source_fk)];
        self.read(sql, &source, |cells| {
            Ok(Existing { id: cells.key(0)?, deleted: false, row: Institution::from_cells(cells, 1)? })
        })
        .await
    }
}
