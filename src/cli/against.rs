//! `check --against-running`: what a daemon would change if it reloaded this configuration.
//!
//! Compares what `GET /config` shows with a configuration that was loaded here. What the daemon does not
//! show (passwords, tokens, what follows the `?` of a URL) cannot be told apart; neither can the keys
//! that a variable of this shell sets, which the daemon does not have. Pure but for the one request.

use std::fmt::Write;

use serde::Serialize;
use serde_json::{Map, Value};

use super::args::{CheckArgs, ClientArgs};
use super::client::Client;
use super::exit::Failure;
use super::show;
use crate::api::wire::ConfigReply;
use crate::config::{self, Change, Effect, KeyState, Loaded, Origin};

/// The tables that may be repeated. Their keys have the name of one in them, and no dot behind it.
const REPEATED: [&str; 2] = ["source.", "http.client."];

/// What a reload would do.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Comparison {
    /// The daemon's configuration.
    generation: u64,
    /// Its file's hash.
    hash: String,
    /// The hash of the file that was checked.
    checked_hash: String,
    /// What differs.
    changes: Vec<Change>,
    /// Keys that may or may not differ.
    unknown: Vec<String>,
    /// Keys that a variable of the daemon sets, so that this configuration has no say.
    overridden: Vec<String>,
}

/// Asks the daemon that the options name, or the one on the socket of the configuration.
pub(super) async fn ask(args: &CheckArgs, loaded: &Loaded) -> Result<Comparison, Failure> {
    let reply: ConfigReply = Client::new(&client(args, loaded))?.get("/config").await?.read()?;
    Ok(compare(&reply, loaded))
}

/// The options of a client; without any, the daemon is the one on the socket of the configuration.
fn client(args: &CheckArgs, loaded: &Loaded) -> ClientArgs {
    let configured = || args.url.is_none().then(|| loaded.config.socket.path.clone());
    ClientArgs {
        socket: args.socket.clone().or_else(configured),
        url: args.url.clone(),
        token_file: args.token_file.clone(),
        ca_file: args.ca_file.clone(),
        cert: args.cert.clone(),
        key: args.key.clone(),
        ..ClientArgs::default()
    }
}

fn compare(running: &ConfigReply, loaded: &Loaded) -> Comparison {
    let here = config::key_states(&loaded.config, &loaded.origins, &[]);
    let half_shown = config::half_shown(&loaded.config);
    let mut comparison = Comparison {
        generation: running.generation,
        hash: running.hash.clone(),
        checked_hash: loaded.file_hash.clone(),
        changes: Vec::new(),
        unknown: Vec::new(),
        overridden: Vec::new(),
    };
    for state in &here {
        let Some(before) = running.keys.iter().find(|before| before.key == state.key) else { continue };
        if matches!(before.origin, Origin::Environment { .. }) {
            comparison.overridden.push(state.key.clone());
        } else if matches!(state.origin, Origin::Environment { .. }) {
            comparison.unknown.push(state.key.clone());
        } else if before.value != state.value {
            let (old, new) = (before.value.clone(), state.value.clone());
            comparison.changes.push(Change { key: state.key.clone(), old, new, effect: state.effect });
        } else if half_shown.contains(&state.key) {
            comparison.unknown.push(state.key.clone());
        }
    }
    comparison.changes.extend(whole_tables(&running.keys, &here, false));
    comparison.changes.extend(whole_tables(&here, &running.keys, true));
    comparison
}

