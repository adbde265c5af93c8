//! The words of the command line, and its commands against a served API.

mod events;
mod manual;

use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::args::{Cli, Command};
use super::exit::{Exit, Failure};
use super::{print, remote, watch};
use crate::api::testing::{Supervisor, id, snapshot};
use crate::api::{App, Listener, serve};
use crate::config::{Digest, HttpConfig, SocketConfig};

#[test]
fn the_words_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn help_of_each_command_is_as_recorded() {
    let mut cli = Cli::command().term_width(100);
    cli.build();
    let mut text = cli.render_long_help().to_string();
    for command in cli.get_subcommands_mut().filter(|command| command.get_name() != "help") {
        let help = command.render_long_help();
        text += &format!("\n=== {} ===\n{help}", command.get_name());
        for nested in command.get_subcommands_mut().filter(|nested| nested.get_name() != "help") {
            let help = nested.render_long_help();
            text += &format!("\n=== schedule {} ===\n{help}", nested.get_name());
        }
    }
    insta::assert_snapshot!("help", text);
}

#[test]
fn wrong_usage_is_2_and_help_and_version_are_0() {
    let exit = |line: &str| super::main(line.split(' ').map(Into::into));
    assert_eq!(exit("rbac-sync"), Exit::Usage);
    assert_eq!(exit("rbac-sync --version"), Exit::Done);
    assert_eq!(exit("rbac-sync run --help"), Exit::Done);
    for wrong in [
        "frobnicate",
        "log-level debug --reset",
        "log-level --for 5m",
        "log-level debug --for soon",
        "schedule set 30s --cron @daily",
        "schedule set 30s --time-zone UTC",
        "run --mode fast",
        "run --wait soon",
        "pause --for never",
        "history --limit 0",
        "history --limit 1001",
        "history --before yesterday",
        "events --after now",
        "status --socket /x --url http://y",
        "status --token-file /x",
        "demo --studies 0",
        "demo --listen nowhere",
        "schedule set",
    ] {
        assert_eq!(exit(&format!("rbac-sync {wrong}")), Exit::Usage, "{wrong}");
    }
}

#[test]
fn each_shell_gets_a_completion_script() {
    for shell in ["bash", "zsh", "fish"] {
        assert_eq!(super::main(["rbac-sync", "completions", shell].map(Into::into)), Exit::Done);
        let (script, _) = print::captured::take();
        assert!(script.contains("rbac-sync") && script.contains("schedule"), "{shell}");
    }
}

struct Daemon {
    path: PathBuf,
    supervisor: Supervisor,
    app: App,
    stop: CancellationToken,
    dir: tempfile::TempDir,
}

impl Daemon {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (supervisor, app) = Supervisor::start(snapshot());
        let path = dir.path().join("control.sock");
        let listener = Listener::unix(&SocketConfig { path: path.clone(), mode: 0o600 }).await.expect("a free path");
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, app.clone(), stop.clone()));
        Self { path, supervisor, app, stop, dir }
    }

    /// Runs a client command: exit code, standard output, standard error.
    async fn client(&self, line: &str) -> (Exit, String, String) {
        client(line, &["--socket", self.path.to_str().expect("a text path")]).await
    }

    async fn json(&self, line: &str) -> Value {
        let (exit, out, _) = self.client(&format!("{line} --json")).await;
        assert_eq!(exit, Exit::Done, "{out}");
        serde_json::from_str(&out).expect("one JSON value")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn client(line: &str, place: &[&str]) -> (Exit, String, String) {
    let words = ["rbac-sync"].into_iter().chain(line.split(' ')).chain(place.iter().copied());
    let cli = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
    print::captured::take();
    let outcome = dispatch(cli.command).await;
    let exit = outcome.unwrap_or_else(|failure| {
        print::error(&failure.to_string());
        failure.exit
    });
    let (out, err) = print::captured::take();
    (exit, out, err)
}

async fn dispatch(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Status(args) if args.watch => watch::status(&args.client).await,
        Command::Status(args) => remote::status(&args.client).await,
        Command::Events(args) => watch::events(&args).await,
        Command::Run(args) => remote::run(&args).await,
        Command::Cancel(args) => remote::cancel(&args).await,
        Command::Pause(args) => remote::pause(&args).await,
        Command::Resume(args) => remote::resume(&args).await,
        Command::Schedule(args) => remote::schedule(&args).await,
        Command::History(args) => remote::history(&args).await,
        Command::Reload(args) => remote::reload(&args).await,
        Command::Health(args) => remote::health(&args).await,
        Command::LogLevel(args) => remote::log_level(&args).await,
        Command::Verify(args) => remote::verify(&args).await,
        Command::Check(args) => super::check::run(&args).await,
        other => panic!("not a client command: {other:?}"),
    }
}

