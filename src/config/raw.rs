//! The file as written: which keys it gives, with what values, and where. Knows names, not meanings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Problem;
use super::keys::{self, Given};
use super::position::position;

/// Who gave a value; a later one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Layer {
    File,
    EnvFile,
    Process,
}

/// Where something was written.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) layer: Layer,
    pub(super) origin: PathBuf,
    pub(super) position: Option<(usize, usize)>,
    /// Set in an env file, where the origin does not name the variable.
    pub(super) variable: Option<String>,
}

impl Place {
    /// `line 3`, or the name of the variable.
    pub(super) fn whereabouts(&self) -> String {
        match (&self.variable, self.position) {
            (Some(variable), _) => variable.clone(),
            (None, Some((line, _))) => format!("line {line}"),
            (None, None) => self.origin.display().to_string(),
        }
    }

    /// A problem at this place; an empty key means that there is none.
    pub(super) fn problem(&self, key: &str, message: impl AsRef<str>) -> Problem {
        let message = message.as_ref();
        Problem {
            origin: self.origin.clone(),
            position: self.position,
            key: (!key.is_empty()).then(|| key.to_owned()),
            message: match &self.variable {
                Some(variable) => format!("{variable}: {message}"),
                None => message.to_owned(),
            },
        }
    }
}

/// A value, before anybody asked what it means.
#[derive(Clone)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// The text of a variable, which has no type yet.
    Variable(String),
    /// A type that no key takes.
    Other(&'static str),
}

pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) place: Place,
}

/// Keys by their path in [`keys::KEYS`], and the tables that were opened.
#[derive(Default)]
pub(super) struct Section {
    pub(super) entries: BTreeMap<&'static str, Entry>,
    pub(super) tables: BTreeMap<String, Place>,
}

/// The whole file; each `[[source]]` is a section of its own.
#[derive(Default)]
pub(super) struct Raw {
    pub(super) top: Section,
    pub(super) sources: Vec<Section>,
    /// Each `[[http.client]]`.
    pub(super) clients: Vec<Section>,
}

/// Parses the text. Keys that do not exist and tables of the wrong shape become errors; the rest is
/// still returned, so that its values are checked too. A syntax error ends it: `None`.
pub(super) fn parse(text: &str, origin: &Path, errors: &mut Vec<Problem>) -> Option<Raw> {
    let document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(error) => {
            // Only the message: the error's Display would print the line, which may hold a secret.
            errors.push(Problem {
                origin: origin.to_owned(),
                position: error.span().map(|span| position(text, span.start)),
                key: None,
                message: format!("not valid TOML: {}", error.message().replace('\n', " ")),
            });
            return None;
        }
    };
    let mut reader = Reader { text, origin, errors, sources: Vec::new(), clients: Vec::new() };
    let mut top = Section::default();
    reader.table("", document.get_ref(), &mut top);
    let Reader { sources, clients, .. } = reader;
    Some(Raw { top, sources, clients })
}

struct Reader<'a> {
    text: &'a str,
    origin: &'a Path,
    errors: &'a mut Vec<Problem>,
    sources: Vec<Section>,
    clients: Vec<Section>,
}

type Key<'i> = Spanned<std::borrow::Cow<'i, str>>;

impl Reader<'_> {
    fn place(&self, offset: usize) -> Place {
        Place {
            layer: Layer::File,
            origin: self.origin.to_owned(),
            position: Some(position(self.text, offset)),
            variable: None,
        }
    }

    fn error(&mut self, offset: usize, key: &str, message: String) {
        self.errors.push(self.place(offset).problem(key, message));
    }

    fn repeated(&mut self, path: &str, key: &Key, value: &Spanned<DeValue>) -> Vec<Section> {
        let DeValue::Array(items) = value.get_ref() else {
            let message = format!("write [[{path}]], in double brackets: there may be several");
            self.error(key.span().start, path, message);
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in items {
            match item.get_ref() {
                DeValue::Table(table) => {
                    let mut section = Section::default();
                    section.tables.insert(path.to_owned(), self.place(item.span().start));
                    self.table(path, table, &mut section);
                    sections.push(section);
                }
                other => {
                    let message = format!("each {path} is a table, found {}", other.type_str());
                    self.error(item.span().start, path, message);
                }
            }
        }
        sections
    }

    fn table(&mut self, path: &str, table: &DeTable, section: &mut Section) {
        for (key, value) in table {
            self.item(path, key, value, section);
        }
    }

    fn item(&mut self, table: &str, key: &Key, value: &Spanned<DeValue>, section: &mut Section) {
        let name = key.get_ref().as_ref();
        let path = if table.is_empty() { name.to_owned() } else { format!("{table}.{name}") };
        if !keys::names_in(table).contains(&name) {
            let message = unknown(table, name, &path);
            return self.error(key.span().start, if known_name(name) { &path } else { table }, message);
        }
        match path.as_str() {
            "source" => return self.sources = self.repeated(&path, key, value),
            "http.client" => return self.clients = self.repeated(&path, key, value),
            _ => {}
        }
        match (keys::find(&path), value.get_ref()) {
            (Some(known), given) => {
                let entry = Entry { value: plain(given), place: self.place(value.span().start) };
                section.entries.insert(known.path, entry);
            }
            (None, DeValue::Table(inner)) => {
                section.tables.insert(path.clone(), self.place(key.span().start));
                self.table(&path, inner, section);
            }
            (None, other) => {
                let message = format!("expected a table, found {}", other.type_str());
                self.error(value.span().start, &path, message);
            }
        }
    }
}

