//! The folder of a demo: where it is, who may use it, and the configuration written into it.

use std::fs::{self, DirBuilder, File};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::{env, io, process};

/// A Unix socket's path has room for this many bytes (`sun_path` less its final zero).
const SOCKET_PATH_MAX: usize = 107;

/// A folder in use by this process alone, until it is dropped; a temporary one is then removed.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    socket: PathBuf,
    /// Removed at the end: the folder itself, or one that only holds the socket.
    temporary: Option<PathBuf>,
    /// Held so that no second demo uses the folder.
    _lock: File,
}

impl Folder {
    /// Makes a temporary folder, or takes `dir`: a new one, an empty one, or that of an earlier demo.
    ///
    /// # Errors
    /// One sentence: the folder cannot be made or used, or holds something else.
    pub(super) fn prepare(dir: Option<&Path>) -> Result<Self, String> {
        let (path, mut temporary) = match dir {
            None => {
                let path = temporary_folder()?;
                (path.clone(), Some(path))
            }
            Some(dir) => (own_folder(dir)?, None),
        };
        if path.to_str().is_none() {
            return Err(format!("cannot use the folder {}: its path is not UTF-8", path.display()));
        }
        let lock = lock(&path.join("demo.lock"))?;
        let mut socket = path.join("control.sock");
        if socket.as_os_str().len() > SOCKET_PATH_MAX {
            let elsewhere = temporary_folder()?;
            socket = elsewhere.join("control.sock");
            temporary = Some(elsewhere);
        }
        Ok(Self { path, socket, temporary, _lock: lock })
    }

    /// The archive's database.
    pub(super) fn archive(&self) -> PathBuf {
        self.path.join("archive.db")
    }

    /// The RBAC database.
    pub(super) fn target(&self) -> PathBuf {
        self.path.join("rbac.db")
    }

    /// The daemon's configuration.
    pub(super) fn configuration(&self) -> PathBuf {
        self.path.join("rbac-sync.toml")
    }

    /// An env file without variables: naming one keeps the daemon from a `.env` that happens to lie
    /// in the working folder.
    pub(super) fn env_file(&self) -> PathBuf {
        self.path.join("demo.env")
    }

