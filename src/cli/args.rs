//! The words of the command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::DEFAULT_PATH;
use crate::engine::Mode;

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
    Status(ClientArgs),
    /// Start a run now
    Run(RunArgs),
    /// End the run under way cleanly
    Cancel(ClientArgs),
    /// Stop scheduled runs; outlives a restart
    Pause(PauseArgs),
    /// Start scheduled runs again
    Resume(ClientArgs),
    /// Show or change the time between scheduled runs
    Schedule(ScheduleArgs),
    /// List ended runs, the newest first (times in UTC)
    History(HistoryArgs),
    /// Read the configuration again
    Reload(ClientArgs),
    /// Say whether each part is well
    Health(ClientArgs),
    /// Compare everything now, write nothing, and print the differences by kind
    Verify(VerifyArgs),
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
    /// The daemon's HTTP address, such as http://127.0.0.1:8080
    #[arg(long, value_name = "URL", requires = "against_running")]
    pub(super) url: Option<String>,
    /// File that holds the bearer token
    #[arg(long, value_name = "FILE", requires = "url")]
    pub(super) token_file: Option<PathBuf>,
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
    /// The daemon's HTTP address, such as http://127.0.0.1:8080
    #[arg(long, global = true, value_name = "URL")]
    pub(super) url: Option<String>,
    /// File that holds the bearer token
    #[arg(long, global = true, value_name = "FILE", requires = "url")]
    pub(super) token_file: Option<PathBuf>,
    /// Configuration file that names the socket [default: /etc/rbac-sync.toml]
    #[arg(long, global = true, value_name = "FILE", conflicts_with_all = ["socket", "url"])]
    pub(super) config: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
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
    /// Why, for the others
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
    /// Show the interval and who set it
    Show,
    /// Override the interval of the file; outlives a restart
    Set {
        /// 1s to 24h
        #[arg(value_parser = duration)]
        interval: Duration,
    },
    /// Give the file's interval again
    Reset,
}

#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    #[command(flatten)]
    pub(super) client: ClientArgs,
    /// Runs to list
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(super) limit: u16,
}

/// `90s`, `2h`, or whole seconds.
fn duration(text: &str) -> Result<Duration, String> {
    crate::api::duration(text).ok_or_else(|| "a time such as 30s, 5m or 2h is needed".to_owned())
}
