//! The environment variables that override keys, and where they come from.
//!
//! Owns the names of the variables and the reading of env files; what a value means is decided where
//! the file's values are. An empty variable counts as not set, as compose files produce it. In an env
//! file a `$` outside of single quotes begins a substitution.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::keys::{self, Given, KEYS, Key};
use super::position::position;
use super::raw::{Entry, Layer, Place, Raw, Section, Value};
use super::validate::Findings;
use super::{Companions, LogConfig, Problem, SourceName, values};

const PREFIX: &str = "RBAC_SYNC_";
const SOURCE_PREFIX: &str = "RBAC_SYNC_SOURCE_";
/// Where systemd puts the credentials of a service.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// An env file is typed by hand; anything larger is the wrong file.
const ENV_FILE_LIMIT: u64 = 1 << 20;

/// `RBAC_SYNC_*` variables: those of the process, and behind them those of an env file.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, Variable>,
    credentials: Option<PathBuf>,
    env_file: Option<EnvFile>,
    companions: Companions,
    problems: Vec<Problem>,
}

#[derive(Clone)]
struct Variable {
    value: String,
    /// Of the env file; `None`: a variable of the process.
    place: Option<(PathBuf, Option<(usize, usize)>)>,
}

/// An env file that was read.
#[derive(Clone)]
struct EnvFile {
    path: PathBuf,
    world_readable: bool,
}

impl fmt::Debug for Environment {
    /// Names only: a value may be a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

impl Environment {
    /// Reads the process's variables and `env_file` (default: `.env` in the working folder, if there
    /// is one). Read again at each reload. What is wrong with them, such as a line that cannot be read,
    /// is reported by [`super::load`] together with what is wrong with the file.
    #[must_use]
    pub fn read(env_file: Option<&Path>) -> Self {
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

    fn assemble(process: impl IntoIterator<Item = (OsString, OsString)>, env_file: Option<&Path>) -> Self {
        let mut environment = Self::default();
        if let Some(path) = env_file {
            environment.add_file(path);
        }
        for (name, value) in process {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => environment.add(name, value, None),
                Err(_) if name.starts_with(PREFIX) => environment.problems.push(Problem {
                    origin: name.into(),
                    position: None,
                    key: None,
                    message: "the value is not UTF-8".into(),
                }),
                Err(_) => {}
            }
        }
        environment
    }

    fn add_file(&mut self, path: &Path) {
        let problem = |position, message: String| Problem { origin: path.to_owned(), position, key: None, message };
        let (bytes, metadata) = match self.companions.read(path, ENV_FILE_LIMIT) {
            Ok(read) => read,
            Err(reason) => return self.problems.push(problem(None, format!("cannot read the env file: {reason}"))),
        };
        match std::str::from_utf8(&bytes) {
            Ok(text) => {
                let text = text.trim_start_matches('\u{feff}');
                for item in dotenvy::from_read_iter(text.as_bytes()) {
                    match item {
                        Ok((name, value)) => {
                            let at = assignment(text, &name);
                            self.add(name, value, Some((path.to_owned(), at)));
                        }
                        Err(error) => {
                            let (position, message) = line_problem(text, &error);
                            self.problems.push(problem(position, message.to_owned()));
                        }
                    }
                }
            }
            Err(_) => self.problems.push(problem(None, "the env file is not UTF-8".into())),
        }
        self.env_file = Some(EnvFile { path: path.to_owned(), world_readable: metadata.mode() & 0o004 != 0 });
    }

    fn add(&mut self, name: String, value: String, place: Option<(PathBuf, Option<(usize, usize)>)>) {
        if value.is_empty() {
            return;
        }
        if name.starts_with(PREFIX) {
            self.variables.insert(name, Variable { value, place });
        } else if name == CREDENTIALS && place.is_none() {
            self.credentials = Some(value.into());
        }
    }

