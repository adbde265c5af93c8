//! The words of the command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use uuid::Uuid;

use crate::config::DEFAULT_PATH;
use crate::engine::Mode;
use crate::supervisor::EventId;

const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   the run failed, or something is unhealthy
  2   wrong usage
  69  the daemon cannot be reached
  75  busy or timed out; try again
  77  not allowed
  78  the configuration is wrong";

/// Keeps an RBAC database in step with a dcm4chee-arc-light archive
#[derive(Debug, Parser)]
#[command(name = "rbac-sync", version, max_term_width = 100, arg_required_else_help = true, after_help = EXIT_CODES)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run in the foreground until told to stop
    Daemon(ConfigArgs),
    /// Do one run without a daemon
    Once(OnceArgs),
    /// Remove all rows of a source that is no longer configured, without a daemon
    Forget(ForgetArgs),
    /// Validate the configuration and report every error
    Check(CheckArgs),
    /// Show the whole product on an embedded archive that keeps changing
    Demo(DemoArgs),
    /// Show what the daemon does and how it is
    Status(StatusArgs),
    /// Start a run now
    Run(RunArgs),
    /// End the run under way cleanly
    Cancel(ClientArgs),
    /// Stop scheduled runs; outlives a restart
    Pause(PauseArgs),
    /// Start scheduled runs again
    Resume(ClientArgs),
    /// Show or change when scheduled runs are due
    Schedule(ScheduleArgs),
    /// List ended runs, the newest first (times in UTC)
    History(HistoryArgs),
    /// List who changed what beside runs: pauses, schedules, reloads; the newest first (times in UTC)
    Audit(AuditArgs),
    /// Print what happens as it happens, a line for each event (times in UTC)
    Events(EventsArgs),
    /// Read the configuration again
    Reload(ClientArgs),
    /// Say whether each part is well
    Health(ClientArgs),
    /// Show or change what is logged, for a while; a restart forgets it
    LogLevel(LogLevelArgs),
    /// Compare everything now, write nothing, and print the differences by kind
    Verify(VerifyArgs),
    /// Make a bearer token for the HTTP listener, and the lines that let the daemon know it
    Token(TokenArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub(super) config: PathBuf,
    /// File with environment variables [default: .env in the working folder, if there is one]
    #[arg(long, value_name = "FILE")]
    pub(super) env_file: Option<PathBuf>,
}

/// What a run reads.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ModeArg {
    /// What changed since the last run
    Delta,
    /// Everything, and a search for rows that are gone
    Full,
}

impl From<ModeArg> for Mode {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::Delta => Self::Delta,
            ModeArg::Full => Self::Full,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct RunOptions {
    /// What to read
    #[arg(long, value_enum, default_value = "delta")]
    pub(super) mode: ModeArg,
    /// Read all, write nothing, and say what would change
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Only this source [default: all]
    #[arg(long, value_name = "NAME")]
    pub(super) source: Option<String>,
    /// Let this run delete more rows than target.max_deletes
    #[arg(long)]
    pub(super) allow_deletes: bool,
}

#[derive(Debug, Args)]
pub(super) struct OnceArgs {
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    #[command(flatten)]
    pub(super) run: RunOptions,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ForgetArgs {
    /// The source
    #[arg(value_name = "NAME")]
    pub(super) name: String,
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// Really remove the rows; without it they are only counted
    #[arg(long)]
    pub(super) yes: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// Log in to each database too, and say what was found there
    #[arg(long)]
    pub(super) connect: bool,
    /// Say what a running daemon would change if it reloaded this configuration
    #[arg(long)]
    pub(super) against_running: bool,
    /// The daemon's control socket [default: the one of this configuration]
    #[arg(long, value_name = "PATH", requires = "against_running", conflicts_with = "url")]
    pub(super) socket: Option<PathBuf>,
    /// The daemon's HTTP address, such as http://127.0.0.1:8080 or https://HOST:PORT
    #[arg(long, value_name = "URL", requires = "against_running")]
    pub(super) url: Option<String>,
    /// File that holds the bearer token
    #[arg(long, value_name = "FILE", requires = "url")]
    pub(super) token_file: Option<PathBuf>,
    /// Authorities to trust for an https URL, PEM [default: the host's]
    #[arg(long, value_name = "FILE", requires = "url")]
    pub(super) ca_file: Option<PathBuf>,
    /// Client certificate to show, PEM
    #[arg(long, value_name = "FILE", requires_all = ["url", "key"])]
    pub(super) cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires_all = ["url", "cert"])]
    pub(super) key: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Address of the HTTP listener
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub(super) listen: SocketAddr,
    /// Folder for the databases [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
    /// Studies to begin with
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) studies: u32,
    /// End after this time, such as 60s
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub(super) duration: Option<Duration>,
}

