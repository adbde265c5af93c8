//! The manual pages as sections and items, for the tests that hold them to the code. Knows as much of mdoc(7) as
//! our pages use.

use std::collections::BTreeSet;
use std::path::Path;

/// rbac-sync(8).
pub(crate) const PROGRAM: &str = include_str!("../man/rbac-sync.8");
/// rbac-sync.toml(5).
pub(crate) const FILE: &str = include_str!("../man/rbac-sync.toml.5");

/// One entry of a list, with the lists within it.
#[derive(Debug)]
pub(crate) struct Item {
    /// What stands behind `.It`.
    pub(crate) head: String,
    /// The lines up to the next entry of the same list.
    pub(crate) lines: Vec<&'static str>,
}

/// The lines below a heading, such as `.Sh METRICS`, up to the next one of its rank or a higher one.
pub(crate) fn section(page: &'static str, heading: &str) -> Vec<&'static str> {
    let ends: &[&str] = if heading.starts_with(".Sh") { &[".Sh "] } else { &[".Sh ", ".Ss "] };
    let mut lines = page.lines().skip_while(|line| *line != heading);
    assert!(lines.next().is_some(), "the manual has no heading {heading}");
    lines.take_while(|line| !ends.iter().any(|end| line.starts_with(end))).collect()
}

/// The entries of the outermost lists.
pub(crate) fn items(lines: &[&'static str]) -> Vec<Item> {
    let (mut items, mut depth): (Vec<Item>, usize) = (Vec::new(), 0);
    for line in lines {
        if line.starts_with(".El") {
            depth -= 1;
        }
        match line.strip_prefix(".It ") {
            Some(head) if depth == 1 => items.push(Item { head: head.to_owned(), lines: Vec::new() }),
            _ if depth > 0 => items.last_mut().expect("a list begins with an entry").lines.push(line),
            _ => {}
        }
        if line.starts_with(".Bl ") {
            depth += 1;
        }
    }
    assert_eq!(depth, 0, "a list does not end");
    items.iter_mut().for_each(|item| item.lines.retain(|line| !line.starts_with(".Bl ")));
    items
}

/// The long options that are named, as `--NAME`; written `.Fl -NAME`.
pub(crate) fn options<'a>(lines: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    let named = lines.into_iter().flat_map(|line| {
        let words: Vec<_> = line.split(' ').collect();
        let pairs = words.windows(2).filter(|pair| pair[0].trim_start_matches('.') == "Fl");
        pairs.filter_map(|pair| pair[1].strip_prefix('-').map(|name| format!("--{name}"))).collect::<Vec<_>>()
    });
    named.collect()
}

/// The words of a line without its macros' names.
pub(crate) fn words(line: &str) -> Vec<&str> {
    let is_macro = |word: &&str| {
        let word = word.as_bytes();
        word.len() == 2 && word[0].is_ascii_uppercase() && word[1].is_ascii_lowercase()
    };
    line.trim_start_matches('.').split(' ').filter(|word| !is_macro(word)).collect()
}

/// The sources of this program, with each text in one line.
fn sources(folder: &Path, all: &mut String) {
    for entry in std::fs::read_dir(folder).expect("the sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("text");
            all.extend(text.replace("\\\"", "\"").split("\\\n").map(str::trim_start));
        }
    }
}

/// Messages are shown in the failure sections as somebody finds them in the log. What does not vary in them must be
/// a text of this program; lines of systemd are not ours.
#[test]
fn every_message_that_the_manual_quotes_is_one_of_ours() {
    let mut code = String::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut code);
    let diagnostics = section(PROGRAM, ".Sh DIAGNOSTICS");
    let quotes: Vec<_> = diagnostics.split(|line| *line == ".Bd -ragged -offset indent").skip(1).collect();
    assert!(quotes.len() > 20, "{}", quotes.len());
    for quote in quotes {
        let message = quote.iter().take_while(|line| **line != ".Ed").copied().collect::<Vec<_>>().join(" ");
        if message.starts_with("rbac-sync.service: ") {
            continue;
        }
        let varies = |word: &&str| {
            let mut letters = word.chars();
            let is_capital = letters.next().is_some_and(|first| first.is_ascii_uppercase());
            is_capital && letters.all(|letter| !letter.is_ascii_alphanumeric() || letter.is_ascii_uppercase())
        };
        let parts = message.split(": ").flat_map(|part| {
            let words: Vec<_> = part.split(' ').collect();
            let fixed = words.split(|word| varies(word) && !["SELECT", "GRANT", "TLS"].contains(word));
            fixed.map(|words| words.join(" ")).collect::<Vec<_>>()
        });
        let fixed: Vec<_> = parts.filter(|part| part.len() > 9).collect();
        assert!(!fixed.is_empty(), "{message}: nothing in it could be looked for");
        for part in fixed {
            // "cannot" and what could not be done are put together in one place.
            let is_there = code.contains(part.strip_prefix("cannot ").unwrap_or(&part));
            assert!(is_there, "the manual quotes \"{message}\", but no source has \"{part}\"");
        }
    }
}

/// Somebody whom an alert has woken up looks for its name.
#[test]
fn every_alert_is_named_where_its_remedy_is_and_no_other() {
    let rules = include_str!("../monitoring/rbac-sync.rules.yml");
    let alerts: BTreeSet<_> = rules.lines().filter_map(|line| line.trim_start().strip_prefix("- alert: ")).collect();
    let diagnostics = section(PROGRAM, ".Sh DIAGNOSTICS");
    let words = diagnostics.iter().flat_map(|line| line.split(|letter: char| !letter.is_ascii_alphanumeric()));
    let named: BTreeSet<_> = words.filter(|word| word.starts_with("RbacSync")).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    assert_eq!(named, alerts);
}

#[test]
fn an_item_holds_the_lists_within_it_and_not_its_neighbours() {
    let lines =
        [".Bl -tag", ".It Cm run", "text", ".Bl -tag", ".It Fl -wait Op Ar D", "more", ".El", ".It Cm stop", ".El"];
    let found = items(&lines);
    assert_eq!(found.iter().map(|item| item.head.as_str()).collect::<Vec<_>>(), ["Cm run", "Cm stop"]);
    assert_eq!(found[0].lines, ["text", ".It Fl -wait Op Ar D", "more", ".El"]);
    assert_eq!(options(found[0].lines.iter().copied()), BTreeSet::from(["--wait".to_owned()]));
    assert_eq!(words(".It Cm run Op Ar D"), ["run", "D"]);
}
