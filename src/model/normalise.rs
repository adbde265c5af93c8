//! From the archive's values to the target's.

use chrono::{NaiveDateTime, Timelike as _};

/// What the archive stores where a value is missing.
const MISSING: &str = "*";
/// DICOM's own separator of multi-valued attributes.
const SEPARATOR: char = '\\';

/// `'*'`, `''` and NULL are all "none".
#[must_use]
pub fn text(value: Option<&str>) -> Option<&str> {
    value.filter(|text| !text.is_empty() && *text != MISSING)
}

/// The first group of a person name that is not empty, without its trailing carets.
#[must_use]
pub fn person_name<'a>(groups: impl IntoIterator<Item = Option<&'a str>>) -> Option<&'a str> {
    groups.into_iter().find_map(|group| text(text(group).map(|group| group.trim_end_matches('^'))))
}

/// The parts of a column that holds several access control IDs.
pub fn split_ids(column: &str) -> impl Iterator<Item = &str> {
    column.split(SEPARATOR)
}

/// The distinct values that are not "none", sorted by code point.
#[must_use]
pub fn distinct<'a>(values: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    // UTF-8 sorts by bytes as it does by code points.
    let mut values: Vec<&str> = values.into_iter().filter(|value| !value.is_empty() && *value != MISSING).collect();
    values.sort_unstable();
    values.dedup();
    values
}

/// [`distinct`] values joined by a backslash; none where there are none.
#[must_use]
pub fn joined<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let values = distinct(values);
    (!values.is_empty()).then(|| values.join("\\"))
}

/// Cuts a time to the millisecond, which is what the archive means and every target stores.
#[must_use]
pub fn to_millis(time: NaiveDateTime) -> NaiveDateTime {
    // Leap seconds are nanoseconds past 10^9 in chrono; they keep that mark.
    time.with_nanosecond(time.nanosecond() / 1_000_000 * 1_000_000).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn star_and_empty_and_null_are_all_none() {
        assert_eq!(text(Some("*")), None);
        assert_eq!(text(Some("")), None);
        assert_eq!(text(None), None);
        assert_eq!(text(Some(" *")), Some(" *"));
    }

    #[test]
    fn a_name_is_its_first_group_with_something_in_it() {
        assert_eq!(person_name([Some("Hong^Gildong^"), Some("洪^吉洞"), None]), Some("Hong^Gildong"));
        assert_eq!(person_name([Some("*"), Some("洪^吉洞^^"), None]), Some("洪^吉洞"));
        assert_eq!(person_name([Some("^^^^"), None, Some("ほん^")]), Some("ほん"));
        assert_eq!(person_name([Some("*"), Some("*"), Some("*")]), None);
    }

    #[test]
    fn a_caret_inside_a_name_stays() {
        assert_eq!(person_name([Some("Yamada^^^Dr^")]), Some("Yamada^^^Dr"));
    }

    #[test]
    fn values_are_joined_once_each_by_code_point() {
        assert_eq!(joined(["b", "a", "b", "*", "", "Ä", "A"]), some("A\\a\\b\\Ä"));
        assert_eq!(joined(["rad ", "RAD", "rad"]), some("RAD\\rad\\rad "));
        assert_eq!(joined(["*"]), None);
    }

    #[test]
    fn times_are_cut_not_rounded() {
        let time = |text| NaiveDateTime::parse_from_str(text, "%F %T%.f").unwrap();
        assert_eq!(to_millis(time("2026-03-01 10:00:00.123999")), time("2026-03-01 10:00:00.123"));
    }
}
