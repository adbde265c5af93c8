//! Made-up studies and series. Pure; all chance comes from the caller's dice.

use chrono::NaiveDateTime;
use rand::RngExt;

use super::people::{Name, physician, pick};
use super::{Dice, MISSING};

/// A study without its series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Study {
    pub(super) uid: String,
    pub(super) id: String,
    /// `YYYYMMDD` or `'*'`.
    pub(super) date: String,
    /// `HHMMSS` or `'*'`.
    pub(super) time: String,
    pub(super) description: &'static str,
    pub(super) accession_no: String,
    /// Issuer of the accession number: local name, universal name, kind of the latter.
    pub(super) accession_issuer: [Option<&'static str>; 3],
    pub(super) access_control_ids: Vec<&'static str>,
    pub(super) referring_physician: Option<Name>,
}

/// A series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Series {
    pub(super) uid: String,
    pub(super) number: Option<i64>,
    pub(super) origin: Origin,
    pub(super) sending_aet: Option<&'static str>,
    pub(super) receiving_aet: &'static str,
    pub(super) access_control_ids: Vec<&'static str>,
    pub(super) performing_physician: Option<Name>,
}

/// The attributes of a series that say where it was made and of what: those that get corrected later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) description: &'static str,
    pub(super) modality: &'static str,
    pub(super) body_part: &'static str,
    pub(super) laterality: &'static str,
    pub(super) station: &'static str,
    pub(super) institution: Institution,
    pub(super) department: &'static str,
}

/// An institution; some devices send its code too, by the index into [`CODED_INSTITUTIONS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Institution {
    pub(super) name: &'static str,
    pub(super) code: Option<usize>,
}

/// Institutions that have a code: (code, name).
pub(super) const CODED_INSTITUTIONS: [(&str, &str); 3] =
    [("NGH", "North General Hospital"), ("SNUH-X", "가온대학교병원"), ("HUG", "Hôpital du Léman")];

/// Institutions known by name only. Two of them differ in case alone: the archive keeps both.
const NAMED_INSTITUTIONS: [&str; 5] = ["Klinikum Süd", "klinikum süd", "桜総合病院", "مستشفى النور", MISSING];

const DEPARTMENTS: [&str; 7] =
    ["Radiology", "Cardiology", "Oncology", "영상의학과", "Gynäkologie", "Emergency", MISSING];

/// Access control IDs in use.
const ACCESS_CONTROL_IDS: [&str; 6] = ["RAD", "CARDIO", "ONCO", "RESEARCH", "STAFF", "VIP"];

/// What each modality makes: (modality, station, series descriptions, body parts).
type Device = (&'static str, &'static str, &'static [&'static str], &'static [&'static str]);
const DEVICES: [Device; 8] = [
    ("CT", "CT-01", &["Thorax nativ", "Abdomen portal venous", "Topogram"], &["CHEST", "ABDOMEN", "HEAD"]),
    ("MR", "MR-3T-A", &["t1_mprage", "t2_flair", "DWI b1000"], &["BRAIN", "KNEE", "LSPINE"]),
    ("CR", "CR-ER", &["PA", "LAT", "AP bedside"], &["CHEST", "HAND", "FOOT"]),
    ("US", "US-7", &["Obstetric", "Carotid", MISSING], &["ABDOMEN", "NECK", MISSING]),
    ("XA", "CATH-2", &["Coronary LAO", "Coronary RAO"], &["HEART"]),
    ("MG", "MAMMO-1", &["CC", "MLO"], &["BREAST"]),
    ("PT", "PETCT-1", &["WB FDG", "WB uncorrected"], &["WHOLEBODY"]),
    ("SR", MISSING, &["Dose Report", MISSING], &[MISSING]),
];

const STUDY_DESCRIPTIONS: [&str; 8] = [
    "CT Chest with contrast",
    "MRT Schädel",
    "흉부 CT",
    "胸部単純撮影",
    "Échographie abdominale",
    "Follow-up",
    "Trauma series",
    MISSING,
];

const SENDING_AETS: [&str; 6] = ["CT_SCANNER1", "MR3T", "US_ROOM7", "WORKSTATION", "GATEWAY", "CATHLAB"];
const RECEIVING_AETS: [&str; 2] = ["DCM4CHEE", "AS_RECEIVED"];