/// The tables of `of` that `other` lacks, each once; the clients of a listener come and go with it.
fn whole_tables(of: &[KeyState], other: &[KeyState], added: bool) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for state in of {
        let table = table(&state.key);
        if other.iter().any(|other| other.key == state.key) || changes.iter().any(|change| change.key == table) {
            continue;
        }
        if table.starts_with("http.") && !other.iter().any(|other| self::table(&other.key) == "http") {
            continue;
        }
        let mut whole = Map::new();
        for state in of.iter().filter(|state| self::table(&state.key) == table) {
            config::insert(&mut whole, &state.key[table.len() + 1..], state.value.clone());
        }
        let whole = Value::Object(whole);
        let (old, new) = if added { (Value::Null, whole) } else { (whole, Value::Null) };
        let effect = if repeated(table) { Effect::Hot } else { Effect::Restart };
        changes.push(Change { key: table.to_owned(), old, new, effect });
    }
    changes
}

/// `source.main` of `source.main.overlap`, `http.client.ops` of `http.client.ops.role`, `http` of `http.tls.key`.
fn table(key: &str) -> &str {
    let end = if repeated(key) { key.rfind('.') } else { key.find('.') };
    &key[..end.unwrap_or(key.len())]
}

fn repeated(key: &str) -> bool {
    REPEATED.iter().any(|table| key.starts_with(table))
}

