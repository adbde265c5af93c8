//! What differs between two configurations, and what of it takes effect at once. Pure.

use super::effective::{Leaf, client_leaves, leaves, source_leaves};
use super::keys::{self, Effect};
use super::{Config, HttpClient, SourceConfig};

/// Keys that differ, by when the new value counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Take effect at once, such as `schedule.interval`.
    pub hot: Vec<String>,
    /// Take effect at the next start, such as `socket.path`.
    pub restart_required: Vec<String>,
}

/// Compares two configurations key by key. Paths are those of the file, with a source's name after
/// `source` (`source.main.overlap`); `source.main` alone is a source that came or went, `http` a
/// listener that did, `http.client.grafana` a client. A password or token is one path, such as `target.password`, however it is given.
#[must_use]
pub fn diff(old: &Config, new: &Config) -> Changes {
    let mut changes = Changes::default();
    compare(&leaves(old), &leaves(new), &mut changes, str::to_owned);
    if old.http.is_some() != new.http.is_some() {
        changes.restart_required.push("http".into());
    }
    for source in &old.sources {
        match same_name(&new.sources, source) {
            Some(other) => {
                compare(&source_leaves(source), &source_leaves(other), &mut changes, |key| {
                    key.replacen("source.", &format!("source.{}.", source.name), 1)
                });
            }
            None => changes.hot.push(format!("source.{}", source.name)),
        }
    }
    let added = new.sources.iter().filter(|source| same_name(&old.sources, source).is_none());
    changes.hot.extend(added.map(|source| format!("source.{}", source.name)));
    if let (Some(old), Some(new)) = (&old.http, &new.http) {
        compare_clients(&old.clients, &new.clients, &mut changes);
    }
    changes
}

/// `http.client.grafana.role`, or `http.client.grafana` alone for one that came or went.
fn compare_clients(old: &[HttpClient], new: &[HttpClient], changes: &mut Changes) {
    let named = |clients: &'_ [HttpClient], name: &str| clients.iter().position(|client| client.name == name);
    for client in old {
        match named(new, &client.name) {
            Some(other) => compare(&client_leaves(client), &client_leaves(&new[other]), changes, |key| {
                key.replacen("http.client.", &format!("http.client.{}.", client.name), 1)
            }),
            None => changes.hot.push(format!("http.client.{}", client.name)),
        }
    }
    let added = new.iter().filter(|client| named(old, &client.name).is_none());
    changes.hot.extend(added.map(|client| format!("http.client.{}", client.name)));
}

fn same_name<'a>(sources: &'a [SourceConfig], wanted: &SourceConfig) -> Option<&'a SourceConfig> {
    sources.iter().find(|source| source.name == wanted.name)
}

/// Keys that only one side has belong to a table that came or went, which is reported as a whole.
fn compare(old: &[Leaf<'_>], new: &[Leaf<'_>], changes: &mut Changes, path: impl Fn(&str) -> String) {
    for leaf in old {
        let Some(other) = new.iter().find(|other| other.key == leaf.key) else { continue };
        if (&leaf.shown, leaf.hidden) == (&other.shown, other.hidden) {
            continue;
        }
        match keys::find(leaf.key).map(|key| key.effect) {
            Some(Effect::Restart) => changes.restart_required.push(path(leaf.key)),
            Some(Effect::Hot) | None => changes.hot.push(path(leaf.key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::keys::KEYS;
    use crate::config::{Deletes, Digest, HttpConfig, LogFormat, Proof, Role, Secret, SourceName, describe, endpoint};
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
            // A renamed source is another source; `instances` has a single valid value.
            // What [http.tls] changes is beside it, where the files are.
            let others = ["source.name", "source.instances", "http.client.name"];
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
            let (named, other) = match key.effect {
                Effect::Hot => (changes.hot, changes.restart_required),
                Effect::Restart => (changes.restart_required, changes.hot),
            };
            assert_eq!((named, other), (expected, Vec::new()), "{}", key.path);
        }
    }

    #[test]
    fn an_interval_that_becomes_a_cron_expression_changes_both_keys() {
        let (old, mut new) = (config(), config());
        new.schedule.plan = cron("*/9 * * * *");
        assert_eq!(diff(&old, &new).hot, ["schedule.interval", "schedule.cron"]);
    }

    #[test]
    fn equal_configurations_do_not_differ() {
        assert_eq!(diff(&config(), &config()), Changes::default());
    }

    #[test]
    fn a_rotated_password_is_a_change_that_shows_no_value() {
        let (mut old, mut new) = (config(), config());
        old.target.endpoint.password = Some(Secret::new("hunter2"));
        new.target.endpoint.password = Some(Secret::new("hunter3"));
        assert_eq!(diff(&old, &new).hot, ["target.password"]);
    }

    #[test]
    fn sources_and_the_listener_come_and_go_as_a_whole() {
        let (old, mut new) = (config(), config());
        new.sources[0].name = SourceName::new("north").unwrap();
        new.http = None::<HttpConfig>;
        let changes = diff(&old, &new);
        assert_eq!(changes.hot, ["source.main", "source.north"]);
        assert_eq!(changes.restart_required, ["http"]);
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
