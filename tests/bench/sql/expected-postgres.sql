-- What the target must hold, computed from the archive in SQL alone: for the comparison after each measurement, and
-- for the scripts that the program is measured against. A view of all rows aggregates tables whole; a view "changed_"
-- has the same columns of single rows, and aggregates what belongs to them.
CREATE SCHEMA expected;

CREATE FUNCTION expected.clean(value text) RETURNS text IMMUTABLE LANGUAGE sql
RETURN NULLIF(NULLIF(value, '*'), '');

CREATE FUNCTION expected.name(value text) RETURNS text IMMUTABLE LANGUAGE sql
RETURN NULLIF(rtrim(expected.clean(value), '^'), '');

CREATE VIEW expected.identifier AS
SELECT pk, patient_fk AS patient_pk, expected.clean(pat_id) AS patient_id,
       COALESCE(expected.clean(entity_id), expected.clean(entity_uid)) AS issuer
FROM patient_id WHERE expected.clean(pat_id) IS NOT NULL;

CREATE VIEW expected.patient AS
SELECT p.pk AS source_pk, i.patient_id, i.issuer,
       COALESCE(expected.name(n.alphabetic_name), expected.name(n.ideographic_name),
                expected.name(n.phonetic_name)) AS patient_name,
       expected.clean(p.pat_birthdate) AS birth_date, expected.clean(p.pat_sex) AS sex,
       p.merge_fk AS survivor_pk, date_trunc('milliseconds', p.created_time) AS created_time,
       date_trunc('milliseconds', p.updated_time) AS updated_time
FROM patient p
LEFT JOIN person_name n ON n.pk = p.pat_name_fk
LEFT JOIN (SELECT DISTINCT ON (patient_pk) * FROM expected.identifier ORDER BY patient_pk, pk) i
       ON i.patient_pk = p.pk;

-- What a study and a series have of their own.
CREATE VIEW expected.own_study AS
SELECT s.pk AS source_pk, s.study_iuid AS study_uid, COALESCE(p.merge_fk, p.pk) AS patient_pk,
       expected.clean(s.study_date) AS study_date, expected.clean(s.study_time) AS study_time,
       expected.clean(s.study_desc) AS study_desc, expected.clean(s.accession_no) AS accession_no,
       COALESCE(expected.clean(s.accno_entity_id), expected.clean(s.accno_entity_uid)) AS accession_issuer,
       COALESCE(expected.name(n.alphabetic_name), expected.name(n.ideographic_name),
                expected.name(n.phonetic_name)) AS referring_physician,
       s.rejection_state, date_trunc('milliseconds', s.created_time) AS created_time,
       date_trunc('milliseconds', s.updated_time) AS updated_time, s.updated_time AS changed
FROM study s
JOIN patient p ON p.pk = s.patient_fk
LEFT JOIN person_name n ON n.pk = s.ref_phys_name_fk
WHERE NOT s.study_deleting;

CREATE VIEW expected.own_series AS
SELECT pk AS source_pk, study_fk AS study_pk, series_iuid AS series_uid,
       expected.clean(series_desc) AS series_desc, expected.clean(modality) AS modality,
       expected.clean(body_part) AS body_part, expected.clean(station_name) AS station_name,
       expected.clean(institution) AS institution, expected.clean(department) AS department,
       expected.clean(sending_aet) AS sending_aet, expected.clean(receiving_aet) AS receiving_aet,
       rejection_state, date_trunc('milliseconds', created_time) AS created_time,
       date_trunc('milliseconds', updated_time) AS updated_time, updated_time AS changed
FROM series;

CREATE VIEW expected.study AS
SELECT s.*, e.modalities, e.institutions, a.access_control_ids
FROM expected.own_study s
LEFT JOIN (SELECT study_pk, string_agg(DISTINCT modality, '\' ORDER BY modality) AS modalities,
                  string_agg(DISTINCT institution, '\' ORDER BY institution) AS institutions
           FROM expected.own_series WHERE rejection_state <> 2 GROUP BY study_pk) e ON e.study_pk = s.source_pk
LEFT JOIN (SELECT study_fk,
                  string_agg(DISTINCT access_control_id, '\' ORDER BY access_control_id) AS access_control_ids
           FROM study_access_control_id GROUP BY study_fk) a ON a.study_fk = s.source_pk;

CREATE VIEW expected.changed_study AS
SELECT s.*, e.modalities, e.institutions, a.access_control_ids
FROM expected.own_study s
CROSS JOIN LATERAL (
    SELECT string_agg(DISTINCT modality, '\' ORDER BY modality) AS modalities,
           string_agg(DISTINCT institution, '\' ORDER BY institution) AS institutions
    FROM expected.own_series WHERE study_pk = s.source_pk AND rejection_state <> 2) e
CROSS JOIN LATERAL (
    SELECT string_agg(DISTINCT access_control_id, '\' ORDER BY access_control_id) AS access_control_ids
    FROM study_access_control_id WHERE study_fk = s.source_pk) a;

CREATE VIEW expected.series AS
SELECT e.*, a.access_control_ids
FROM expected.own_series e
LEFT JOIN (SELECT series_fk,
                  string_agg(DISTINCT access_control_id, '\' ORDER BY access_control_id) AS access_control_ids
           FROM series_access_control_id GROUP BY series_fk) a ON a.series_fk = e.source_pk;

CREATE VIEW expected.changed_series AS
SELECT e.*, a.access_control_ids
FROM expected.own_series e
CROSS JOIN LATERAL (
    SELECT string_agg(DISTINCT access_control_id, '\' ORDER BY access_control_id) AS access_control_ids
    FROM series_access_control_id WHERE series_fk = e.source_pk) a;

CREATE VIEW expected.institution AS
SELECT institution_name, min(institution_code) AS institution_code
FROM (SELECT expected.clean(e.institution) AS institution_name,
             COALESCE(expected.clean(c.code_value), expected.clean(e.institution)) AS institution_code
      FROM series e LEFT JOIN code c ON c.pk = e.inst_code_fk) x
WHERE institution_name IS NOT NULL GROUP BY institution_name;
