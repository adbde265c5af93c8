//! Rows of the archive, normalised; keys of the target are still open.

use std::borrow::Cow;

use chrono::NaiveDateTime;

use super::NameForm;
use crate::database::{Cells, Damage};
use crate::model::{Identifier, Patient, Series, Study, joined, person_name, split_ids, text, to_millis};

/// A row that changed: what to look at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint {
    /// Its `updated_time`, at the source's full resolution.
    pub updated_time: NaiveDateTime,
    /// Its pk.
    pub pk: i64,
    /// Of a patient or study its pk, of a series that of its study, of an instance that of its series.
    pub look_at: i64,
}

/// What a row is known by: its pk, and the UID that is its identity (empty of a patient).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// Its pk.
    pub pk: i64,
    /// Its UID.
    pub uid: String,
}

/// A patient of the archive.
pub struct SourcePatient {
    /// The row, `merged_into_fk` still open.
    pub row: Patient,
    /// `patient.merge_fk`
    pub merge_fk: Option<i64>,
}

/// A study of the archive.
pub struct SourceStudy {
    /// The row; `patient_fk` (0), modalities and institutions still open.
    pub row: Study,
    /// `study.patient_fk`, the pk of the patient.
    pub patient_pk: i64,
    /// `study.study_deleting`: counts as deleted.
    pub deleting: bool,
}

/// A series of the archive.
pub struct SourceSeries {
    /// The row; `study_fk` (0) and `institution_fk` still open.
    pub row: Series,
    /// `series.study_fk`, the pk of the study.
    pub study_pk: i64,
    /// The code of the institution code sequence.
    pub institution_code: Option<String>,
}

pub(super) fn clean(cells: &dyn Cells, column: usize) -> Result<Option<String>, Damage> {
    Ok(text(cells.str(column)?).map(str::to_owned))
}

pub(super) fn millis(cells: &dyn Cells, column: usize) -> Result<Option<NaiveDateTime>, Damage> {
    Ok(cells.time(column)?.map(to_millis))
}

/// The entity ID, else the entity UID.
fn issuer(cells: &dyn Cells, first: usize) -> Result<Option<String>, Damage> {
    Ok(clean(cells, first)?.or(clean(cells, first + 1)?))
}

/// Access control IDs of a column, normalised.
fn ids(cells: &dyn Cells, column: usize) -> Result<Option<String>, Damage> {
    Ok(cells.str(column)?.and_then(|text| joined(split_ids(text))))
}

fn name(cells: &dyn Cells, first: usize, form: NameForm) -> Result<Option<String>, Damage> {
    let mut groups = [const { Cow::Borrowed("") }; 3];
    for (number, group) in groups.iter_mut().enumerate() {
        *group = match form {
            NameForm::Groups => Cow::Borrowed(cells.str(first + number)?.unwrap_or_default()),
            NameForm::Components => {
                let mut components = [""; 5];
                for (component, own) in components.iter_mut().enumerate() {
                    *own = text(cells.str(first + number * 5 + component)?).unwrap_or_default();
                }
                Cow::Owned(components.join("^"))
            }
        };
    }
    Ok(person_name(groups.iter().map(|group| Some(&**group))).map(str::to_owned))
}

pub(super) fn key(cells: &dyn Cells) -> Result<Key, Damage> {
    Ok(Key { pk: cells.key(0)?, uid: cells.name(1)? })
}

pub(super) fn hint(cells: &dyn Cells) -> Result<Option<Hint>, Damage> {
    let (pk, look_at) = (cells.key(0)?, cells.key(1)?);
    Ok(cells.time(2)?.map(|updated_time| Hint { updated_time, pk, look_at }))
}

pub(super) fn patient(cells: &dyn Cells, names: NameForm) -> Result<SourcePatient, Damage> {
    let row = Patient {
        source_pk: cells.key(0)?,
        patient_id: None,
        issuer: None,
        patient_name: name(cells, 6, names)?,
        birth_date: clean(cells, 2)?,
        sex: clean(cells, 3)?,
        merged_into_fk: None,
        created_time: millis(cells, 4)?,
        updated_time: millis(cells, 5)?,
        identifiers: Vec::new(),
    };
    Ok(SourcePatient { row, merge_fk: cells.int(1)? })
}

/// The pk of a patient and one of its identifiers; none where the patient ID is none.
pub(super) fn identifier(cells: &dyn Cells) -> Result<(i64, Option<Identifier>), Damage> {
    let issuer = issuer(cells, 2)?;
    Ok((cells.key(0)?, clean(cells, 1)?.map(|patient_id| Identifier { patient_id, issuer })))
}

pub(super) fn study(cells: &dyn Cells, names: NameForm) -> Result<SourceStudy, Damage> {
    let row = Study {
        source_pk: cells.key(0)?,
        study_uid: cells.name(1)?,
        patient_fk: 0,
        study_date: clean(cells, 4)?,
        study_time: clean(cells, 5)?,
        study_desc: clean(cells, 6)?,
        accession_no: clean(cells, 7)?,
        accession_issuer: issuer(cells, 8)?,
        referring_physician: name(cells, 14, names)?,
        modalities: None,
        institutions: None,
        access_control_ids: ids(cells, 10)?,
        rejection_state: cells.int(11)?,
        created_time: millis(cells, 12)?,
        updated_time: millis(cells, 13)?,
    };
    Ok(SourceStudy { row, patient_pk: cells.key(2)?, deleting: cells.flag(3)? })
}

impl SourceSeries {
    /// Reads a row of the answer to the query for series.
    ///
    /// # Errors
    /// A cell holds something else than the query promises.
    pub fn from_cells(cells: &dyn Cells) -> Result<Self, Damage> {
        let row = Series {
            source_pk: cells.key(0)?,
            study_fk: 0,
            series_uid: cells.name(2)?,
            series_desc: clean(cells, 3)?,
            modality: clean(cells, 4)?,
            body_part: clean(cells, 5)?,
            station_name: clean(cells, 6)?,
            institution_fk: None,
            institution: clean(cells, 7)?,
            department: clean(cells, 8)?,
            sending_aet: clean(cells, 9)?,
            receiving_aet: clean(cells, 10)?,
            access_control_ids: ids(cells, 11)?,
            rejection_state: cells.int(12)?,
            created_time: millis(cells, 14)?,
            updated_time: millis(cells, 15)?,
        };
        Ok(Self { row, study_pk: cells.key(1)?, institution_code: clean(cells, 13)? })
    }
}
