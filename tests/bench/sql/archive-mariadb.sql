-- The rows of archive-postgres.sql, in MariaDB: @patients patients, @studies studies, three times as many series.
CREATE TABLE person_name (
    pk bigint PRIMARY KEY, alphabetic_name varchar(255) NOT NULL, ideographic_name varchar(255) NOT NULL,
    phonetic_name varchar(255) NOT NULL);
CREATE TABLE patient (
    pk bigint PRIMARY KEY, created_time datetime(6) NOT NULL, updated_time datetime(6) NOT NULL,
    pat_birthdate varchar(255) NOT NULL, pat_sex varchar(255) NOT NULL, merge_fk bigint, pat_name_fk bigint,
    INDEX (merge_fk), INDEX (updated_time));
CREATE TABLE patient_id (
    pk bigint PRIMARY KEY, pat_id varchar(255) NOT NULL, entity_id varchar(255), entity_uid varchar(255),
    patient_fk bigint NOT NULL, INDEX (patient_fk));
CREATE TABLE study (
    pk bigint PRIMARY KEY, study_iuid varchar(255) NOT NULL UNIQUE, patient_fk bigint NOT NULL,
    access_control_id varchar(255), accession_no varchar(255) NOT NULL, accno_entity_id varchar(255),
    accno_entity_uid varchar(255), created_time datetime(6) NOT NULL, updated_time datetime(6) NOT NULL,
    rejection_state tinyint NOT NULL, study_date varchar(255) NOT NULL, study_time varchar(255) NOT NULL,
    study_desc varchar(255) NOT NULL, study_deleting bit(1) NOT NULL, ref_phys_name_fk bigint,
    INDEX (patient_fk), INDEX (updated_time));
CREATE TABLE code (pk bigint PRIMARY KEY, code_value varchar(255) NOT NULL);
CREATE TABLE series (
    pk bigint PRIMARY KEY, study_fk bigint NOT NULL, series_iuid varchar(255) NOT NULL, access_control_id varchar(255),
    body_part varchar(255) NOT NULL, institution varchar(255) NOT NULL, department varchar(255) NOT NULL,
    modality varchar(255) NOT NULL, created_time datetime(6) NOT NULL, updated_time datetime(6) NOT NULL,
    sending_aet varchar(255), receiving_aet varchar(255), rejection_state tinyint NOT NULL,
    series_desc varchar(255) NOT NULL, station_name varchar(255) NOT NULL, inst_code_fk bigint,
    UNIQUE (study_fk, series_iuid), INDEX (updated_time));
CREATE TABLE study_access_control_id (study_fk bigint NOT NULL, access_control_id varchar(255), INDEX (study_fk));
CREATE TABLE series_access_control_id (series_fk bigint NOT NULL, access_control_id varchar(255), INDEX (series_fk));

-- seq_1_to_100000000 is a table of MariaDB's SEQUENCE engine.
SET autocommit = 0;
INSERT INTO person_name SELECT seq, CONCAT('Name', seq, '^Given^'), '*', '*' FROM seq_1_to_100000000
WHERE seq <= @patients;
INSERT INTO patient
SELECT seq, timestamp '2020-01-01 00:00:00' + INTERVAL seq MINUTE,
       timestamp '2020-01-01 00:00:00' + INTERVAL seq MINUTE,
       '19700101', 'M', CASE WHEN seq % 100 = 0 THEN seq - 1 END, seq
FROM seq_1_to_100000000 WHERE seq <= @patients;
INSERT INTO patient_id SELECT seq, CONCAT('P', seq), 'HOSPITAL', '*', seq FROM seq_1_to_100000000
WHERE seq <= @patients;
INSERT INTO study
SELECT seq, CONCAT('1.2.840.113619.2.55.', seq), (seq - 1) % @patients + 1, NULL, CONCAT('A', seq), NULL, NULL,
       timestamp '2020-01-01 00:00:00' + INTERVAL seq * 20 SECOND,
       timestamp '2020-01-01 00:00:00' + INTERVAL seq * 20 SECOND,
       0, '20200101', '101010.000', 'CT ABDOMEN', 0, NULL
FROM seq_1_to_100000000 WHERE seq <= @studies;
INSERT INTO code SELECT seq, CONCAT('CODE', seq) FROM seq_0_to_19;
INSERT INTO series
SELECT seq, (seq - 1) DIV 3 + 1, CONCAT('1.2.840.113619.2.55.3.', seq), NULL, 'CHEST', CONCAT('HOSPITAL ', seq % 20),
       CONCAT('RAD', seq % 7), ELT(seq % 4 + 1, 'CT', 'MR', 'US', 'CR'),
       timestamp '2020-01-01 00:00:00' + INTERVAL seq * 7 SECOND,
       timestamp '2020-01-01 00:00:00' + INTERVAL seq * 7 SECOND,
       CONCAT('AE', seq % 30), 'ARC', 0, 'AXIAL', CONCAT('ST', seq % 40), seq % 20
FROM seq_1_to_100000000 WHERE seq <= @studies * 3;
INSERT INTO study_access_control_id SELECT seq, CONCAT('ACL', seq % 5) FROM seq_1_to_100000000
WHERE seq <= @studies AND seq % 2 = 1;
COMMIT;
