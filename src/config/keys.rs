//! The one list of keys. Unknown-key suggestions, variable names and the split into what takes effect
//! at once and what needs a restart all follow from it.

use serde::{Deserialize, Serialize};

use super::SourceName;

/// A key of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Tables and name, such as `target.max_deletes.rows`; `source.` stands for any source.
    pub path: &'static str,
    /// Which values are valid, for people.
    pub values: &'static str,
    /// What counts when the key is absent, for people.
    pub default: &'static str,
    /// Where it may be given.
    pub given: Given,
    /// When a changed value counts.
    pub effect: Effect,
    /// What it is, in one line.
    pub about: &'static str,
}

/// Where a key may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// In the file, and overridden by a variable.
    FileOrVariable,
    /// In the file only: it identifies what the variables refer to.
    File,
    /// In a variable only: a secret does not belong in the file.
    Variable,
}

/// When a changed value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// As soon as the configuration is reloaded.
    Hot,
    /// At the next start.
    Restart,
}

impl Effect {
    /// As the API, the log and the manual spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Restart => "restart",
        }
    }
}

impl Key {
    /// The variable that overrides the key; a key of a source or of an HTTP client needs its name.
    #[must_use]
    pub fn variable(&self, name: Option<&SourceName>) -> String {
        let path = match (name, self.repeated()) {
            (Some(name), Some((table, rest))) => format!("{table}_{name}_{rest}"),
            _ => self.path.to_owned(),
        };
        format!("RBAC_SYNC_{}", path.replace(['.', '-'], "_").to_ascii_uppercase())
    }
}

/// Tables that may be repeated, each with a name of its own.
pub(super) const REPEATED: [&str; 2] = ["source", "http.client"];

impl Key {
    /// The repeated table that the key is in, and its name there.
    pub(super) fn repeated(&self) -> Option<(&'static str, &'static str)> {
        let in_table = |table: &&'static str| Some((*table, self.path.strip_prefix(table)?.strip_prefix('.')?));
        REPEATED.iter().find_map(in_table)
    }
}

use Effect::{Hot, Restart};
use Given::{File, FileOrVariable, Variable};

const fn key(
    path: &'static str,
    values: &'static str,
    default: &'static str,
    given: Given,
    effect: Effect,
    about: &'static str,
) -> Key {
    Key { path, values, default, given, effect, about }
}

