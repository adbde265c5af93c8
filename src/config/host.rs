//! What the next start needs of this host, as far as it can be seen without starting: a warning each, for what
//! is missing now may be there by then (systemd makes a service's folders when it starts it).

use std::fs::Metadata;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::{Access, access};

use super::raw::Section;
use super::validate::Findings;
use super::{Config, DEFAULT_SOCKET};

/// Looks at what a valid configuration names.
pub(super) fn look(top: &Section, config: &Config, findings: &mut Findings) {
    let mut warn = |key: &str, message: Option<String>| {
        if let Some((entry, message)) = top.entries.get(key).zip(message) {
            findings.warning(&entry.place, key, message);
        }
    };
    // The folder of the packaged path is there only while the service runs.
    if config.socket.path != Path::new(DEFAULT_SOCKET) {
        warn("socket.path", socket(&config.socket.path));
    }
    warn("metrics.textfile", config.metrics_textfile.as_deref().and_then(folder));
    warn("http.listen", config.http.as_ref().and_then(|http| address(http.listen)));
}

fn socket(path: &Path) -> Option<String> {
    let is_socket = |file: Metadata| file.file_type().is_socket();
    if path.symlink_metadata().is_ok_and(|file| !is_socket(file)) {
        return Some("something else than a socket has this path: a start will not replace it".to_owned());
    }
    folder(path)
}

/// Whether a file can be made there.
fn folder(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("/"));
    let shown = folder.display();
    match folder.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Some(format!("the folder {shown} does not exist: create it before the next start"))
        }
        Ok(found) if !found.is_dir() => Some(format!("{shown} is not a folder")),
        _ => access(folder, Access::WRITE_OK | Access::EXEC_OK).err().map(|error| {
            let user = rustix::process::getuid().as_raw();
            format!("user {user} may not create files in {shown} ({}); the daemon's user must", error.kind())
        }),
    }
}

/// Whether the address is one of this host; a port that is taken may be the daemon's own.
fn address(listen: SocketAddr) -> Option<String> {
    // Any free port, and no TCP port: nothing that serves or connects is disturbed.
    let found = UdpSocket::bind(SocketAddr::new(listen.ip(), 0));
    let foreign = found.is_err_and(|error| error.kind() == ErrorKind::AddrNotAvailable);
    foreign.then(|| format!("{} is not an address of this host now: a start would fail", listen.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_needs_a_folder_and_nothing_else_in_its_place() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        assert_eq!(socket(&at("control.sock")), None);
        std::fs::write(at("file"), "").unwrap();
        assert!(socket(&at("file")).unwrap().starts_with("something else than a socket"));
        let inside = socket(&at("file/control.sock")).unwrap();
        assert!(inside.ends_with("/file is not a folder"), "{inside}");
        let missing = socket(&at("none/control.sock")).unwrap();
        assert!(missing.ends_with("/none does not exist: create it before the next start"), "{missing}");
        let _listener = std::os::unix::net::UnixListener::bind(at("control.sock")).unwrap();
        assert_eq!(socket(&at("control.sock")), None, "the daemon's own, or one that a start replaces");
    }

    #[test]
    fn a_folder_that_takes_no_files_is_told() {
        // Read-only whoever looks, also root.
        let message = folder(Path::new("/proc/rbac-sync.prom")).unwrap_or_default();
        let expected = format!("user {} may not create files in /proc", rustix::process::getuid().as_raw());
        assert!(message.starts_with(&expected) || rustix::process::getuid().is_root(), "{message}");
    }

    #[test]
    fn an_address_of_another_host_is_told() {
        // Documentation addresses (RFC 5737) are nobody's.
        let message = address("192.0.2.1:8080".parse().unwrap()).unwrap();
        assert_eq!(message, "192.0.2.1 is not an address of this host now: a start would fail");
        for own in ["127.0.0.1:8080", "0.0.0.0:1", "127.0.0.1:0"] {
            assert_eq!(address(own.parse().unwrap()), None, "{own}");
        }
    }
}
