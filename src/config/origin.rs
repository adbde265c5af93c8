//! Where the value of each key comes from: the environment, the env file, the file, or nowhere.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::effective::named;
use super::raw::{Entry, Layer, Place, Raw, Section, Value};

/// Where a value comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Origin {
    /// A variable of the process.
    Environment {
        /// Its name.
        variable: String,
    },
    /// A variable of the env file.
    EnvFile {
        /// The file.
        file: String,
        /// Its line, from 1, where known.
        line: Option<usize>,
        /// The variable's name.
        variable: String,
    },
    /// The configuration file.
    File {
        /// The file.
        file: String,
        /// Its line, from 1.
        line: Option<usize>,
    },
    /// It is not given.
    #[default]
    Default,
}

impl Origin {
    fn of(place: &Place) -> Self {
        let origin = place.origin.display().to_string();
        let line = place.position.map(|(line, _)| line);
        match (place.layer, &place.variable) {
            (Layer::Process, _) => Self::Environment { variable: origin },
            (Layer::EnvFile, variable) => {
                Self::EnvFile { file: origin, line, variable: variable.clone().unwrap_or_default() }
            }
            (Layer::File, _) => Self::File { file: origin, line },
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |f: &mut fmt::Formatter<'_>, file: &str, line: Option<usize>| match line {
            Some(line) => write!(f, "{file}:{line}"),
            None => f.write_str(file),
        };
        match self {
            Self::Environment { variable } => write!(f, "environment {variable}"),
            Self::EnvFile { file, line, variable } => {
                place(f, file, *line)?;
                write!(f, " {variable}")
            }
            Self::File { file, line } => place(f, file, *line),
            Self::Default => f.write_str("default"),
        }
    }
}

/// The origin of each key that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(BTreeMap<String, (Layer, Origin)>);

impl Origins {
    pub(super) fn of(raw: &Raw) -> Self {
        let mut origins = Self::default();
        origins.add(&raw.top, str::to_owned);
        for (table, sections) in [("source", &raw.sources), ("http.client", &raw.clients)] {
            for section in sections {
                let name = section.entries.get(format!("{table}.name").as_str());
                let Some(Entry { value: Value::Text(name), .. }) = name else { continue };
                origins.add(section, |key| named(table, key, name));
            }
        }
        origins
    }

    fn add(&mut self, section: &Section, path: impl Fn(&str) -> String) {
        for (key, Entry { place, .. }) in &section.entries {
            self.0.insert(path(key), (place.layer, Origin::of(place)));
        }
    }

    /// The origin of a key with the name of its source or client in the path, such as `source.main.overlap`. A password
    /// or token may be given in several ways, of which the one with the highest precedence counts.
    #[must_use]
    pub fn get(&self, path: &str) -> Origin {
        let ways = ["", "_file", "_credential"].map(|suffix| self.0.get(&format!("{path}{suffix}")));
        let given = ways.into_iter().flatten().max_by_key(|(layer, _)| *layer);
        given.map(|(_, origin)| origin.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;

    fn origins(text: &str, variables: &[(&str, &str)]) -> Origins {
        let mut errors = Vec::new();
        let mut raw = crate::config::raw::parse(text, "c.toml".as_ref(), &mut errors);
        Environment::from_pairs(variables.iter().copied()).overlay(&mut raw, &mut errors);
        assert_eq!(errors, []);
        Origins::of(&raw)
    }

    #[test]
    fn each_key_says_where_its_value_comes_from() {
        let text =
            "[[source]]\nname = 'a'\npassword_file = '/x'\n[history]\nkeep = 5\n[target]\npassword_file = '/y'\n";
        let variables = [("RBAC_SYNC_HISTORY_KEEP", "6"), ("RBAC_SYNC_TARGET_PASSWORD", "x")];
        let origins = origins(text, &variables);
        let shown = |key: &str| origins.get(key).to_string();
        assert_eq!(shown("source.a.password"), "c.toml:3");
        assert_eq!(shown("history.keep"), "environment RBAC_SYNC_HISTORY_KEEP");
        assert_eq!(shown("target.password"), "environment RBAC_SYNC_TARGET_PASSWORD");
        assert_eq!(shown("log.level"), "default");
    }
}
