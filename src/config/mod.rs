//! Configuration: the TOML file, the environment, and the one validated [`Config`] made of them.
//!
//! Owns the shape and the meaning of every key. A [`Config`] is immutable and complete: passwords
//! are read, paths are resolved, defaults are filled in. Nothing outside this module sees a raw key.

mod access;
mod companions;
mod contents;
mod credential;
mod diff;
mod effective;
mod endpoint;
mod environment;
mod host;
mod http;
mod keys;
mod load;
mod origin;
mod position;
mod problem;
mod raw;
mod secret;
mod syntax;
mod tls;
mod validate;
mod values;
mod watch;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::schedule::Plan;
pub use access::{Digest, HttpClient, Proof, Role};
pub use companions::Companions;
pub use diff::{Change, diff, names};
pub(crate) use effective::insert;
pub use effective::{KeyState, describe, half_shown, key_states};
pub use environment::Environment;
pub use keys::{Effect, Given, KEYS, Key};
pub use load::{Loaded, Refused, load, load_to_watch};
pub use origin::{Origin, Origins};
pub use problem::Problem;
pub use secret::Secret;
pub use tls::{TlsConfig, TlsFiles};
pub(crate) use values::{filter as log_filter, zone};
pub use watch::{Watch, watch};

/// Where the packaged daemon looks for its configuration.
pub const DEFAULT_PATH: &str = "/etc/rbac-sync.toml";
/// The packaged control socket.
pub const DEFAULT_SOCKET: &str = "/run/rbac-sync/control.sock";

/// Everything that the daemon was told, validated.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// When scheduled runs are due.
    pub schedule: ScheduleConfig,
    /// The archives, in the order of the file; never empty, names are unique.
    pub sources: Vec<SourceConfig>,
    /// The RBAC database.
    pub target: TargetConfig,
    /// The TCP listener; `None` means that there is none.
    pub http: Option<HttpConfig>,
    /// The Unix control socket.
    pub socket: SocketConfig,
    /// How many runs the history keeps.
    pub history_keep: usize,
    /// Log level and format.
    pub log: LogConfig,
    /// File for node_exporter's textfile collector.
    pub metrics_textfile: Option<PathBuf>,
}

/// When scheduled runs are due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleConfig {
    /// An interval, or a cron expression.
    pub plan: Plan,
    /// The zone of cron expressions, also of those set through the API without one.
    pub time_zone: chrono_tz::Tz,
    /// The longest random delay of each due time.
    pub jitter: Duration,
}

/// The name of a source, `[a-z0-9-]{1,32}`: the key of its state in the target.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceName(String);

impl SourceName {
    /// Accepts `[a-z0-9-]{1,32}`, nothing else.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let ok = (1..=32).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        ok.then(|| Self(name.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One archive.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceConfig {
    /// Unique name.
    pub name: SourceName,
    /// How to reach its database.
    pub endpoint: Endpoint,
    /// The zone of the archive's JVM: `created_time` and `updated_time` are its wall clock.
    pub time_zone: chrono_tz::Tz,
    /// How far before the cursor each delta reads again.
    pub overlap: Duration,
    /// Whether the instance level is mirrored too.
    pub instances: bool,
    /// What reading may cost the archive.
    pub pace: Pace,
}

/// What reading may cost an archive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// A pass over all rows begins no more often than this.
    pub sweep_every: Duration,
    /// Percent (0 to 100) of the interval that a run may spend on the pass; 0 switches it off.
    pub sweep_percent: f64,
    /// Percent (above 0, to 100) of the time that scans of `updated_time` without an index may take.
    pub scan_percent: f64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { sweep_every: Duration::from_secs(15 * 60), sweep_percent: 10.0, scan_percent: 10.0 }
    }
}

/// The RBAC database.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetConfig {
    /// How to reach it.
    pub endpoint: Endpoint,
    /// What happens to rows that are gone from the source.
    pub deletes: Deletes,
    /// The brake on deletes, per run and source.
    pub max_deletes: MaxDeletes,
}

/// What a delete in the source does in the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletes {
    /// The row stays with `deleted_at` set.
    Tombstone,
    /// The row goes.
    Remove,
}

/// The brake: a run that would delete more than either stops before it deletes anything.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaxDeletes {
    /// Rows of all levels together.
    pub rows: u64,
    /// Percent (0 to 100) of the live rows of one level.
    pub percent: f64,
}

/// A database server or file.
#[derive(Clone, PartialEq)]
pub struct Endpoint {
    /// Which protocol it speaks.
    pub dialect: Dialect,
    /// The URL as configured, without its password.
    pub url: String,
    /// From `password_file`, `password_credential` or the URL.
    pub password: Option<Secret>,
}

impl fmt::Display for Endpoint {
    /// Scheme, user, host, port and path: neither a password nor a query string.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.split(['?', '#']).next().unwrap_or_default())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `postgres:` or `postgresql:`
    Postgres,
    /// `mysql:` or `mariadb:`, which differ in details that a session finds out.
    Mysql,
    /// `sqlite:`
    Sqlite,
}

/// The TCP listener.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpConfig {
    /// Address and port.
    pub listen: SocketAddr,
    /// The hash of the token in `token_file`, whose bearer is an operator.
    pub token: Option<Digest>,
    /// Others who may ask.
    pub clients: Vec<HttpClient>,
    /// Encryption; `None`: there is none.
    pub tls: Option<Arc<TlsConfig>>,
}

impl HttpConfig {
    /// A listener there, for everybody who reaches it, without encryption.
    #[must_use]
    pub fn on(listen: SocketAddr) -> Self {
        Self { listen, token: None, clients: Vec::new(), tls: None }
    }

    /// Whether a request must prove whose it is; if not, only this host is served.
    #[must_use]
    pub fn asks_for_credentials(&self) -> bool {
        self.token.is_some() || !self.clients.is_empty()
    }
}

/// The Unix control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketConfig {
    /// Its path.
    pub path: PathBuf,
    /// Its permission bits, such as `0o660`.
    pub mode: u32,
}

/// What is logged and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A level or a filter per module, as `EnvFilter` reads it.
    pub level: String,
    /// Where and in what shape.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Auto }
    }
}

/// The shape of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// journald when standard error is the journal, text otherwise.
    Auto,
    /// The native journal protocol.
    Journald,
    /// One JSON object a line on standard error.
    Json,
    /// Lines for people on standard error.
    Text,
}