#[tokio::test]
async fn reads_print_words_or_the_reply_as_it_came() {
    let daemon = Daemon::start().await;
    let (exit, out, err) = daemon.client("status").await;
    assert_eq!((exit, err.as_str()), (Exit::Done, ""));
    assert!(out.starts_with("state          waiting\n"), "{out}");
    assert_eq!(daemon.json("status").await["interval_sec"], 5);
    let (_, history, _) = daemon.client("history --limit 1").await;
    assert_eq!(history.lines().count(), 2, "{history}");
    let (exit, health, _) = daemon.client("health").await;
    assert_eq!(exit, Exit::Done);
    insta::assert_snapshot!("health", health);
}

#[tokio::test]
async fn an_unhealthy_daemon_exits_1_and_says_why() {
    let daemon = Daemon::start().await;
    daemon.supervisor.change(|snapshot| snapshot.status.target.reachable = Some(false));
    let (exit, out, _) = daemon.client("health").await;
    assert_eq!(exit, Exit::Failed);
    assert!(out.contains("target         NOT OK  not reachable"), "{out}");
}

#[tokio::test]
async fn run_prints_the_id_and_wait_ends_with_the_result() {
    let daemon = Daemon::start().await;
    let (exit, out, _) = daemon.client("run --mode full").await;
    assert_eq!((exit, out), (Exit::Done, format!("{}\n", id(100))));
    let (exit, _, err) = daemon.client("run --wait 10ms").await;
    assert_eq!(exit, Exit::Busy);
    assert!(err.contains("still going"), "{err}");
    for (success, expected) in [(true, Exit::Done), (false, Exit::Failed)] {
        let open = daemon.app.handle.snapshot().open_runs.len();
        let finish = async {
            let mut watch = daemon.app.handle.watch();
            watch.wait_for(|now| now.open_runs.len() > open).await.expect("the supervisor lives");
            for _ in 0..=open {
                daemon.supervisor.finish(id(100), success);
            }
        };
        let ((exit, out, _), ()) = tokio::join!(daemon.client("run --wait"), finish);
        assert_eq!(exit, expected, "{out}");
        assert!(out.contains(if success { "succeeded" } else { "FAILED" }), "{out}");
    }
}

#[tokio::test]
async fn refusals_have_their_exit_codes() {
    let daemon = Daemon::start().await;
    assert_eq!(daemon.client("run --source busy").await.0, Exit::Busy);
    assert_eq!(daemon.client("run --source other").await.0, Exit::Usage);
    assert_eq!(daemon.client("cancel").await.0, Exit::Failed);
    assert_eq!(daemon.client("schedule set 25h").await.0, Exit::Usage);
    assert_eq!(daemon.client("schedule set 500ms").await.0, Exit::Usage);
    let missing = daemon.dir.path().join("missing.sock");
    let (exit, _, err) = client("status", &["--socket", missing.to_str().expect("text")]).await;
    assert_eq!(exit, Exit::Unreachable);
    assert!(err.contains("no daemon can be reached at"), "{err}");
}

