"""What each table of the target is filled with from the views that say what it must hold; for the scripts that the
program is measured against, and for the comparison after each measurement."""

PATIENT = ("source_pk", "patient_id", "issuer", "patient_name", "birth_date", "sex")
STUDY = (
    "source_pk", "study_uid", "study_date", "study_time", "study_desc", "accession_no", "accession_issuer",
    "referring_physician", "modalities", "institutions", "access_control_ids", "rejection_state",
)
SERIES = (
    "source_pk", "series_uid", "series_desc", "modality", "body_part", "station_name", "institution", "department",
    "sending_aet", "receiving_aet", "access_control_ids", "rejection_state",
)
INSTANCE = ("source_pk", "instance_uid", "sop_class_uid", "instance_number")
TIMES = ("created_time", "updated_time")


class Dialect:
    """How a database spells what differs; `time` gives a time the form that the target's client prints."""

    def __init__(self, view, now, time="{}"):
        self.view = view
        self.now = now
        self.time = time


POSTGRES = Dialect("expected.{}", "now()")
MARIADB = Dialect("expected_{}", "utc_timestamp(3)")
# The views are PostgreSQL's, the rows SQLite's: times are texts there.
SQLITE = Dialect("expected.{}", "to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS')",
                 "to_char({}, 'YYYY-MM-DD HH24:MI:SS.MS')")


def loads(dialect, instances=False):
    """For each table, parents first: its name, its columns, their expressions and what they are selected from, to
    fill an empty one. Ids are the archive's pks. With `instances` the instance level too."""
    def view(name):
        return dialect.view.format(name)

    def own(columns):
        expressions = {column: f"x.{column}" for column in columns}
        expressions.update((column, dialect.time.format(f"x.{column}")) for column in TIMES)
        return {**expressions, "synced_at": dialect.now}

    numbered = f"(SELECT row_number() OVER (ORDER BY institution_name) AS id, x.* FROM {view('institution')} x)"
    tables = {
        "rbac_institution": (
            {"id": "x.id", "source_fk": "1", "institution_code": "x.institution_code",
             "institution_name": "x.institution_name"},
            f"{numbered} x",
        ),
        "rbac_patient": (
            {"id": "x.source_pk", "source_fk": "1", "merged_into_fk": "x.survivor_pk", **own(PATIENT)},
            # A patient is merged into one with a lower pk here, which must come first.
            f"{view('patient')} x ORDER BY x.source_pk",
        ),
        "rbac_patient_identifier": (
            {"patient_fk": "x.patient_pk", "patient_id": "x.patient_id", "issuer": "x.issuer"},
            f"{view('identifier')} x",
        ),
        "rbac_study": (
            {"id": "x.source_pk", "source_fk": "1", "patient_fk": "x.patient_pk", **own(STUDY)},
            f"{view('study')} x",
        ),
        "rbac_series": (
            {"id": "x.source_pk", "study_fk": "x.study_pk", "institution_fk": "i.id", **own(SERIES)},
            f"{view('series')} x LEFT JOIN {numbered} i ON i.institution_name = x.institution",
        ),
    }
    if instances:
        tables["rbac_instance"] = (
            {"id": "x.source_pk", "series_fk": "x.series_pk", **own(INSTANCE)},
            f"{view('instance')} x",
        )
    for table, (columns, tail) in tables.items():
        yield table, list(columns), list(columns.values()), tail


def compared(dialect, instances=False):
    """For each level what the archive says and what the target says, as two SELECTs without order, and the
    columns to sort them by."""
    def columns(alias, names, times="{}"):
        return ", ".join([*(f"{alias}.{name}" for name in names), *(times.format(f"{alias}.{name}") for name in TIMES)])

    def expected(level, names, foreign_key):
        view = dialect.view.format(level)
        return f"SELECT {columns('x', names, dialect.time)}, x.{foreign_key} FROM {view} x"

    yield ("institution", f"SELECT institution_name, institution_code FROM {dialect.view.format('institution')}",
           "SELECT institution_name, institution_code FROM rbac_institution", "1")
    yield ("patient", expected("patient", PATIENT, "survivor_pk"),
           f"SELECT {columns('p', PATIENT)}, s.source_pk FROM rbac_patient p"
           " LEFT JOIN rbac_patient s ON s.id = p.merged_into_fk WHERE p.deleted_at IS NULL", "1")
    yield ("identifier", f"SELECT patient_pk, patient_id, issuer FROM {dialect.view.format('identifier')}",
           "SELECT p.source_pk, i.patient_id, i.issuer FROM rbac_patient_identifier i"
           " JOIN rbac_patient p ON p.id = i.patient_fk", "1, 2, 3")
    yield ("study", expected("study", STUDY, "patient_pk"),
           f"SELECT {columns('s', STUDY)}, p.source_pk FROM rbac_study s JOIN rbac_patient p ON p.id = s.patient_fk"
           " WHERE s.deleted_at IS NULL", "1")
    yield ("series", expected("series", SERIES, "study_pk"),
           f"SELECT {columns('e', SERIES)}, s.source_pk FROM rbac_series e JOIN rbac_study s ON s.id = e.study_fk"
           " JOIN rbac_institution i ON i.id = e.institution_fk AND i.institution_name = e.institution"
           " WHERE e.deleted_at IS NULL", "1")
    if instances:
        yield ("instance", expected("instance", INSTANCE, "series_pk"),
               f"SELECT {columns('n', INSTANCE)}, e.source_pk FROM rbac_instance n"
               " JOIN rbac_series e ON e.id = n.series_fk WHERE n.deleted_at IS NULL", "1")
