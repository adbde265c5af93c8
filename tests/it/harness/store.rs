//! What the archive writes when it stores: rows of a patient, a study, a series, in the form of its shape.

use chrono::NaiveDateTime;

use super::archive::{Archive, Fields, Val};
use super::names::{self, PersonName};
use super::shape::NAME_COLUMNS;

/// Rows by table; written in the order in which keys want them.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    rows: Vec<(&'static str, Fields)>,
}

/// Referenced tables before those that refer to them. Where a patient refers to its patient ID, that
/// comes first.
const ORDER: [&str; 10] = [
    "issuer",
    "code",
    "person_name",
    "patient",
    "patient_id",
    "study",
    "study_access_control_id",
    "series",
    "series_access_control_id",
    "instance",
];

impl Batch {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    fn push(&mut self, table: &'static str, fields: Fields) {
        self.rows.push((table, fields));
    }

    /// Writes all rows.
    pub(crate) async fn write(&mut self, archive: &mut Archive) {
        let mut order = ORDER;
        if archive.shape.has("patient", "patient_id_fk") && !archive.shape.has("patient_id", "patient_fk") {
            order.swap(3, 4);
        }
        for table in order {
            let chosen = self.rows.iter().filter(|(name, _)| *name == table).map(|(_, fields)| fields.clone());
            archive.insert(table, &chosen.collect::<Vec<_>>()).await;
        }
        self.rows.clear();
    }

    pub(crate) fn issuer(&mut self, archive: &mut Archive, entity: Entity) -> i64 {
        let pk = archive.next_key();
        let mut fields = Fields::from([("pk", Val::Int(pk))]);
        fields.extend(entity.fields(["entity_id", "entity_uid", "entity_uid_type"]));
        self.push("issuer", fields);
        pk
    }

    pub(crate) fn code(&mut self, archive: &mut Archive, value: &str) -> i64 {
        let pk = archive.next_key();
        self.push(
            "code",
            Fields::from([("pk", pk.into()), ("code_value", value.into()), ("code_meaning", "Site".into())]),
        );
        pk
    }

    pub(crate) fn name(&mut self, archive: &mut Archive, name: &PersonName) -> i64 {
        let pk = archive.next_key();
        let mut fields = name_fields(name);
        fields.insert("pk", Val::Int(pk));
        self.push("person_name", fields);
        pk
    }

    /// A patient with its identifiers; an archive with one identifier a patient gets the first.
    pub(crate) fn patient(&mut self, archive: &mut Archive, ids: &[(String, Entity)]) -> i64 {
        let now = archive.tick();
        let pk = archive.next_key();
        let name = names::person(&mut archive.random, pk);
        let name_pk = if archive.random.chance(95) { Some(self.name(archive, &name)) } else { None };
        let one_only = !archive.shape.has("patient_id", "patient_fk");
        let mut first = None;
        for (id, entity) in ids.iter().take(if one_only { 1 } else { ids.len() }) {
            let id = self.identifier(archive, pk, id, entity);
            first.get_or_insert(id);
        }
        let mut fields = Fields::from([("pk", Val::Int(pk)), ("patient_id_fk", nullable(first))]);
        fields.extend(demographics(archive));
        fields.extend(times(now, now));
        fields.insert("pat_name_fk", nullable(name_pk));
        self.push("patient", fields);
        pk
    }

    pub(crate) fn identifier(&mut self, archive: &mut Archive, patient: i64, id: &str, entity: &Entity) -> i64 {
        let pk = archive.next_key();
        let mut fields = Fields::from([("pk", pk.into()), ("pat_id", id.into())]);
        fields.extend(entity.fields(["entity_id", "entity_uid", "entity_uid_type"]));
        fields.extend([("patient_fk", patient.into()), ("issuer_fk", issuer_key(archive))]);
        self.push("patient_id", fields);
        pk
    }

