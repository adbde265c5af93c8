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
    SHARED.get_or_init(|| Cluster::of(Product::Postgres))
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
    /// A running server with the two logins.
    pub(crate) fn of(product: Product) -> Self {
        let folder = tempfile::Builder::new().prefix("rbac-sync-db-").tempdir().unwrap().keep();
        if let Some((uid, gid)) = other_user() {
            chown(&folder, Some(uid), Some(gid)).unwrap();
        }
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

/// A port of the loopback address that nobody uses now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
