//! Throw-away PostgreSQL clusters.
//!
//! A cluster's parent is a small shell that waits on a pipe from the test process: when the process ends,
//! however it ends, the pipe closes, and the shell stops the server and removes its folder. That holds
//! for one process with many tests (`cargo test`) as for a process per test (`cargo nextest`).
//! Nothing is synced to the disk, but every commit is written: a killed server loses none.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::db::Db;

/// Logs in to archives; may only read.
pub(crate) const READER: &str = "archive_reader";
/// Owns the RBAC databases.
pub(crate) const WRITER: &str = "rbac_writer";
pub(crate) const READER_PASSWORD: &str = "s3cret-Reader-77f1";
pub(crate) const WRITER_PASSWORD: &str = "s3cret-Writer-a90c";

/// Runs a server until its standard input ends; the word "keep" there leaves the folder.
const GUARD: &str = r#"
trap "" INT HUP
"$1/postgres" -D "$2/data" -p "$3" -c listen_addresses=127.0.0.1 -c "unix_socket_directories=$2" \
    -c fsync=off -c full_page_writes=off -c max_connections=200 \
    -c shared_buffers=64MB -c max_wal_size=4GB </dev/null >>"$2/log" 2>&1 &
server=$!
word=; read -r word
kill -QUIT "$server" 2>/dev/null
wait "$server"
[ "$word" = keep ] || { cd /; rm -rf "$2"; }
"#;

#[derive(Debug)]
pub(crate) struct Cluster {
    folder: PathBuf,
    pub(crate) port: u16,
    guard: Mutex<Option<Child>>,
}

/// The cluster that the tests of this process share.
pub(crate) fn shared() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(Cluster::new)
}

impl Cluster {
    /// A running cluster with the two logins.
    pub(crate) fn new() -> Self {
        let folder = new_folder();
        let made = as_server_user(&programs().join("initdb"))
            .args(["--no-sync", "-U", "admin", "-E", "UTF8", "--locale=C.UTF-8"])
            .args(["--auth-local=trust", "--auth-host=scram-sha-256", "-D"])
            .arg(folder.join("data"))
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let cluster = Self { folder, port: free_port(), guard: Mutex::new(None) };
        cluster.start();
        cluster.admin_sql(
            "postgres",
            &format!(
                "CREATE ROLE {READER} LOGIN PASSWORD '{READER_PASSWORD}'; \
                 CREATE ROLE {WRITER} LOGIN PASSWORD '{WRITER_PASSWORD}';"
            ),
        );
        cluster
    }

