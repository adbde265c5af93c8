//! The environment variables that override keys, and where they come from.
//!
//! Owns the names of the variables and the reading of env files; what a value means is decided where
//! the file's values are. An empty variable counts as not set, as compose files produce it. In an env
//! file a `$` outside of single quotes begins a substitution.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::contents::read_small;
use super::keys::{self, Given, KEYS, Key};
use super::position::position;
use super::raw::{Entry, Layer, Place, Raw, Section, Value};
use super::{Problem, SourceName};

const PREFIX: &str = "RBAC_SYNC_";
/// Where systemd puts the credentials of a service.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// An env file is typed by hand; anything larger is the wrong file.
const ENV_FILE_LIMIT: u64 = 1 << 20;

/// `RBAC_SYNC_*` variables: those of the process, and behind them those of an env file.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, Variable>,
    credentials: Option<PathBuf>,
}

#[derive(Clone)]
struct Variable {
    value: String,
    /// `None`: a variable of the process.
    env_file: Option<PathBuf>,
}

impl fmt::Debug for Environment {
    /// Names only: a value may be a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

impl Environment {
    /// Reads the process's variables and `env_file` (default: `.env` in the working folder, if there
    /// is one). Read again at each reload.
    ///
    /// # Errors
    /// The env file cannot be read or parsed, or a variable is not UTF-8.
    pub fn read(env_file: Option<&Path>) -> Result<Self, Vec<Problem>> {
        match env_file {
            Some(path) => Self::assemble(std::env::vars_os(), Some(path)),
            // A working folder that may not be searched counts as one without the file.
            None => {
                let default = Some(Path::new(".env")).filter(|path| path.symlink_metadata().is_ok());
                Self::assemble(std::env::vars_os(), default)
            }
        }
    }

    /// An environment of exactly these variables, as if they were the process's. Names that do not
    /// concern the program are dropped.
    pub fn from_pairs<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut environment = Self::default();
        for (name, value) in pairs {
            environment.add(name.into(), value.into(), None);
        }
        environment
    }

    fn assemble(
        process: impl IntoIterator<Item = (OsString, OsString)>,
        env_file: Option<&Path>,
    ) -> Result<Self, Vec<Problem>> {
        let mut environment = Self::default();
        let mut problems = Vec::new();
        if let Some(path) = env_file {
            match read_env_file(path) {
                Ok(pairs) => {
                    for (name, value) in pairs {
                        environment.add(name, value, Some(path));
                    }
                }
                Err(problem) => problems.push(problem),
            }
        }
        for (name, value) in process {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => environment.add(name, value, None),
                Err(_) if name.starts_with(PREFIX) => problems.push(Problem {
                    origin: name.into(),
                    position: None,
                    key: None,
                    message: "the value is not UTF-8".into(),
                }),
                Err(_) => {}
            }
        }
        if problems.is_empty() { Ok(environment) } else { Err(problems) }
    }

    fn add(&mut self, name: String, value: String, env_file: Option<&Path>) {
        if value.is_empty() {
            return;
        }
        if name.starts_with(PREFIX) {
            self.variables.insert(name, Variable { value, env_file: env_file.map(Path::to_owned) });
        } else if name == CREDENTIALS && env_file.is_none() {
            self.credentials = Some(value.into());
        }
    }

    /// The folder of the service's systemd credentials.
    pub(super) fn credentials(&self) -> Option<&Path> {
        self.credentials.as_deref()
    }

    /// Names and values, in a stable order, for the content hash.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, variable)| (name.as_str(), variable.value.as_str()))
    }

    /// Puts the variables over the file's values.
    pub(super) fn overlay(&self, raw: &mut Raw, errors: &mut Vec<Problem>) {
        let places = variables_of(raw);
        for (name, variable) in &self.variables {
            let place = variable.place(name);
            let Some((section, key)) = places.get(name) else {
                errors.push(place.problem("", unknown(name, &places)));
                continue;
            };
            if key.given == Given::File {
                errors.push(place.problem(key.path, "this name can only be changed in the file"));
                continue;
            }
            let entry = Entry { value: Value::Variable(variable.value.clone()), place };
            section_mut(raw, *section).entries.insert(key.path, entry);
        }
    }
}

impl Variable {
    fn place(&self, name: &str) -> Place {
        match &self.env_file {
            None => Place { layer: Layer::Process, origin: name.into(), position: None, variable: None },
            Some(file) => {
                Place { layer: Layer::EnvFile, origin: file.clone(), position: None, variable: Some(name.to_owned()) }
            }
        }
    }
}

/// The part of the file that a variable means.
#[derive(Clone, Copy, Debug)]
enum Which {
    Top,
    Source(usize),
    Client(usize),
}

/// Each variable that means something for this file: its section and key.
fn variables_of(raw: &Raw) -> BTreeMap<String, (Which, &'static Key)> {
    let mut places = BTreeMap::new();
    for key in KEYS.iter().filter(|key| key.repeated().is_none()) {
        places.insert(key.variable(None), (Which::Top, key));
    }
    let sources = raw.sources.iter().enumerate().map(|(index, section)| ("source", section, Which::Source(index)));
    let clients = raw.clients.iter().enumerate().map(|(index, section)| ("http.client", section, Which::Client(index)));
    for (table, section, which) in sources.chain(clients) {
        let given = section.entries.get(format!("{table}.name").as_str());
        let Some(Entry { value: Value::Text(name), .. }) = given else { continue };
        let Some(name) = SourceName::new(name) else { continue };
        for key in KEYS.iter().filter(|key| key.repeated().is_some_and(|(of, _)| of == table)) {
            places.insert(key.variable(Some(&name)), (which, key));
        }
    }
    places
}

