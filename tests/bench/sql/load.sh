#!/bin/sh
# What a first load costs psql: each level by COPY out of the archive, piped into COPY into the tables of the
# target with their keys and indexes. Arguments: the archive's and the target's connection string.
set -e
copy() { # table, columns, statement
    psql -qX "$archive" -c "COPY ($3) TO STDOUT" | psql -qX "$target" -c "COPY $1 ($2) FROM STDIN"
}
archive=$1 target=$2
psql -qX "$target" -c "INSERT INTO rbac_source (id, name) VALUES (1, 'main')"
copy rbac_institution 'id, source_fk, institution_code, institution_name' "
    SELECT row_number() OVER (ORDER BY institution_name), 1, institution_code, institution_name
    FROM expected.institution"
# Patients that others were merged into come first, for the foreign key.
copy rbac_patient 'id, source_fk, source_pk, patient_id, issuer, patient_name, birth_date, sex, merged_into_fk,
    created_time, updated_time, synced_at' "
    SELECT source_pk, 1, source_pk, patient_id, issuer, patient_name, birth_date, sex, survivor_pk, created_time,
           updated_time, now() FROM expected.patient"
copy rbac_patient_identifier 'patient_fk, patient_id, issuer' "
    SELECT patient_pk, patient_id, issuer FROM expected.identifier"
copy rbac_study 'id, source_fk, source_pk, study_uid, patient_fk, study_date, study_time, study_desc, accession_no,
    accession_issuer, referring_physician, modalities, institutions, access_control_ids, rejection_state,
    created_time, updated_time, synced_at' "
    SELECT source_pk, 1, source_pk, study_uid, patient_pk, study_date, study_time, study_desc, accession_no,
           accession_issuer, referring_physician, modalities, institutions, access_control_ids, rejection_state,
           created_time, updated_time, now() FROM expected.study"
copy rbac_series 'id, source_pk, study_fk, series_uid, series_desc, modality, body_part, station_name,
    institution_fk, institution, department, sending_aet, receiving_aet, access_control_ids, rejection_state,
    created_time, updated_time, synced_at' "
    WITH i AS (SELECT row_number() OVER (ORDER BY institution_name) AS id, institution_name
               FROM expected.institution)
    SELECT s.source_pk, s.source_pk, s.study_pk, s.series_uid, s.series_desc, s.modality, s.body_part,
           s.station_name, i.id, s.institution, s.department, s.sending_aet, s.receiving_aet,
           s.access_control_ids, s.rejection_state, s.created_time, s.updated_time, now()
    FROM expected.series s LEFT JOIN i ON i.institution_name = s.institution"
