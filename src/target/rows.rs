//! Reading and writing the rows of the resource tables.

use std::collections::HashMap;

use super::session::{Existing, TargetSession};
use crate::config::Dialect;
use crate::database::{Error, Param, Value, ValueKind};
use crate::model::{Column, Identifier, Institution, Patient, Record, Series, Study};

/// Rows of one SQLite statement; few sizes, so that few statements are prepared.
const SQLITE_CHUNKS: [usize; 4] = [500, 50, 5, 1];

const IDENTIFIER_COLUMNS: [Column; 2] =
    [Column { name: "patient_id", kind: ValueKind::Text }, Column { name: "issuer", kind: ValueKind::Text }];

fn column_list<T: Record>() -> String {
    T::COLUMNS.iter().map(|column| column.name).collect::<Vec<_>>().join(", ")
}

impl TargetSession<'_> {
    /// The rows of this source whose `key` is one of `keys`.
    async fn existing<T: Record>(&mut self, key: &str, keys: Param<'_>) -> Result<Vec<Existing<T>>, Error> {
        let deleted = if T::HAS_LIFE { "CASE WHEN deleted_at IS NULL THEN 0 ELSE 1 END" } else { "0" };
        let source = if T::HAS_SOURCE { " AND source_fk = $2" } else { "" };
        let sql = format!(
            "SELECT id, CAST({deleted} AS bigint), {} FROM {} WHERE {}{source}",
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

    /// Inserts rows under new ids, or overwrites the rows that have these ids; all of them live.
    ///
    /// # Errors
    /// The database failed.
    pub async fn upsert<T: Record>(&mut self, rows: &[(i64, &T)]) -> Result<(), Error> {
        let ids = Column { name: "id", kind: ValueKind::Int };
        let columns: Vec<Column> = std::iter::once(ids).chain(T::COLUMNS.iter().copied()).collect();
        let cells: Vec<Vec<Value<'_>>> =
            rows.iter().map(|(id, row)| std::iter::once(Value::Int(Some(*id))).chain(row.values()).collect()).collect();
        let mut constants = Vec::new();
        let mut assignments: Vec<String> =
            T::COLUMNS.iter().map(|column| format!("{0} = excluded.{0}", column.name)).collect();
        if T::HAS_SOURCE {
            constants.push(("source_fk", Constant::Int(self.source_fk)));
        }
        if T::HAS_LIFE {
            constants.push(("synced_at", Constant::Now));
            assignments.push("synced_at = excluded.synced_at".to_owned());
            assignments.push("deleted_at = NULL".to_owned());
        }
        let conflict = format!(" ON CONFLICT (id) DO UPDATE SET {}", assignments.join(", "));
        self.insert(T::TABLE, &columns, &constants, &cells, &conflict).await
    }

    /// Sets the identifiers of patients, by the patients' `id`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn set_identifiers(&mut self, patients: &[(i64, &Patient)]) -> Result<(), Error> {
        if patients.is_empty() {
            return Ok(());
        }
        let ids: Vec<i64> = patients.iter().map(|(id, _)| *id).collect();
        let sql = format!("DELETE FROM rbac_patient_identifier WHERE {}", self.any("patient_fk"));
        self.write(sql, &[Param::Ints(&ids)]).await?;
        let patient = Column { name: "patient_fk", kind: ValueKind::Int };
        let columns: Vec<Column> = std::iter::once(patient).chain(IDENTIFIER_COLUMNS).collect();
        let cells: Vec<Vec<Value<'_>>> = patients
            .iter()
            .flat_map(|(id, patient)| {
                patient.identifiers.iter().map(|identifier| {
                    vec![
                        Value::Int(Some(*id)),
                        Value::Text(Some(&identifier.patient_id)),
                        Value::Text(identifier.issuer.as_deref()),
                    ]
                })
            })
            .collect();
        self.insert("rbac_patient_identifier", &columns, &[], &cells, "").await
    }

    async fn insert(
        &mut self,
        table: &str,
        columns: &[Column],
        constants: &[(&str, Constant)],
        rows: &[Vec<Value<'_>>],
        conflict: &str,
    ) -> Result<(), Error> {
        let names: Vec<&str> =
            columns.iter().map(|column| column.name).chain(constants.iter().map(|(name, _)| *name)).collect();
        let into = format!("INSERT INTO {table} ({})", names.join(", "));
        match self.lease.dialect() {
            Dialect::Postgres if !rows.is_empty() => {
                let sql = format!("{into} {}{conflict}", unnest(columns, constants.len()));
                let mut params: Vec<Param<'_>> = columns
                    .iter()
                    .enumerate()
                    .map(|(index, column)| Param::Column(column.kind, rows.iter().map(|row| row[index]).collect()))
                    .collect();
                params.extend(constants.iter().map(|(_, constant)| self.constant(*constant)));
                self.write(sql, &params).await.map(drop)
            }
            Dialect::Postgres => Ok(()),
            Dialect::Sqlite => {
                let mut rest = rows;
                while let Some(&size) = SQLITE_CHUNKS.iter().find(|&&size| size <= rest.len()) {
                    let (chunk, behind) = rest.split_at(size);
                    let sql = format!("{into} {}{conflict}", values(names.len(), size));
                    let mut params: Vec<Param<'_>> = Vec::with_capacity(names.len() * size);
                    for row in chunk {
                        params.extend(row.iter().map(|value| Param::Cell(*value)));
                        params.extend(constants.iter().map(|(_, constant)| self.constant(*constant)));
                    }
                    self.write(sql, &params).await?;
                    rest = behind;
                }
                Ok(())
            }
        }
    }

    fn constant(&self, constant: Constant) -> Param<'static> {
        match constant {
            Constant::Int(value) => Param::int(value),
            Constant::Now => Param::Instant(Some(self.now)),
        }
    }
}

/// A value that all rows of a statement share.
#[derive(Clone, Copy)]
enum Constant {
    Int(i64),
    Now,
}

/// Rows from one array a column, followed by constants.
fn unnest(columns: &[Column], constants: usize) -> String {
    let arrays: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let kind = match column.kind {
                ValueKind::Int => "bigint",
                ValueKind::Text => "text",
                ValueKind::Time => "timestamp",
            };
            format!("${}::{kind}[]", index + 1)
        })
        .collect();
    let constants: String = (1..=constants).map(|index| format!(", ${}", columns.len() + index)).collect();
    format!("SELECT u.*{constants} FROM UNNEST({}) AS u", arrays.join(", "))
}

/// Rows of anonymous parameters: SQLite looks through a list of all names for each named one.
fn values(columns: usize, rows: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(", "));
    format!("VALUES {}", vec![row.as_str(); rows].join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_has_a_parameter_for_each_cell() {
        assert_eq!(values(3, 2), "VALUES (?, ?, ?), (?, ?, ?)");
    }

    #[test]
    fn unnest_casts_each_array_and_appends_the_constants() {
        assert_eq!(unnest(&IDENTIFIER_COLUMNS, 1), "SELECT u.*, $3 FROM UNNEST($1::text[], $2::text[]) AS u");
    }
}