fn section_mut(raw: &mut Raw, which: Which) -> &mut Section {
    match which {
        Which::Source(index) => &mut raw.sources[index],
        Which::Client(index) => &mut raw.clients[index],
        Which::Top => &mut raw.top,
    }
}

fn unknown(name: &str, places: &BTreeMap<String, (Which, &'static Key)>) -> String {
    let meant = keys::did_you_mean(name, places.keys().map(String::as_str));
    if meant.is_empty() && name.starts_with("RBAC_SYNC_SOURCE_") {
        return "unknown variable: no [[source]] of the file has this name and key".into();
    }
    format!("unknown variable{meant}")
}

fn read_env_file(path: &Path) -> Result<Vec<(String, String)>, Problem> {
    let problem = |position, message: String| Problem { origin: path.to_owned(), position, key: None, message };
    let (bytes, _) = read_small(path, ENV_FILE_LIMIT)
        .map_err(|reason| problem(None, format!("cannot read the env file: {reason}")))?;
    let text = String::from_utf8(bytes).map_err(|_| problem(None, "the env file is not UTF-8".into()))?;
    let text = text.trim_start_matches('\u{feff}');
    dotenvy::from_read_iter(text.as_bytes())
        .map(|item| {
            item.map_err(|error| match error {
                // The error's Display would print the line, which may hold a secret.
                dotenvy::Error::LineParse(rest, _) => {
                    let mut found = text.match_indices(rest.trim());
                    let first = found.next().map(|(offset, _)| position(text, offset));
                    let only = first.filter(|_| found.next().is_none());
                    problem(only, "not a valid line: expected NAME=value, the value in quotes if it has spaces".into())
                }
                _ => problem(None, "the env file cannot be read".into()),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    fn env_file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("env");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn the_process_wins_over_the_env_file() {
        let (_folder, path) =
            env_file("# comment\nexport RBAC_SYNC_HISTORY_KEEP=1\nRBAC_SYNC_LOG_LEVEL='warn'\nOTHER=x\n");
        let both =
            Environment::assemble(process(&[("RBAC_SYNC_HISTORY_KEEP", "2"), ("HOME", "/")]), Some(&path)).unwrap();
        let pairs: Vec<_> = both.pairs().collect();
        assert_eq!(pairs, [("RBAC_SYNC_HISTORY_KEEP", "2"), ("RBAC_SYNC_LOG_LEVEL", "warn")]);
    }

    #[test]
    fn a_wrong_value_names_its_env_file_and_variable_and_loses_to_the_process() {
        let (folder, path) = env_file("RBAC_SYNC_HISTORY_KEEP=many\nCREDENTIALS_DIRECTORY=/x\n");
        let file = folder.path().join("c.toml");
        let text = "[[source]]\nname='a'\nurl='postgres://h/d'\ntime_zone='UTC'\n[target]\nurl='sqlite:x'\n";
        std::fs::write(&file, text).unwrap();
        let environment = Environment::assemble([], Some(&path)).unwrap();
        assert_eq!(environment.credentials(), None, "only systemd says where the credentials are");
        let errors = crate::config::load(&file, &environment).unwrap_err();
        let expected = format!("{}: RBAC_SYNC_HISTORY_KEEP: expected a whole number", path.display());
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
        let both = Environment::assemble(process(&[("RBAC_SYNC_HISTORY_KEEP", "7")]), Some(&path)).unwrap();
        assert_eq!(crate::config::load(&file, &both).unwrap().config.history_keep, 7);
    }

    #[test]
    fn a_named_env_file_that_is_missing_is_an_error() {
        let errors = Environment::read(Some(Path::new("/nonexistent/env"))).unwrap_err();
        assert_eq!(errors[0].to_string(), "/nonexistent/env: cannot read the env file: there is no such file");
    }

    #[test]
    fn a_broken_line_is_located_and_not_printed() {
        let (_folder, path) = env_file("RBAC_SYNC_LOG_LEVEL=info\nRBAC_SYNC_TARGET_PASSWORD=\"hunter2\n");
        let errors = Environment::assemble([], Some(&path)).unwrap_err();
        assert!(errors[0].position.is_some_and(|(line, _)| line == 2), "{errors:?}");
        assert!(!format!("{errors:?}").contains("hunter2"));
    }

    #[test]
    fn a_value_that_is_not_utf8_is_an_error() {
        use std::os::unix::ffi::OsStringExt;
        let bad = OsString::from_vec(vec![0xff]);
        let errors = Environment::assemble([("RBAC_SYNC_LOG_LEVEL".into(), bad)], None).unwrap_err();
        assert_eq!(errors[0].to_string(), "RBAC_SYNC_LOG_LEVEL: the value is not UTF-8");
    }

    #[test]
    fn debug_shows_names_only() {
        let environment = Environment::from_pairs([("RBAC_SYNC_TARGET_PASSWORD", "hunter2")]);
        assert_eq!(format!("{environment:?}"), "{\"RBAC_SYNC_TARGET_PASSWORD\"}");
    }
}
