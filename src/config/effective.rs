//! A [`Config`] as keys and values: what `GET /config` shows and what two configurations are compared by.

use serde_json::{Map, Value, json};

use super::{Config, Deletes, Digest, Endpoint, HttpClient, LogFormat, Proof, Secret, SourceConfig};

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
        // The validation refuses anything else.
        shown("source.instances", false),
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
    let sources: Vec<Value> = config.sources.iter().map(|source| named("source.", source_leaves(source))).collect();
    root.insert("source".into(), sources.into());
    if let Some(http) = &config.http {
        let clients: Vec<Value> =
            http.clients.iter().map(|client| named("http.client.", client_leaves(client))).collect();
        insert(&mut root, "http.client", clients.into());
    }
    Value::Object(root)
}

/// One of several tables.
fn named(prefix: &str, leaves: Vec<Leaf<'_>>) -> Value {
    let mut table = Map::new();
    for leaf in leaves {
        insert(&mut table, leaf.key.trim_start_matches(prefix), leaf.shown);
    }
    Value::Object(table)
}

fn insert(table: &mut Map<String, Value>, path: &str, value: Value) {
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