#[tokio::test]
async fn schedule_pause_and_resume_change_the_daemon() {
    let daemon = Daemon::start().await;
    let seen = daemon.json("schedule").await["etag"].as_str().expect("a tag").to_owned();
    let set = daemon.json(&format!("schedule set 30s --if-match {seen}")).await;
    assert_eq!((&set["interval_sec"], &set["origin"]), (&json!(30), &json!("api")));
    let (exit, _, err) = daemon.client(&format!("schedule reset --if-match {}", seen.trim_matches('"'))).await;
    assert_eq!(exit, Exit::Busy, "{err}");
    let (_, out, _) = daemon.client("schedule").await;
    assert!(out.starts_with("30 s (overridden"), "{out}");
    let (_, out, _) = daemon.client("schedule set --cron @hourly --time-zone Asia/Seoul").await;
    assert!(out.starts_with("@hourly in Asia/Seoul (overridden"), "{out}");
    assert_eq!(
        out.lines().filter(|line| line.starts_with("next  ") && line.ends_with(":00:00 UTC")).count(),
        5,
        "{out}"
    );
    assert_eq!(daemon.json("schedule").await["next"].as_array().map(Vec::len), Some(5));
    assert_eq!(daemon.client("schedule reset").await.1, "5 s (from the configuration)\n");
    let (exit, out, _) = daemon.client("pause --reason upgrade --for 2h").await;
    assert_eq!(
        (exit, out.as_str()),
        (Exit::Done, "paused since 2026-11-24 00:01:40 until 2026-11-24 02:01:40: upgrade\n")
    );
    assert_eq!(daemon.client("resume").await.1, "not paused\n");
}

#[tokio::test]
async fn the_log_level_changes_for_a_while() {
    let daemon = Daemon::start().await;
    assert_eq!(daemon.client("log-level").await.1, "info (from the configuration)\n");
    let (_, out, _) = daemon.client("log-level debug --for 15m").await;
    assert!(out.starts_with("debug until 2026-11-24 00:16:40 (overridden"), "{out}");
    assert_eq!(daemon.json("log-level").await["origin"], "api");
    assert_eq!(daemon.client("log-level loud").await.0, Exit::Usage);
    assert_eq!(daemon.client("log-level --reset").await.1, "info (from the configuration)\n");
}

#[tokio::test]
async fn a_refused_reload_is_78_with_each_error_on_standard_error() {
    let daemon = Daemon::start().await;
    let (exit, out, _) = daemon.client("reload").await;
    assert_eq!(
        (exit, out.as_str()),
        (Exit::Done, "generation 2 is in effect (file 0123456789ab)\nchanged: schedule.interval: 5s -> 10s\n")
    );
    daemon.client("pause").await;
    let (exit, out, err) = daemon.client("reload").await;
    assert_eq!((exit, out.as_str()), (Exit::Config, ""));
    assert!(err.starts_with("rbac-sync.toml:3:1: unknown key"), "{err}");
    let (exit, out, _) = daemon.client("reload --json").await;
    assert_eq!(exit, Exit::Config);
    assert!(out.contains("\"success\":false"), "{out}");
}

#[tokio::test]
async fn over_http_the_token_decides() {
    let daemon = Daemon::start().await;
    let http = HttpConfig { token: Some(Digest::of(b"s3cret")), ..HttpConfig::on(([127, 0, 0, 1], 0).into()) };
    let listener = Listener::tcp(&http).await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("TCP has an address"));
    daemon.supervisor.change(|snapshot| {
        let mut config = (*snapshot.config).clone();
        config.http = Some(http);
        snapshot.config = std::sync::Arc::new(config);
    });
    tokio::spawn(serve(listener, daemon.app.clone(), daemon.stop.clone()));
    let token = |text: &str| {
        let file = daemon.dir.path().join(text);
        std::fs::write(&file, format!("{text}\n")).expect("written");
        file
    };
    let with = |file: &Path| ["--url".into(), url.clone(), "--token-file".into(), file.display().to_string()];
    let (right, wrong) = (with(&token("s3cret")), with(&token("guess")));
    let (exit, _, err) = client("status", &wrong.each_ref().map(String::as_str)).await;
    assert_eq!(exit, Exit::NotAllowed, "{err}");
    assert!(!err.contains("s3cret") && !err.contains("guess"), "{err}");
    assert_eq!(client("status", &right.each_ref().map(String::as_str)).await.0, Exit::Done);
    assert_eq!(client("status", &["--url", &url]).await.0, Exit::NotAllowed);
    assert_eq!(client("status", &["--url", "ftp://localhost"]).await.0, Exit::Usage);
    assert_eq!(client("status", &["--url", &url, "--ca-file", "/none"]).await.0, Exit::Usage);
}

#[tokio::test]
async fn something_else_on_the_port_is_no_daemon() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let reply = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>";
        tokio::io::AsyncWriteExt::write_all(&mut stream, reply).await.expect("sent");
    });
    let (exit, _, err) = client("status", &["--url", &url]).await;
    assert_eq!(exit, Exit::Failed);
    assert!(err.contains("is not the control API"), "{err}");
}
