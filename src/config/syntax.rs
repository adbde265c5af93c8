//! The syntax errors of a file, all of them, and the file without the lines that have one.
//!
//! The parser goes on after an error, but what it makes of the rest is a guess: a broken header would
//! give its keys to the table before it, and a key without a value hides all that follows. So each
//! broken line is taken out, a header is replaced by one that no key is looked for in, and the text
//! is parsed again, until nothing new is found. Lines keep their numbers.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Problem;
use super::position::position;

/// A file with more broken lines is not a configuration, and nobody reads a longer list.
const REPORTED: usize = 100;
/// Each pass takes out at least one line; files that people write need two or three passes.
const PASSES: usize = 10;
const STAND_IN: &str = " broken line ";

/// Reports each broken line once, and gives back the text without them.
pub(super) fn heal(text: &str, origin: &Path, errors: &mut Vec<Problem>) -> String {
    let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let mut reported = BTreeSet::new();
    for _ in 0..PASSES {
        let joined = lines.join("\n");
        let mut news = false;
        for Break { at, spoilt, message } in breaks(&joined) {
            let (line, column) = position(&joined, at);
            if !reported.insert(line) {
                continue;
            }
            news = true;
            let message = format!("not valid TOML: {message}");
            errors.push(Problem { origin: origin.to_owned(), position: Some((line, column)), key: None, message });
            if reported.len() == REPORTED {
                return String::new();
            }
            match spoilt {
                Some(value) => {
                    let (first, last) = (position(&joined, value.start).0, position(&joined, value.end).0);
                    lines[first - 1..last].iter_mut().for_each(String::clear);
                }
                None => {
                    let text = &mut lines[line - 1];
                    let header = text.trim_start().starts_with('[');
                    *text = if header { format!("[\"{STAND_IN}{line}\"]") } else { String::new() };
                }
            }
        }
        if !news {
            return joined;
        }
    }
    lines.join("\n")
}

/// A place where the text is not TOML.
struct Break {
    at: usize,
    /// The value of several lines that it spoils.
    spoilt: Option<Range<usize>>,
    message: String,
}

/// What the parser complains about. A value without an end takes all that follows for its own, and its
/// end is where that would be noticed: what counts is where it begins.
fn breaks(text: &str) -> Vec<Break> {
    let (document, mut found) = DeTable::parse_recoverable(text);
    if found.is_empty() {
        return Vec::new();
    }
    let mut values = Vec::new();
    long_values(document.get_ref(), text, &mut values);
    let start = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
    // The document ends at a key without a value: what comes behind it is understood by the next pass.
    if let Some(end) = found.iter().filter(|error| is_bare_key(error)).map(start).min() {
        found.retain(|error| start(error) <= end || is_bare_key(error));
    }
    let endless: Vec<usize> = found.iter().filter(|error| is_endless(error)).map(start).collect();
    let seen = |error: &toml::de::Error| {
        let at = start(error);
        let around = values.iter().filter(|value| value.start < at && at <= value.end).min_by_key(|value| value.start);
        match around {
            Some(value) if endless.contains(&value.end) => {
                Break { at: value.start, spoilt: None, message: "the value that begins here has no end".to_owned() }
            }
            // Only the message: the error's Display would print the line, which may hold a secret.
            around => Break { at, spoilt: around.cloned(), message: error.message().replace('\n', " ") },
        }
    };
    found.iter().take(REPORTED).map(seen).collect()
}

fn is_bare_key(error: &toml::de::Error) -> bool {
    error.message().starts_with("key with no value")
}

fn is_endless(error: &toml::de::Error) -> bool {
    error.message().starts_with("unclosed") || error.message().contains("multi-line")
}

/// Where the values with more than one line are.
fn long_values(table: &DeTable, text: &str, found: &mut Vec<Range<usize>>) {
    let mut add = |value: &Spanned<DeValue>| {
        // Where a header begins a line, a value has its key before it.
        let before = text.get(..value.span().start).and_then(|text| text.rsplit('\n').next());
        let long = text.get(value.span()).is_some_and(|text| text.contains('\n'));
        if long && before.is_some_and(|line| !line.trim().is_empty()) {
            found.push(value.span());
        }
    };
    for value in table.values() {
        add(value);
    }
    for value in table.values() {
        match value.get_ref() {
            DeValue::Table(inner) => long_values(inner, text, found),
            DeValue::Array(items) => {
                for item in items {
                    if let DeValue::Table(inner) = item.get_ref() {
                        long_values(inner, text, found);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Whether a table stands for a header that could not be read.
pub(super) fn is_stand_in(name: &str) -> bool {
    name.starts_with(STAND_IN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healed(text: &str) -> (Vec<(usize, usize)>, String) {
        let mut errors = Vec::new();
        let healed = heal(text, Path::new("f"), &mut errors);
        (errors.iter().map(|error| error.position.unwrap()).collect(), healed)
    }

    #[test]
    fn a_good_text_stays_as_it_is() {
        let text = "[a]\r\nb = '''\n[\n'''\n";
        assert_eq!(healed(text), (vec![], text.to_owned()));
    }

    #[test]
    fn each_broken_line_is_found_also_behind_a_key_without_a_value() {
        let text = "[schedule]\ninterval = 5s\nword\n[log]\nlevel = \"info\nformat = json\n[x]\n\nurl 'u'\nb = 1\n";
        let (positions, healed) = healed(text);
        let mut lines: Vec<usize> = positions.iter().map(|(line, _)| *line).collect();
        lines.sort_unstable();
        assert_eq!(lines, [2, 3, 5, 6, 9]);
        assert_eq!(healed, "[schedule]\n\n\n[log]\n\n\n[x]\n\n\nb = 1\n");
    }

    #[test]
    fn the_keys_below_a_broken_header_do_not_move_to_the_table_before_it() {
        let (positions, healed) = healed("[log]\nlevel = 'info'\n[socket\npath = '/x'\n");
        assert_eq!(positions, [(3, 8)]);
        let table = DeTable::parse(&healed).unwrap();
        assert_eq!(table.get_ref().keys().map(|key| key.get_ref().as_ref()).filter(|key| !is_stand_in(key)).count(), 1);
    }

    #[test]
    fn a_value_without_an_end_is_found_where_it_begins_and_hides_nothing() {
        for value in ["[1, 2", "{ a = 1,", "\"\"\"", "'''x"] {
            let text = format!("[a]\nb = 1\nc = {value}\n[d]\ne = 5s\n[f]\ng = 1\n");
            let (mut positions, healed) = healed(&text);
            positions.sort_unstable();
            assert_eq!(positions, [(3, 5), (5, 5)], "{value}");
            assert_eq!(healed, "[a]\nb = 1\n\n[d]\n\n[f]\ng = 1\n", "{value}");
        }
    }

    #[test]
    fn a_value_without_an_end_is_found_behind_a_key_without_a_value() {
        let (mut positions, _) = healed("[a]\nword\nb = [1,\n[c]\nd 'x'\ne = 1\n");
        positions.sort_unstable();
        assert_eq!(positions, [(2, 5), (3, 5), (5, 3)]);
    }

    #[test]
    fn a_value_of_several_lines_goes_as_a_whole() {
        let (positions, healed) = healed("a = [\n  1,\n  2 3,\n  4,\n]\nb = 1\n");
        assert_eq!(positions, [(3, 3)]);
        assert_eq!(healed, "\n\n\n\n\nb = 1\n");
    }

    #[test]
    fn junk_is_a_bounded_list() {
        let (positions, _) = healed(&"]\n".repeat(5000));
        assert_eq!(positions.len(), REPORTED);
    }
}
