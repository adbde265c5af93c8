//! A [`Config`] as keys and values: what `GET /config` shows and what two configurations are compared by.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::keys::{self, Effect};
use super::{
    Change, Config, Deletes, Digest, Endpoint, HttpClient, LogFormat, Origin, Origins, Proof, Secret, SourceConfig,
};

const CLIENT: &str = "http.client";

/// One key of [`super::KEYS`] with its value.
pub(super) struct Leaf<'a> {
    /// The path in the table, such as `source.overlap`.
    pub(super) key: &'static str,
    /// The value without secrets.
    pub(super) shown: Value,
    /// What `shown` leaves out but a change of which counts.
    pub(super) hidden: Option<&'a [u8]>,
}

fn shown(key: &'static str, shown: impl Into<Value>) -> Leaf<'static> {
    Leaf { key, shown: shown.into(), hidden: None }
}

fn secret<'a>(key: &'static str, secret: Option<&'a Secret>) -> Leaf<'a> {
    Leaf {
        key,
        shown: secret.map_or(Value::Null, |_| "set".into()),
        hidden: secret.map(|secret| secret.expose().as_bytes()),
    }
}

fn hash<'a>(key: &'static str, hash: Option<&'a Digest>) -> Leaf<'a> {
    Leaf { key, shown: hash.map_or(Value::Null, |_| "set".into()), hidden: hash.map(|hash| &hash.as_bytes()[..]) }
}

fn url<'a>(key: &'static str, endpoint: &'a Endpoint) -> Leaf<'a> {
    Leaf { key, shown: endpoint.to_string().into(), hidden: Some(endpoint.url.as_bytes()) }
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
        shown("source.instances", source.instances),
    ]
}

/// The keys of one HTTP client.
pub(super) fn client_leaves(client: &HttpClient) -> Vec<Leaf<'_>> {
    let (token, certificate) = match &client.proof {
        Proof::Token(token) => (Some(token), None),
        Proof::Certificate(certificate) => (None, Some(certificate.to_string())),
    };
    vec![
        shown("http.client.name", client.name.as_str()),
        shown("http.client.role", client.role.as_str()),
        hash("http.client.token_hash", token),
        // A fingerprint is public.
        shown("http.client.certificate", certificate),
    ]
}

/// All other keys; those of `http` only if there is one.
pub(super) fn leaves(config: &Config) -> Vec<Leaf<'_>> {
    let (plan, target) = (&config.schedule.plan, &config.target);
    let mut leaves = vec![
        shown(
            "schedule.interval",
            plan.interval_sec().map(|seconds| duration(std::time::Duration::from_secs(seconds))),
        ),
        shown("schedule.cron", plan.cron().map(|cron| cron.text().to_owned())),
        shown("schedule.time_zone", config.schedule.time_zone.name()),
        shown("schedule.jitter", duration(config.schedule.jitter)),
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
        leaves.push(hash("http.token", http.token.as_ref()));
        let tls = http.tls.as_ref();
        let path = |path: Option<&std::path::PathBuf>| path.map(|path| path.display().to_string());
        leaves.push(Leaf {
            hidden: tls.map(|tls| &tls.content.as_bytes()[..]),
            ..shown("http.tls.certificate", path(tls.map(|tls| &tls.files.certificate)))
        });
        leaves.push(shown("http.tls.key", path(tls.map(|tls| &tls.files.key))));
        leaves.push(shown("http.tls.client_ca", path(tls.and_then(|tls| tls.files.client_ca.as_ref()))));
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
    for table in tables(config) {
        append(&mut root, table.table, table.describe());
    }
    Value::Object(root)
}

/// One of the tables that may be repeated, with the keys in it.
pub(super) struct Table<'a> {
    /// `source` or `http.client`.
    table: &'static str,
    name: &'a str,
    pub(super) leaves: Vec<Leaf<'a>>,
}

/// The tables that may be repeated: sources, then clients.
pub(super) fn tables(config: &Config) -> Vec<Table<'_>> {
    let sources = config.sources.iter();
    let sources =
        sources.map(|source| Table { table: "source", name: source.name.as_str(), leaves: source_leaves(source) });
    let clients = config.http.iter().flat_map(|http| &http.clients);
    let clients = clients.map(|client| Table { table: CLIENT, name: &client.name, leaves: client_leaves(client) });
    sources.chain(clients).collect()
}

impl Table<'_> {
    /// `source.main`
    pub(super) fn path(&self) -> String {
        format!("{}.{}", self.table, self.name)
    }

    /// `source.main.overlap` of `source.overlap`.
    pub(super) fn path_of(&self, key: &str) -> String {
        named(self.table, key, self.name)
    }

    /// The table of the same name.
    pub(super) fn same_in<'b>(&self, others: &'b [Table<'b>]) -> Option<&'b Table<'b>> {
        others.iter().find(|other| (other.table, other.name) == (self.table, self.name))
    }

    /// Whether `config` lacks what this table is a part of.
    pub(super) fn goes_with(&self, config: &Config) -> bool {
        self.table == CLIENT && config.http.is_none()
    }

    /// In the shape of the file, without secrets.
    pub(super) fn describe(&self) -> Value {
        let mut table = Map::new();
        for leaf in &self.leaves {
            insert(&mut table, &leaf.key[self.table.len() + 1..], leaf.shown.clone());
        }
        Value::Object(table)
    }
}

/// The path of a key of a repeated table, with the name in it.
pub(super) fn named(table: &str, key: &str, name: &str) -> String {
    format!("{table}.{name}{}", key.strip_prefix(table).unwrap_or_default())
}

/// One key as `GET /config` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyState {
    /// Its path, with the name of a source or client in it, such as `source.main.overlap`.
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

/// All keys, those of sources and clients behind the others; `pending` are the changes that wait for a restart.
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
    for table in tables(config) {
        states.extend(table.leaves.iter().filter_map(|leaf| state(leaf, table.path_of(leaf.key))));
    }
    states
}

/// What cannot be seen in [`KeyState::value`]: the keys whose values may differ although they look the
/// same, with their paths.
#[must_use]
pub fn half_shown(config: &Config) -> Vec<String> {
    let hides =
        |leaf: &&Leaf<'_>| leaf.hidden.is_some_and(|hidden| leaf.shown.as_str().map(str::as_bytes) != Some(hidden));
    let mut paths: Vec<_> = leaves(config).iter().filter(hides).map(|leaf| leaf.key.to_owned()).collect();
    for table in tables(config) {
        paths.extend(table.leaves.iter().filter(hides).map(|leaf| table.path_of(leaf.key)));
    }
    paths
}

/// Adds a table to the array of tables at `path`.
fn append(root: &mut Map<String, Value>, path: &str, table: Value) {
    match path.split_once('.') {
        None => {
            if let Value::Array(all) = root.entry(path).or_insert_with(|| json!([])) {
                all.push(table);
            }
        }
        Some((name, rest)) => {
            if let Value::Object(inner) = root.entry(name).or_insert_with(|| json!({})) {
                append(inner, rest, table);
            }
        }
    }
}

/// Puts a value at a path such as `tls.key`, with the tables around it.
pub(crate) fn insert(table: &mut Map<String, Value>, path: &str, value: Value) {
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
