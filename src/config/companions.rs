//! The files that a configuration was made of: the configuration file and those beside it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::Metadata;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::contents::read_small;

/// No file that a configuration is made of is larger than this; a larger one counts as unreadable.
pub(super) const LARGEST: u64 = 1 << 20;

/// SHA-256 of a file's content; `None` while there is no readable file.
pub(super) type Content = Option<[u8; 32]>;

pub(super) fn content(bytes: &[u8]) -> Content {
    Some(Sha256::digest(bytes).into())
}

/// The configuration file, files with passwords, tokens, certificates and keys, and the env file, with the
/// content that each had when it was read: what the watch compares with. A file that could not be read is among
/// them too, for its appearing may heal the configuration.
/// Never shown: the hash of a password alone would let somebody guess it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Companions(BTreeMap<PathBuf, Content>);

impl Companions {
    /// Reads a regular file of at most `limit` bytes and keeps what it held, be it usable or not. The error is a
    /// reason such as "permission denied"; the caller names the path.
    pub(super) fn read(&mut self, path: &Path, limit: u64) -> Result<(Vec<u8>, Metadata), String> {
        debug_assert!(limit <= LARGEST, "the watch reads no more");
        let read = read_small(path, LARGEST);
        self.add(path, read.as_ref().ok().and_then(|(bytes, _)| content(bytes)));
        match read {
            Ok((bytes, _)) if bytes.len() as u64 > limit => Err(format!("it is larger than {limit} bytes")),
            Ok(read) => Ok(read),
            Err(reason) => Err(reason),
        }
    }

    pub(super) fn add(&mut self, path: &Path, content: Content) {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        self.0.insert(path, content);
    }

    #[cfg(test)]
    pub(crate) fn of(files: &[(&Path, Option<&str>)]) -> Self {
        let mut all = Self::default();
        files.iter().for_each(|(path, text)| all.add(path, text.and_then(|text| content(text.as_bytes()))));
        all
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&PathBuf, Content)> {
        self.0.iter().map(|(path, content)| (path, *content))
    }
}

impl fmt::Debug for Companions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_used_is_kept_too_with_what_it_held() {
        let folder = tempfile::tempdir().unwrap();
        let (good, large, none) = (folder.path().join("good"), folder.path().join("large"), folder.path().join("none"));
        std::fs::write(&good, "12345").unwrap();
        std::fs::write(&large, "123456").unwrap();
        let mut companions = Companions::default();
        assert_eq!(companions.read(&good, 5).unwrap().0, b"12345");
        assert_eq!(companions.read(&large, 5).unwrap_err(), "it is larger than 5 bytes");
        assert_eq!(companions.read(&none, 5).unwrap_err(), "there is no such file");
        let expected = [(good.as_path(), Some("12345")), (&large, Some("123456")), (&none, None)];
        assert_eq!(companions, Companions::of(&expected));
    }
}
