-- The views of expected-postgres.sql that a first load needs, in MariaDB. A function would make each row several times
-- slower, so that '*' and '' are told from values in place.
CREATE VIEW expected_identifier AS
SELECT pk, patient_fk AS patient_pk, pat_id AS patient_id,
       COALESCE(NULLIF(NULLIF(entity_id, '*'), ''), NULLIF(NULLIF(entity_uid, '*'), '')) AS issuer
FROM patient_id WHERE pat_id NOT IN ('*', '');

CREATE VIEW expected_patient AS
SELECT p.pk AS source_pk, i.patient_id, i.issuer,
       COALESCE(NULLIF(TRIM(TRAILING '^' FROM NULLIF(n.alphabetic_name, '*')), ''),
                NULLIF(TRIM(TRAILING '^' FROM NULLIF(n.ideographic_name, '*')), ''),
                NULLIF(TRIM(TRAILING '^' FROM NULLIF(n.phonetic_name, '*')), '')) AS patient_name,
       NULLIF(NULLIF(p.pat_birthdate, '*'), '') AS birth_date, NULLIF(NULLIF(p.pat_sex, '*'), '') AS sex,
       p.merge_fk AS survivor_pk, CAST(p.created_time AS datetime(3)) AS created_time,
       CAST(p.updated_time AS datetime(3)) AS updated_time
FROM patient p
LEFT JOIN person_name n ON n.pk = p.pat_name_fk
LEFT JOIN expected_identifier i ON i.pk = (SELECT MIN(pk) FROM patient_id WHERE patient_fk = p.pk);

CREATE VIEW expected_study AS
SELECT s.pk AS source_pk, s.study_iuid AS study_uid, COALESCE(p.merge_fk, p.pk) AS patient_pk,
       NULLIF(NULLIF(s.study_date, '*'), '') AS study_date, NULLIF(NULLIF(s.study_time, '*'), '') AS study_time,
       NULLIF(NULLIF(s.study_desc, '*'), '') AS study_desc, NULLIF(NULLIF(s.accession_no, '*'), '') AS accession_no,
       COALESCE(NULLIF(NULLIF(s.accno_entity_id, '*'), ''), NULLIF(NULLIF(s.accno_entity_uid, '*'), ''))
           AS accession_issuer,
       NULLIF(TRIM(TRAILING '^' FROM NULLIF(n.alphabetic_name, '*')), '') AS referring_physician,
       (SELECT GROUP_CONCAT(DISTINCT NULLIF(NULLIF(modality, '*'), '') COLLATE utf8mb4_bin ORDER BY 1 SEPARATOR '\\')
        FROM series WHERE study_fk = s.pk AND rejection_state <> 2) AS modalities,
       (SELECT GROUP_CONCAT(DISTINCT NULLIF(NULLIF(institution, '*'), '') COLLATE utf8mb4_bin ORDER BY 1 SEPARATOR '\\')
        FROM series WHERE study_fk = s.pk AND rejection_state <> 2) AS institutions,
       (SELECT GROUP_CONCAT(DISTINCT access_control_id COLLATE utf8mb4_bin ORDER BY 1 SEPARATOR '\\')
        FROM study_access_control_id WHERE study_fk = s.pk) AS access_control_ids,
       s.rejection_state, CAST(s.created_time AS datetime(3)) AS created_time,
       CAST(s.updated_time AS datetime(3)) AS updated_time
FROM study s
JOIN patient p ON p.pk = s.patient_fk
LEFT JOIN person_name n ON n.pk = s.ref_phys_name_fk
WHERE s.study_deleting = 0;

CREATE VIEW expected_series AS
SELECT e.pk AS source_pk, e.study_fk AS study_pk, e.series_iuid AS series_uid,
       NULLIF(NULLIF(e.series_desc, '*'), '') AS series_desc, NULLIF(NULLIF(e.modality, '*'), '') AS modality,
       NULLIF(NULLIF(e.body_part, '*'), '') AS body_part, NULLIF(NULLIF(e.station_name, '*'), '') AS station_name,
       NULLIF(NULLIF(e.institution, '*'), '') AS institution, NULLIF(NULLIF(e.department, '*'), '') AS department,
       NULLIF(NULLIF(e.sending_aet, '*'), '') AS sending_aet, NULLIF(NULLIF(e.receiving_aet, '*'), '') AS receiving_aet,
       a.access_control_ids, e.rejection_state, CAST(e.created_time AS datetime(3)) AS created_time,
       CAST(e.updated_time AS datetime(3)) AS updated_time
FROM series e
LEFT JOIN (SELECT series_fk, GROUP_CONCAT(DISTINCT access_control_id COLLATE utf8mb4_bin ORDER BY 1 SEPARATOR '\\')
                  AS access_control_ids
           FROM series_access_control_id GROUP BY series_fk) a ON a.series_fk = e.pk;

CREATE VIEW expected_institution AS
SELECT institution_name, MIN(institution_code) AS institution_code
FROM (SELECT NULLIF(NULLIF(e.institution, '*'), '') AS institution_name,
             COALESCE(NULLIF(NULLIF(c.code_value, '*'), ''), NULLIF(NULLIF(e.institution, '*'), '')) AS institution_code
      FROM series e LEFT JOIN code c ON c.pk = e.inst_code_fk) x
WHERE institution_name IS NOT NULL GROUP BY institution_name;
