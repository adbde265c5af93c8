//! Throw-away servers of PostgreSQL and of MariaDB.
//!
//! A server's parent is a small shell that waits on a pipe from the test process: when the process ends,
//! however it ends, the pipe closes, and the shell stops the server and removes its folder. That holds
//! for one process with many tests (`cargo test`) as for a process per test (`cargo nextest`).

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::db::Db;
use super::product::{Product, as_server_user, other_user};
use super::shape::Dialect;

/// Logs in to archives; may only read.
pub(crate) const READER: &str = "archive_reader";
/// Owns the RBAC databases.
pub(crate) const WRITER: &str = "rbac_writer";
pub(crate) const READER_PASSWORD: &str = "s3cret-Reader-77f1";
pub(crate) const WRITER_PASSWORD: &str = "s3cret-Writer-a90c";

/// Around the start of the server: it runs until standard input ends; the word "keep" there leaves the
/// folder.
const GUARD: [&str; 2] = [
    r#"trap "" INT HUP"#,
    r#"
server=$!
word=; read -r word
kill "-$stop" "$server" 2>/dev/null
wait "$server"
[ "$word" = keep ] || { cd /; rm -rf "$2"; }
"#,
];

#[derive(Debug)]
pub(crate) struct Cluster {
    product: Product,
    folder: PathBuf,
    pub(crate) port: u16,
    guard: Mutex<Option<Child>>,
}

/// The PostgreSQL cluster that the tests of this process share.
pub(crate) fn shared() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(Cluster::new)
}

/// The server for databases of that dialect that the tests of this process share.
pub(crate) fn shared_for(dialect: Dialect) -> &'static Cluster {
    static MARIADB: OnceLock<Cluster> = OnceLock::new();
    match dialect {
        Dialect::Mariadb => MARIADB.get_or_init(|| Cluster::of(Product::Mariadb)),
        Dialect::Postgres | Dialect::Sqlite => shared(),
    }
}

impl Cluster {
    /// A running PostgreSQL cluster with the two logins.
    pub(crate) fn new() -> Self {
        Self::of(Product::Postgres)
    }

    /// A running server with the two logins.
    pub(crate) fn of(product: Product) -> Self {
        let folder = new_folder();
        product.install(&folder);
        let cluster = Self { product, folder, port: free_port(), guard: Mutex::new(None) };
        cluster.start();
        let make = match product {
            Product::Postgres => ["CREATE ROLE", "LOGIN PASSWORD"],
            Product::Mariadb => ["CREATE USER", "IDENTIFIED BY"],
        };
        for (login, password) in [(READER, READER_PASSWORD), (WRITER, WRITER_PASSWORD)] {
            cluster.admin_sql(&format!("{} {login} {} '{password}'", make[0], make[1]));
        }
        cluster
    }

