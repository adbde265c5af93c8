//! The files that a configuration was made of: the configuration file and those beside it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// SHA-256 of a file's content; `None` while there is no readable file.
pub(super) type Content = Option<[u8; 32]>;

pub(super) fn content(bytes: &[u8]) -> Content {
    Some(Sha256::digest(bytes).into())
}

/// The configuration file, files with passwords, tokens, certificates and keys, and the env file, with the content that each had when it was read: what
/// the watch compares with. Never shown: the hash of a password alone would let somebody guess it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Companions(BTreeMap<PathBuf, Content>);

impl Companions {
    pub(super) fn add(&mut self, path: &Path, bytes: &[u8]) {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        self.0.insert(path, content(bytes));
    }

    pub(super) fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
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
