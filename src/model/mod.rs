//! What an institution, a patient, a study, a series and an instance mean in the target, and how the archive's
//! values become theirs.
//!
//! Pure: no database, no clock. `Debug` of a row shows keys that say nothing about a person.

mod merges;
mod normalise;
mod record;

use std::fmt;

use chrono::NaiveDateTime;

pub use merges::{Links, survivor};
pub use normalise::{distinct, joined, person_name, split_ids, text, to_millis};
pub use record::{Column, Key, Keyed, Record};

/// `rejection_state` of a series or study whose objects are all rejected.
pub const REJECTED: i64 = 2;

/// A row of `rbac_institution`: one for each distinct `series.institution`.
#[derive(Clone, PartialEq, Eq)]
pub struct Institution {
    /// The code of the series' institution code sequence, else the name.
    pub code: String,
    /// The text of the source.
    pub name: String,
}

/// One of a patient's own identifiers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identifier {
    /// Patient ID (0010,0020).
    pub patient_id: String,
    /// Its issuer: the entity ID, else the universal entity ID.
    pub issuer: Option<String>,
}

/// A row of `rbac_patient` with its rows of `rbac_patient_identifier`.
#[derive(Clone, PartialEq, Eq)]
pub struct Patient {
    /// The archive's `patient.pk`, a patient's only identity.
    pub source_pk: i64,
    /// The identifier with the lowest `patient_id.pk`.
    pub patient_id: Option<String>,
    /// Its issuer.
    pub issuer: Option<String>,
    /// The first name group that is not empty.
    pub patient_name: Option<String>,
    /// `YYYYMMDD`, as the source has it.
    pub birth_date: Option<String>,
    /// As the source has it.
    pub sex: Option<String>,
    /// `id` of the patient at the end of the chain of merges; none for one that is not merged.
    pub merged_into_fk: Option<i64>,
    /// The source's wall clock, to the millisecond.
    pub created_time: Option<NaiveDateTime>,
    /// The source's wall clock, to the millisecond.
    pub updated_time: Option<NaiveDateTime>,
    /// All own identifiers, sorted, each once.
    pub identifiers: Vec<Identifier>,
}

/// A row of `rbac_study`.
#[derive(Clone, PartialEq, Eq)]
pub struct Study {
    /// The archive's `study.pk`; changes when a study is imported again.
    pub source_pk: i64,
    /// Study Instance UID, the identity.
    pub study_uid: String,
    /// `id` of the surviving patient.
    pub patient_fk: i64,
    /// `YYYYMMDD`.
    pub study_date: Option<String>,
    /// As the source has it.
    pub study_time: Option<String>,
    /// Study Description.
    pub study_desc: Option<String>,
    /// Accession Number.
    pub accession_no: Option<String>,
    /// Its issuer.
    pub accession_issuer: Option<String>,
    /// Name of the referring physician.
    pub referring_physician: Option<String>,
    /// Distinct modalities of the series that are not wholly rejected, joined by a backslash.
    pub modalities: Option<String>,
    /// Distinct institutions of the same series.
    pub institutions: Option<String>,
    /// The study's own access control IDs.
    pub access_control_ids: Option<String>,
    /// The archive's number.
    pub rejection_state: Option<i64>,
    /// The source's wall clock, to the millisecond.
    pub created_time: Option<NaiveDateTime>,
    /// The source's wall clock, to the millisecond.
    pub updated_time: Option<NaiveDateTime>,
}

/// A row of `rbac_series`.
#[derive(Clone, PartialEq, Eq)]
pub struct Series {
    /// The archive's `series.pk`.
    pub source_pk: i64,
    /// `id` of the study.
    pub study_fk: i64,
    /// Series Instance UID, unique within its study.
    pub series_uid: String,
    /// Series Description.
    pub series_desc: Option<String>,
    /// Modality.
    pub modality: Option<String>,
    /// Body Part Examined.
    pub body_part: Option<String>,
    /// Station Name.
    pub station_name: Option<String>,
    /// `id` of the institution.
    pub institution_fk: Option<i64>,
    /// Institution Name, the text of the source.
    pub institution: Option<String>,
    /// Institutional Department Name.
    pub department: Option<String>,
    /// AE title that sent the series.
    pub sending_aet: Option<String>,
    /// AE title that received it.
    pub receiving_aet: Option<String>,
    /// The series' own access control IDs, joined by a backslash.
    pub access_control_ids: Option<String>,
    /// The archive's number.
    pub rejection_state: Option<i64>,
    /// The source's wall clock, to the millisecond.
    pub created_time: Option<NaiveDateTime>,
    /// The source's wall clock, to the millisecond.
    pub updated_time: Option<NaiveDateTime>,
}

/// A row of `rbac_instance`, where the instance level is switched on.
#[derive(Clone, PartialEq, Eq)]
pub struct Instance {
    /// The archive's `instance.pk`.
    pub source_pk: i64,
    /// `id` of the series.
    pub series_fk: i64,
    /// SOP Instance UID, unique within its series.
    pub instance_uid: String,
    /// SOP Class UID.
    pub sop_class_uid: Option<String>,
    /// Instance Number.
    pub instance_number: Option<i64>,
    /// The source's wall clock, to the millisecond.
    pub created_time: Option<NaiveDateTime>,
    /// The source's wall clock, to the millisecond.
    pub updated_time: Option<NaiveDateTime>,
}

macro_rules! debug_by_key {
    ($($row:ident: $key:ident),*) => {$(
        impl fmt::Debug for $row {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($row), "(", stringify!($key), " {})"), self.$key)
            }
        }
    )*};
}
debug_by_key!(Patient: source_pk, Study: source_pk, Series: source_pk, Instance: source_pk);