    /// Starts the server and waits until it takes logins.
    pub(crate) fn start(&self) {
        let mut guard = self.guard.lock().unwrap();
        assert!(guard.is_none(), "the cluster runs already");
        let mut shell = as_server_user(Path::new("/bin/sh"));
        shell.args(["-c", GUARD, "guard"]).arg(programs()).arg(&self.folder).arg(self.port.to_string());
        let child = shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        *guard = Some(child.spawn().unwrap());
        drop(guard);
        let start = Instant::now();
        while !self.answers() {
            let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(start.elapsed() < Duration::from_secs(60), "PostgreSQL does not start: {log}");
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Ends the server at once, as a crash would; its data stay.
    pub(crate) fn kill(&self) {
        let mut guard = self.guard.lock().unwrap();
        let mut child = guard.take().expect("the cluster runs");
        child.stdin.take().expect("piped").write_all(b"keep\n").unwrap();
        child.wait().unwrap();
    }

    /// Ends the server and all its processes with SIGKILL; its data stay.
    pub(crate) fn kill_9(&self) {
        self.signal(Signal::KILL);
        self.kill();
    }

    /// Ends the sessions and the server in an orderly way, as an operator does; its data stay.
    pub(crate) fn stop(&self) {
        kill_process(self.server(), Signal::INT).unwrap();
        let start = Instant::now();
        while self.folder.join("data/postmaster.pid").exists() {
            assert!(start.elapsed() < Duration::from_secs(60), "PostgreSQL does not stop");
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill();
    }

    /// Stops every process of the server in its tracks: connections are taken, nobody answers.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Ends a [`Cluster::freeze`].
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// The server first, so that it starts no process meanwhile; a killed one reaps none either.
    fn signal(&self, signal: Signal) {
        let server = self.server();
        kill_process(server, signal).unwrap();
        for child in children(server) {
            // One that has ended by itself is as well.
            kill_process(child, signal).ok();
        }
    }

    fn server(&self) -> Pid {
        let file = std::fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap();
        let pid = file.lines().next().and_then(|line| line.trim().parse().ok());
        pid.and_then(Pid::from_raw).expect("the server's process")
    }

    /// A copy of the cluster that follows it, on the same port: to be started when the original is down.
    /// It can only be read until [`Cluster::promote`].
    pub(crate) fn replica(&self) -> Self {
        let folder = new_folder();
        let copied = as_server_user(&programs().join("pg_basebackup"))
            .args(["-U", "admin", "-p", &self.port.to_string(), "-c", "fast", "-X", "stream", "-R", "-h"])
            .arg(&self.folder)
            .arg("-D")
            .arg(folder.join("data"))
            .output()
            .unwrap();
        assert!(copied.status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&copied.stderr));
        Self { folder, port: self.port, guard: Mutex::new(None) }
    }

    /// Makes a replica the one that is written to.
    pub(crate) fn promote(&self) {
        self.admin_sql("postgres", "SELECT pg_promote()");
    }

    /// Makes an empty database.
    pub(crate) fn create_database(&self, name: &str, owner: &str) {
        self.admin_sql("postgres", &format!("CREATE DATABASE {name} OWNER {owner}"));
    }

    /// An administrator's session.
    pub(crate) async fn admin(&self, database: &str) -> Db {
        Db::postgres(&self.folder, self.port, "admin", database).await
    }

    /// The URL that the program gets, without the password.
    pub(crate) fn url(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/{database}", self.port)
    }

    fn answers(&self) -> bool {
        self.psql("postgres").args(["-c", "SELECT 1"]).output().unwrap().status.success()
    }

    /// SQL of the administrator, outside of any asynchronous runtime.
    pub(crate) fn admin_sql(&self, database: &str, sql: &str) {
        let done = self.psql(database).args(["-v", "ON_ERROR_STOP=1", "-c", sql]).output().unwrap();
        assert!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
    }

    fn psql(&self, database: &str) -> Command {
        let mut psql = Command::new(programs().join("psql"));
        psql.args(["-X", "-q", "-U", "admin", "-d", database, "-p", &self.port.to_string(), "-h"]).arg(&self.folder);
        psql
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut child) = self.guard.lock().unwrap().take() {
            drop(child.stdin.take());
            child.wait().ok();
        }
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

fn new_folder() -> PathBuf {
    let folder = tempfile::Builder::new().prefix("rbac-sync-pg-").tempdir().unwrap().keep();
    give_to_server(&folder);
    folder
}

/// Lets the user of the server own a folder.
pub(crate) fn give_to_server(folder: &Path) {
    if let Some((uid, gid)) = other_user() {
        chown(folder, Some(uid), Some(gid)).unwrap();
    }
}

/// The processes whose parent is that one.
fn children(parent: Pid) -> Vec<Pid> {
    let parent = parent.as_raw_nonzero().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Behind the name in parentheses: the state and the parent.
        let of = stat.rsplit(')').next()?.split_whitespace().nth(1)?.to_owned();
        (of == parent).then(|| Pid::from_raw(pid)).flatten()
    });
    processes.collect()
}

/// A port of the loopback address that nobody uses now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The folder with the newest server's programs.
fn programs() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL's server is installed");
        let newest = versions.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok()).max();
        PathBuf::from(format!("/usr/lib/postgresql/{}/bin", newest.expect("a version of PostgreSQL")))
    })
}

/// PostgreSQL refuses to run as root; then it runs as the user of its package.
fn other_user() -> Option<(u32, u32)> {
    if !rustix::process::getuid().is_root() {
        return None;
    }
    let id = |flag| {
        let output = Command::new("id").args([flag, "postgres"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().expect("the user postgres exists")
    };
    Some((id("-u"), id("-g")))
}

fn as_server_user(program: &Path) -> Command {
    let mut command = if let Some((uid, gid)) = other_user() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &uid.to_string(), "--regid", &gid.to_string(), "--init-groups", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/");
    command
}