fn plain(value: &DeValue) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.clone().into_owned()),
        DeValue::Integer(integer) => i64::from_str_radix(&integer.as_str().replace('_', ""), integer.radix())
            .map_or(Value::Other("an integer that is too large"), Value::Integer),
        DeValue::Float(float) => {
            float.as_str().replace('_', "").parse().map_or(Value::Other("a float that cannot be read"), Value::Float)
        }
        DeValue::Boolean(boolean) => Value::Boolean(*boolean),
        DeValue::Datetime(_) => Value::Other("a date or time"),
        DeValue::Array(_) => Value::Other("an array"),
        DeValue::Table(_) => Value::Other("a table"),
    }
}

/// Whether a name may be repeated in a message. A line that lost its key may leave a password where
/// a key should be, so only what looks like a word of this file is shown.
fn known_name(name: &str) -> bool {
    (1..=32).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphabetic() || b"_-".contains(&byte))
}

fn unknown(table: &str, name: &str, path: &str) -> String {
    if let Some(secret) = keys::find(path).filter(|key| key.given == Given::Variable) {
        let variable = match secret.path.strip_prefix("source.") {
            Some(_) => "RBAC_SYNC_SOURCE_<NAME>_PASSWORD".to_owned(),
            None => secret.variable(None),
        };
        return format!(
            "a {name} does not belong in this file; use `{name}_file`, `{name}_credential` or the variable {variable}"
        );
    }
    let names = keys::names_in(table);
    let shown = if known_name(name) { format!("unknown key `{name}`") } else { "unknown key".to_owned() };
    let of = if table.is_empty() { "at the top level".to_owned() } else { format!("of `{table}`") };
    let meant = keys::did_you_mean(name, names.iter().copied());
    format!("{shown}{meant} (valid {of}: {})", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        let mut errors = Vec::new();
        parse(text, Path::new("f"), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_unknown_key_gets_its_position_a_suggestion_and_the_valid_keys() {
        assert_eq!(
            errors("[schedule]\n  intervall = 1\n"),
            [
                "f:2:3: unknown key `intervall`; did you mean `interval`? (valid of `schedule`: interval, cron, time_zone, jitter)"
            ]
        );
        let top = errors("[shedule]\n");
        assert!(top[0].starts_with("f:1:2: unknown key `shedule`; did you mean `schedule`?"), "{top:?}");
    }

    #[test]
    fn a_syntax_error_has_a_position_and_no_source_line() {
        let all = errors("[target]\nurl = \"postgres://u:hunter2@h/d\" oops\n");
        assert_eq!(all.len(), 1);
        assert!(all[0].starts_with("f:2:"), "{all:?}");
        assert!(!all[0].contains("hunter2"), "{all:?}");
    }

    #[test]
    fn tables_of_the_wrong_shape_are_errors() {
        assert_eq!(errors("schedule = 5"), ["f:1:12: expected a table, found integer"]);
        assert_eq!(errors("source = [1]"), ["f:1:11: each source is a table, found integer"]);
        assert!(errors("[source]\nname = 'a'")[0].contains("[[source]]"));
    }

    #[test]
    fn a_password_in_the_file_gets_told_where_it_belongs() {
        let all = errors("[[source]]\npassword = 'hunter2'\n[http]\ntoken = 'hunter2'");
        assert!(all[0].contains("RBAC_SYNC_HTTP_TOKEN"), "{all:?}");
        assert!(all[1].contains("`password_file`, `password_credential`"), "{all:?}");
        assert!(!all.concat().contains("hunter2"));
    }

    #[test]
    fn a_key_that_may_be_a_secret_is_not_repeated() {
        let all = errors("[target]\nhunter2 = 1\n");
        assert!(all[0].starts_with("f:2:1: unknown key (valid of `target`: url"), "{all:?}");
    }

    #[test]
    fn all_notations_of_a_number_are_read() {
        let mut none = Vec::new();
        let raw = parse("[history]\nkeep = 0x1_0", Path::new("f"), &mut none).unwrap();
        assert!(matches!(raw.top.entries["history.keep"].value, Value::Integer(16)));
        let raw = parse("[history]\nkeep = 99999999999999999999", Path::new("f"), &mut none).unwrap();
        assert!(matches!(raw.top.entries["history.keep"].value, Value::Other(_)));
    }
}