    /// Starts the server and waits until it takes logins.
    pub(crate) fn start(&self) {
        let mut guard = self.guard.lock().unwrap();
        assert!(guard.is_none(), "the cluster runs already");
        let mut shell = as_server_user(Path::new("/bin/sh"));
        let script = [GUARD[0], self.product.start(), GUARD[1]].concat();
        shell.args(["-c", &script, "guard"]);
        shell.arg(self.product.programs()).arg(&self.folder).arg(self.port.to_string());
        let child = shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        *guard = Some(child.spawn().unwrap());
        drop(guard);
        let start = Instant::now();
        while !self.answers() {
            let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(start.elapsed() < Duration::from_secs(60), "{} does not start: {log}", self.product.name());
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
        let orderly = if self.product == Product::Postgres { Signal::INT } else { Signal::TERM };
        kill_process(self.server(), orderly).unwrap();
        let start = Instant::now();
        while self.pid_file().exists() {
            assert!(start.elapsed() < Duration::from_secs(60), "{} does not stop", self.product.name());
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

    fn pid_file(&self) -> PathBuf {
        self.folder.join(if self.product == Product::Postgres { "data/postmaster.pid" } else { "pid" })
    }

    fn server(&self) -> Pid {
        let file = std::fs::read_to_string(self.pid_file()).unwrap();
        let pid = file.lines().next().and_then(|line| line.trim().parse().ok());
        pid.and_then(Pid::from_raw).expect("the server's process")
    }

    /// A copy that is to take the place of the server, on the same port; to be started when the original is down.
    /// It can only be read until [`Cluster::promote`]. PostgreSQL's is made of the server at work, MariaDB's of
    /// the files of one that was stopped.
    pub(crate) fn replica(&self) -> Self {
        let folder = new_folder();
        let mut copy = match self.product {
            Product::Postgres => {
                let mut copy = as_server_user(&self.product.programs().join("pg_basebackup"));
                copy.args(["-U", "admin", "-p", &self.port.to_string(), "-c", "fast", "-X", "stream", "-R", "-h"]);
                copy.arg(&self.folder).arg("-D");
                copy
            }
            Product::Mariadb => {
                let mut copy = as_server_user(Path::new("cp"));
                copy.arg("-a").arg(self.folder.join("data"));
                std::fs::write(folder.join("options"), "--read-only").unwrap();
                copy
            }
        };
        let copied = copy.arg(folder.join("data")).output().unwrap();
        assert!(copied.status.success(), "no copy: {}", String::from_utf8_lossy(&copied.stderr));
        Self { product: self.product, folder, port: self.port, guard: Mutex::new(None) }
    }

    /// Makes a replica the one that is written to.
    pub(crate) fn promote(&self) {
        self.admin_sql(match self.product {
            Product::Postgres => "SELECT pg_promote()",
            Product::Mariadb => "SET GLOBAL read_only = 0",
        });
    }

    /// More options for MariaDB's server at its next start.
    pub(crate) fn set_options(&self, options: &str) {
        std::fs::write(self.folder.join("options"), options).unwrap();
    }

    /// Moves the files of a database of MariaDB's server, which must be stopped, to another folder.
    pub(crate) fn move_database(&self, name: &str, folder: &Path) {
        let (from, to) = (self.folder.join("data").join(name), folder.join(name));
        let moved = as_server_user(Path::new("mv")).args([&from, &to]).status().unwrap();
        assert!(moved.success(), "{name} is not moved");
        std::os::unix::fs::symlink(to, from).unwrap();
    }

    /// Makes an empty database.
    pub(crate) fn create_database(&self, name: &str, owner: &str) {
        match self.product {
            Product::Postgres => self.admin_sql(&format!("CREATE DATABASE {name} OWNER {owner}")),
            Product::Mariadb if owner == "admin" => self.admin_sql(&format!("CREATE DATABASE {name}")),
            Product::Mariadb => {
                self.admin_sql(&format!("CREATE DATABASE {name}; GRANT ALL ON {name}.* TO {owner}"));
            }
        }
    }

    /// An administrator's session.
    pub(crate) async fn admin(&self, database: &str) -> Db {
        match self.product {
            Product::Postgres => Db::postgres(&self.folder, self.port, "admin", database).await,
            Product::Mariadb => Db::mariadb(&self.folder.join("socket"), database).await,
        }
    }

    /// The URL that the program gets, without the password.
    pub(crate) fn url(&self, role: &str, database: &str) -> String {
        let scheme = match self.product {
            Product::Postgres => "postgres",
            // One scheme on each side: the two mean the same.
            Product::Mariadb if role == READER => "mariadb",
            Product::Mariadb => "mysql",
        };
        format!("{scheme}://{role}@127.0.0.1:{}/{database}", self.port)
    }

    /// The same URL through MariaDB's local socket.
    pub(crate) fn socket_url(&self, url: &str) -> String {
        let local = url.replace(&format!("127.0.0.1:{}", self.port), "localhost");
        format!("{local}?socket={}", self.folder.join("socket").display())
    }

    fn answers(&self) -> bool {
        let client = self.product.client(&self.folder, self.port, self.first_database(), "SELECT 1").output();
        client.unwrap().status.success()
    }

    /// SQL of the administrator, outside of any asynchronous runtime.
    pub(crate) fn admin_sql(&self, sql: &str) {
        let done = self.product.client(&self.folder, self.port, self.first_database(), sql).output().unwrap();
        assert!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
    }

    fn first_database(&self) -> &'static str {
        if self.product == Product::Postgres { "postgres" } else { "mysql" }
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
    let folder = tempfile::Builder::new().prefix("rbac-sync-db-").tempdir().unwrap().keep();
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