    /// How to log before the configuration is known: what is wrong with the variables is told with the rest of it.
    #[must_use]
    pub fn log(&self) -> LogConfig {
        let given = |name: &str| {
            let variable = self.variables.get(&format!("{PREFIX}{name}"));
            variable.map(|variable| Value::Variable(variable.value.clone()))
        };
        let default = LogConfig::default();
        LogConfig {
            level: given("LOG_LEVEL").and_then(|value| values::log_level(&value).ok()).unwrap_or(default.level),
            format: given("LOG_FORMAT").and_then(|value| values::log_format(&value).ok()).unwrap_or(default.format),
        }
    }

    /// What was wrong with the variables and the env file themselves.
    pub(super) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The env file, if one was named or is there.
    pub(super) fn companions(&self) -> &Companions {
        &self.companions
    }

    /// Tells what the reading brought to light.
    pub(super) fn announce(&self, findings: &mut Findings) {
        findings.errors.extend_from_slice(&self.problems);
        let Some(EnvFile { path, world_readable }) = &self.env_file else { return };
        if *world_readable && self.variables.values().any(|variable| variable.place.is_some()) {
            findings.warnings.push(Problem {
                origin: path.clone(),
                position: None,
                key: None,
                message: "everybody on this host can read the env file, the place for passwords: chmod o-r".into(),
            });
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
                // The name of its source may be on a line that could not be read.
                if !(raw.incomplete && name.starts_with(SOURCE_PREFIX)) {
                    errors.push(place.problem("", unknown(name, &places)));
                }
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
        match &self.place {
            None => Place { layer: Layer::Process, origin: name.into(), position: None, variable: None },
            Some((file, position)) => Place {
                layer: Layer::EnvFile,
                origin: file.clone(),
                position: *position,
                variable: Some(name.to_owned()),
            },
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
    if meant.is_empty() && name.starts_with(SOURCE_PREFIX) {
        return "unknown variable: no [[source]] of the file has this name and key".into();
    }
    format!("unknown variable{meant}")
}

/// Where the env file sets a variable: the last time counts.
fn assignment(text: &str, name: &str) -> Option<(usize, usize)> {
    let sets = |line: &str| {
        let line = line.trim_start();
        let line = line.strip_prefix("export ").map_or(line, str::trim_start);
        line.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    let (number, line) = text.lines().enumerate().filter(|(_, line)| sets(line)).last()?;
    Some((number + 1, line.chars().take_while(|c| c.is_whitespace()).count() + 1))
}

/// The error's own text would hold the line, which may hold a secret.
fn line_problem(text: &str, error: &dotenvy::Error) -> (Option<(usize, usize)>, &'static str) {
    let dotenvy::Error::LineParse(rest, _) = error else { return (None, "the env file cannot be read") };
    let mut found = text.match_indices(rest.trim());
    let first = found.next().map(|(offset, _)| position(text, offset));
    let only = first.filter(|_| found.next().is_none());
    (only, "not a valid line: expected NAME=value, the value in quotes if it has spaces")
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
        let both = Environment::assemble(process(&[("RBAC_SYNC_HISTORY_KEEP", "2"), ("HOME", "/")]), Some(&path));
        let pairs: Vec<_> = both.pairs().collect();
        assert_eq!(pairs, [("RBAC_SYNC_HISTORY_KEEP", "2"), ("RBAC_SYNC_LOG_LEVEL", "warn")]);
    }

    #[test]
    fn until_the_file_is_known_the_log_is_as_right_variables_say() {
        let (_folder, path) = env_file("RBAC_SYNC_LOG_FORMAT=json\n");
        let log = Environment::assemble(process(&[("RBAC_SYNC_LOG_LEVEL", "loud=very")]), Some(&path)).log();
        assert_eq!((log.level.as_str(), log.format), ("info", super::super::LogFormat::Json));
        assert_eq!(Environment::default().log(), LogConfig::default());
    }

    #[test]
    fn a_wrong_value_names_its_env_file_and_variable_and_loses_to_the_process() {
        let (folder, path) = env_file("RBAC_SYNC_HISTORY_KEEP=many\nCREDENTIALS_DIRECTORY=/x\n");
        let file = folder.path().join("c.toml");
        let text = "[[source]]\nname='a'\nurl='postgres://h/d'\ntime_zone='UTC'\n[target]\nurl='sqlite:x'\n";
        std::fs::write(&file, text).unwrap();
        let environment = Environment::assemble([], Some(&path));
        assert_eq!(environment.credentials(), None, "only systemd says where the credentials are");
        let errors = crate::config::load(&file, &environment).unwrap_err();
        let expected = format!("{}:1:1: RBAC_SYNC_HISTORY_KEEP: expected a whole number", path.display());
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
        let both = Environment::assemble(process(&[("RBAC_SYNC_HISTORY_KEEP", "7")]), Some(&path));
        let loaded = crate::config::load(&file, &both).unwrap();
        assert_eq!(loaded.config.history_keep, 7);
        assert!(loaded.companions.iter().any(|(known, _)| *known == path), "watched, as it may change the outcome");
    }

    #[test]
    fn a_named_env_file_that_is_missing_is_an_error() {
        let environment = Environment::read(Some(Path::new("/nonexistent/env")));
        let expected = "/nonexistent/env: cannot read the env file: there is no such file";
        assert_eq!(environment.problems()[0].to_string(), expected);
    }

    #[test]
    fn each_broken_line_is_located_and_not_printed() {
        let (_folder, path) =
            env_file("RBAC_SYNC_LOG_LEVEL=info\nhunter3 = x y\nRBAC_SYNC_TARGET_PASSWORD=\"hunter2\n");
        let environment = Environment::assemble([], Some(&path));
        let lines: Vec<_> =
            environment.problems().iter().map(|problem| problem.position.map(|(line, _)| line)).collect();
        assert_eq!(lines, [Some(2), Some(3)], "{:?}", environment.problems());
        assert!(!format!("{:?}", environment.problems()).contains("hunter"));
    }

    #[test]
    fn its_problems_are_reported_with_those_of_the_file() {
        let (folder, path) = env_file("RBAC_SYNC_LOG_LEVEL=\"info\n");
        let file = folder.path().join("c.toml");
        std::fs::write(&file, "[schedule]\ninterval = 0\n").unwrap();
        let errors = crate::config::load(&file, &Environment::assemble([], Some(&path))).unwrap_err();
        let of = |origin: &Path| errors.iter().filter(|error| error.origin == origin).count();
        assert_eq!((of(&path), of(&file)), (1, 3), "{errors:?}");
    }

    #[test]
    fn an_env_file_that_everybody_can_read_is_warned_about() {
        use std::os::unix::fs::PermissionsExt;
        let (folder, path) = env_file("RBAC_SYNC_HISTORY_KEEP=5\n");
        let file = folder.path().join("c.toml");
        std::fs::write(&file, "[[source]]\nname='a'\nurl='sqlite:a'\ntime_zone='UTC'\n[target]\nurl='sqlite:x'\n")
            .unwrap();
        for (mode, warnings) in [(0o604, 1), (0o640, 0)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let loaded = crate::config::load(&file, &Environment::assemble([], Some(&path))).unwrap();
            assert_eq!(loaded.warnings.len(), warnings, "{:?}", loaded.warnings);
        }
    }

    #[test]
    fn the_last_assignment_is_where_a_variable_is_set() {
        let text = "A=1\n  export  A = 2\nAB=3\n# A=4\n";
        assert_eq!(assignment(text, "A"), Some((2, 3)));
        assert_eq!(assignment(text, "B"), None);
    }

    #[test]
    fn a_value_that_is_not_utf8_is_an_error() {
        use std::os::unix::ffi::OsStringExt;
        let bad = OsString::from_vec(vec![0xff]);
        let environment = Environment::assemble([("RBAC_SYNC_LOG_LEVEL".into(), bad)], None);
        assert_eq!(environment.problems()[0].to_string(), "RBAC_SYNC_LOG_LEVEL: the value is not UTF-8");
    }

    #[test]
    fn debug_shows_names_only() {
        let environment = Environment::from_pairs([("RBAC_SYNC_TARGET_PASSWORD", "hunter2")]);
        assert_eq!(format!("{environment:?}"), "{\"RBAC_SYNC_TARGET_PASSWORD\"}");
    }
}