/// In words.
pub(super) fn said(comparison: &Comparison) -> String {
    let Comparison { generation, hash, checked_hash, changes, unknown, overridden } = comparison;
    let mut text =
        format!("\nagainst the running daemon (generation {generation}, file {hash}; this file {checked_hash}):\n");
    if changes.is_empty() {
        let what = if unknown.is_empty() { "nothing" } else { "nothing that can be seen" };
        let _ = writeln!(text, "a reload would change {what}");
    } else {
        text.push_str("a reload would make these changes\n");
        text.push_str(&show::changes(changes));
    }
    for key in unknown {
        let _ = writeln!(text, "cannot be compared: {key}");
    }
    for key in overridden {
        let _ = writeln!(text, "set by the daemon's environment, which wins: {key}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::cli::args::{Cli, Command};
    use crate::config::Environment;

    const RUNNING: &str = "[[source]]\nname='a'\nurl='postgres://u@h/a'\ntime_zone='UTC'\n\
                           [target]\nurl='postgres://u@h/b?sslmode=require'\n";

    fn load(text: &str, variables: &[(&str, &str)]) -> Loaded {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        std::fs::write(&path, text).unwrap();
        config::load(&path, &Environment::from_pairs(variables.iter().copied())).unwrap()
    }

    fn compared(text: &str, here: &[(&str, &str)], there: &[(&str, &str)]) -> Comparison {
        foreseen(&load(RUNNING, there), &load(text, here))
    }

    fn foreseen(running: &Loaded, candidate: &Loaded) -> Comparison {
        let reply = ConfigReply {
            generation: 3,
            hash: running.file_hash.clone(),
            loaded: crate::api::testing::at(0),
            last_reload_successful: true,
            errors: vec![],
            restart_required: vec![],
            config: config::describe(&running.config),
            keys: config::key_states(&running.config, &running.origins, &[]),
            last_reload: None,
        };
        compare(&reply, candidate)
    }

    fn client_of(words: &str) -> ClientArgs {
        let cli = Cli::try_parse_from(format!("rbac-sync check --against-running {words}").split_whitespace());
        let Command::Check(args) = cli.unwrap_or_else(|error| panic!("{words}: {error}")).command else { panic!() };
        client(&args, &load(RUNNING, &[]))
    }

    #[test]
    fn the_daemon_is_reached_as_by_every_other_command() {
        assert_eq!(client_of("").socket.as_deref(), Some(Path::new(crate::config::DEFAULT_SOCKET)));
        let over_https = client_of("--url https://h:1 --token-file t --ca-file ca --cert c --key k");
        let files = [&over_https.token_file, &over_https.ca_file, &over_https.cert, &over_https.key];
        let names: Vec<_> = files.into_iter().map(|file| file.as_deref().and_then(Path::to_str).unwrap()).collect();
        assert_eq!((over_https.socket, names), (None, vec!["t", "ca", "c", "k"]));
        for wrong in ["--ca-file ca", "--url https://h:1 --cert c", "--url https://h:1 --key k"] {
            let words = format!("rbac-sync check --against-running {wrong}");
            assert!(Cli::try_parse_from(words.split_whitespace()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_same_file_changes_nothing_that_can_be_seen() {
        let same = compared(RUNNING, &[], &[]);
        assert_eq!((same.changes.as_slice(), same.unknown.as_slice()), (&[][..], &["target.url".to_owned()][..]));
        assert!(said(&same).contains("nothing that can be seen\ncannot be compared: target.url\n"), "{}", said(&same));
    }

    #[test]
    fn values_tables_and_secrets_are_told_apart_as_far_as_they_can_be_seen() {
        let text = format!(
            "{RUNNING}[socket]\nmode='0600'\n[http]\nlisten='127.0.0.1:1'\n[[source]]\nname='b'\n\
                            url='sqlite:b'\ntime_zone='UTC'\n"
        );
        let other = compared(&text.replace("'a'", "'c'"), &[], &[("RBAC_SYNC_SOURCE_A_PASSWORD", "hunter2")]);
        let words = said(&other);
        for line in [
            "waits for a restart: socket.mode: 0660 -> 0600\n",
            "waits for a restart: http: added\n",
            "changed: source.a: removed\n",
            "changed: source.b: added\n",
            "changed: source.c: added\n",
        ] {
            assert!(words.contains(line), "{words}");
        }
        assert!(!words.contains("hunter2") && !serde_json::to_string(&other).unwrap().contains("hunter2"));
    }

    #[test]
    fn what_is_foreseen_of_whole_tables_is_what_a_reload_does() {
        let client = |name: &str, role: &str| {
            let hash = name.repeat(64);
            format!("[[http.client]]\nname='{name}'\nrole='{role}'\ntoken_hash='sha256:{hash}'\n")
        };
        let http = format!("{RUNNING}[http]\nlisten='127.0.0.1:1'\n");
        let [a, b] = ["a", "b"].map(|name| client(name, "viewer"));
        let source = "[[source]]\nname='b'\nurl='sqlite:b'\ntime_zone='UTC'\n";
        let texts = [
            RUNNING.to_owned(),
            http.clone(),
            format!("{http}{a}"),
            format!("{http}{}{b}", client("a", "operator")),
            format!("{http}{b}{source}"),
            format!("{http}{}", a.replace("name='a'", "name='c'")),
        ];
        let all = texts.map(|text| load(&text, &[]));
        let sorted = |mut changes: Vec<Change>| {
            changes.sort_by(|one, other| (&one.key, one.new.is_null()).cmp(&(&other.key, other.new.is_null())));
            changes
        };
        for (old, new) in all.iter().flat_map(|old| all.iter().map(move |new| (old, new))) {
            let done = sorted(config::diff(&old.config, &new.config));
            assert_eq!(sorted(foreseen(old, new).changes), done);
        }
        let words = said(&foreseen(&all[1], &all[2]));
        assert!(words.contains("changed: http.client.a: added\n") && !words.contains("restart"), "{words}");
        let words = said(&foreseen(&all[2], &all[0]));
        assert!(words.contains("restart: http: removed\n") && !words.contains("http.client"), "{words}");
    }

    #[test]
    fn variables_of_either_side_are_not_taken_for_changes() {
        let text = format!("{RUNNING}[history]\nkeep = 7\n");
        let here = [("RBAC_SYNC_LOG_LEVEL", "debug"), ("RBAC_SYNC_TARGET_PASSWORD", "x")];
        let there = [("RBAC_SYNC_HISTORY_KEEP", "9"), ("RBAC_SYNC_TARGET_PASSWORD", "y")];
        let other = compared(&text, &here, &there);
        assert_eq!(other.changes, []);
        assert_eq!(other.unknown, ["target.url", "log.level"]);
        assert_eq!(other.overridden, ["target.password", "history.keep"]);
    }
}
