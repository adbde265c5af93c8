"""Whether a target holds what the archive's own SQL says it must hold."""

import subprocess

PATIENT = "source_pk, patient_id, issuer, patient_name, birth_date, sex, created_time, updated_time"
STUDY = (
    "source_pk, study_uid, study_date, study_time, study_desc, accession_no, accession_issuer, referring_physician,"
    " modalities, institutions, access_control_ids, rejection_state, created_time, updated_time"
)
SERIES = (
    "source_pk, series_uid, series_desc, modality, body_part, station_name, institution, department, sending_aet,"
    " receiving_aet, access_control_ids, rejection_state, created_time, updated_time"
)


def qualified(alias, columns):
    return ", ".join(f"{alias}.{column.strip()}" for column in columns.split(","))


# Level: what the archive says, what the target says; both by natural keys.
LEVELS = {
    "institution": (
        "SELECT institution_name, institution_code FROM expected.institution ORDER BY 1",
        "SELECT institution_name, institution_code FROM rbac_institution ORDER BY 1",
    ),
    "patient": (
        f"SELECT {PATIENT}, survivor_pk FROM expected.patient ORDER BY source_pk",
        f"SELECT {qualified('p', PATIENT)}, s.source_pk FROM rbac_patient p"
        " LEFT JOIN rbac_patient s ON s.id = p.merged_into_fk WHERE p.deleted_at IS NULL ORDER BY p.source_pk",
    ),
    "identifier": (
        "SELECT patient_pk, patient_id, issuer FROM expected.identifier ORDER BY 1, 2, 3",
        "SELECT p.source_pk, i.patient_id, i.issuer FROM rbac_patient_identifier i"
        " JOIN rbac_patient p ON p.id = i.patient_fk ORDER BY 1, 2, 3",
    ),
    "study": (
        f"SELECT {STUDY}, patient_pk FROM expected.study ORDER BY source_pk",
        f"SELECT {qualified('s', STUDY)}, p.source_pk FROM rbac_study s JOIN rbac_patient p ON p.id = s.patient_fk"
        " WHERE s.deleted_at IS NULL ORDER BY s.source_pk",
    ),
    "series": (
        f"SELECT {SERIES}, study_pk FROM expected.series ORDER BY source_pk",
        f"SELECT {qualified('e', SERIES)}, s.source_pk FROM rbac_series e JOIN rbac_study s ON s.id = e.study_fk"
        " JOIN rbac_institution i ON i.id = e.institution_fk AND i.institution_name = e.institution"
        " WHERE e.deleted_at IS NULL ORDER BY e.source_pk",
    ),
}


def digest(url, statement):
    """Of all rows in order."""
    command = f'psql -qX "$1" -c "COPY ($2) TO STDOUT" | sha256sum'
    return subprocess.run(["bash", "-c", f"set -o pipefail; {command}", "_", url, statement], check=True,
                          stdout=subprocess.PIPE, text=True).stdout.split()[0]


def compare(archive, target):
    """Raises when a level differs."""
    for level, (expected, found) in LEVELS.items():
        if digest(archive, expected) != digest(target, found):
            raise SystemExit(f"wrong result: {level} of {target} is not what the archive holds")