    /// The control socket: in the folder, or in a temporary one where the folder's path is too long.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Writes the configuration and the env file.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub(super) fn write_configuration(&self, listen: SocketAddr) -> io::Result<()> {
        fs::write(self.env_file(), "# The demo's daemon takes no variables from a file.\n")?;
        let text = configuration(&self.archive(), &self.target(), &self.socket, listen);
        fs::write(self.configuration(), text)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(path) = &self.temporary {
            // Nothing is left to do for somebody whose temporary folder cannot be removed.
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// A new folder below the system's temporary one that only this user may enter.
fn temporary_folder() -> Result<PathBuf, String> {
    let parent = env::temp_dir();
    let name = |attempt: u32| parent.join(format!("rbac-sync-demo-{}-{attempt}", process::id()));
    for attempt in 0..100 {
        match DirBuilder::new().mode(0o700).create(name(attempt)) {
            Ok(()) => return Ok(name(attempt)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(format!("cannot make a folder in {}: {error}", parent.display())),
        }
    }
    Err(format!("{} is full of folders of earlier demos: remove rbac-sync-demo-*", parent.display()))
}

fn own_folder(dir: &Path) -> Result<PathBuf, String> {
    let failed = |error: io::Error| format!("cannot use the folder {}: {error}", dir.display());
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    let path = dir.canonicalize().map_err(failed)?;
    let mut names = fs::read_dir(&path).map_err(failed)?.map(|entry| entry.map(|entry| entry.file_name()));
    let foreign = names.find_map(|name| match name {
        // A demo that was ended before it had made its archive leaves its lock.
        Ok(name) if name == "demo.lock" => None,
        Ok(name) => Some(name),
        Err(_) => None,
    });
    match foreign {
        Some(name) if !path.join("archive.db").is_file() => Err(format!(
            "the folder {} is not empty and holds no demo (it has {}): name another one with --dir",
            path.display(),
            name.display()
        )),
        _ => Ok(path),
    }
}

fn lock(path: &Path) -> Result<File, String> {
    let failed = |error: io::Error| format!("cannot lock {}: {error}", path.display());
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            Err(format!("another demo is using the folder of {}: end it, or name another one", path.display()))
        }
        Err(fs::TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// The daemon's configuration for a demo.
fn configuration(archive: &Path, target: &Path, socket: &Path, listen: SocketAddr) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let (archive, target) = (quoted(&sqlite_url(archive)), quoted(&sqlite_url(target)));
    let (socket, listen) = (quoted(&socket.to_string_lossy()), quoted(&listen.to_string()));
    format!(
        "# Written by `rbac-sync demo` whenever it starts. Try it: change the interval while the demo
# runs, and save; the daemon takes the new value over.

[schedule]
interval = \"2s\"

[[source]]
name = \"demo\"
url = {archive}
time_zone = \"UTC\"

[target]
url = {target}
# A demo deletes more, for its size, than a hospital does.
max_deletes = {{ rows = 500, percent = 20.0 }}

[http]
listen = {listen}

[socket]
path = {socket}
mode = \"0600\"

[log]
format = \"text\"
"
    )
}

/// The URL of a SQLite file, with everything escaped that a URL could take for something else.
fn sqlite_url(path: &Path) -> String {
    let mut url = String::from("sqlite://");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => url.push(char::from(*byte)),
            other => url.push_str(&format!("%{other:02X}")),
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_folder_goes_with_the_demo() {
        let folder = Folder::prepare(None).unwrap();
        let path = folder.path.clone();
        fs::write(folder.archive(), "x").unwrap();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn a_named_folder_is_made_and_stays() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("a/b");
        let folder = Folder::prepare(Some(&dir)).unwrap();
        assert_eq!(folder.socket(), dir.canonicalize().unwrap().join("control.sock"));
        drop(folder);
        assert!(dir.is_dir());
        Folder::prepare(Some(&dir)).expect("a folder that only holds an old lock is as good as empty");
    }

    #[test]
    fn a_folder_with_something_else_in_it_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.txt"), "x").unwrap();
        let error = Folder::prepare(Some(dir.path())).unwrap_err();
        assert!(error.contains("thesis.txt") && error.contains("--dir"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_in_use_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let _first = Folder::prepare(Some(dir.path())).unwrap();
        let error = Folder::prepare(Some(dir.path())).unwrap_err();
        assert!(error.contains("another demo"), "{error}");
    }

    #[test]
    fn a_long_path_puts_the_socket_elsewhere_and_removes_it_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::prepare(Some(&dir.path().join("x".repeat(120)))).unwrap();
        let socket_folder = folder.socket().parent().unwrap().to_owned();
        assert!(folder.socket().as_os_str().len() <= SOCKET_PATH_MAX && socket_folder.is_dir());
        let archive_folder = folder.path.clone();
        drop(folder);
        assert!(archive_folder.is_dir() && !socket_folder.exists());
    }

    #[test]
    fn the_configuration_is_toml_whatever_the_path() {
        let odd = Path::new("/tmp/a \"b\"?c#d%/é");
        let listen = "127.0.0.1:8080".parse().unwrap();
        let text = configuration(&odd.join("archive.db"), &odd.join("rbac.db"), &odd.join("control.sock"), listen);
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["socket"]["path"].as_str(), odd.join("control.sock").to_str());
        let url = table["target"]["url"].as_str().unwrap();
        assert_eq!(url, "sqlite:///tmp/a%20%22b%22%3Fc%23d%25/%C3%A9/rbac.db");
        let parsed: sqlx::sqlite::SqliteConnectOptions = url.parse().unwrap();
        assert_eq!(parsed.get_filename(), odd.join("rbac.db"));
    }
}
