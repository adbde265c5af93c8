//! Passwords and tokens: which of the ways to give one counts, and the reading of their files.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::raw::{Entry, Place, Section};
use super::validate::Findings;
use super::{Environment, Secret, values};

/// No password or token is longer; anything larger is the wrong file.
const LIMIT: u64 = 64 << 10;

/// One purpose of a secret, such as `target.password`, with its `_file` and `_credential` keys.
pub(super) struct Purpose<'a> {
    pub(super) key: &'a str,
    pub(super) section: &'a Section,
    /// A password that stood in the URL, and where.
    pub(super) in_url: Option<(Secret, &'a Place)>,
}

enum Way<'a> {
    Url(&'a Secret),
    Text(&'a Entry),
    File(&'a Entry),
    Credential(&'a Entry),
}

impl Purpose<'_> {
    /// Where the one that counts is given, be it valid or not.
    pub(super) fn place(&self) -> Option<&Place> {
        self.ways().into_iter().map(|(place, _)| place).max_by_key(|place| place.layer)
    }

    /// Reads the secret. Of several ways, the one with the highest precedence counts; two of the same
    /// precedence are an error. `None` also after an error.
    pub(super) fn read(&self, environment: &Environment, findings: &mut Findings) -> Option<Secret> {
        let highest = self.place()?.layer;
        let ways = self.ways();
        let mut counting = ways.iter().filter(|(place, _)| place.layer == highest);
        let (place, way) = counting.next()?;
        if let Some((second, _)) = counting.next() {
            findings.error(second, self.key, format!("there is more than one {}: keep one of them", self.noun()));
            return None;
        }
        match self.fetch(way, place, environment, findings) {
            Ok(secret) => Some(secret),
            Err(message) => {
                findings.error(place, self.key, message);
                None
            }
        }
    }

    fn noun(&self) -> &str {
        self.key.rsplit('.').next().unwrap_or(self.key)
    }

    fn ways(&self) -> Vec<(&Place, Way<'_>)> {
        let entry = |suffix: &str| self.section.entries.get(format!("{}{suffix}", self.key).as_str());
        let mut ways = Vec::new();
        ways.extend(self.in_url.as_ref().map(|(secret, place)| (*place, Way::Url(secret))));
        ways.extend(entry("").map(|entry| (&entry.place, Way::Text(entry))));
        ways.extend(entry("_file").map(|entry| (&entry.place, Way::File(entry))));
        ways.extend(entry("_credential").map(|entry| (&entry.place, Way::Credential(entry))));
        ways
    }

    fn fetch(
        &self,
        way: &Way<'_>,
        place: &Place,
        environment: &Environment,
        findings: &mut Findings,
    ) -> Result<Secret, String> {
        match way {
            Way::Url(secret) => Ok((*secret).clone()),
            Way::Text(entry) => values::text(&entry.value).map(Secret::new),
            Way::File(entry) => {
                let path = values::absolute_path(&entry.value)?;
                self.read_file(&path, &path.display().to_string(), place, findings)
            }
            Way::Credential(entry) => {
                let path = credential_path(values::text(&entry.value)?, environment)?;
                // The name is not repeated: somebody may have written the password in its place.
                self.read_file(&path, "the credential in $CREDENTIALS_DIRECTORY", place, findings)
            }
        }
    }

    fn read_file(&self, path: &Path, shown: &str, place: &Place, findings: &mut Findings) -> Result<Secret, String> {
        let read = findings.companions.read(path, LIMIT);
        let (bytes, metadata) = read.map_err(|reason| format!("cannot read {shown}: {reason}"))?;
        findings.absorb(&bytes);
        if metadata.mode() & 0o004 != 0 {
            let message = format!("everybody on this host can read {shown}: chmod o-r");
            findings.warning(place, self.key, message);
        }
        let text = String::from_utf8(bytes).map_err(|_| format!("{shown} is not UTF-8 text"))?;
        let text = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
        if text.is_empty() { Err(format!("{shown} is empty")) } else { Ok(Secret::new(text)) }
    }
}

fn credential_path(name: &str, environment: &Environment) -> Result<PathBuf, String> {
    if name.contains(['/', '\0']) || name == "." || name == ".." {
        return Err("must be the name of a credential, without slashes".into());
    }
    let folder = environment.credentials().ok_or(
        "there is no $CREDENTIALS_DIRECTORY: systemd sets it for a service with LoadCredential= or SetCredential=",
    )?;
    Ok(folder.join(name))
}
