//! A [`Config`] as keys and values: what `GET /config` shows and what two configurations are compared by.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::keys::{self, Effect};
use super::{Change, Config, Deletes, Endpoint, LogFormat, Origin, Origins, Secret, SourceConfig};

/// One key of [`super::KEYS`] with its value.
pub(super) struct Leaf<'a> {
    /// The path in the table, such as `source.overlap`.
    pub(super) key: &'static str,
    /// The value without secrets.
    pub(super) shown: Value,
    /// What `shown` leaves out but a change of which counts.
    pub(super) hidden: Option<&'a str>,
}

fn shown(key: &'static str, shown: impl Into<Value>) -> Leaf<'static> {
    Leaf { key, shown: shown.into(), hidden: None }
}

fn secret<'a>(key: &'static str, secret: Option<&'a Secret>) -> Leaf<'a> {
    Leaf { key, shown: secret.map_or(Value::Null, |_| "set".into()), hidden: secret.map(Secret::expose) }
}

fn url<'a>(key: &'static str, endpoint: &'a Endpoint) -> Leaf<'a> {
    Leaf { key, shown: endpoint.to_string().into(), hidden: Some(&endpoint.url) }
}

fn duration(duration: std::time::Duration) -> Value {
    humantime::format_duration(duration).to_string().into()
}

/// The keys of one source.
pub(super) fn source_leaves(source: &SourceConfig) -> Vec<Leaf<'_>> {
    vec![
        shown("source.name", source.name.as_str()),
        url("source.url", &source.endpoint),
        secret("source.password", source.endpoint.password.as_ref()),
        shown("source.time_zone", source.time_zone.name()),
        shown("source.overlap", duration(source.overlap)),
        shown("source.sweep_every", duration(source.pace.sweep_every)),
        shown("source.sweep_percent", source.pace.sweep_percent),
        shown("source.scan_percent", source.pace.scan_percent),
        // The validation refuses anything else.
        shown("source.instances", false),
    ]
}

/// All other keys; those of `http` only if there is one.
pub(super) fn leaves(config: &Config) -> Vec<Leaf<'_>> {
    let target = &config.target;
    let mut leaves = vec![
        shown("schedule.interval", duration(config.interval)),
        url("target.url", &target.endpoint),
        secret("target.password", target.endpoint.password.as_ref()),
        shown(
            "target.deletes",
            match target.deletes {
                Deletes::Tombstone => "tombstone",
                Deletes::Remove => "remove",
            },
        ),
        shown("target.max_deletes.rows", target.max_deletes.rows),
        shown("target.max_deletes.percent", target.max_deletes.percent),
        shown("socket.path", config.socket.path.display().to_string()),
        shown("socket.mode", format!("{:04o}", config.socket.mode)),
        shown("history.keep", config.history_keep),
        shown("log.level", config.log.level.as_str()),
        shown(
            "log.format",
            match config.log.format {
                LogFormat::Auto => "auto",
                LogFormat::Journald => "journald",
                LogFormat::Json => "json",
                LogFormat::Text => "text",
            },
        ),
        shown("metrics.textfile", config.metrics_textfile.as_ref().map(|path| path.display().to_string())),
    ];
    if let Some(http) = &config.http {
        leaves.push(shown("http.listen", http.listen.to_string()));
        leaves.push(secret("http.token", http.token.as_ref()));
    }
    leaves
}

/// The effective configuration in the shape of the file, without secrets: a password or token is
/// `"set"` or null, a URL lacks its query, `http` is absent if there is no TCP listener.
#[must_use]
pub fn describe(config: &Config) -> Value {
    let mut root = Map::new();
    for leaf in leaves(config) {
        insert(&mut root, leaf.key, leaf.shown);
    }
    let sources: Vec<Value> = config.sources.iter().map(describe_source).collect();
    root.insert("source".into(), sources.into());
    Value::Object(root)
}

/// One source in the shape of its table, without secrets.
pub(super) fn describe_source(source: &SourceConfig) -> Value {
    let mut table = Map::new();
    for leaf in source_leaves(source) {
        insert(&mut table, leaf.key.trim_start_matches("source."), leaf.shown);
    }
    Value::Object(table)
}

/// One key as `GET /config` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyState {
    /// Its path, with the source's name behind `source`, such as `source.main.overlap`.
    pub key: String,
    /// Its value in the latest accepted configuration; a password or token is `"set"` or null.
    pub value: Value,
    /// What counts until the next start instead; absent unless the value waits for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_restart: Option<Value>,
    /// Where the value comes from.
    pub origin: Origin,
    /// When a changed value counts.
    pub effect: Effect,
    /// What counts when the key is absent, for people.
    pub default: String,
    /// What it is, in one line.
    pub about: String,
}

/// All keys, those of the sources behind the others; `pending` are the changes that wait for a restart.
#[must_use]
pub fn key_states(config: &Config, origins: &Origins, pending: &[Change]) -> Vec<KeyState> {
    let state = |leaf: &Leaf<'_>, path: String| {
        let key = keys::find(leaf.key)?;
        let mut origin = origins.get(&path);
        if origin == Origin::Default && leaf.hidden.is_some() {
            // A password that is given, but by none of its keys, stands in the URL.
            origin = path.strip_suffix(".password").map_or(origin, |table| origins.get(&format!("{table}.url")));
        }
        let waits = pending.iter().find(|change| change.key == path);
        Some(KeyState {
            value: leaf.shown.clone(),
            until_restart: waits.map(|change| change.old.clone()),
            origin,
            effect: key.effect,
            default: key.default.to_owned(),
            about: key.about.to_owned(),
            key: path,
        })
    };
    let mut states: Vec<_> = leaves(config).iter().filter_map(|leaf| state(leaf, leaf.key.to_owned())).collect();
    for source in &config.sources {
        let path = |key: &str| of_source(key, source.name.as_str());
        states.extend(source_leaves(source).iter().filter_map(|leaf| state(leaf, path(leaf.key))));
    }
    states
}

/// The path of a source's key with the source's name.
pub(super) fn of_source(key: &str, name: &str) -> String {
    key.replacen("source.", &format!("source.{name}."), 1)
}

/// What cannot be seen in [`KeyState::value`]: the keys whose values may differ although they look the
/// same, with their paths.
#[must_use]
pub fn half_shown(config: &Config) -> Vec<String> {
    let hides = |leaf: &&Leaf<'_>| leaf.hidden.is_some_and(|hidden| leaf.shown != hidden);
    let mut paths: Vec<_> = leaves(config).iter().filter(hides).map(|leaf| leaf.key.to_owned()).collect();
    for source in &config.sources {
        let leaves = source_leaves(source);
        paths.extend(leaves.iter().filter(hides).map(|leaf| of_source(leaf.key, source.name.as_str())));
    }
    paths
}

pub(super) fn insert(table: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            table.insert(path.to_owned(), value);
        }
        Some((name, rest)) => {
            if let Value::Object(inner) = table.entry(name).or_insert_with(|| json!({})) {
                insert(inner, rest, value);
            }
        }
    }
}
