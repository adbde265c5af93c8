//! The syntax errors of a file, all of them, and the file without the lines that have one.
//!
//! The parser goes on after an error, but what it makes of the rest is a guess: a broken header would
//! give its keys to the table before it, and a key without a value hides all that follows. So each
//! broken line is taken out, a header is replaced by one that no key is looked for in, and the text
//! is parsed again, until nothing new is found. Lines keep their numbers.

use std::collections::BTreeSet;
use std::path::Path;

use toml::de::DeTable;

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
    let mut broken = BTreeSet::new();
    for _ in 0..PASSES {
        let joined = lines.join("\n");
        let (_, found) = DeTable::parse_recoverable(&joined);
        let mut news = false;
        for error in found {
            let (line, column) = error.span().map_or((1, 1), |span| position(&joined, span.start));
            if !broken.insert(line) {
                continue;
            }
            news = true;
            errors.push(Problem {
                origin: origin.to_owned(),
                position: Some((line, column)),
                key: None,
                // Only the message: the error's Display would print the line, which may hold a secret.
                message: format!("not valid TOML: {}", error.message().replace('\n', " ")),
            });
            if broken.len() == REPORTED {
                return String::new();
            }
            let text = &mut lines[line - 1];
            *text = if text.trim_start().starts_with('[') { format!("[\"{STAND_IN}{line}\"]") } else { String::new() };
        }
        if !news {
            return joined;
        }
    }
    lines.join("\n")
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
    fn junk_is_a_bounded_list() {
        let (positions, _) = healed(&"]\n".repeat(5000));
        assert_eq!(positions.len(), REPORTED);
    }
}
