//! Made-up words in the habits of an archive: names in three scripts, institutions that differ by case.

use super::random::Random;

/// The three groups of a person name, without the archive's trailing caret.
#[derive(Clone, Debug)]
pub(crate) struct PersonName(pub(crate) [Option<String>; 3]);

const LATIN: [(&str, &str); 10] = [
    ("Müller-Lüdenscheidt", "Jürgen"),
    ("O'Brien", "Seán"),
    ("Łukasiewicz", "Żaneta"),
    ("Nguyễn", "Thị Hồng"),
    ("García Núñez", "José María"),
    ("Şahin", "Özgür"),
    ("Åkesson", "Björk"),
    ("Dvořáková", "Anežka"),
    ("Smythe", "Jane"),
    ("Weiss\\Schwarz", "Rudi"),
];
const KOREAN: [(&str, &str, &str, &str); 4] = [
    ("Hong", "Gildong", "洪^吉洞", "홍^길동"),
    ("Kim", "Yuna", "金^妍兒", "김^연아"),
    ("Park", "Chanho", "朴^贊浩", "박^찬호"),
    ("Lee", "Sunshin", "李^舜臣", "이^순신"),
];
const JAPANESE: [(&str, &str, &str, &str); 3] = [
    ("Yamada", "Tarou", "山田^太郎", "やまだ^たろう"),
    ("Suzuki", "Ichirou", "鈴木^一朗", "すずき^いちろう"),
    ("Satou", "Hanako", "佐藤^花子", "さとう^はなこ"),
];

pub(crate) const INSTITUTIONS: [&str; 7] =
    ["RAD", "rad ", "Rad", "서울대학교병원", "Klinik für Radiologie", "St. Mary's", "東京医科大学"];
pub(crate) const MODALITIES: [&str; 7] = ["CT", "MR", "US", "CR", "SR", "PT", "XA"];
pub(crate) const BODY_PARTS: [&str; 4] = ["CHEST", "HEAD", "ABDOMEN", "KNEE"];
pub(crate) const DEPARTMENTS: [&str; 4] = ["Radiology", "Kardiologie", "영상의학과", "radiology"];
pub(crate) const ISSUERS: [&str; 4] = ["ADT1", "HOSP-B", "adt1", "서울"];
pub(crate) const ACCESS_IDS: [&str; 6] = ["CARDIO", "RESEARCH", "VIP", "vip", "연구", "Zürich"];
pub(crate) const DESCRIPTIONS: [&str; 6] =
    ["CT Thorax nativ", "Schädel-MRT", "흉부 CT", "Abdomen & Becken", "'quoted' \"text\"", "胸部X線"];

/// A number at the end keeps the names of different persons different.
pub(crate) fn person(random: &mut Random, number: i64) -> PersonName {
    let text = |text: &str| Some(text.to_owned());
    PersonName(match random.below(10) {
        0..=4 => {
            let (family, given) = random.choose(&LATIN);
            [Some(format!("{family}{number}^{given}")), None, None]
        }
        5 | 6 => {
            let (family, given, ideographic, phonetic) = random.choose(&KOREAN);
            [Some(format!("{family}{number}^{given}")), text(ideographic), text(phonetic)]
        }
        7 => {
            let (family, given, ideographic, phonetic) = random.choose(&JAPANESE);
            [Some(format!("{family}{number}^{given}^^Dr")), text(ideographic), text(phonetic)]
        }
        8 => {
            let (_, _, ideographic, phonetic) = random.choose(&KOREAN);
            [None, Some(format!("{ideographic}{number}")), text(phonetic)]
        }
        _ => [None, None, Some(format!("さくら{number}"))],
    })
}

/// Now and then a value is missing.
pub(crate) fn maybe(random: &mut Random, percent: u64, values: &[&'static str]) -> Option<&'static str> {
    random.chance(percent).then(|| *random.choose(values))
}

/// Distinct access control IDs, mostly none.
pub(crate) fn access_ids(random: &mut Random) -> Vec<&'static str> {
    let count = [0, 0, 0, 1, 1, 2, 3][usize::try_from(random.below(7)).unwrap()];
    let mut ids: Vec<&'static str> = Vec::new();
    while ids.len() < count {
        let id = *random.choose(&ACCESS_IDS);
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}