    pub(crate) fn study(&mut self, archive: &mut Archive, patient: i64, uid: &str) -> i64 {
        let now = archive.tick();
        let pk = archive.next_key();
        let physician = names::person(&mut archive.random, pk);
        let physician = if archive.random.chance(60) { Some(self.name(archive, &physician)) } else { None };
        let ids = names::access_ids(&mut archive.random);
        let mut fields = Fields::from([
            ("pk", Val::Int(pk)),
            ("study_iuid", uid.into()),
            ("patient_fk", patient.into()),
            ("ref_phys_name_fk", nullable(physician)),
            ("accno_issuer_fk", issuer_key(archive)),
            ("rejection_state", Val::Int(if archive.random.chance(92) { 0 } else { 3 })),
        ]);
        fields.extend(study_attributes(archive));
        fields.extend(times(now, now));
        self.access(archive, "study", pk, &ids, &mut fields);
        self.push("study", fields);
        pk
    }

    pub(crate) fn series(&mut self, archive: &mut Archive, study: i64, uid: &str) -> i64 {
        let now = archive.tick();
        let pk = archive.next_key();
        let ids = names::access_ids(&mut archive.random);
        let mut fields = Fields::from([
            ("pk", Val::Int(pk)),
            ("series_iuid", uid.into()),
            ("study_fk", study.into()),
            (
                "rejection_state",
                Val::Int([0, 0, 0, 0, 0, 0, 1, 2, 3][usize::try_from(archive.random.below(9)).unwrap()]),
            ),
        ]);
        fields.extend(series_attributes(archive));
        fields.extend(times(now, now));
        self.access(archive, "series", pk, &ids, &mut fields);
        self.push("series", fields);
        pk
    }

    pub(crate) fn instance(&mut self, archive: &mut Archive, series: i64, uid: &str) -> i64 {
        let now = archive.tick();
        let pk = archive.next_key();
        let mut fields = Fields::from([
            ("pk", Val::Int(pk)),
            ("series_fk", series.into()),
            ("sop_iuid", uid.into()),
            ("dicomattrs_fk", archive.next_key().into()),
        ]);
        fields.extend(instance_attributes(archive));
        fields.extend(times(now, now));
        self.push("instance", fields);
        pk
    }

    /// Access control IDs in all the forms of an archive: the column, a list in it, a child table. Beside
    /// a child table the column is now and then out of date, and then says nothing.
    fn access(&mut self, archive: &mut Archive, level: &str, pk: i64, ids: &[&str], fields: &mut Fields) {
        let children = archive.shape.table(child_table(level)).is_some();
        let stale = children && archive.random.chance(10);
        fields.insert("access_control_id", if stale { Val::from("STALE") } else { access_column(ids) });
        for id in ids {
            self.access_child(level, pk, id);
        }
        if children && archive.random.chance(5) {
            self.access_child(level, pk, if archive.random.chance(50) { "*" } else { "" });
        }
    }

    /// A row of the child table of access control IDs, where the archive has one.
    pub(crate) fn access_child(&mut self, level: &str, pk: i64, id: &str) {
        let parent = if level == "study" { "study_fk" } else { "series_fk" };
        let fields = Fields::from([(parent, Val::Int(pk)), ("access_control_id", id.into())]);
        self.push(child_table(level), fields);
    }
}

/// The assigning authority of an identifier.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entity {
    pub(crate) id: Option<String>,
    pub(crate) uid: Option<String>,
}

impl Entity {
    /// Mostly a local name, now and then a UID, both, or none.
    pub(crate) fn any(archive: &mut Archive) -> Self {
        let id = Some((*archive.random.choose(&names::ISSUERS)).to_owned());
        let uid = Some(format!("1.2.3.{}", archive.random.below(4)));
        match archive.random.below(8) {
            0 => Self { id: None, uid },
            1 => Self { id, uid },
            2 => Self::default(),
            _ => Self { id, uid: None },
        }
    }

    pub(crate) fn fields(&self, [id, uid, kind]: [&'static str; 3]) -> [(&'static str, Val); 3] {
        [
            (id, Val::from(self.id.clone())),
            (uid, Val::from(self.uid.clone())),
            (kind, Val::from(self.uid.is_some().then_some("ISO"))),
        ]
    }
}

pub(crate) fn child_table(level: &str) -> &'static str {
    if level == "study" { "study_access_control_id" } else { "series_access_control_id" }
}

/// The column form of access control IDs.
pub(crate) fn access_column(ids: &[&str]) -> Val {
    if ids.is_empty() { Val::Missing } else { Val::from(ids.join("\\")) }
}

