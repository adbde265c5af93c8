//! From the raw file to a [`Config`]: every key is checked, every error is kept.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::credential::Purpose;
use super::http::http;
use super::raw::{Entry, Layer, Place, Raw, Section, Value};
use super::{
    Companions, Config, DEFAULT_SOCKET, Deletes, Dialect, Endpoint, Environment, LogConfig, MaxDeletes, Pace, Problem,
    ScheduleConfig, SocketConfig, SourceConfig, SourceName, TargetConfig, endpoint, host, values,
};
use crate::schedule::Plan;

const INTERVAL: Duration = Duration::from_secs(5);
const OVERLAP: Duration = Duration::from_secs(6 * 60);
const DELETED_ROWS: u64 = 500;
const DELETED_PERCENT: f64 = 5.0;
const SOCKET_MODE: u32 = 0o660;
const HISTORY: u64 = 1000;
const LARGEST_HISTORY: u64 = 100_000;

/// What the validation found out beside the configuration.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) errors: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
    /// Over everything that was read.
    pub(super) digest: Sha256,
    /// The files that were read beside the configuration file.
    pub(super) companions: Companions,
    /// The file has syntax errors: what seems to be missing may only be unreadable.
    pub(super) incomplete: bool,
}

impl Findings {
    pub(super) fn error(&mut self, place: &Place, key: &str, message: impl AsRef<str>) {
        self.errors.push(place.problem(key, message));
    }

    pub(super) fn warning(&mut self, place: &Place, key: &str, message: impl AsRef<str>) {
        self.warnings.push(place.problem(key, message));
    }

    /// Something that should be there is not.
    pub(super) fn missing(&mut self, place: &Place, key: &str, message: impl AsRef<str>) {
        if !self.incomplete {
            self.error(place, key, message);
        }
    }

    /// Adds bytes to the content hash; the length keeps neighbours apart.
    pub(super) fn absorb(&mut self, bytes: &[u8]) {
        self.digest.update((bytes.len() as u64).to_be_bytes());
        self.digest.update(bytes);
    }

    /// The key's meaning; `None` if it is absent or wrong.
    pub(super) fn value<T>(
        &mut self,
        section: &Section,
        key: &str,
        meaning: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        let entry = section.entries.get(key)?;
        match meaning(&entry.value) {
            Ok(value) => Some(value),
            Err(message) => {
                self.error(&entry.place, key, message);
                None
            }
        }
    }
}

/// Builds the configuration; complete only if `findings` has no errors afterwards.
pub(super) fn validate(raw: &Raw, environment: &Environment, file: &Path, findings: &mut Findings) -> Option<Config> {
    let nowhere = Place { layer: Layer::File, origin: file.to_owned(), position: None, variable: None };
    if raw.sources.is_empty() && !findings.errors.iter().any(|error| error.key.as_deref() == Some("source")) {
        findings.missing(&nowhere, "source", "there is no [[source]]: name at least one archive");
    }
    let sources: Vec<Option<SourceConfig>> =
        raw.sources.iter().map(|section| source(section, environment, &nowhere, findings)).collect();
    let target = target(&raw.top, environment, &nowhere, findings);
    unique_names(raw, findings);
    if let Some(target) = &target {
        separate_databases(raw, &sources, target, findings);
    }

    let top = &raw.top;
    let schedule = schedule(top, &nowhere, findings);
    let http = http(raw, environment, &nowhere, findings);
    let socket = SocketConfig {
        path: findings.value(top, "socket.path", values::socket_path).unwrap_or_else(|| DEFAULT_SOCKET.into()),
        mode: findings.value(top, "socket.mode", values::socket_mode).unwrap_or(SOCKET_MODE),
    };
    let keep = findings.value(top, "history.keep", |value| values::count(value, 1..=LARGEST_HISTORY));
    let default = LogConfig::default();
    let log = LogConfig {
        level: findings.value(top, "log.level", values::log_level).unwrap_or(default.level),
        format: findings.value(top, "log.format", values::log_format).unwrap_or(default.format),
    };
    let metrics_textfile = textfile(top, findings);
    // Nothing above returns early, so that everything has been checked by now.
    let config = Config {
        schedule: schedule?,
        sources: sources.into_iter().collect::<Option<_>>()?,
        target: target?,
        http,
        socket,
        history_keep: usize::try_from(keep.unwrap_or(HISTORY)).ok()?,
        log,
        metrics_textfile,
    };
    host::look(top, &config, findings);
    Some(config)
}

