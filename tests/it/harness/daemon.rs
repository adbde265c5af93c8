//! A running daemon: its signals, its listeners, its log. Ends with the value.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::{Child, Command};

use super::http::{Address, Reply};
use super::site::{Site, program};
use super::wait::{check, eventually};

/// What takes longer than this on a busy machine is broken.
pub(crate) const CAP: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
    pub(crate) socket: Address,
}

impl Daemon {
    /// Starts the daemon with more environment and waits until its socket answers.
    pub(crate) async fn start(site: &Site, environment: &[(&str, &str)]) -> Self {
        Self::start_with(site, &site.config(), environment).await
    }

    /// As [`Daemon::start`], with another configuration file.
    pub(crate) async fn start_with(site: &Site, config: &Path, environment: &[(&str, &str)]) -> Self {
        let daemon = Self::spawn_as(site, "daemon", config, site.socket(), environment);
        eventually("the control socket answers", CAP, async || {
            let reply = daemon.socket.try_ask("GET", "/health/live", None, "").await;
            check(reply.is_ok_and(|reply| reply.code == 200), daemon.log())
        })
        .await;
        daemon
    }

    /// Starts one more daemon with the site's configuration, but with a socket and a log of its own.
    pub(crate) async fn beside(site: &Site, name: &str) -> Self {
        let socket = site.folder.path().join(format!("{name}.sock"));
        let path = socket.to_str().expect("a path of the tests").to_owned();
        let daemon = Self::spawn_as(site, name, &site.config(), socket, &[("RBAC_SYNC_SOCKET_PATH", &path)]);
        eventually("the control socket answers", CAP, async || {
            let reply = daemon.socket.try_ask("GET", "/health/live", None, "").await;
            check(reply.is_ok_and(|reply| reply.code == 200), daemon.log())
        })
        .await;
        daemon
    }

    pub(crate) fn spawn(site: &Site, environment: &[(&str, &str)]) -> Self {
        Self::spawn_as(site, "daemon", &site.config(), site.socket(), environment)
    }

    /// Starts a daemon whose log has that name.
    pub(crate) fn spawn_as(
        site: &Site,
        name: &str,
        config: &Path,
        socket: PathBuf,
        environment: &[(&str, &str)],
    ) -> Self {
        let log = site.folder.path().join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let inner = program(site.folder.path());
        // Ends with the thread of the test even if that is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(inner.as_std().get_program());
        for (name, value) in inner.as_std().get_envs() {
            if value.is_none() {
                command.env_remove(name);
            }
        }
        command.args(["daemon", "--config"]).arg(config).envs(environment.iter().copied());
        command.current_dir(site.folder.path()).stdin(std::process::Stdio::null()).kill_on_drop(true);
        let child = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        Self { child, log, socket: Address::Unix(socket) }
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id().expect("the daemon runs")).unwrap();
        kill_process(Pid::from_raw(pid).expect("a process"), signal).unwrap();
    }

    /// Whether it has ended by now.
    pub(crate) fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for the end; -1 stands for a signal.
    pub(crate) async fn exit(&mut self) -> i32 {
        let ended = tokio::time::timeout(CAP, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("the daemon does not end:\n{}", self.log())).unwrap().code().unwrap_or(-1)
    }

    /// Ends it as a crash would.
    pub(crate) async fn crash(mut self) {
        self.signal(Signal::KILL);
        self.exit().await;
    }

    /// Ends it as systemd does, and it must obey.
    pub(crate) async fn stop(mut self) {
        self.signal(Signal::TERM);
        let code = self.exit().await;
        assert_eq!(code, 0, "{}", self.log());
    }

    pub(crate) async fn status(&self) -> Value {
        self.socket.get("/sync/status").await.json()
    }

    /// Waits until the status is as wanted.
    pub(crate) async fn status_with(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(what, CAP, async || {
            let status = self.status().await;
            if wanted(&status) { Ok(status) } else { Err(format!("{status:#}\n{}", self.log())) }
        })
        .await
    }

    /// Forces a run and waits for its end.
    pub(crate) async fn run(&self, options: &str) -> Value {
        let reply = self.socket.ask("POST", "/sync/run?wait=60s", Some(options)).await;
        assert_eq!(reply.code, 200, "{reply:?}\n{}", self.log());
        reply.json()
    }

    pub(crate) async fn get(&self, target: &str) -> Reply {
        self.socket.get(target).await
    }

    /// The value of a metric without labels, or with these.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let text = self.get("/metrics").await.body;
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the daemon's log ---\n{}", self.log());
        }
    }
}
