//! The manual says of the command line what the command line has: commands, options, exit codes, variables. And what
//! the documents tell somebody to type is understood.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use clap::{CommandFactory, Parser};

use crate::cli::args::Cli;
use crate::manual::{self, items, options, section, words};

/// Each command that does something, such as `schedule set`, with its long options.
fn commands() -> BTreeMap<String, BTreeSet<String>> {
    fn add(path: &str, command: &clap::Command, found: &mut BTreeMap<String, BTreeSet<String>>) {
        let long = command.get_arguments().filter_map(clap::Arg::get_long).filter(|name| *name != "help");
        found.insert(path.to_owned(), long.map(|name| format!("--{name}")).collect());
        for nested in command.get_subcommands().filter(|nested| nested.get_name() != "help") {
            add(&format!("{path} {}", nested.get_name()), nested, found);
        }
    }
    let mut cli = Cli::command();
    cli.build();
    let mut found = BTreeMap::new();
    for command in cli.get_subcommands().filter(|command| command.get_name() != "help") {
        add(command.get_name(), command, &mut found);
    }
    found
}

/// The commands that the manual describes below a heading, with the options that it names for each, and the options
/// that it names for all of them.
fn described(lines: &[&'static str]) -> (BTreeMap<String, BTreeSet<String>>, BTreeSet<String>) {
    let mut of_one: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for item in items(lines) {
        let Some(rest) = item.head.strip_prefix("Cm ") else { continue };
        let is_macro = |word: &&str| words(word).is_empty();
        let name = rest.split(' ').take_while(|word| !is_macro(word)).collect::<Vec<_>>().join(" ");
        let all = item.lines.iter().copied().chain([item.head.as_str()]);
        of_one.entry(name).or_default().extend(options(all));
    }
    let before_the_first = lines.iter().take_while(|line| !line.starts_with(".It Cm "));
    (of_one, options(before_the_first.copied()))
}

#[test]
fn every_command_and_every_option_is_in_the_manual_and_no_other() {
    let remote = ".Ss Commands to a running daemon";
    let all = section(manual::PROGRAM, ".Sh COMMANDS");
    let (local, remote) = all.split_at(all.iter().position(|line| *line == remote).expect("a subsection"));
    let mut known = commands();
    for (of_one, of_all) in [described(local), described(remote)] {
        let mut used = BTreeSet::new();
        for (name, named) in of_one {
            let has =
                known.remove(&name).unwrap_or_else(|| panic!("the manual describes \"{name}\", which is no command"));
            let missing: Vec<_> =
                has.iter().filter(|option| !named.contains(*option) && !of_all.contains(*option)).collect();
            assert!(missing.is_empty(), "the manual lacks {missing:?} of \"{name}\"");
            let invented: Vec<_> = named.difference(&has).collect();
            assert!(invented.is_empty(), "\"{name}\" has no {invented:?}");
            used.extend(has.intersection(&of_all).cloned());
        }
        assert_eq!(used, of_all, "options that the manual gives to all commands of a kind");
    }
    assert!(known.is_empty(), "the manual lacks {:?}", known.keys());
}

#[test]
fn the_synopsis_has_every_command_and_where_it_lists_options_all_of_them() {
    let mut known = commands();
    known.retain(|name, _| !name.contains(' '));
    for usage in section(manual::PROGRAM, ".Sh SYNOPSIS").split(|line| *line == ".Nm").skip(1) {
        let names: Vec<_> = words(usage[0]).into_iter().filter(|word| *word != "|").collect();
        let spelled_out = !usage.contains(&".Op Ar options");
        for name in names {
            let has = known.remove(name).unwrap_or_else(|| panic!("\"{name}\" is no command"));
            assert!(!spelled_out || options(usage.iter().copied()) == has, "{name}: {usage:?} instead of {has:?}");
        }
    }
    assert!(known.is_empty(), "the synopsis lacks {:?}", known.keys());
}

#[test]
fn every_exit_code_is_in_the_manual_and_in_the_help_and_no_other() {
    let code = include_str!("../exit.rs");
    let arms =
        code.lines().filter_map(|line| line.trim().strip_prefix("Self::")?.split_once(" => ")?.1.strip_suffix(','));
    let codes: BTreeSet<&str> = arms.collect();
    assert!(codes.contains("0") && codes.contains("78"), "{codes:?}");
    let listed = items(&section(manual::PROGRAM, ".Sh EXIT STATUS"));
    let listed: BTreeSet<&str> = listed.iter().map(|item| item.head.as_str()).filter(|head| *head != "128+N").collect();
    assert_eq!(listed, codes);
    let help = Cli::command().render_long_help().to_string();
    let (_, helped) = help.split_once("Exit codes:\n").expect("a list");
    assert_eq!(helped.lines().filter_map(|line| line.split_whitespace().next()).collect::<BTreeSet<_>>(), codes);
}

/// The names that the sources of this program, tests left out, read from the environment.
fn read_variables(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("the sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("tests") {
            read_variables(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            let text = std::fs::read_to_string(&path).expect("text");
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            for before in ["env::var(\"", "env::var_os(\"", "CREDENTIALS: &str = \""] {
                let names = code.split(before).skip(1).filter_map(|rest| rest.split('"').next());
                found.extend(names.map(str::to_owned));
            }
        }
    }
}

#[test]
fn every_variable_is_in_the_manual_and_no_other() {
    let mut read = BTreeSet::new();
    read_variables(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut read);
    // A key's variable, of which rbac-sync.toml(5) tells.
    assert!(read.remove("RBAC_SYNC_SOCKET_PATH"));
    // Those that libraries read: sd-notify, and the standard library for a backtrace.
    read.extend(["WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID", "RUST_BACKTRACE"].map(str::to_owned));
    let lines = section(manual::PROGRAM, ".Sh ENVIRONMENT");
    let named = lines.iter().filter(|line| line.contains("Ev ")).flat_map(|line| words(line));
    let named: BTreeSet<_> = named.map(str::to_owned).filter(|name| name.len() > 1 && name != "RBAC_SYNC_*").collect();
    assert_eq!(named, read);
}

/// The words of a line as a shell reads them, up to a pipe or a redirection.
fn shell_words(line: &str) -> Vec<String> {
    let (mut words, mut quote): (Vec<String>, Option<char>) = (vec![String::new()], None);
    for letter in line.chars() {
        match (quote, letter) {
            (Some(open), close) if open == close => quote = None,
            (None, '"' | '\'') => quote = Some(letter),
            (None, ' ') => words.push(String::new()),
            (None, '|' | '>') => break,
            _ => words.last_mut().expect("never empty").push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Whether a command line is understood with all that is optional in it, and with an example for what stands for a
/// value.
fn complaint(line: &str) -> Option<String> {
    let mut words = shell_words(&line.replace(['[', ']'], ""));
    for word in &mut words {
        match word.as_str() {
            "NAME" | "USER" => "main".clone_into(word),
            _ => {}
        }
    }
    Cli::try_parse_from(words).err().map(|error| format!("{line}\n{error}"))
}

#[test]
fn what_the_documents_tell_somebody_to_type_is_understood() {
    let readme = include_str!("../../../README.md");
    let catalogue = include_str!("../../../packaging/rbac-sync.catalog");
    let rules = include_str!("../../../monitoring/rbac-sync.rules.yml");
    let in_backquotes = readme.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let in_blocks = readme.lines().filter_map(|line| line.split("sudo ").nth(1));
    let in_the_manual = manual::PROGRAM.lines().map(|line| line.trim_start_matches(".Ql "));
    let marks = [": ", "? ", "; "];
    let elsewhere = catalogue
        .lines()
        .chain(rules.lines())
        .flat_map(|line| marks.iter().flat_map(|mark| line.split(*mark).skip(1)).map(str::trim_start));
    let all = in_backquotes.chain(in_blocks).chain(in_the_manual).chain(elsewhere);
    let ends = [" ,", " .", ". ", "; "];
    let without_end = all.map(|line| ends.iter().fold(line, |line, end| line.split(*end).next().unwrap_or(line)));
    let lines: BTreeSet<_> = without_end.map(|line| line.trim_end_matches(['.', ';'])).collect();
    let subjects: Vec<_> = catalogue.lines().filter_map(|line| line.strip_prefix("Subject: ")).collect();
    let is_ours = |line: &&str| line.starts_with("rbac-sync ") && !subjects.contains(line);
    let lines: Vec<_> = lines.into_iter().filter(is_ours).collect();
    assert!(lines.len() > 30, "{lines:?}");
    let wrong: Vec<_> = lines.iter().filter_map(|line| complaint(line)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