#[derive(Debug, Default, Args)]
pub(super) struct ClientArgs {
    /// The daemon's control socket [default: the configured one]
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "url")]
    pub(super) socket: Option<PathBuf>,
    /// The daemon's HTTP address, such as http://127.0.0.1:8080 or https://HOST:PORT
    #[arg(long, global = true, value_name = "URL")]
    pub(super) url: Option<String>,
    /// File that holds the bearer token
    #[arg(long, global = true, value_name = "FILE", requires = "url")]
    pub(super) token_file: Option<PathBuf>,
    /// Authorities to trust for an https URL, PEM [default: the host's]
    #[arg(long, global = true, value_name = "FILE", requires = "url")]
    pub(super) ca_file: Option<PathBuf>,
    /// Client certificate to show, PEM
    #[arg(long, global = true, value_name = "FILE", requires_all = ["url", "key"])]
    pub(super) cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, global = true, value_name = "FILE", requires_all = ["url", "cert"])]
    pub(super) key: Option<PathBuf>,
    /// Configuration file that names the socket [default: /etc/rbac-sync.toml]
    #[arg(long, global = true, value_name = "FILE", conflicts_with_all = ["socket", "url"])]
    pub(super) config: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    pub(super) client: ClientArgs,
    /// Go on and show each change
    #[arg(long)]
    pub(super) watch: bool,
}

#[derive(Debug, Args)]
pub(super) struct EventsArgs {
    #[command(flatten)]
    pub(super) client: ClientArgs,
    /// Begin with what has happened since this event [default: begin now]
    #[arg(long, value_name = "ID", value_parser = event_id)]
    pub(super) after: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) client: ClientArgs,
    #[command(flatten)]
    pub(super) run: RunOptions,
    /// Wait until the run has ended, at most for this time, and print its result
    #[arg(long, value_name = "DURATION", num_args = 0..=1, value_parser = duration)]
    pub(super) wait: Option<Option<Duration>>,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    pub(super) client: ClientArgs,
    /// Only this source
    #[arg(long, value_name = "NAME")]
    pub(super) source: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct PauseArgs {
    #[command(flatten)]
    pub(super) client: ClientArgs,
    /// Why, for the others; logged and kept as it is, so no personal data
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
    /// Resume by itself after this time, such as 2h
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub(super) duration: Option<Duration>,
}

#[derive(Debug, Args)]
pub(super) struct ScheduleArgs {
    #[command(subcommand)]
    pub(super) change: Option<ScheduleChange>,
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum ScheduleChange {
    /// Show the schedule and who set it; under a cron expression also the next five times
    Show,
    /// Override the schedule of the file; outlives a restart
    Set {
        /// Time between two runs, 1s to 24h
        #[arg(value_parser = duration, required_unless_present = "cron")]
        interval: Option<Duration>,
        /// Cron expression of five fields, or six with seconds first
        #[arg(long, value_name = "EXPRESSION", conflicts_with = "interval")]
        cron: Option<String>,
        /// Zone of the cron expression, such as Asia/Seoul [default: the configured one]
        #[arg(long, value_name = "ZONE", requires = "cron", conflicts_with = "interval")]
        time_zone: Option<String>,
        /// Only if the schedule still has this tag (see "etag" of schedule --json)
        #[arg(long, value_name = "TAG")]
        if_match: Option<String>,
    },
    /// Give the file's schedule again
    Reset {
        /// Only if the schedule still has this tag (see "etag" of schedule --json)
        #[arg(long, value_name = "TAG")]
        if_match: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(super) struct LogLevelArgs {
    #[command(flatten)]
    pub(super) client: ClientArgs,
    /// off, error, warn, info, debug, trace, or a filter such as info,rbac_sync::engine=debug
    pub(super) level: Option<String>,
    /// How long, at most 24h [default: 1h]
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, requires = "level")]
    pub(super) duration: Option<Duration>,
    /// Give the file's level again
    #[arg(long, conflicts_with = "level")]
    pub(super) reset: bool,
}

#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    #[command(flatten)]
    pub(super) client: ClientArgs,
    /// How many to list
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(super) limit: u16,
    /// Only runs that ended before this one
    #[arg(long, value_name = "RUN")]
    pub(super) before: Option<Uuid>,
}

#[derive(Debug, Args)]
pub(super) struct AuditArgs {
    #[command(flatten)]
    pub(super) client: ClientArgs,
    /// How many to list
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(super) limit: u16,
    /// Only changes that were made before this one
    #[arg(long, value_name = "CHANGE")]
    pub(super) before: Option<Uuid>,
}

/// As a daemon writes it, for it becomes a header.
fn event_id(text: &str) -> Result<String, String> {
    text.parse::<EventId>().map(|id| id.to_string()).map_err(|error| error.to_string())
}

/// What a client may do.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum RoleArg {
    /// Read everything, change nothing
    Viewer,
    /// Change things too
    Operator,
}

impl RoleArg {
    /// As the configuration spells it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    /// The client's name in the log and in the history
    #[arg(value_name = "NAME", value_parser = client_name)]
    pub(super) name: String,
    /// What it may do
    #[arg(long, value_enum, default_value = "viewer")]
    pub(super) role: RoleArg,
}

fn client_name(text: &str) -> Result<String, String> {
    let valid = crate::config::SourceName::new(text).filter(|_| text != "token").map(|_| text.to_owned());
    valid.ok_or_else(|| "1 to 32 characters of a-z, 0-9 and - are needed, and not \"token\"".to_owned())
}

/// `90s`, `2h`, or whole seconds.
fn duration(text: &str) -> Result<Duration, String> {
    crate::api::duration(text).ok_or_else(|| "a time such as 30s, 5m or 2h is needed".to_owned())
}
