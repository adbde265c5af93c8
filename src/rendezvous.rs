//! Where clients find the socket of the packaged service when the configuration no longer says it: a file that was
//! edited names a socket of the future, or cannot be read at all, and a reload must get through just then.
//!
//! The daemon keeps a link to its socket in the folder that the service manager made for it.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// The folder of the packaged service.
const FOLDER: &str = "/run/rbac-sync";
const NAME: &str = "current.sock";

/// The first folder that the service manager made for this process, if any.
fn runtime_directory() -> Option<PathBuf> {
    let folders = env::var_os("RUNTIME_DIRECTORY")?;
    folders.to_str()?.split(':').next().filter(|folder| !folder.is_empty()).map(PathBuf::from)
}

/// The link, if a daemon has one here that leads to something.
pub(crate) fn socket() -> Option<PathBuf> {
    let link = runtime_directory().unwrap_or_else(|| FOLDER.into()).join(NAME);
    link.exists().then_some(link)
}

/// The daemon's link; it goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Link(Option<PathBuf>);

impl Link {
    /// Lets the link lead to `socket`. Without a folder of the service manager there is none.
    pub(crate) fn to(socket: &Path) -> Self {
        let Some(folder) = runtime_directory() else { return Self(None) };
        let link = folder.join(NAME);
        match replace(&link, socket) {
            Ok(()) => Self(Some(link)),
            Err(error) => {
                tracing::warn!("cannot link {} to the control socket: {error}", link.display());
                Self(None)
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(link) = &self.0 {
            // What cannot be removed leads nowhere, and the next daemon replaces it.
            let _ = fs::remove_file(link);
        }
    }
}

/// In one step, so that there is always one of the two.
fn replace(link: &Path, socket: &Path) -> io::Result<()> {
    let new = link.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::os::unix::fs::symlink(socket, &new)?;
    fs::rename(new, link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_of_an_earlier_daemon_is_replaced_also_one_that_was_left_half_way() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join(NAME);
        for socket in ["/a", "/b"] {
            std::os::unix::fs::symlink("/old", link.with_extension("new")).unwrap();
            replace(&link, Path::new(socket)).unwrap();
            assert_eq!(fs::read_link(&link).unwrap(), Path::new(socket));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
