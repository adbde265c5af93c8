//! The command line: parse, do the one thing that was asked, and say how it ended.
//!
//! Commands are of two kinds: those that work here (`daemon`, `once`, `forget`, `check`, `demo`) and clients of
//! a running daemon (`remote`), which know nothing but its control routes.

mod against;
mod args;
mod check;
mod claim;
mod client;
mod exit;
mod feed;
mod forget;
mod live;
mod once;
mod print;
mod remote;
mod show;
mod tell;
#[cfg(test)]
mod tests;
mod tls;
mod token;
mod watch;

use std::ffi::OsString;
use std::future::Future;

use clap::{CommandFactory, Parser};
use futures_util::future::LocalBoxFuture;
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

pub use exit::Exit;

use crate::{daemon, demo};
use args::{Cli, Command};
use exit::Failure;

/// Does what the arguments say; the first one is the name of the program.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let text = error.render().to_string();
            if error.use_stderr() {
                print::failure(text.trim_end());
                return Exit::Usage;
            }
            return print::out(&text).map_or_else(|failure| failure.exit, |()| Exit::Done);
        }
    };
    run(cli.command).unwrap_or_else(|failure| {
        print::failure(&format!("rbac-sync: {failure}"));
        failure.exit
    })
}

fn run(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Daemon(args) => {
            let options = daemon::Options { config: args.config, env_file: args.env_file };
            // For listeners and signals; the rest has threads of its own.
            on_one_core(async { Ok(served(daemon::run(options, CancellationToken::new()).await)) })
        }
        Command::Demo(args) => {
            let (listen, dir, studies, duration) = (args.listen, args.dir, args.studies, args.duration);
            on_all_cores(async { demonstrated(demo::run(demo::Options { listen, dir, studies, duration }).await) })
        }
        Command::Once(args) => on_all_cores(async { once::run(&args).await }),
        Command::Forget(args) => on_all_cores(async { forget::run(&args).await }),
        Command::Check(args) => on_one_core(check::run(&args)),
        Command::Status(args) if args.watch => on_one_core(watch::status(&args.client)),
        Command::Status(args) => on_one_core(remote::status(&args.client)),
        Command::Run(args) => on_one_core(remote::run(&args)),
        Command::Cancel(args) => on_one_core(remote::cancel(&args)),
        Command::Pause(args) => on_one_core(remote::pause(&args)),
        Command::Resume(args) => on_one_core(remote::resume(&args)),
        Command::Schedule(args) => on_one_core(remote::schedule(&args)),
        Command::Events(args) => on_one_core(watch::events(&args)),
        Command::History(args) => on_one_core(remote::history(&args)),
        Command::Audit(args) => on_one_core(remote::audit(&args)),
        Command::Reload(args) => on_one_core(remote::reload(&args)),
        Command::Health(args) => on_one_core(remote::health(&args)),
        Command::LogLevel(args) => on_one_core(remote::log_level(&args)),
        Command::Verify(args) => on_one_core(remote::verify(&args)),
        Command::Token(args) => token::run(&args),
        Command::Completions { shell } => completions(shell),
    }
}

/// A daemon says in its log why it ended, and nowhere else.
fn served(outcome: Result<(), daemon::Failure>) -> Exit {
    match outcome {
        Ok(()) => Exit::Done,
        Err(failure) => {
            failure.log();
            if matches!(failure, daemon::Failure::Config(_)) { Exit::Config } else { Exit::Failed }
        }
    }
}

fn demonstrated(outcome: Result<(), daemon::Failure>) -> Result<Exit, Failure> {
    match outcome {
        Ok(()) => Ok(Exit::Done),
        Err(daemon::Failure::Config(problems)) => {
            check::report(&problems);
            Ok(Exit::Config)
        }
        Err(failure) => Err(Failure::new(Exit::Failed, failure.to_string())),
    }
}

fn completions(shell: clap_complete::Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rbac-sync", &mut script);
    print::out(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

fn on_all_cores(work: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    on(&mut Builder::new_multi_thread(), Box::pin(work))
}

fn on_one_core(work: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    on(&mut Builder::new_current_thread(), Box::pin(work))
}

/// One for all commands, for it is large.
fn on(builder: &mut Builder, work: LocalBoxFuture<'_, Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let runtime = builder.enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Exit::Failed, format!("cannot start: {error}")))?;
    let outcome = runtime.block_on(work);
    // A name lookup that hangs must not keep the program from ending.
    runtime.shutdown_background();
    outcome
}
