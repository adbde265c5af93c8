//! What differs between the servers of a [`Cluster`](super::cluster::Cluster): programs, users, command
//! lines. Nothing is synced to the disk, but every commit is written: a killed server loses none.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Product {
    Postgres,
    Mariadb,
}

impl Product {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Mariadb => "MariaDB",
        }
    }

    /// Starts the server in the background of a shell: `$1` its programs, `$2` the folder, `$3` the port.
    /// `$stop` is the signal that ends it at once, as a crash would.
    pub(super) fn start(self) -> &'static str {
        match self {
            Self::Postgres => {
                r#"
stop=QUIT
"$1/postgres" -D "$2/data" -p "$3" -c listen_addresses=127.0.0.1 -c "unix_socket_directories=$2" \
    -c fsync=off -c full_page_writes=off -c max_connections=200 \
    -c shared_buffers=64MB -c max_wal_size=4GB </dev/null >>"$2/log" 2>&1 &"#
            }
            Self::Mariadb => {
                r#"
stop=KILL
"$1/mariadbd" --no-defaults --datadir="$2/data" --tmpdir="$2" --port="$3" --bind-address=127.0.0.1 --socket="$2/socket" \
    --pid-file="$2/pid" --skip-name-resolve --skip-log-bin --performance-schema=OFF --max-connections=200 \
    --innodb-flush-log-at-trx-commit=2 --innodb-flush-method=nosync --sync-frm=OFF --innodb-doublewrite=OFF --innodb-buffer-pool-size=64M \
    --innodb-log-file-size=64M --character-set-server=utf8mb4 --collation-server=utf8mb4_general_ci \
    $(cat "$2/options" 2>/dev/null) </dev/null >>"$2/log" 2>&1 &"#
            }
        }
    }

    /// Makes an empty data folder.
    pub(super) fn install(self, folder: &Path) {
        let mut command = match self {
            Self::Postgres => {
                let mut command = as_server_user(&self.programs().join("initdb"));
                command.args(["--no-sync", "-U", "admin", "-E", "UTF8", "--locale=C.UTF-8"]);
                command.args(["--auth-local=trust", "--auth-host=scram-sha-256", "-D"]).arg(folder.join("data"));
                command
            }
            Self::Mariadb => {
                let mut command = as_server_user(Path::new("mariadb-install-db"));
                command.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
                command.arg(format!("--datadir={}", folder.join("data").display()));
                // A server that starts clears the temporary files of all others from the folder for them.
                command.arg(format!("--tmpdir={}", folder.display()));
                command
            }
        };
        let made = command.output().unwrap();
        assert!(made.status.success(), "{}: {}", self.name(), String::from_utf8_lossy(&made.stderr));
    }

    /// The administrator's client, which runs one text of SQL.
    pub(super) fn client(self, folder: &Path, port: u16, database: &str, sql: &str) -> Command {
        match self {
            Self::Postgres => {
                let mut psql = Command::new(self.programs().join("psql"));
                psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "admin", "-d", database]);
                psql.args(["-p", &port.to_string(), "-c", sql, "-h"]).arg(folder);
                psql
            }
            Self::Mariadb => {
                let mut client = Command::new("mariadb");
                client.args(["--no-defaults", "--user=root", "--batch", "--execute", sql]);
                client.arg(format!("--database={database}"));
                client.arg(format!("--socket={}", folder.join("socket").display()));
                client
            }
        }
    }

    /// The folder with the server's programs; of PostgreSQL the newest.
    pub(super) fn programs(self) -> &'static Path {
        static POSTGRES: OnceLock<PathBuf> = OnceLock::new();
        if self == Self::Mariadb {
            return Path::new("/usr/sbin");
        }
        POSTGRES.get_or_init(|| {
            let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL's server is installed");
            let newest = versions.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok()).max();
            PathBuf::from(format!("/usr/lib/postgresql/{}/bin", newest.expect("a version of PostgreSQL")))
        })
    }
}

/// Servers refuse to run as root; then they run as the user of PostgreSQL's package.
pub(super) fn other_user() -> Option<(u32, u32)> {
    if !rustix::process::getuid().is_root() {
        return None;
    }
    let id = |flag| {
        let output = Command::new("id").args([flag, "postgres"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().expect("the user postgres exists")
    };
    Some((id("-u"), id("-g")))
}

pub(super) fn as_server_user(program: &Path) -> Command {
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
