-- What the target must hold, computed from the archive in SQL alone: for the comparison after each
-- measurement, and for the scripts that the program is measured against.
CREATE SCHEMA expected;

CREATE FUNCTION expected.clean(value text) RETURNS text IMMUTABLE LANGUAGE sql
RETURN NULLIF(NULLIF(value, '*'), '');

CREATE VIEW expected.identifier AS
SELECT pk, patient_fk AS patient_pk, expected.clean(pat_id) AS patient_id,
       COALESCE(expected.clean(entity_id), expected.clean(entity_uid)) AS issuer
FROM patient_id WHERE expected.clean(pat_id) IS NOT NULL;

CREATE VIEW expected.patient AS
SELECT p.pk AS source_pk, i.patient_id, i.issuer,
       COALESCE(expected.clean(rtrim(expected.clean(n.alphabetic_name), '^')),
                expected.clean(rtrim(expected.clean(n.ideographic_name), '^')),
                expected.clean(rtrim(expected.clean(n.phonetic_name), '^'))) AS patient_name,
       expected.clean(p.pat_birthdate) AS birth_date, expected.clean(p.pat_sex) AS sex,
       p.merge_fk AS survivor_pk, date_trunc('milliseconds', p.created_time) AS created_time,
       date_trunc('milliseconds', p.updated_time) AS updated_time
FROM patient p
LEFT JOIN person_name n ON n.pk = p.pat_name_fk
LEFT JOIN (SELECT DISTINCT ON (patient_pk) * FROM expected.identifier ORDER BY patient_pk, pk) i
       ON i.patient_pk = p.pk;

CREATE VIEW expected.study AS
SELECT s.pk AS source_pk, s.study_iuid AS study_uid, COALESCE(p.merge_fk, p.pk) AS patient_pk,
       expected.clean(s.study_date) AS study_date, expected.clean(s.study_time) AS study_time,
       expected.clean(s.study_desc) AS study_desc, expected.clean(s.accession_no) AS accession_no,
       COALESCE(expected.clean(s.accno_entity_id), expected.clean(s.accno_entity_uid)) AS accession_issuer,
       expected.clean(rtrim(expected.clean(n.alphabetic_name), '^')) AS referring_physician,
       e.modalities, e.institutions, a.ids AS access_control_ids, s.rejection_state,
       date_trunc('milliseconds', s.created_time) AS created_time,
       date_trunc('milliseconds', s.updated_time) AS updated_time
FROM study s
JOIN patient p ON p.pk = s.patient_fk
LEFT JOIN person_name n ON n.pk = s.ref_phys_name_fk
LEFT JOIN (SELECT study_fk,
                  string_agg(DISTINCT expected.clean(modality), '\' ORDER BY expected.clean(modality)) AS modalities,
                  string_agg(DISTINCT expected.clean(institution), '\' ORDER BY expected.clean(institution))
                      AS institutions
           FROM series WHERE rejection_state <> 2 GROUP BY study_fk) e ON e.study_fk = s.pk
LEFT JOIN (SELECT study_fk, string_agg(DISTINCT access_control_id, '\' ORDER BY access_control_id) AS ids
           FROM study_access_control_id GROUP BY study_fk) a ON a.study_fk = s.pk
WHERE NOT s.study_deleting;

CREATE VIEW expected.series AS
SELECT e.pk AS source_pk, e.study_fk AS study_pk, e.series_iuid AS series_uid,
       expected.clean(e.series_desc) AS series_desc, expected.clean(e.modality) AS modality,
       expected.clean(e.body_part) AS body_part, expected.clean(e.station_name) AS station_name,
       expected.clean(e.institution) AS institution, expected.clean(e.department) AS department,
       expected.clean(e.sending_aet) AS sending_aet, expected.clean(e.receiving_aet) AS receiving_aet,
       a.ids AS access_control_ids, e.rejection_state,
       date_trunc('milliseconds', e.created_time) AS created_time,
       date_trunc('milliseconds', e.updated_time) AS updated_time
FROM series e
LEFT JOIN (SELECT series_fk, string_agg(DISTINCT access_control_id, '\' ORDER BY access_control_id) AS ids
           FROM series_access_control_id GROUP BY series_fk) a ON a.series_fk = e.pk;

CREATE VIEW expected.institution AS
SELECT institution_name, min(institution_code) AS institution_code
FROM (SELECT expected.clean(e.institution) AS institution_name,
             COALESCE(expected.clean(c.code_value), expected.clean(e.institution)) AS institution_code
      FROM series e LEFT JOIN code c ON c.pk = e.inst_code_fk) x
WHERE institution_name IS NOT NULL GROUP BY institution_name;

-- The same rows of single studies: a delta must not aggregate the whole table.
CREATE VIEW expected.changed_study AS
SELECT s.pk AS source_pk, s.study_iuid AS study_uid, COALESCE(p.merge_fk, p.pk) AS patient_pk,
       expected.clean(s.study_date) AS study_date, expected.clean(s.study_time) AS study_time,
       expected.clean(s.study_desc) AS study_desc, expected.clean(s.accession_no) AS accession_no,
       COALESCE(expected.clean(s.accno_entity_id), expected.clean(s.accno_entity_uid)) AS accession_issuer,
       expected.clean(rtrim(expected.clean(n.alphabetic_name), '^')) AS referring_physician,
       e.modalities, e.institutions, a.ids AS access_control_ids, s.rejection_state,
       date_trunc('milliseconds', s.created_time) AS created_time,
       date_trunc('milliseconds', s.updated_time) AS updated_time, s.updated_time AS changed
FROM study s
JOIN patient p ON p.pk = s.patient_fk
LEFT JOIN person_name n ON n.pk = s.ref_phys_name_fk
CROSS JOIN LATERAL (
    SELECT string_agg(DISTINCT expected.clean(modality), '\' ORDER BY expected.clean(modality)) AS modalities,
           string_agg(DISTINCT expected.clean(institution), '\' ORDER BY expected.clean(institution)) AS institutions
    FROM series WHERE study_fk = s.pk AND rejection_state <> 2) e
CROSS JOIN LATERAL (
    SELECT string_agg(DISTINCT access_control_id, '\' ORDER BY access_control_id) AS ids
    FROM study_access_control_id WHERE study_fk = s.pk) a
WHERE NOT s.study_deleting;

CREATE VIEW expected.changed_series AS
SELECT e.pk AS source_pk, e.study_fk AS study_pk, e.series_iuid AS series_uid,
       expected.clean(e.series_desc) AS series_desc, expected.clean(e.modality) AS modality,
       expected.clean(e.body_part) AS body_part, expected.clean(e.station_name) AS station_name,
       expected.clean(e.institution) AS institution, expected.clean(e.department) AS department,
       expected.clean(e.sending_aet) AS sending_aet, expected.clean(e.receiving_aet) AS receiving_aet,
       a.ids AS access_control_ids, e.rejection_state,
       date_trunc('milliseconds', e.created_time) AS created_time,
       date_trunc('milliseconds', e.updated_time) AS updated_time, e.updated_time AS changed
FROM series e
CROSS JOIN LATERAL (
    SELECT string_agg(DISTINCT access_control_id, '\' ORDER BY access_control_id) AS ids
    FROM series_access_control_id WHERE series_fk = e.pk) a;
