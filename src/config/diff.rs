//! What differs between two configurations, and what of it takes effect at once. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Config;
use super::effective::{Leaf, Table, insert, leaves, tables};
use super::keys::{self, Effect};

/// One key, or one table, that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The path as in the file, with the name of a source or client after its table: `source.main.overlap`,
    /// `http.client.grafana.role`. A source or client that came or went is `source.main`, the listener is
    /// `http`. A password or token is one path, such as `target.password`, however it is given.
    pub key: String,
    /// The value before; null: none. A secret is `"set"`, a URL has no query.
    pub old: Value,
    /// The value after. It may look the same: what differs is a secret, or the query of a URL.
    pub new: Value,
    /// When it counts.
    pub effect: Effect,
}

impl fmt::Display for Change {
    /// `schedule.interval: 5s -> 2h`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, old, new, .. } = self;
        match (old, new) {
            (Value::Null, Value::Object(_)) => write!(f, "{key}: added"),
            (Value::Object(_), Value::Null) => write!(f, "{key}: removed"),
            (old, new) if old == new => write!(f, "{key}: another value (not shown)"),
            (old, new) => write!(f, "{key}: {} -> {}", plain(old), plain(new)),
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "not set".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The keys of the changes that take effect then.
#[must_use]
pub fn names(changes: &[Change], effect: Effect) -> Vec<String> {
    changes.iter().filter(|change| change.effect == effect).map(|change| change.key.clone()).collect()
}

/// Compares two configurations key by key.
#[must_use]
pub fn diff(old: &Config, new: &Config) -> Vec<Change> {
    let mut changes = Vec::new();
    let (before, after) = (leaves(old), leaves(new));
    compare(&before, &after, &mut changes, str::to_owned);
    if old.http.is_some() != new.http.is_some() {
        let (old, new) = (table("http", &before), table("http", &after));
        changes.push(Change { key: "http".into(), old, new, effect: Effect::Restart });
    }
    let (before, after) = (tables(old), tables(new));
    let whole = |table: &Table<'_>, old, new| Change { key: table.path(), old, new, effect: Effect::Hot };
    for table in &before {
        match table.same_in(&after) {
            Some(other) => compare(&table.leaves, &other.leaves, &mut changes, |key| table.path_of(key)),
            // The clients of a listener come and go with it.
            None if table.goes_with(new) => {}
            None => changes.push(whole(table, table.describe(), Value::Null)),
        }
    }
    let added = after.iter().filter(|table| table.same_in(&before).is_none() && !table.goes_with(old));
    changes.extend(added.map(|table| whole(table, Value::Null, table.describe())));
    changes
}

/// A whole table; null if there is none.
fn table(name: &str, leaves: &[Leaf<'_>]) -> Value {
    let mut table = Map::new();
    for leaf in leaves {
        if let Some(key) = leaf.key.strip_prefix(name).and_then(|rest| rest.strip_prefix('.')) {
            insert(&mut table, key, leaf.shown.clone());
        }
    }
    if table.is_empty() { Value::Null } else { Value::Object(table) }
}

/// Keys that only one side has belong to a table that came or went, which is reported as a whole.
fn compare(old: &[Leaf<'_>], new: &[Leaf<'_>], changes: &mut Vec<Change>, path: impl Fn(&str) -> String) {
    for leaf in old {
        let Some(other) = new.iter().find(|other| other.key == leaf.key) else { continue };
        if (&leaf.shown, leaf.hidden) == (&other.shown, other.hidden) {
            continue;
        }
        let effect = keys::find(leaf.key).map_or(Effect::Hot, |key| key.effect);
        changes.push(Change { key: path(leaf.key), old: leaf.shown.clone(), new: other.shown.clone(), effect });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::keys::KEYS;
    use crate::config::{
        Deletes, Digest, HttpClient, HttpConfig, LogFormat, Proof, Role, Secret, SourceName, describe, endpoint,
    };
    use crate::schedule::{Cron, Plan};

    fn config() -> Config {
        let text = "[[source]]\nname='main'\nurl='postgres://u@h/a'\ntime_zone='UTC'\n\
                    [target]\nurl='postgres://u@h/b'\n[http]\nlisten='127.0.0.1:1'\n";
        let client = |name: &str, proof| HttpClient { name: name.to_owned(), role: Role::Operator, proof };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        std::fs::write(&path, text).unwrap();
        let mut config = crate::config::load(&path, &crate::config::Environment::default()).unwrap().config;
        let (token, certificate) = (Proof::Token(Digest::of(b"t")), Proof::Certificate(Digest::of(b"c")));
        config.http.as_mut().unwrap().clients = vec![client("ops", token), client("laptop", certificate)];
        config
    }

    fn cron(text: &str) -> Plan {
        Plan::Cron(Cron::new(text, chrono_tz::UTC).unwrap().into())
    }

    /// Changes the value behind one key.
    fn change(config: &mut Config, key: &str) {
        let source = &mut config.sources[0];
        let http = config.http.as_mut().unwrap();
        match key {
            "schedule.interval" => config.schedule.plan = Plan::Interval(Duration::from_secs(9)),
            "schedule.cron" => config.schedule.plan = cron("*/9 * * * *"),
            "schedule.time_zone" => config.schedule.time_zone = chrono_tz::Asia::Seoul,
            "schedule.jitter" => config.schedule.jitter = Duration::from_secs(9),
            "source.url" => source.endpoint = endpoint::parse("postgres://u@h/a?sslmode=require").unwrap(),
            "source.password" => source.endpoint.password = Some(Secret::new("x")),
            "source.time_zone" => source.time_zone = chrono_tz::Asia::Seoul,
            "source.overlap" => source.overlap = Duration::ZERO,
            "source.instances" => source.instances = true,
            "source.sweep_every" => source.pace.sweep_every = Duration::from_secs(1),
            "source.sweep_percent" => source.pace.sweep_percent = 1.5,
            "source.scan_percent" => source.pace.scan_percent = 1.5,
            "target.url" => config.target.endpoint = endpoint::parse("sqlite:x").unwrap(),
            "target.password" => config.target.endpoint.password = Some(Secret::new("x")),
            "target.deletes" => config.target.deletes = Deletes::Remove,
            "target.max_deletes.rows" => config.target.max_deletes.rows = 1,
            "target.max_deletes.percent" => config.target.max_deletes.percent = 1.5,
            "http.listen" => http.listen = "127.0.0.1:2".parse().unwrap(),
            "http.token" => http.token = Some(Digest::of(b"x")),
            "http.client.role" => http.clients[0].role = Role::Viewer,
            "http.client.token_hash" => http.clients[0].proof = Proof::Token(Digest::of(b"x")),
            "http.client.certificate" => http.clients[1].proof = Proof::Certificate(Digest::of(b"x")),
            "socket.path" => config.socket.path = "/x".into(),
            "socket.mode" => config.socket.mode = 0o600,
            "history.keep" => config.history_keep = 1,
            "log.level" => config.log.level = "debug".into(),
            "log.format" => config.log.format = LogFormat::Json,
            "metrics.textfile" => config.metrics_textfile = Some("/x.prom".into()),
            other => panic!("{other}: teach this test, `leaves` and `diff` the new key"),
        }
    }

    #[test]
    fn every_key_is_compared_and_classified_as_its_table_says() {
        for key in KEYS {
            // A renamed source is another source.
            // What [http.tls] changes is beside it, where the files are.
            let others = ["source.name", "http.client.name"];
            if others.contains(&key.path) || key.path.starts_with("http.tls.") {
                continue;
            }
            let path = key.path.trim_end_matches("_file").trim_end_matches("_credential");
            let (mut old, mut new) = (config(), config());
            if path == "schedule.cron" {
                (old.schedule.plan, new.schedule.plan) = (cron("* * * * *"), cron("* * * * *"));
            }
            change(&mut new, path);
            let expected = vec![
                path.replace("source.", "source.main.")
                    .replace("client.certificate", "client.laptop.certificate")
                    .replace("client.role", "client.ops.role")
                    .replace("client.token_hash", "client.ops.token_hash"),
            ];
            let changes = diff(&old, &new);
            assert_eq!((names(&changes, key.effect), changes.len()), (expected, 1), "{}", key.path);
        }
    }

    #[test]
    fn an_interval_that_becomes_a_cron_expression_changes_both_keys() {
        let (old, mut new) = (config(), config());
        new.schedule.plan = cron("*/9 * * * *");
        assert_eq!(names(&diff(&old, &new), Effect::Hot), ["schedule.interval", "schedule.cron"]);
    }

    #[test]
    fn equal_configurations_do_not_differ() {
        assert_eq!(diff(&config(), &config()), []);
    }

    #[test]
    fn a_rotated_password_is_a_change_that_shows_no_value() {
        let (mut old, mut new) = (config(), config());
        old.target.endpoint.password = Some(Secret::new("hunter2"));
        new.target.endpoint.password = Some(Secret::new("hunter3"));
        let changes = diff(&old, &new);
        assert_eq!(changes[0].to_string(), "target.password: another value (not shown)");
        assert!(!serde_json::to_string(&changes).unwrap().contains("hunter"));
        old.target.endpoint.password = None;
        assert_eq!(diff(&old, &new)[0].to_string(), "target.password: not set -> set");
    }

    #[test]
    fn sources_and_the_listener_come_and_go_as_a_whole() {
        let (old, mut new) = (config(), config());
        new.sources[0].name = SourceName::new("north").unwrap();
        new.http = None::<HttpConfig>;
        let changes = diff(&old, &new);
        let texts: Vec<String> = changes.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["http: removed", "source.main: removed", "source.north: added"]);
        assert_eq!(names(&changes, Effect::Restart), ["http"]);
        assert_eq!(
            (&changes[0].old["listen"], &changes[2].new["url"]),
            (&"127.0.0.1:1".into(), &"postgres://u@h/a".into())
        );
    }

    #[test]
    fn a_change_says_both_values() {
        let mut new = config();
        new.schedule.plan = Plan::Interval(Duration::from_secs(7200));
        new.target.max_deletes.percent = 1.5;
        let texts: Vec<String> = diff(&config(), &new).iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["schedule.interval: 5s -> 2h", "target.max_deletes.percent: 5.0 -> 1.5"]);
    }

    #[test]
    fn a_key_says_where_its_value_comes_from_and_what_counts_until_a_restart() {
        let mut new = config();
        new.socket.mode = 0o600;
        new.sources[0].endpoint = endpoint::parse("postgres://u:hunter2@h/a").unwrap();
        let text = "[[source]]\nname='main'\nurl='x'\n[socket]\nmode='0600'\n";
        let origins = crate::config::Origins::of(&crate::config::raw::parse(text, "f".as_ref(), &mut Vec::new()));
        let states = crate::config::key_states(&new, &origins, &diff(&config(), &new));
        let state = |key: &str| states.iter().find(|state| state.key == key).unwrap();
        let mode = state("socket.mode");
        assert_eq!((&mode.value, &mode.until_restart), (&"0600".into(), &Some("0660".into())));
        assert_eq!((mode.origin.to_string().as_str(), mode.effect), ("f:5", Effect::Restart));
        let password = state("source.main.password");
        assert_eq!((password.origin.to_string().as_str(), &password.value), ("f:3", &"set".into()));
        assert_eq!(state("history.keep").origin.to_string(), "default");
        assert!(!serde_json::to_string(&states).unwrap().contains("hunter2"));
    }

    #[test]
    fn the_description_has_the_shape_of_the_file_and_no_secret() {
        let mut config = config();
        config.sources[0].endpoint = endpoint::parse("postgres://u:hunter2@h/a?sslmode=require").unwrap();
        let shown = describe(&config);
        assert!(!shown.to_string().contains("hunter2"));
        assert_eq!(shown["schedule"]["interval"], "5s");
        assert_eq!(shown["source"][0]["url"], "postgres://u@h/a");
        assert_eq!(shown["source"][0]["password"], "set");
        assert_eq!(shown["target"]["password"], serde_json::Value::Null);
        assert_eq!(shown["target"]["max_deletes"]["rows"], 500);
        assert_eq!(shown["socket"]["mode"], "0660");
        config.http = None;
        assert!(describe(&config).get("http").is_none());
    }
}
