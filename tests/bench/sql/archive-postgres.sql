-- An archive of the present shape with :patients patients, :studies studies and three times as many series, without
-- an index on updated_time, as archives are. The same numbers give the same rows. One patient in a hundred is merged
-- into the one before it; one study in two has an access control ID. Keys and indexes come after the rows, which is
-- several times faster than with them.
CREATE TABLE person_name (
    pk bigint, alphabetic_name varchar(255) NOT NULL, ideographic_name varchar(255) NOT NULL,
    phonetic_name varchar(255) NOT NULL);
CREATE TABLE patient (
    pk bigint, created_time timestamp(6) NOT NULL, updated_time timestamp(6) NOT NULL,
    pat_birthdate varchar(255) NOT NULL, pat_sex varchar(255) NOT NULL, merge_fk bigint, pat_name_fk bigint);
CREATE TABLE patient_id (
    pk bigint, pat_id varchar(255) NOT NULL, entity_id varchar(255), entity_uid varchar(255),
    patient_fk bigint NOT NULL);
CREATE TABLE study (
    pk bigint, study_iuid varchar(255) NOT NULL, patient_fk bigint NOT NULL, access_control_id varchar(255),
    accession_no varchar(255) NOT NULL, accno_entity_id varchar(255), accno_entity_uid varchar(255),
    created_time timestamp(6) NOT NULL, updated_time timestamp(6) NOT NULL, rejection_state smallint NOT NULL,
    study_date varchar(255) NOT NULL, study_time varchar(255) NOT NULL, study_desc varchar(255) NOT NULL,
    study_deleting boolean NOT NULL, ref_phys_name_fk bigint);
CREATE TABLE code (pk bigint, code_value varchar(255) NOT NULL);
CREATE TABLE series (
    pk bigint, study_fk bigint NOT NULL, series_iuid varchar(255) NOT NULL, access_control_id varchar(255),
    body_part varchar(255) NOT NULL, institution varchar(255) NOT NULL, department varchar(255) NOT NULL,
    modality varchar(255) NOT NULL, created_time timestamp(6) NOT NULL, updated_time timestamp(6) NOT NULL,
    sending_aet varchar(255), receiving_aet varchar(255), rejection_state smallint NOT NULL,
    series_desc varchar(255) NOT NULL, station_name varchar(255) NOT NULL, inst_code_fk bigint);
CREATE TABLE study_access_control_id (study_fk bigint NOT NULL, access_control_id varchar(255));
CREATE TABLE series_access_control_id (series_fk bigint NOT NULL, access_control_id varchar(255));

INSERT INTO person_name SELECT n, 'Name' || n || '^Given^', '*', '*' FROM generate_series(1, :patients) n;
INSERT INTO patient
SELECT n, timestamp '2020-01-01' + n * interval '1 minute', timestamp '2020-01-01' + n * interval '1 minute',
       '19700101', 'M', CASE WHEN n % 100 = 0 THEN n - 1 END, n
FROM generate_series(1, :patients) n;
INSERT INTO patient_id SELECT n, 'P' || n, 'HOSPITAL', '*', n FROM generate_series(1, :patients) n;
INSERT INTO study
SELECT n, '1.2.840.113619.2.55.' || n, (n - 1) % :patients + 1, NULL, 'A' || n, NULL, NULL,
       timestamp '2020-01-01' + n * interval '20 seconds', timestamp '2020-01-01' + n * interval '20 seconds',
       0, '20200101', '101010.000', 'CT ABDOMEN', false, NULL
FROM generate_series(1, :studies) n;
INSERT INTO code SELECT n, 'CODE' || n FROM generate_series(0, 19) n;
INSERT INTO series
SELECT n, (n - 1) / 3 + 1, '1.2.840.113619.2.55.3.' || n, NULL, 'CHEST', 'HOSPITAL ' || n % 20, 'RAD' || n % 7,
       (ARRAY['CT', 'MR', 'US', 'CR'])[n % 4 + 1], timestamp '2020-01-01' + n * interval '7 seconds',
       timestamp '2020-01-01' + n * interval '7 seconds', 'AE' || n % 30, 'ARC', 0, 'AXIAL', 'ST' || n % 40, n % 20
FROM generate_series(1, :studies * 3) n;
INSERT INTO study_access_control_id SELECT n, 'ACL' || n % 5 FROM generate_series(1, :studies, 2) n;

ALTER TABLE person_name ADD PRIMARY KEY (pk);
ALTER TABLE patient ADD PRIMARY KEY (pk), ADD FOREIGN KEY (merge_fk) REFERENCES patient,
    ADD FOREIGN KEY (pat_name_fk) REFERENCES person_name;
ALTER TABLE patient_id ADD PRIMARY KEY (pk), ADD FOREIGN KEY (patient_fk) REFERENCES patient;
ALTER TABLE study ADD PRIMARY KEY (pk), ADD UNIQUE (study_iuid), ADD FOREIGN KEY (patient_fk) REFERENCES patient,
    ADD FOREIGN KEY (ref_phys_name_fk) REFERENCES person_name;
ALTER TABLE code ADD PRIMARY KEY (pk);
ALTER TABLE series ADD PRIMARY KEY (pk), ADD UNIQUE (study_fk, series_iuid),
    ADD FOREIGN KEY (study_fk) REFERENCES study, ADD FOREIGN KEY (inst_code_fk) REFERENCES code;
ALTER TABLE study_access_control_id ADD FOREIGN KEY (study_fk) REFERENCES study;
ALTER TABLE series_access_control_id ADD FOREIGN KEY (series_fk) REFERENCES series;
CREATE INDEX ON patient (merge_fk);
CREATE INDEX ON patient_id (patient_fk);
CREATE INDEX ON study (patient_fk);
CREATE INDEX ON series (study_fk);
CREATE INDEX ON study_access_control_id (study_fk);
CREATE INDEX ON series_access_control_id (series_fk);
