//! A row of the target as a list of columns: what every dialect needs to read and to write it.

use super::{Instance, Institution, Patient, Series, Study};
use crate::database::{Cells, Damage, Value, ValueKind};

/// A column of a target table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: ValueKind,
}

/// A row of a target table, without its `id`, `source_fk` and the times that rbac-sync sets.
pub trait Record: Sized + Send + Sync {
    /// The table.
    const TABLE: &'static str;
    /// Whether the table has a `source_fk` (a series has its study's, an instance its series').
    const HAS_SOURCE: bool = true;
    /// Whether the table has `synced_at` and `deleted_at`.
    const HAS_LIFE: bool = true;
    /// The columns, in the order of [`Record::values`].
    const COLUMNS: &'static [Column];
    /// Which of them are the number and the name of its [`Key`].
    const KEY: (Option<usize>, Option<usize>);

    /// The cells, in the order of [`Record::COLUMNS`].
    fn values(&self) -> Vec<Value<'_>>;

    /// Reads the row back from cells that begin at `first`.
    ///
    /// # Errors
    /// A cell holds something else than the column promises.
    fn from_cells(cells: &dyn Cells, first: usize) -> Result<Self, Damage>;

    /// The key of a row whose cells begin at `first`.
    ///
    /// # Errors
    /// A cell holds something else than the column promises.
    fn key_of(cells: &dyn Cells, first: usize) -> Result<Key<'_>, Damage> {
        let (number, name) = Self::KEY;
        let number = number.map_or(Ok(0), |column| cells.key(first + column))?;
        let name = name.map_or(Ok(None), |column| cells.str(first + column))?;
        Ok((number, name.unwrap_or_default()))
    }

    /// Whether the cells that begin at `first` hold this row.
    ///
    /// # Errors
    /// A cell holds something else than the column promises.
    fn is_in(&self, cells: &dyn Cells, first: usize) -> Result<bool, Damage> {
        for (column, value) in (first..).zip(self.values()) {
            let equal = match value {
                Value::Int(own) => cells.int(column)? == own,
                Value::Text(own) => cells.str(column)? == own,
                Value::Time(own) => cells.time(column)? == own,
            };
            if !equal {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// What tells the rows of one table and source apart: a number and a name.
pub type Key<'a> = (i64, &'a str);

/// A row that has a [`Key`].
pub trait Keyed {
    /// What it is known by.
    fn key(&self) -> Key<'_>;
}

impl Keyed for Patient {
    fn key(&self) -> Key<'_> {
        (self.source_pk, "")
    }
}

impl Keyed for Study {
    fn key(&self) -> Key<'_> {
        (0, &self.study_uid)
    }
}

impl Keyed for Series {
    fn key(&self) -> Key<'_> {
        (self.study_fk, &self.series_uid)
    }
}

impl Keyed for Instance {
    fn key(&self) -> Key<'_> {
        (self.series_fk, &self.instance_uid)
    }
}

const fn int(name: &'static str) -> Column {
    Column { name, kind: ValueKind::Int }
}

const fn text(name: &'static str) -> Column {
    Column { name, kind: ValueKind::Text }
}

const fn time(name: &'static str) -> Column {
    Column { name, kind: ValueKind::Time }
}

fn t(value: &Option<String>) -> Value<'_> {
    Value::Text(value.as_deref())
}

impl Record for Institution {
    const TABLE: &'static str = "rbac_institution";
    const HAS_LIFE: bool = false;
    const KEY: (Option<usize>, Option<usize>) = (None, Some(1));
    const COLUMNS: &'static [Column] = &[text("institution_code"), text("institution_name")];

    fn values(&self) -> Vec<Value<'_>> {
        vec![Value::Text(Some(&self.code)), Value::Text(Some(&self.name))]
    }

    fn from_cells(cells: &dyn Cells, first: usize) -> Result<Self, Damage> {
        Ok(Self { code: cells.name(first)?, name: cells.name(first + 1)? })
    }
}

impl Record for Patient {
    const TABLE: &'static str = "rbac_patient";
    const KEY: (Option<usize>, Option<usize>) = (Some(0), None);
    const COLUMNS: &'static [Column] = &[
        int("source_pk"),
        text("patient_id"),
        text("issuer"),
        text("patient_name"),
        text("birth_date"),
        text("sex"),
        int("merged_into_fk"),
        time("created_time"),
        time("updated_time"),
    ];

    fn values(&self) -> Vec<Value<'_>> {
        vec![
            Value::Int(Some(self.source_pk)),
            t(&self.patient_id),
            t(&self.issuer),
            t(&self.patient_name),
            t(&self.birth_date),
            t(&self.sex),
            Value::Int(self.merged_into_fk),
            Value::Time(self.created_time),
            Value::Time(self.updated_time),
        ]
    }

    /// Without identifiers: those are in a table of their own.
    fn from_cells(cells: &dyn Cells, first: usize) -> Result<Self, Damage> {
        Ok(Self {
            source_pk: cells.key(first)?,
            patient_id: cells.text(first + 1)?,
            issuer: cells.text(first + 2)?,
            patient_name: cells.text(first + 3)?,
            birth_date: cells.text(first + 4)?,
            sex: cells.text(first + 5)?,
            merged_into_fk: cells.int(first + 6)?,
            created_time: cells.time(first + 7)?,
            updated_time: cells.time(first + 8)?,
            identifiers: Vec::new(),
        })
    }
}