/// All keys, in the order of the packaged file.
#[rustfmt::skip] // one key a line is what makes this a table
pub const KEYS: &[Key] = &[
    key("schedule.interval", "1s to 24h, or whole seconds as a number", "5s", FileOrVariable, Hot, "time between the starts of two scheduled runs"),
    key("schedule.cron", "a cron expression of five fields, or six with seconds first", "none", FileOrVariable, Hot, "when runs are due, instead of an interval"),
    key("schedule.time_zone", "a name such as Asia/Seoul", "the host's zone", FileOrVariable, Hot, "the zone of cron expressions"),
    key("schedule.jitter", "0s to 24h, or whole seconds as a number", "0s", FileOrVariable, Hot, "the longest random delay of each scheduled run"),
    key("source.name", "1 to 32 of a-z, 0-9 and -, unique", "required", File, Hot, "the archive's name, the key of its state in the target"),
    key("source.url", "a postgres:, mysql:, mariadb: or sqlite: URL", "required", FileOrVariable, Hot, "the archive's database"),
    key("source.password_file", "an absolute path", "none", FileOrVariable, Hot, "file that holds the login's password"),
    key("source.password_credential", "a name", "none", FileOrVariable, Hot, "systemd credential that holds the login's password"),
    key("source.password", "any text", "none", Variable, Hot, "the login's password itself"),
    key("source.time_zone", "a name such as Asia/Seoul", "the host's zone", FileOrVariable, Hot, "the zone of the archive's JVM"),
    key("source.overlap", "0s to 24h, or whole seconds as a number", "6m", FileOrVariable, Hot, "how far before the cursor each delta reads again"),
    key("source.sweep_every", "1s to 24h, or whole seconds as a number", "15m", FileOrVariable, Hot, "a comparison of all rows begins no more often than this"),
    key("source.sweep_percent", "0 to 100", "10.0", FileOrVariable, Hot, "share of the interval that a run may spend on that comparison; 0 switches it off"),
    key("source.scan_percent", "above 0 to 100", "10.0", FileOrVariable, Hot, "share of time that scans of updated_time without an index may take"),
    key("source.instances", "true or false", "false", FileOrVariable, Hot, "mirror the instance level too"),
    key("target.url", "a postgres:, mysql:, mariadb: or sqlite: URL", "required", FileOrVariable, Hot, "the RBAC database"),
    key("target.password_file", "an absolute path", "none", FileOrVariable, Hot, "file that holds the login's password"),
    key("target.password_credential", "a name", "none", FileOrVariable, Hot, "systemd credential that holds the login's password"),
    key("target.password", "any text", "none", Variable, Hot, "the login's password itself"),
    key("target.deletes", "tombstone or remove", "tombstone", FileOrVariable, Hot, "what happens to rows that are gone from the source"),
    key("target.max_deletes.rows", "0 or more", "500", FileOrVariable, Hot, "a run that would delete more rows stops before it deletes"),
    key("target.max_deletes.percent", "0 to 100", "5.0", FileOrVariable, Hot, "the same, in percent of the live rows of a level"),
    key("http.listen", "an IP address and a port", "required in [http]", FileOrVariable, Restart, "where the TCP listener listens"),
    key("http.token_file", "an absolute path", "none", FileOrVariable, Hot, "file that holds the bearer token"),
    key("http.token_credential", "a name", "none", FileOrVariable, Hot, "systemd credential that holds the bearer token"),
    key("http.token", "visible ASCII", "none", Variable, Hot, "the bearer token itself"),
    key("http.client.name", "1 to 32 of a-z, 0-9 and -, unique", "required", File, Hot, "who the bearer is, in the log and in the history"),
    key("http.client.role", "viewer or operator", "required", FileOrVariable, Hot, "whether it may only read or change things too"),
    key("http.client.token_hash", "sha256: and 64 hexadecimal digits", "none", FileOrVariable, Hot, "hash of its bearer token; `rbac-sync token` makes both"),
    key("http.client.certificate", "sha256: and 64 hexadecimal digits", "none", FileOrVariable, Hot, "fingerprint of its certificate"),
    key("http.tls.certificate", "an absolute path", "required in [http.tls]", FileOrVariable, Hot, "the listener's certificate chain (PEM)"),
    key("http.tls.key", "an absolute path", "required in [http.tls]", FileOrVariable, Hot, "its private key (PEM)"),
    key("http.tls.client_ca", "an absolute path", "none", FileOrVariable, Hot, "authorities of client certificates (PEM)"),
    key("socket.path", "an absolute path of at most 107 bytes", super::DEFAULT_SOCKET, FileOrVariable, Restart, "the control socket"),
    key("socket.mode", "octal text", "0660", FileOrVariable, Restart, "the control socket's permission bits"),
    key("history.keep", "1 to 100000", "1000", FileOrVariable, Hot, "how many runs the history keeps"),
    key("log.level", "off, error, warn, info, debug, trace, or module=level,...", "info", FileOrVariable, Hot, "what is logged"),
    key("log.format", "auto, journald, json or text", "auto", FileOrVariable, Restart, "where and in what shape it is logged"),
    key("metrics.textfile", "an absolute path", "none", FileOrVariable, Hot, "file for node_exporter's textfile collector"),
];

/// The key with this path.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The names that may stand in the file below `table` (`""`: at the top), without repetition.
pub(super) fn names_in(table: &str) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for key in KEYS.iter().filter(|key| key.given != Given::Variable) {
        let rest = if table.is_empty() {
            Some(key.path)
        } else {
            key.path.strip_prefix(table).and_then(|rest| rest.strip_prefix('.'))
        };
        let name = rest.and_then(|rest| rest.split('.').next());
        names.extend(name.filter(|name| !names.contains(name)));
    }
    names
}

/// The candidate that was probably meant, if one is near enough.
pub(super) fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&written, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `; did you mean X?`, or nothing.
pub(super) fn did_you_mean<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(written, candidates).map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

#[cfg(test)]
mod tests;
