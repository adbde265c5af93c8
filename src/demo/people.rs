//! Made-up people: names in several scripts, identifiers of several issuers. Pure; all chance comes
//! from the caller's dice.

use chrono::{Days, NaiveDate};
use rand::RngExt;
use rand::seq::IndexedRandom;

use super::{Dice, MISSING};

/// A name as the archive stores it: three groups, each with its trailing `^`, or `'*'`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// Letters, also those of other alphabets.
    pub(super) alphabetic: String,
    /// Hanja, kanji, hanzi.
    pub(super) ideographic: String,
    /// Hangul, kana.
    pub(super) phonetic: String,
}

/// One of a patient's identifiers with its issuer; `'*'` where the issuer lacks a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identifier {
    /// The ID itself.
    pub(super) value: String,
    /// Local name of the issuer.
    pub(super) entity_id: &'static str,
    /// Universal name of the issuer.
    pub(super) entity_uid: &'static str,
    /// Kind of the universal name.
    pub(super) entity_uid_type: &'static str,
}

/// A patient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Person {
    /// A few arrive without any name.
    pub(super) name: Option<Name>,
    /// `YYYYMMDD` or `'*'`.
    pub(super) birth_date: String,
    /// `M`, `F`, `O` or `'*'`.
    pub(super) sex: &'static str,
    /// At least one.
    pub(super) identifiers: Vec<Identifier>,
}