/// A study stored at `now`.
pub(super) fn study(dice: &mut Dice, now: NaiveDateTime) -> Study {
    let accession_no =
        if dice.random_bool(0.1) { MISSING.to_owned() } else { format!("A{:08}", dice.random_range(0..100_000_000)) };
    let accession_issuer = match dice.random_range(0..10) {
        0..5 => [None, None, None],
        5..7 => [Some("RIS-NORTH"), Some(MISSING), Some(MISSING)],
        7..9 => [Some(MISSING), Some("2.25.5544332211"), Some("ISO")],
        _ => [Some(MISSING), Some(MISSING), Some(MISSING)],
    };
    let dated = !dice.random_bool(0.02);
    Study {
        uid: uid(dice),
        id: if dice.random_bool(0.2) { MISSING.to_owned() } else { dice.random_range(1..100_000).to_string() },
        date: if dated { now.format("%Y%m%d").to_string() } else { MISSING.to_owned() },
        time: if dated { now.format("%H%M%S").to_string() } else { MISSING.to_owned() },
        description: pick(dice, &STUDY_DESCRIPTIONS),
        accession_no,
        accession_issuer,
        access_control_ids: if dice.random_bool(0.6) { Vec::new() } else { access_control_ids(dice) },
        referring_physician: dice.random_bool(0.7).then(|| physician(dice)),
    }
}

/// A series.
pub(super) fn series(dice: &mut Dice) -> Series {
    Series {
        uid: uid(dice),
        number: (!dice.random_bool(0.05)).then(|| dice.random_range(1..900)),
        origin: origin(dice),
        sending_aet: (!dice.random_bool(0.15)).then(|| pick(dice, &SENDING_AETS)),
        receiving_aet: pick(dice, &RECEIVING_AETS),
        access_control_ids: if dice.random_bool(0.9) { Vec::new() } else { access_control_ids(dice) },
        performing_physician: dice.random_bool(0.4).then(|| physician(dice)),
    }
}

/// How many series a study begins with.
pub(super) fn series_count(dice: &mut Dice) -> u32 {
    match dice.random_range(0..10) {
        0..4 => 1,
        4..7 => 2,
        7..9 => 3,
        _ => dice.random_range(4..9),
    }
}

/// Where a series was made, and of what.
pub(super) fn origin(dice: &mut Dice) -> Origin {
    let (modality, station, descriptions, body_parts) = DEVICES[dice.random_range(0..DEVICES.len())];
    let code = dice.random_range(0..CODED_INSTITUTIONS.len());
    let institution = match dice.random_range(0..10) {
        0..4 => Institution { name: CODED_INSTITUTIONS[code].1, code: Some(code) },
        4..6 => Institution { name: CODED_INSTITUTIONS[code].1, code: None },
        _ => Institution { name: pick(dice, &NAMED_INSTITUTIONS), code: None },
    };
    Origin {
        description: pick(dice, descriptions),
        modality,
        body_part: pick(dice, body_parts),
        laterality: pick(dice, &["L", "R", MISSING, MISSING]),
        station,
        institution,
        department: pick(dice, &DEPARTMENTS),
    }
}

/// One to three different IDs, in no order.
pub(super) fn access_control_ids(dice: &mut Dice) -> Vec<&'static str> {
    let first = dice.random_range(0..ACCESS_CONTROL_IDS.len());
    let step = pick(dice, &[1, 5]);
    let count = dice.random_range(1..=3);
    (0..count).map(|n| ACCESS_CONTROL_IDS[(first + n * step) % ACCESS_CONTROL_IDS.len()]).collect()
}

/// A UID below 2.25, the arc for UIDs made of random numbers.
fn uid(dice: &mut Dice) -> String {
    format!("2.25.{}", dice.random::<u128>())
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn uids_are_valid_and_differ() {
        let mut dice = Dice::seed_from_u64(3);
        let mut uids: Vec<_> = (0..1000).map(|_| uid(&mut dice)).collect();
        assert!(uids.iter().all(|uid| uid.len() <= 64));
        uids.sort();
        uids.dedup();
        assert_eq!(uids.len(), 1000);
    }

    #[test]
    fn access_control_ids_never_repeat_within_one_study() {
        let mut dice = Dice::seed_from_u64(4);
        for _ in 0..1000 {
            let mut ids = access_control_ids(&mut dice);
            let count = ids.len();
            ids.sort_unstable();
            ids.dedup();
            assert!(ids.len() == count && (1..=3).contains(&count));
        }
    }
}
