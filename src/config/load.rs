//! From a file and the environment to a [`Config`].

use std::path::Path;

use sha2::{Digest, Sha256};

use super::companions::LARGEST;
use super::position::position;
use super::validate::{Findings, validate};
use super::{Companions, Config, Environment, Origins, Problem, raw};

/// A configuration is typed by hand; anything larger is the wrong file.
const FILE_LIMIT: u64 = LARGEST;
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

/// A configuration that did not pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// All that is wrong, in the order of the file; never empty.
    pub problems: Vec<Problem>,
    /// The files that were read, or that should have been there: the outcome can only differ once one of
    /// them does.
    pub companions: Companions,
}

/// Reads and validates; finds every error at once.
///
/// # Errors
/// All that is wrong, in the order of the file; never empty.
pub fn load(path: &Path, environment: &Environment) -> Result<Loaded, Vec<Problem>> {
    load_to_watch(path, environment).map_err(|refused| refused.problems)
}

/// As [`load`], for a caller that tries again once a file has changed.
///
/// # Errors
/// All that is wrong, and which files to watch.
pub fn load_to_watch(path: &Path, environment: &Environment) -> Result<Loaded, Refused> {
    let mut companions = environment.companions().clone();
    match companions.read(path, FILE_LIMIT) {
        Ok((bytes, _)) => understand(&bytes, path, environment, companions),
        Err(reason) => {
            let mut problems = vec![whole_file(path, None, format!("cannot read the configuration: {reason}"))];
            problems.extend_from_slice(environment.problems());
            Err(Refused { problems, companions })
        }
    }
}

fn whole_file(path: &Path, position: Option<(usize, usize)>, message: String) -> Problem {
    Problem { origin: path.to_owned(), position, key: None, message }
}

/// As [`load_to_watch`], of a file that has been read.
pub(super) fn understand(
    bytes: &[u8],
    path: &Path,
    environment: &Environment,
    companions: Companions,
) -> Result<Loaded, Refused> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let mut problems = vec![whole_file(path, Some(position(&valid, valid.len())), "not UTF-8 text".into())];
            problems.extend_from_slice(environment.problems());
            return Err(Refused { problems, companions });
        }
    };

    let mut findings = Findings { companions, ..Findings::default() };
    findings.absorb(bytes);
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
            Err(Refused { problems: errors, companions })
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