fn schedule(top: &Section, nowhere: &Place, findings: &mut Findings) -> Option<ScheduleConfig> {
    let at = top.tables.get("schedule").unwrap_or(nowhere);
    let zone = if top.entries.contains_key("schedule.cron") || top.entries.contains_key("schedule.time_zone") {
        time_zone(top, "schedule.time_zone", at, findings)
    } else {
        // Nobody asked for it yet; the API can name one with its expression.
        Some(host_zone().unwrap_or(chrono_tz::UTC))
    };
    let jitter = findings.value(top, "schedule.jitter", |value| values::duration(value, Duration::ZERO));
    let interval = findings.value(top, "schedule.interval", |value| values::duration(value, Duration::from_secs(1)));
    let cron = findings.value(top, "schedule.cron", |value| values::cron(value, zone.unwrap_or(chrono_tz::UTC)));
    let place = |key: &str| top.entries.get(key).map(|entry| entry.place.clone());
    let by_cron = match (place("schedule.interval"), place("schedule.cron")) {
        (Some(interval), Some(cron)) if interval.layer == cron.layer => {
            let (interval_at, cron_at) = (interval.whereabouts(), cron.whereabouts());
            let later = if interval.position > cron.position { &interval } else { &cron };
            let message =
                format!("`interval` ({interval_at}) and `cron` ({cron_at}) exclude each other: keep one of them");
            findings.error(later, "schedule.cron", message);
            return None;
        }
        // The one that overrides, such as a variable over the file.
        (Some(interval), Some(cron)) => cron.layer > interval.layer,
        (_, cron) => cron.is_some(),
    };
    let plan = if by_cron { Plan::Cron(cron?.into()) } else { Plan::Interval(interval.unwrap_or(INTERVAL)) };
    Some(ScheduleConfig { plan, time_zone: zone?, jitter: jitter.unwrap_or_default() })
}

fn source(
    section: &Section,
    environment: &Environment,
    nowhere: &Place,
    findings: &mut Findings,
) -> Option<SourceConfig> {
    let at = section.tables.get("source").unwrap_or(nowhere);
    let name = required(section, "source.name", at, findings, |value| {
        SourceName::new(values::text(value)?)
            .ok_or_else(|| "must be 1 to 32 characters of a-z, 0-9 and - (lower case)".to_owned())
    });
    let endpoint = endpoint_of(section, "source", at, environment, findings);
    let time_zone = time_zone(section, "source.time_zone", at, findings);
    let overlap = findings.value(section, "source.overlap", |value| values::duration(value, Duration::ZERO));
    let instances = findings.value(section, "source.instances", values::boolean).unwrap_or_default();
    let pace = pace(section, findings);
    let overlap = overlap.unwrap_or(OVERLAP);
    Some(SourceConfig { name: name?, endpoint: endpoint?, time_zone: time_zone?, overlap, instances, pace })
}

fn pace(section: &Section, findings: &mut Findings) -> Pace {
    let every = findings.value(section, "source.sweep_every", |value| values::duration(value, Duration::from_secs(1)));
    let sweep = findings.value(section, "source.sweep_percent", values::percent);
    let scan = findings.value(section, "source.scan_percent", |value| match values::percent(value)? {
        0.0 => Err("must be above 0: without scans no change of an existing row would be seen".to_owned()),
        percent => Ok(percent),
    });
    let default = Pace::default();
    Pace {
        sweep_every: every.unwrap_or(default.sweep_every),
        sweep_percent: sweep.unwrap_or(default.sweep_percent),
        scan_percent: scan.unwrap_or(default.scan_percent),
    }
}

fn target(top: &Section, environment: &Environment, nowhere: &Place, findings: &mut Findings) -> Option<TargetConfig> {
    let at = top.tables.get("target").unwrap_or(nowhere);
    let endpoint = if is_given(top, "target") {
        endpoint_of(top, "target", at, environment, findings)
    } else {
        if !findings.errors.iter().any(|error| error.key.as_deref() == Some("target")) {
            findings.missing(nowhere, "target", "there is no [target]: name the RBAC database");
        }
        None
    };
    let deletes = findings.value(top, "target.deletes", values::deletes);
    let rows = findings.value(top, "target.max_deletes.rows", |value| values::count(value, 0..=values::LARGEST_COUNT));
    let percent = findings.value(top, "target.max_deletes.percent", values::percent);
    Some(TargetConfig {
        endpoint: endpoint?,
        deletes: deletes.unwrap_or(Deletes::Tombstone),
        max_deletes: MaxDeletes { rows: rows.unwrap_or(DELETED_ROWS), percent: percent.unwrap_or(DELETED_PERCENT) },
    })
}

