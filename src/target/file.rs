//! An SQLite file as a target: the lock beside it, and whether this process may write both.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, FlockOperation, access, flock};

use crate::database::{Class, Error, Side};

/// The file that is locked, in the words of an error.
const LOCK: &str = "the lock beside the database file";

/// Takes the lock beside an SQLite file, which the open file holds. `None`: somebody else has it.
///
/// # Errors
/// It can be neither opened nor made.
pub(super) fn lock(database: &Path) -> Result<Option<File>, Error> {
    let path = lock_path(database);
    let failed = |error: std::io::Error| unusable(LOCK, &path, error.kind());
    // Never the database itself: closing any handle of it would drop SQLite's own locks.
    let file = File::options().create(true).append(true).open(&path).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(error) if std::io::Error::from(error).kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(failed(error.into())),
    }
}

/// Gives the lock back; closing the file does it too.
pub(super) fn unlock(file: &File) {
    let _ = flock(file, FlockOperation::Unlock);
}

fn lock_path(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

/// Whether this process may write an SQLite file and the lock beside it, or make those that are not there.
/// Changes nothing.
///
/// # Errors
/// It may not.
pub(super) fn may_write(database: &Path) -> Result<(), Error> {
    for (what, path) in [("the database file", database), (LOCK, &lock_path(database))] {
        let found = if path.exists() {
            access(path, Access::WRITE_OK)
        } else {
            // With the dot, something else than a folder is told apart from one that is closed.
            access(folder_of(path).join("."), Access::WRITE_OK | Access::EXEC_OK)
        };
        found.map_err(|error| unusable(what, path, error.kind()))?;
    }
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// Why an SQLite file or its lock cannot be used, and what to do about it.
fn unusable(what: &str, path: &Path, kind: ErrorKind) -> Error {
    let folder = folder_of(path).display();
    let text = match kind {
        ErrorKind::NotFound => {
            format!("the folder of the database file, {folder}, does not exist: create it, or correct target.url")
        }
        ErrorKind::NotADirectory => {
            format!("{folder}, where the database file would be, is not a folder: correct target.url")
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            let (user, path) = (rustix::process::geteuid().as_raw(), path.display());
            format!(
                "user {user} may not write {path}, {what} ({kind}): act as the user that owns the database, or let \
                 this one write in {folder}"
            )
        }
        _ => format!("{what}, {}, cannot be used: {kind}", path.display()),
    };
    Error::new(Side::Target, Class::Config, text)
}

#[cfg(test)]
mod tests {
    use super::super::lock::tests::target;
    use super::*;

    #[tokio::test]
    async fn a_lock_that_cannot_be_had_says_what_is_wrong_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let (taken, gone) = (target(&folder), folder.path().display().to_string());
        std::fs::create_dir(folder.path().join("rbac.db.lock")).unwrap();
        let text = taken.claim("once").await.unwrap_err().to_string();
        assert!(text.contains("rbac.db.lock, cannot be used: is a directory"), "{text}");
        let missing = target(&folder);
        drop(folder);
        let error = missing.claim("once").await.unwrap_err();
        assert_eq!(error.class, Class::Config);
        let expected =
            format!("the folder of the database file, {gone}, does not exist: create it, or correct target.url");
        assert_eq!(error.to_string(), expected);
        let text = unusable(LOCK, Path::new("/srv/rbac.db.lock"), ErrorKind::PermissionDenied).to_string();
        assert!(
            text.contains("may not write /srv/rbac.db.lock") && text.ends_with("let this one write in /srv"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_look_at_a_file_that_is_not_there_asks_for_a_folder_that_takes_it_and_makes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        target(&folder).inspect().await.unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "a look leaves nothing behind");
        let refusal = |path: &Path| may_write(path).unwrap_err().to_string();
        let missing = refusal(&at("none/rbac.db"));
        assert!(missing.ends_with("/none, does not exist: create it, or correct target.url"), "{missing}");
        std::fs::write(at("file"), "").unwrap();
        let inside = refusal(&at("file/rbac.db"));
        assert!(inside.contains("/file, where the database file would be, is not a folder"), "{inside}");
        // Takes no files whoever asks, also root.
        let closed = may_write(Path::new("/proc/rbac.db"));
        if let Err(error) = &closed {
            assert!(error.to_string().contains("may not write /proc/rbac.db, the database file ("), "{error}");
        }
        assert!(closed.is_err() || rustix::process::geteuid().is_root());
        let lost = target(&folder);
        drop(folder);
        assert_eq!(lost.inspect().await.unwrap_err().class, Class::Config);
    }
}