/// One part of a name, as alphabetic, ideographic and phonetic text; "" where the culture has none.
type Part = (&'static str, &'static str, &'static str);

/// Names that go together.
struct Culture {
    families: &'static [Part],
    women: &'static [Part],
    men: &'static [Part],
}

const CULTURES: [Culture; 8] = [
    // Korean: romanised, hanja, hangul.
    Culture {
        families: &[("Kim", "金", "김"), ("Lee", "李", "이"), ("Park", "朴", "박"), ("Choi", "崔", "최")],
        women: &[("Jiwoo", "智友", "지우"), ("Seoyeon", "瑞妍", "서연"), ("Younghee", "英姬", "영희")],
        men: &[("Minjun", "敏俊", "민준"), ("Jihoon", "志勳", "지훈"), ("Dohyun", "道賢", "도현")],
    },
    // Japanese: romanised, kanji, kana.
    Culture {
        families: &[
            ("Sato", "佐藤", "さとう"),
            ("Suzuki", "鈴木", "すずき"),
            ("Watanabe", "渡邊", "わたなべ"),
            ("Tanaka", "田中", "たなか"),
        ],
        women: &[("Yui", "結衣", "ゆい"), ("Hanako", "花子", "はなこ"), ("Sakura", "桜", "さくら")],
        men: &[("Taro", "太郎", "たろう"), ("Haruto", "陽翔", "はると"), ("Kenji", "健二", "けんじ")],
    },
    // Chinese: pinyin and hanzi, no phonetic group.
    Culture {
        families: &[("Wang", "王", ""), ("Zhang", "張", ""), ("Chen", "陈", ""), ("Ouyang", "欧阳", "")],
        women: &[("Xiulan", "秀蘭", ""), ("Mei", "梅", ""), ("Lihua", "丽华", "")],
        men: &[("Wei", "偉", ""), ("Jianguo", "建国", ""), ("Lei", "磊", "")],
    },
    // German.
    Culture {
        families: &[("Müller", "", ""), ("Weiß", "", ""), ("Schäfer", "", ""), ("von der Lühe", "", "")],
        women: &[("Jürgine", "", ""), ("Anneliese", "", ""), ("Käthe", "", "")],
        men: &[("Jörg", "", ""), ("Günther", "", ""), ("Karl-Heinz", "", "")],
    },
    // French.
    Culture {
        families: &[("Lefèvre", "", ""), ("d'Aubigné", "", ""), ("Besançon", "", ""), ("Noël", "", "")],
        women: &[("Élodie", "", ""), ("Hélène", "", ""), ("Anaïs", "", "")],
        men: &[("François", "", ""), ("Jérôme", "", ""), ("Loïc", "", "")],
    },
    // Arabic, in its own script.
    Culture {
        families: &[("قباني", "", ""), ("الخطيب", "", ""), ("منصور", "", ""), ("بن علي", "", "")],
        women: &[("فاطمة", "", ""), ("ليلى", "", ""), ("نور", "", "")],
        men: &[("نزار", "", ""), ("يوسف", "", ""), ("أحمد", "", "")],
    },
    // Polish, Czech, Vietnamese, Portuguese: accents outside Latin-1.
    Culture {
        families: &[("Łukasiewicz", "", ""), ("Dvořák", "", ""), ("Nguyễn", "", ""), ("Magalhães", "", "")],
        women: &[("Żaneta", "", ""), ("Věra", "", ""), ("Thị Hương", "", "")],
        men: &[("Stanisław", "", ""), ("Jiří", "", ""), ("João", "", "")],
    },
    // English: apostrophes, and a name that is one letter.
    Culture {
        families: &[("O'Neill", "", ""), ("Smith-Jones", "", ""), ("Macdonald", "", ""), ("E", "", "")],
        women: &[("Mary", "", ""), ("Zoë", "", ""), ("Siobhan", "", "")],
        men: &[("John", "", ""), ("Ian", "", ""), ("Robert", "", "")],
    },
];

/// Issuers of patient identifiers as (entity_id, entity_uid, entity_uid_type).
const ISSUERS: [(&str, &str, &str); 5] = [
    ("NORTH", MISSING, MISSING),
    ("SOUTH", "2.25.174826374650192837465", "ISO"),
    (MISSING, "2.25.918273645564738291", "ISO"),
    ("전국보험", MISSING, MISSING),
    (MISSING, MISSING, MISSING),
];

/// A patient known at `today` or before.
pub(super) fn person(dice: &mut Dice, today: NaiveDate) -> Person {
    let female = dice.random_bool(0.5);
    let sex = match dice.random_range(0..100) {
        0..90 => ["M", "F"][usize::from(female)],
        90..93 => "O",
        _ => MISSING,
    };
    Person {
        name: (!dice.random_bool(0.01)).then(|| name(dice, female)),
        birth_date: birth_date(dice, today),
        sex,
        identifiers: identifiers(dice),
    }
}

/// A physician's name.
pub(super) fn physician(dice: &mut Dice) -> Name {
    let female = dice.random_bool(0.5);
    name(dice, female)
}

/// A name of any culture.
pub(super) fn name(dice: &mut Dice, female: bool) -> Name {
    let culture = &CULTURES[dice.random_range(0..CULTURES.len())];
    let family = pick(dice, culture.families);
    let given = pick(dice, if female { culture.women } else { culture.men });
    let prefix = if dice.random_bool(0.05) { "^Dr." } else { "" };
    let mut name = Name {
        alphabetic: group(family.0, given.0, prefix),
        ideographic: group(family.1, given.1, ""),
        phonetic: group(family.2, given.2, ""),
    };
    // Some devices send no alphabetic group, some no phonetic one.
    if name.ideographic != MISSING && dice.random_bool(0.15) {
        name.alphabetic = MISSING.to_owned();
    } else if dice.random_bool(0.2) {
        name.phonetic = MISSING.to_owned();
    }
    name
}

fn group(family: &str, given: &str, prefix: &str) -> String {
    if family.is_empty() { MISSING.to_owned() } else { format!("{family}^{given}^{prefix}^") }
}

fn birth_date(dice: &mut Dice, today: NaiveDate) -> String {
    let age = Days::new(dice.random_range(0..36_500));
    match today.checked_sub_days(age) {
        Some(day) if !dice.random_bool(0.04) => day.format("%Y%m%d").to_string(),
        _ => MISSING.to_owned(),
    }
}

fn identifiers(dice: &mut Dice) -> Vec<Identifier> {
    let count = match dice.random_range(0..100) {
        0..75 => 1,
        75..95 => 2,
        _ => 3,
    };
    // Neighbours in the list of issuers, so that no patient has two IDs of one issuer.
    let first = dice.random_range(0..ISSUERS.len());
    (first..first + count).map(|at| identifier(dice, ISSUERS[at % ISSUERS.len()])).collect()
}

fn identifier(dice: &mut Dice, issuer: (&'static str, &'static str, &'static str)) -> Identifier {
    let number: u32 = dice.random_range(1..100_000_000);
    let value = match dice.random_range(0..3) {
        0 => format!("{number:08}"),
        1 => format!("K-{number}"),
        _ => format!("{}/{:04}", number / 10_000, number % 10_000),
    };
    Identifier { value, entity_id: issuer.0, entity_uid: issuer.1, entity_uid_type: issuer.2 }
}

/// One of a list that is never empty.
pub(super) fn pick<T: Copy>(dice: &mut Dice, list: &[T]) -> T {
    *list.choose(dice).expect("the lists of this module are constants with entries")
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn crowd(seed: u64) -> Vec<Person> {
        let mut dice = Dice::seed_from_u64(seed);
        let today = NaiveDate::from_ymd_opt(2026, 11, 24).unwrap();
        (0..1000).map(|_| person(&mut dice, today)).collect()
    }

    #[test]
    fn the_same_seed_makes_the_same_people() {
        assert_eq!(crowd(7), crowd(7));
        assert_ne!(crowd(7), crowd(8));
    }

    #[test]
    fn every_group_of_a_name_is_missing_or_ends_with_a_caret() {
        for name in crowd(1).into_iter().filter_map(|person| person.name) {
            let groups = [&name.alphabetic, &name.ideographic, &name.phonetic];
            assert!(groups.iter().all(|group| *group == MISSING || group.ends_with('^')), "{name:?}");
            assert!(groups.iter().any(|group| *group != MISSING), "{name:?}");
        }
    }

    #[test]
    fn no_patient_has_two_identifiers_of_one_issuer() {
        for person in crowd(2) {
            let mut issuers: Vec<_> = person.identifiers.iter().map(|id| (id.entity_id, id.entity_uid)).collect();
            let count = issuers.len();
            issuers.sort_unstable();
            issuers.dedup();
            assert!(count > 0 && issuers.len() == count);
        }
    }
}
