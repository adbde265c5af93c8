//! The tables of the demo's archive: those of a dcm4chee-arc-light 5.35 database that rbac-sync
//! reads, with the archive's names, nullability, keys and indexes, less the columns nobody looks at.
//!
//! Three things differ because this is SQLite: times are text (`YYYY-MM-DD HH:MM:SS.mmm`), booleans
//! are 0 or 1, and columns that the demo never fills default to the archive's `'*'` for "missing".

/// Marks the file as a demo archive (`PRAGMA application_id`): the letters `rbds`.
pub(super) const APPLICATION_ID: i32 = 0x7262_6473;

/// Every table and index. As in the archive there is an index on `created_time` and on each foreign
/// key, and none on `updated_time`. Keys come from sequences, so a number is never used twice.
pub(super) const DDL: &str = "
CREATE TABLE code (
    pk INTEGER PRIMARY KEY AUTOINCREMENT,
    code_value TEXT NOT NULL,
    code_designator TEXT NOT NULL,
    code_version TEXT NOT NULL DEFAULT '*',
    code_meaning TEXT NOT NULL
);
CREATE INDEX code_value_idx ON code (code_value, code_designator, code_version);

CREATE TABLE person_name (
    pk INTEGER PRIMARY KEY AUTOINCREMENT,
    alphabetic_name TEXT NOT NULL,
    ideographic_name TEXT NOT NULL,
    phonetic_name TEXT NOT NULL
);

CREATE TABLE patient (
    pk INTEGER PRIMARY KEY AUTOINCREMENT,
    created_time TEXT NOT NULL,
    updated_time TEXT NOT NULL,
    version INTEGER,
    pat_birthdate TEXT NOT NULL,
    pat_sex TEXT NOT NULL,
    pat_custom1 TEXT NOT NULL DEFAULT '*',
    pat_custom2 TEXT NOT NULL DEFAULT '*',
    pat_custom3 TEXT NOT NULL DEFAULT '*',
    merge_fk INTEGER REFERENCES patient (pk),
    pat_name_fk INTEGER UNIQUE REFERENCES person_name (pk)
);
CREATE INDEX patient_created_time_idx ON patient (created_time);
CREATE INDEX patient_merge_fk_idx ON patient (merge_fk);

CREATE TABLE patient_id (
    pk INTEGER PRIMARY KEY AUTOINCREMENT,
    pat_id TEXT NOT NULL,
    pat_id_type_code TEXT,
    pat_name TEXT NOT NULL DEFAULT '*',
    entity_id TEXT NOT NULL,
    entity_uid TEXT NOT NULL,
    entity_uid_type TEXT NOT NULL,
    version INTEGER,
    patient_fk INTEGER NOT NULL REFERENCES patient (pk)
);
CREATE INDEX patient_id_patient_fk_idx ON patient_id (patient_fk);

CREATE TABLE study (
    pk INTEGER PRIMARY KEY AUTOINCREMENT,
    study_iuid TEXT NOT NULL UNIQUE,
    created_time TEXT NOT NULL,
    updated_time TEXT NOT NULL,
    modified_time TEXT NOT NULL,
    version INTEGER,
    study_id TEXT NOT NULL,
    study_date TEXT NOT NULL,
    study_time TEXT NOT NULL,
    study_desc TEXT NOT NULL,
    accession_no TEXT NOT NULL,
    accno_entity_id TEXT,
    accno_entity_uid TEXT,
    accno_entity_uid_type TEXT,
    admission_id TEXT NOT NULL DEFAULT '*',
    admid_entity_id TEXT,
    admid_entity_uid TEXT,
    admid_entity_uid_type TEXT,
    access_control_id TEXT,
    rejection_state INTEGER NOT NULL DEFAULT 0,
    study_deleting INTEGER NOT NULL DEFAULT 0,
    storage_ids TEXT,
    study_custom1 TEXT NOT NULL DEFAULT '*',
    study_custom2 TEXT NOT NULL DEFAULT '*',
    study_custom3 TEXT NOT NULL DEFAULT '*',
    patient_fk INTEGER NOT NULL REFERENCES patient (pk),
    ref_phys_name_fk INTEGER UNIQUE REFERENCES person_name (pk)
);
CREATE INDEX study_created_time_idx ON study (created_time);
CREATE INDEX study_patient_fk_idx ON study (patient_fk);

CREATE TABLE study_access_control_id (
    study_fk INTEGER NOT NULL REFERENCES study (pk),
    access_control_id TEXT
);
CREATE INDEX study_access_control_id_fk_idx ON study_access_control_id (study_fk);
CREATE INDEX study_access_control_id_idx ON study_access_control_id (access_control_id);

CREATE TABLE series (
    pk INTEGER PRIMARY KEY AUTOINCREMENT,
    series_iuid TEXT NOT NULL,
    created_time TEXT NOT NULL,
    updated_time TEXT NOT NULL,
    modified_time TEXT NOT NULL,
    version INTEGER,
    series_no INTEGER,
    series_desc TEXT NOT NULL,
    modality TEXT NOT NULL,
    institution TEXT NOT NULL,
    department TEXT NOT NULL,
    station_name TEXT NOT NULL,
    body_part TEXT NOT NULL,
    laterality TEXT NOT NULL,
    sending_aet TEXT,
    receiving_aet TEXT,
    sending_pres_addr TEXT,
    receiving_pres_addr TEXT,
    sending_hl7_app TEXT,
    sending_hl7_facility TEXT,
    receiving_hl7_app TEXT,
    receiving_hl7_facility TEXT,
    access_control_id TEXT,
    rejection_state INTEGER NOT NULL DEFAULT 0,
    inst_purge_state INTEGER NOT NULL DEFAULT 0,
    series_custom1 TEXT NOT NULL DEFAULT '*',
    series_custom2 TEXT NOT NULL DEFAULT '*',
    series_custom3 TEXT NOT NULL DEFAULT '*',
    inst_code_fk INTEGER REFERENCES code (pk),
    dept_code_fk INTEGER REFERENCES code (pk),
    perf_phys_name_fk INTEGER UNIQUE REFERENCES person_name (pk),
    study_fk INTEGER NOT NULL REFERENCES study (pk),
    UNIQUE (study_fk, series_iuid)
);
CREATE INDEX series_created_time_idx ON series (created_time);
CREATE INDEX series_study_fk_idx ON series (study_fk);
CREATE INDEX series_inst_code_fk_idx ON series (inst_code_fk);
CREATE INDEX series_dept_code_fk_idx ON series (dept_code_fk);

CREATE TABLE series_access_control_id (
    series_fk INTEGER NOT NULL REFERENCES series (pk),
    access_control_id TEXT
);
CREATE INDEX series_access_control_id_fk_idx ON series_access_control_id (series_fk);
CREATE INDEX series_access_control_id_idx ON series_access_control_id (access_control_id);
";
