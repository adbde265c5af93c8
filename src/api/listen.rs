//! Binding. A socket file is only ever replaced when nobody answers on it, and never when it is
//! something else than a socket. A control socket that the service manager holds is taken over as it is.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use listenfd::ListenFd;
use rustix::fs::{FlockOperation, flock};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use uuid::Uuid;

use super::local::Door;
use crate::config::{HttpConfig, SocketConfig};

/// Time for a daemon on the same path to take a connection.
const DIAL_TIME: Duration = Duration::from_secs(2);

/// A bound listener, for [`serve`](super::serve).
#[derive(Debug)]
pub struct Listener(pub(super) Bound);

#[derive(Debug)]
pub(super) enum Bound {
    Tcp(TcpListener),
    /// Without a file when the service manager holds the socket: then it is not ours to remove.
    Unix(UnixListener, Door, Option<SocketFile>),
}

impl Listener {
    /// Binds the TCP listener.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn tcp(config: &HttpConfig) -> io::Result<Self> {
        TcpListener::bind(config.listen).await.map(|listener| Self(Bound::Tcp(listener)))
    }

    /// Takes over the Unix socket that the service manager hands us (`rbac-sync.socket`), with the mode
    /// and group that it gave it. Without one, binds it with its mode set before anybody can connect: a
    /// stale socket file is replaced; a live one or another kind of file is an error. Its folder must
    /// exist.
    ///
    /// # Errors
    /// The path cannot be bound; the text says what to do.
    pub async fn unix(config: &SocketConfig) -> io::Result<Self> {
        if let Some(listener) = ListenFd::from_env().take_unix_listener(0)? {
            let listener = adopt(listener, &config.path)?;
            let door = Door::of(&config.path)?;
            return Ok(Self(Bound::Unix(listener, door, None)));
        }
        bind_unix(config).await.map(|(listener, door, file)| Self(Bound::Unix(listener, door, Some(file))))
    }

    /// The address of a TCP listener: the real port when port 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.0 {
            Bound::Tcp(listener) => listener.local_addr().ok(),
            Bound::Unix(..) => None,
        }
    }
}

/// Makes a socket of the service manager ours. It must be where clients look for it.
fn adopt(listener: std::os::unix::net::UnixListener, path: &Path) -> io::Result<UnixListener> {
    let address = listener.local_addr()?;
    if address.as_pathname() != Some(path) {
        let text =
            format!("the socket that systemd hands over is at {address:?}; make ListenStream= and socket.path equal");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    // As it comes it blocks, which the runtime does not take.
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

async fn bind_unix(config: &SocketConfig) -> io::Result<(UnixListener, Door, SocketFile)> {
    let path = &config.path;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // One at a time in this folder, or two daemons that start together would both find it stale.
    let lock = fs::File::open(folder).map_err(|error| {
        let text = format!("its folder {} cannot be opened ({error}); create it first", folder.display());
        io::Error::new(error.kind(), text)
    })?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| io::Error::new(io::ErrorKind::AddrInUse, "another daemon starts on it at this moment"))?;
    refuse_if_taken(path).await?;
    let private = PrivateFolder::create(folder)?;
    let inside = private.0.join("s");
    let listener = UnixListener::bind(&inside)?;
    fs::set_permissions(&inside, fs::Permissions::from_mode(config.mode & 0o777))?;
    fs::rename(&inside, path)?;
    let file = SocketFile::of(path)?;
    let door = Door::of(path)?;
    Ok((listener, door, file))
}

/// An error unless the path is free or holds a socket on which nobody answers.
async fn refuse_if_taken(path: &Path) -> io::Result<()> {
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !kind.is_socket() {
        let text = "there is a file that is not a socket; move it away or change socket.path";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    match tokio::time::timeout(DIAL_TIME, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        _ => Err(io::Error::new(io::ErrorKind::AddrInUse, "another daemon is serving it; stop that one first")),
    }
}

/// A folder that nobody else can enter, where the socket gets its mode; goes when dropped.
struct PrivateFolder(PathBuf);

impl PrivateFolder {
    fn create(beside: &Path) -> io::Result<Self> {
        // Short, because the path of a socket has at most 107 bytes.
        let name = &Uuid::now_v7().simple().to_string()[20..];
        let path = beside.join(format!(".{name}"));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0.join("s"));
        let _ = fs::remove_dir(&self.0);
    }
}

/// Our socket file; removed when dropped, if the path still holds it.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_of_the_service_manager_is_taken_over_and_its_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let listener = adopt(std::os::unix::net::UnixListener::bind(&path).unwrap(), &path).unwrap();
        let (client, server) = tokio::join!(UnixStream::connect(&path), listener.accept());
        assert!(client.is_ok() && server.is_ok());
        let door = Door::of(&path).unwrap();
        drop(Listener(Bound::Unix(listener, door, None)));
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_socket_at_another_path_than_the_configured_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let listener = std::os::unix::net::UnixListener::bind(folder.path().join("other.sock")).unwrap();
        let error = adopt(listener, &folder.path().join("control.sock")).unwrap_err();
        assert!(error.to_string().contains("other.sock"), "{error}");
    }
}
