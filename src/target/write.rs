//! Writing the rows of the resource tables: many at a time, by the fastest way that each dialect has.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::session::TargetSession;
use crate::config::Dialect;
use crate::database::{Error, Param, Shared, Value, ValueKind, on_conflict_set};
use crate::model::{Column, Identifier, Patient, Record};

/// Rows of one statement of `VALUES`; few sizes, so that few statements are prepared.
const SQLITE_CHUNKS: [usize; 4] = [500, 50, 5, 1];
/// At the most 65,535 parameters: 1,000 rows of 65 columns.
const MYSQL_CHUNKS: [usize; 4] = [1000, 100, 10, 1];
/// From so many new rows on PostgreSQL takes a `COPY` faster than an `INSERT`; below, the network's delays
/// make it slower.
const COPY_FROM: usize = 500;

const IDENTIFIERS: &str = "rbac_patient_identifier";
const IDENTIFIER_COLUMNS: [Column; 3] = [
    Column { name: "patient_fk", kind: ValueKind::Int },
    Column { name: "patient_id", kind: ValueKind::Text },
    Column { name: "issuer", kind: ValueKind::Text },
];

/// The cells of rows, one after the other.
type Rows<'r, 'a> = &'r mut (dyn ExactSizeIterator<Item = Vec<Value<'a>>> + Send);

/// A value that all rows of a statement share.
#[derive(Clone, Copy)]
enum Constant {
    Int(i64),
    Now,
}

impl Constant {
    fn param(self, now: DateTime<Utc>) -> Param<'static> {
        match self {
            Self::Int(value) => Param::int(value),
            Self::Now => Param::Instant(Some(now)),
        }
    }
}

impl TargetSession {
    /// Inserts rows under new ids; all of them live.
    ///
    /// # Errors
    /// The database failed.
    pub async fn insert<T: Record>(&mut self, rows: &[(i64, &T)]) -> Result<(), Error> {
        self.add(T::TABLE, &columns::<T>(), &self.constants::<T>(), &mut cells(rows), "").await
    }

    /// Inserts rows under new ids, or overwrites the rows that have these ids; all of them live.
    ///
    /// # Errors
    /// The database failed.
    pub async fn upsert<T: Record>(&mut self, rows: &[(i64, &T)]) -> Result<(), Error> {
        // Who overwrites a row knows its key, so that is equal; and a statement that could change it would wait for
        // all who refer to the row.
        let (number, name) = T::KEY;
        let rest = T::COLUMNS.iter().zip(0..).filter(|(_, index)| ![number, name].contains(&Some(*index)));
        let mut set: Vec<&str> = rest.map(|(column, _)| column.name).collect();
        let mut set_constants = Vec::new();
        if T::HAS_LIFE {
            set.push("synced_at");
            set_constants.push("deleted_at = NULL");
        }
        let conflict = on_conflict_set(self.lease.dialect(), &["id"], &set, &set_constants);
        self.add(T::TABLE, &columns::<T>(), &self.constants::<T>(), &mut cells(rows), &conflict).await
    }

