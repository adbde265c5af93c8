//! From a file and the environment to a [`Config`].

use std::path::Path;

use super::contents::read_small;
use super::position::position;
use super::validate::{Findings, validate};
use super::{Config, Environment, Problem, raw};

/// A configuration is typed by hand; anything larger is the wrong file.
pub(super) const FILE_LIMIT: u64 = 1 << 20;

/// A configuration that passed.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// SHA-256 (hex) of what was read: the file, the variables, and the secret files.
    pub hash: String,
    /// What works but should be changed, such as a password inside a URL.
    pub warnings: Vec<Problem>,
}

/// Reads and validates; finds every error at once.
///
/// # Errors
/// All that is wrong, in the order of the file; never empty.
pub fn load(path: &Path, environment: &Environment) -> Result<Loaded, Vec<Problem>> {
    let problem = |position, message: String| Problem { origin: path.to_owned(), position, key: None, message };
    let (bytes, _) = read_small(path, FILE_LIMIT)
        .map_err(|reason| vec![problem(None, format!("cannot read the configuration: {reason}"))])?;
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text,
        Err(error) => {
            let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let at = position(&valid, valid.len());
            return Err(vec![problem(Some(at), "not UTF-8 text".into())]);
        }
    };

    let mut findings = Findings::default();
    findings.absorb(&bytes);
    for (name, value) in environment.pairs() {
        findings.absorb(name.as_bytes());
        findings.absorb(value.as_bytes());
    }
    let raw = raw::parse(text, path, &mut findings.errors);
    let config = raw.and_then(|mut raw| {
        environment.overlay(&mut raw, &mut findings.errors);
        validate(&raw, environment, path, &mut findings)
    });
    let Findings { mut errors, mut warnings, digest } = findings;
    match config {
        Some(config) if errors.is_empty() => {
            in_file_order(&mut warnings);
            Ok(Loaded { config, hash: hex(digest), warnings })
        }
        _ => {
            in_file_order(&mut errors);
            Err(errors)
        }
    }
}

/// What has no position (a table that is missing, a variable) comes last.
fn in_file_order(problems: &mut [Problem]) {
    problems.sort_by_key(|problem| problem.position.unwrap_or((usize::MAX, 0)));
}

fn hex(digest: sha2::Sha256) -> String {
    use sha2::Digest;
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