/// Whether the table, or any of its keys, was written.
pub(super) fn is_given(top: &Section, table: &str) -> bool {
    let keys = format!("{table}.");
    top.tables.contains_key(table) || top.entries.keys().any(|key| key.starts_with(&keys))
}

pub(super) fn required<T>(
    section: &Section,
    key: &str,
    at: &Place,
    findings: &mut Findings,
    meaning: impl FnOnce(&Value) -> Result<T, String>,
) -> Option<T> {
    if !section.entries.contains_key(key) {
        findings.missing(at, key, format!("`{key}` is missing"));
    }
    findings.value(section, key, meaning)
}

/// The database of `source` or `target`, with its password.
fn endpoint_of(
    section: &Section,
    table: &str,
    at: &Place,
    environment: &Environment,
    findings: &mut Findings,
) -> Option<Endpoint> {
    let url_key = format!("{table}.url");
    let password_key = format!("{table}.password");
    let parsed = required(section, &url_key, at, findings, |value| endpoint::parse(values::text(value)?));
    let place = section.entries.get(url_key.as_str()).map(|entry| &entry.place);
    let in_url = parsed.as_ref().and_then(|endpoint| endpoint.password.clone()).zip(place);
    if let Some((_, place)) = &in_url {
        let message = "the password inside the URL is easily shown by accident; use password_file or \
                       password_credential instead";
        findings.warning(place, &url_key, message);
    }
    let purpose = Purpose { key: &password_key, section, in_url };
    if parsed.as_ref().is_some_and(|endpoint| endpoint.dialect == Dialect::Sqlite) {
        if let Some(place) = purpose.place() {
            findings.warning(place, &password_key, "SQLite has no login: the password is not used");
        }
        return parsed;
    }
    // Read even if the URL is wrong, so that its errors are reported too.
    let password = purpose.read(environment, findings);
    parsed.map(|endpoint| Endpoint { password, ..endpoint })
}

fn time_zone(section: &Section, key: &str, at: &Place, findings: &mut Findings) -> Option<chrono_tz::Tz> {
    if section.entries.contains_key(key) {
        return findings.value(section, key, values::time_zone);
    }
    let host = host_zone();
    if host.is_none() {
        let text = format!("`{key}` is missing and this host's zone is not known; name one, such as \"Asia/Seoul\"");
        findings.missing(at, key, text);
    }
    host
}

fn host_zone() -> Option<chrono_tz::Tz> {
    match iana_time_zone::get_timezone() {
        Ok(name) => name.parse().ok(),
        // A host that was told no zone runs on UTC.
        Err(_) => Some(chrono_tz::UTC),
    }
}

fn unique_names(raw: &Raw, findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for section in &raw.sources {
        let Some(Entry { value: Value::Text(name), place }) = section.entries.get("source.name") else { continue };
        if !seen.insert(name) {
            findings.error(place, "source.name", "an earlier [[source]] has the same name; names must be unique");
        }
    }
}

/// A source that is also the target would be written to, and a database read twice is mirrored twice.
fn separate_databases(raw: &Raw, sources: &[Option<SourceConfig>], target: &TargetConfig, findings: &mut Findings) {
    let target_identity = endpoint::identity(&target.endpoint);
    let mut seen = Vec::new();
    for (section, source) in raw.sources.iter().zip(sources) {
        let (Some(source), Some(url)) = (source, section.entries.get("source.url")) else { continue };
        let identity = (source.endpoint.dialect, endpoint::identity(&source.endpoint));
        if identity == (target.endpoint.dialect, target_identity.clone()) {
            match source.endpoint.dialect {
                Dialect::Sqlite => {
                    findings.error(&url.place, "source.url", "the source and the target are the same file");
                }
                Dialect::Postgres | Dialect::Mysql => {
                    let message = "the source and the target are the same database; a separate one keeps the archive \
                                   free of load and of foreign tables";
                    findings.warning(&url.place, "source.url", message);
                }
            }
        }
        if seen.contains(&identity) {
            findings.warning(&url.place, "source.url", "an earlier [[source]] reads the same database");
        }
        seen.push(identity);
    }
}

fn textfile(top: &Section, findings: &mut Findings) -> Option<std::path::PathBuf> {
    let path = findings.value(top, "metrics.textfile", values::absolute_path)?;
    if let Some(entry) = top.entries.get("metrics.textfile").filter(|_| path.extension() != Some("prom".as_ref())) {
        let message = "node_exporter reads only files whose names end in .prom";
        findings.warning(&entry.place, "metrics.textfile", message);
    }
    Some(path)
}