fn nullable(key: Option<i64>) -> Val {
    key.map_or(Val::Null, Val::Int)
}

fn times(created: NaiveDateTime, updated: NaiveDateTime) -> [(&'static str, Val); 2] {
    [("created_time", Val::Time(created)), ("updated_time", Val::Time(updated))]
}

/// All name columns, new and old; a group ends with carets as the archive leaves them.
pub(crate) fn name_fields(name: &PersonName) -> Fields {
    let mut fields = Fields::new();
    let columns = ["alphabetic_name", "ideographic_name", "phonetic_name"];
    for ((column, components), group) in columns.into_iter().zip(NAME_COLUMNS).zip(&name.0) {
        fields.insert(column, Val::from(group.as_ref().map(|group| format!("{group}^"))));
        let mut parts = group.as_deref().unwrap_or_default().split('^');
        for component in components {
            fields.insert(component, Val::from(parts.next().filter(|part| !part.is_empty())));
        }
    }
    fields
}

/// A key to one of the shared issuers, where the archive has that table.
fn issuer_key(archive: &mut Archive) -> Val {
    if archive.issuers.is_empty() || archive.random.chance(15) {
        return Val::Null;
    }
    let issuers = archive.issuers.clone();
    Val::Int(*archive.random.choose(&issuers))
}

pub(crate) fn demographics(archive: &mut Archive) -> Vec<(&'static str, Val)> {
    let random = &mut archive.random;
    let birth = random
        .chance(90)
        .then(|| format!("{}{:02}{:02}", 1930 + random.below(90), 1 + random.below(12), 1 + random.below(28)));
    vec![("pat_birthdate", Val::from(birth)), ("pat_sex", Val::from(names::maybe(random, 90, &["F", "M", "O"])))]
}

pub(crate) fn study_attributes(archive: &mut Archive) -> Vec<(&'static str, Val)> {
    let number = archive.next_key();
    let entity = Entity::any(archive);
    let random = &mut archive.random;
    let date = random.chance(95).then(|| format!("2023{:02}{:02}", 1 + random.below(12), 1 + random.below(28)));
    let time = random.chance(80).then(|| format!("{:02}{:02}30.120", random.below(24), random.below(60)));
    let accession = random.chance(85).then(|| format!("ACC-{number}-q"));
    let mut fields = vec![
        ("study_date", Val::from(date)),
        ("study_time", Val::from(time)),
        ("study_desc", Val::from(names::maybe(random, 80, &names::DESCRIPTIONS))),
        ("accession_no", Val::from(accession)),
    ];
    fields.extend(entity.fields(["accno_entity_id", "accno_entity_uid", "accno_entity_uid_type"]));
    fields
}

pub(crate) fn series_attributes(archive: &mut Archive) -> Vec<(&'static str, Val)> {
    let random = &mut archive.random;
    let institution = names::maybe(random, 85, &names::INSTITUTIONS);
    let code = institution.and_then(|institution| archive.codes.get(institution)).copied();
    let sending = names::maybe(random, 70, &["CT_SCANNER", "MR-1", "GATEWAY"]);
    vec![
        ("series_desc", Val::from(names::maybe(random, 70, &names::DESCRIPTIONS))),
        ("modality", Val::from(names::maybe(random, 97, &names::MODALITIES))),
        ("institution", Val::from(institution)),
        ("inst_code_fk", nullable(code)),
        ("department", Val::from(names::maybe(random, 60, &names::DEPARTMENTS))),
        ("station_name", Val::from(names::maybe(random, 60, &["CT01", "MR02", "ws-ünï"]))),
        ("body_part", Val::from(names::maybe(random, 60, &names::BODY_PARTS))),
        ("sending_aet", Val::from(sending)),
        ("src_aet", Val::from(sending)),
        ("receiving_aet", Val::from(names::maybe(random, 70, &["ARCHIVE", "WORKLIST"]))),
    ]
}

pub(crate) fn instance_attributes(archive: &mut Archive) -> Vec<(&'static str, Val)> {
    let random = &mut archive.random;
    let class = names::maybe(random, 90, &["1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"]);
    let number = if random.chance(90) { Val::Int(random.below(500).cast_signed()) } else { Val::Null };
    vec![("sop_cuid", Val::from(class)), ("inst_no", number)]
}
