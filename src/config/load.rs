//! From a file and the environment to a [`Config`].

use std::path::Path;

use sha2::{Digest, Sha256};

use super::contents::read_small;
use super::position::position;
use super::validate::{Findings, validate};
use super::{Companions, Config, Environment, Origins, Problem, raw};

/// A configuration is typed by hand; anything larger is the wrong file.
pub(super) const FILE_LIMIT: u64 = 1 << 20;
/// Enough of a hash to tell the files of one host apart.
const SHOWN: usize = 12;

/// A configuration that passed.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// SHA-256 (hex) of what was read: the file, the variables, and the secret files. Tells whether
    /// anything changed; not to be shown, for who knows the rest could guess a password by it.
    pub hash: String,
    /// The first 12 digits of the file's own SHA-256, as `sha256sum` prints it.
    pub file_hash: String,
    /// Where the value of each key comes from.
    pub origins: Origins,
    /// The other files that were read.
    pub companions: Companions,
    /// What works but should be changed, such as a password inside a URL.
    pub warnings: Vec<Problem>,
}

/// Reads and validates; finds every error at once.
///
/// # Errors
/// All that is wrong, in the order of the file; never empty.
pub fn load(path: &Path, environment: &Environment) -> Result<Loaded, Vec<Problem>> {
    match read_small(path, FILE_LIMIT) {
        Ok((bytes, _)) => understand(&bytes, path, environment),
        Err(reason) => {
            let mut errors = vec![whole_file(path, None, format!("cannot read the configuration: {reason}"))];
            errors.extend_from_slice(environment.problems());
            Err(errors)
        }
    }
}

fn whole_file(path: &Path, position: Option<(usize, usize)>, message: String) -> Problem {
    Problem { origin: path.to_owned(), position, key: None, message }
}

/// As [`load`], of a file that has been read.
pub(super) fn understand(bytes: &[u8], path: &Path, environment: &Environment) -> Result<Loaded, Vec<Problem>> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let mut errors = vec![whole_file(path, Some(position(&valid, valid.len())), "not UTF-8 text".into())];
            errors.extend_from_slice(environment.problems());
            return Err(errors);
        }
    };

    let mut findings = Findings::default();
    findings.absorb(bytes);
    findings.companions.add(path, bytes);
    for (name, value) in environment.pairs() {
        findings.absorb(name.as_bytes());
        findings.absorb(value.as_bytes());
    }
    environment.announce(&mut findings);
    let mut raw = raw::parse(text, path, &mut findings.errors);
    findings.incomplete = raw.incomplete;
    environment.overlay(&mut raw, &mut findings.errors);
    let config = validate(&raw, environment, path, &mut findings);
    let Findings { mut errors, mut warnings, digest, companions, .. } = findings;
    match config {
        Some(config) if errors.is_empty() => {
            in_file_order(path, &mut warnings);
            let (hash, mut file_hash) = (hex(digest), hex(Sha256::new_with_prefix(bytes)));
            file_hash.truncate(SHOWN);
            Ok(Loaded { config, hash, file_hash, origins: Origins::of(&raw), companions, warnings })
        }
        _ => {
            in_file_order(path, &mut errors);
            Err(errors)
        }
    }
}

/// What has no position in the file (a table that is missing, a variable) comes last.
fn in_file_order(path: &Path, problems: &mut [Problem]) {
    let first = (0, 0);
    problems.sort_by_key(|problem| match problem.position {
        Some(position) if problem.origin == path => (false, position),
        Some(position) => (true, position),
        None => (true, first),
    });
}

fn hex(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