    /// Adds the identifiers of patients that have none yet, by the patients' `id`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn add_identifiers(&mut self, patients: &[(i64, &Patient)]) -> Result<(), Error> {
        let cells: Vec<Vec<Value<'_>>> = patients
            .iter()
            .flat_map(|(id, patient)| patient.identifiers.iter().map(|own| identifier_cells(*id, own)))
            .collect();
        self.add(IDENTIFIERS, &IDENTIFIER_COLUMNS, &[], &mut cells.into_iter(), "").await
    }

    /// Replaces the identifiers of patients, by the patients' `id`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn set_identifiers(&mut self, patients: &[(i64, &Patient)]) -> Result<(), Error> {
        if patients.is_empty() {
            return Ok(());
        }
        let ids: Vec<i64> = patients.iter().map(|(id, _)| *id).collect();
        let sql = format!("DELETE FROM {IDENTIFIERS} WHERE {}", self.any("patient_fk"));
        self.write(sql, &[Param::Ints(&ids)]).await?;
        self.add_identifiers(patients).await
    }

    fn constants<T: Record>(&self) -> Vec<(&'static str, Constant)> {
        let source = T::HAS_SOURCE.then_some(("source_fk", Constant::Int(self.source_fk)));
        let life = T::HAS_LIFE.then_some(("synced_at", Constant::Now));
        source.into_iter().chain(life).collect()
    }

    async fn add<'a>(
        &mut self,
        table: &str,
        columns: &[Column],
        constants: &[(&str, Constant)],
        rows: Rows<'_, 'a>,
        conflict: &str,
    ) -> Result<(), Error> {
        if self.dry_run || rows.len() == 0 {
            return Ok(());
        }
        self.begin().await?;
        let names: Vec<&str> =
            columns.iter().map(|column| column.name).chain(constants.iter().map(|(name, _)| *name)).collect();
        let into = format!("INSERT INTO {table} ({})", names.join(", "));
        match self.lease.dialect() {
            Dialect::Postgres if rows.len() >= COPY_FROM && conflict.is_empty() => {
                self.copy(table, &names, constants, rows).await
            }
            Dialect::Postgres => {
                let rows: Vec<Vec<Value<'_>>> = rows.collect();
                let sql = format!("{into} {}{conflict}", unnest(columns, constants.len()));
                let mut params: Vec<Param<'_>> = columns
                    .iter()
                    .enumerate()
                    .map(|(index, column)| Param::Column(column.kind, rows.iter().map(|row| row[index]).collect()))
                    .collect();
                params.extend(constants.iter().map(|(_, constant)| constant.param(self.now)));
                self.lease.execute(&sql.into(), &params).await.map(drop)
            }
            dialect @ (Dialect::Mysql | Dialect::Sqlite) => {
                let chunks = if dialect == Dialect::Mysql { MYSQL_CHUNKS } else { SQLITE_CHUNKS };
                let now = self.now;
                let mut text: (usize, Arc<str>) = (0, "".into());
                let statements = std::iter::from_fn(|| {
                    let size = *chunks.iter().find(|&&size| size <= rows.len())?;
                    if text.0 != size {
                        text = (size, format!("{into} {}{conflict}", values(names.len(), size)).into());
                    }
                    let mut params: Vec<Param<'_>> = Vec::with_capacity(names.len() * size);
                    for row in (&mut *rows).take(size) {
                        params.extend(row.into_iter().map(Param::Cell));
                        params.extend(constants.iter().map(|(_, constant)| constant.param(now)));
                    }
                    Some((text.1.clone(), params))
                });
                self.lease.execute_each(statements).await
            }
        }
    }

    async fn copy<'a>(
        &mut self,
        table: &str,
        names: &[&str],
        constants: &[(&str, Constant)],
        rows: Rows<'_, 'a>,
    ) -> Result<(), Error> {
        let shared: Vec<Shared> = constants
            .iter()
            .map(|(_, constant)| match constant {
                Constant::Int(value) => Shared::Int(*value),
                Constant::Now => Shared::Instant(self.now),
            })
            .collect();
        self.lease.copy(table, names, rows, &shared).await
    }
}

/// `id` and the columns of a record.
fn columns<T: Record>() -> Vec<Column> {
    let id = Column { name: "id", kind: ValueKind::Int };
    std::iter::once(id).chain(T::COLUMNS.iter().copied()).collect()
}

fn cells<'a, T: Record>(rows: &[(i64, &'a T)]) -> impl ExactSizeIterator<Item = Vec<Value<'a>>> {
    rows.iter().map(|(id, row)| std::iter::once(Value::Int(Some(*id))).chain(row.values()).collect())
}

fn identifier_cells(patient: i64, identifier: &Identifier) -> Vec<Value<'_>> {
    let Identifier { patient_id, issuer } = identifier;
    vec![Value::Int(Some(patient)), Value::Text(Some(patient_id)), Value::Text(issuer.as_deref())]
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
        let sql = "SELECT u.*, $4 FROM UNNEST($1::bigint[], $2::text[], $3::text[]) AS u";
        assert_eq!(unnest(&IDENTIFIER_COLUMNS, 1), sql);
    }
}
