-- A delta as a script would do it: the studies and series behind the cursor, upserted where they differ, and
-- the cursor, in one transaction.
BEGIN;
CREATE TEMPORARY TABLE s ON COMMIT DROP AS
SELECT * FROM archive.changed_study WHERE changed > :'since';
CREATE TEMPORARY TABLE e ON COMMIT DROP AS
SELECT * FROM archive.changed_series WHERE changed > :'since';
INSERT INTO rbac_study AS t (id, source_fk, source_pk, study_uid, patient_fk, study_date, study_time, study_desc,
    accession_no, accession_issuer, referring_physician, modalities, institutions, access_control_ids,
    rejection_state, created_time, updated_time, synced_at)
SELECT s.source_pk, 1, s.source_pk, s.study_uid, p.id, s.study_date, s.study_time, s.study_desc, s.accession_no,
       s.accession_issuer, s.referring_physician, s.modalities, s.institutions, s.access_control_ids,
       s.rejection_state, s.created_time, s.updated_time, now()
FROM s JOIN rbac_patient p ON p.source_fk = 1 AND p.source_pk = s.patient_pk
ON CONFLICT (source_fk, study_uid) DO UPDATE SET
    source_pk = excluded.source_pk, patient_fk = excluded.patient_fk, study_date = excluded.study_date,
    study_time = excluded.study_time, study_desc = excluded.study_desc, accession_no = excluded.accession_no,
    accession_issuer = excluded.accession_issuer, referring_physician = excluded.referring_physician,
    modalities = excluded.modalities, institutions = excluded.institutions,
    access_control_ids = excluded.access_control_ids, rejection_state = excluded.rejection_state,
    created_time = excluded.created_time, updated_time = excluded.updated_time, synced_at = excluded.synced_at,
    deleted_at = NULL
WHERE (t.source_pk, t.patient_fk, t.study_date, t.study_time, t.study_desc, t.accession_no, t.accession_issuer,
       t.referring_physician, t.modalities, t.institutions, t.access_control_ids, t.rejection_state,
       t.created_time, t.updated_time, t.deleted_at)
   IS DISTINCT FROM
      (excluded.source_pk, excluded.patient_fk, excluded.study_date, excluded.study_time, excluded.study_desc,
       excluded.accession_no, excluded.accession_issuer, excluded.referring_physician, excluded.modalities,
       excluded.institutions, excluded.access_control_ids, excluded.rejection_state, excluded.created_time,
       excluded.updated_time, NULL::timestamptz);
INSERT INTO rbac_series AS t (id, source_pk, study_fk, series_uid, series_desc, modality, body_part, station_name,
    institution_fk, institution, department, sending_aet, receiving_aet, access_control_ids, rejection_state,
    created_time, updated_time, synced_at)
SELECT e.source_pk, e.source_pk, s.id, e.series_uid, e.series_desc, e.modality, e.body_part, e.station_name, i.id,
       e.institution, e.department, e.sending_aet, e.receiving_aet, e.access_control_ids, e.rejection_state,
       e.created_time, e.updated_time, now()
FROM e JOIN rbac_study s ON s.source_fk = 1 AND s.source_pk = e.study_pk
LEFT JOIN rbac_institution i ON i.source_fk = 1 AND i.institution_name = e.institution
ON CONFLICT (study_fk, series_uid) DO UPDATE SET
    source_pk = excluded.source_pk, series_desc = excluded.series_desc, modality = excluded.modality,
    body_part = excluded.body_part, station_name = excluded.station_name, institution_fk = excluded.institution_fk,
    institution = excluded.institution, department = excluded.department, sending_aet = excluded.sending_aet,
    receiving_aet = excluded.receiving_aet, access_control_ids = excluded.access_control_ids,
    rejection_state = excluded.rejection_state, created_time = excluded.created_time,
    updated_time = excluded.updated_time, synced_at = excluded.synced_at, deleted_at = NULL
WHERE (t.source_pk, t.series_desc, t.modality, t.body_part, t.station_name, t.institution_fk, t.institution,
       t.department, t.sending_aet, t.receiving_aet, t.access_control_ids, t.rejection_state, t.created_time,
       t.updated_time, t.deleted_at)
   IS DISTINCT FROM
      (excluded.source_pk, excluded.series_desc, excluded.modality, excluded.body_part, excluded.station_name,
       excluded.institution_fk, excluded.institution, excluded.department, excluded.sending_aet,
       excluded.receiving_aet, excluded.access_control_ids, excluded.rejection_state, excluded.created_time,
       excluded.updated_time, NULL::timestamptz);
UPDATE archive.cursor SET changed = GREATEST(changed, (SELECT max(changed) FROM s)) WHERE level = 'study';
UPDATE archive.cursor SET changed = GREATEST(changed, (SELECT max(changed) FROM e)) WHERE level = 'series';
COMMIT;