impl Record for Study {
    const TABLE: &'static str = "rbac_study";
    const KEY: (Option<usize>, Option<usize>) = (None, Some(1));
    const COLUMNS: &'static [Column] = &[
        int("source_pk"),
        text("study_uid"),
        int("patient_fk"),
        text("study_date"),
        text("study_time"),
        text("study_desc"),
        text("accession_no"),
        text("accession_issuer"),
        text("referring_physician"),
        text("modalities"),
        text("institutions"),
        text("access_control_ids"),
        int("rejection_state"),
        time("created_time"),
        time("updated_time"),
    ];

    fn values(&self) -> Vec<Value<'_>> {
        vec![
            Value::Int(Some(self.source_pk)),
            Value::Text(Some(&self.study_uid)),
            Value::Int(Some(self.patient_fk)),
            t(&self.study_date),
            t(&self.study_time),
            t(&self.study_desc),
            t(&self.accession_no),
            t(&self.accession_issuer),
            t(&self.referring_physician),
            t(&self.modalities),
            t(&self.institutions),
            t(&self.access_control_ids),
            Value::Int(self.rejection_state),
            Value::Time(self.created_time),
            Value::Time(self.updated_time),
        ]
    }

    fn from_cells(cells: &dyn Cells, first: usize) -> Result<Self, Damage> {
        Ok(Self {
            source_pk: cells.key(first)?,
            study_uid: cells.name(first + 1)?,
            patient_fk: cells.key(first + 2)?,
            study_date: cells.text(first + 3)?,
            study_time: cells.text(first + 4)?,
            study_desc: cells.text(first + 5)?,
            accession_no: cells.text(first + 6)?,
            accession_issuer: cells.text(first + 7)?,
            referring_physician: cells.text(first + 8)?,
            modalities: cells.text(first + 9)?,
            institutions: cells.text(first + 10)?,
            access_control_ids: cells.text(first + 11)?,
            rejection_state: cells.int(first + 12)?,
            created_time: cells.time(first + 13)?,
            updated_time: cells.time(first + 14)?,
        })
    }
}

impl Record for Series {
    const TABLE: &'static str = "rbac_series";
    const HAS_SOURCE: bool = false;
    const KEY: (Option<usize>, Option<usize>) = (Some(1), Some(2));
    const COLUMNS: &'static [Column] = &[
        int("source_pk"),
        int("study_fk"),
        text("series_uid"),
        text("series_desc"),
        text("modality"),
        text("body_part"),
        text("station_name"),
        int("institution_fk"),
        text("institution"),
        text("department"),
        text("sending_aet"),
        text("receiving_aet"),
        text("access_control_ids"),
        int("rejection_state"),
        time("created_time"),
        time("updated_time"),
    ];

    fn values(&self) -> Vec<Value<'_>> {
        vec![
            Value::Int(Some(self.source_pk)),
            Value::Int(Some(self.study_fk)),
            Value::Text(Some(&self.series_uid)),
            t(&self.series_desc),
            t(&self.modality),
            t(&self.body_part),
            t(&self.station_name),
            Value::Int(self.institution_fk),
            t(&self.institution),
            t(&self.department),
            t(&self.sending_aet),
            t(&self.receiving_aet),
            t(&self.access_control_ids),
            Value::Int(self.rejection_state),
            Value::Time(self.created_time),
            Value::Time(self.updated_time),
        ]
    }

    fn from_cells(cells: &dyn Cells, first: usize) -> Result<Self, Damage> {
        Ok(Self {
            source_pk: cells.key(first)?,
            study_fk: cells.key(first + 1)?,
            series_uid: cells.name(first + 2)?,
            series_desc: cells.text(first + 3)?,
            modality: cells.text(first + 4)?,
            body_part: cells.text(first + 5)?,
            station_name: cells.text(first + 6)?,
            institution_fk: cells.int(first + 7)?,
            institution: cells.text(first + 8)?,
            department: cells.text(first + 9)?,
            sending_aet: cells.text(first + 10)?,
            receiving_aet: cells.text(first + 11)?,
            access_control_ids: cells.text(first + 12)?,
            rejection_state: cells.int(first + 13)?,
            created_time: cells.time(first + 14)?,
            updated_time: cells.time(first + 15)?,
        })
    }
}

impl Record for Instance {
    const TABLE: &'static str = "rbac_instance";
    const HAS_SOURCE: bool = false;
    const KEY: (Option<usize>, Option<usize>) = (Some(1), Some(2));
    const COLUMNS: &'static [Column] = &[
        int("source_pk"),
        int("series_fk"),
        text("instance_uid"),
        text("sop_class_uid"),
        int("instance_number"),
        time("created_time"),
        time("updated_time"),
    ];

    fn values(&self) -> Vec<Value<'_>> {
        vec![
            Value::Int(Some(self.source_pk)),
            Value::Int(Some(self.series_fk)),
            Value::Text(Some(&self.instance_uid)),
            t(&self.sop_class_uid),
            Value::Int(self.instance_number),
            Value::Time(self.created_time),
            Value::Time(self.updated_time),
        ]
    }

    fn from_cells(cells: &dyn Cells, first: usize) -> Result<Self, Damage> {
        Ok(Self {
            source_pk: cells.key(first)?,
            series_fk: cells.key(first + 1)?,
            instance_uid: cells.name(first + 2)?,
            sop_class_uid: cells.text(first + 3)?,
            instance_number: cells.int(first + 4)?,
            created_time: cells.time(first + 5)?,
            updated_time: cells.time(first + 6)?,
        })
    }
}

#[cfg(test)]
mod tests;
