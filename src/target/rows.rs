//! Reading the rows of the resource tables.

use std::collections::HashMap;

use super::session::{Existing, TargetSession};
use crate::database::{Error, Param, bigint};
use crate::model::{Identifier, Institution, Patient, Record, Series, Study};

pub(super) fn column_list<T: Record>() -> String {
    T::COLUMNS.iter().map(|column| column.name).collect::<Vec<_>>().join(", ")
}

impl TargetSession<'_> {
    /// The rows of this source whose `key` is one of `keys`.
    pub(super) async fn existing<T: Record>(&mut self, key: &str, keys: Param<'_>) -> Result<Vec<Existing<T>>, Error> {
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
        self.read(sql, &params, |cells| {
            Ok(Existing { id: cells.key(0)?, deleted: cells.flag(1)?, row: T::from_cells(cells, 2)? })
        })
        .await
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

    /// All series of studies, by the studies' `id`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn series_of(&mut self, study_ids: &[i64]) -> Result<Vec<Existing<Series>>, Error> {
        self.existing("study_fk", Param::Ints(study_ids)).await
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
