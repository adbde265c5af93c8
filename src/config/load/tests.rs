//! Loading whole files; each subject of its own is in a file below.

mod fuzz;
mod http;
mod rules;
mod schedule;
mod secrets;
mod syntax;
mod variables;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::config::{Deletes, LogFormat};

/// A file that loads; tests change parts of it.
const GOOD: &str = "[[source]]\nname = 'main'\nurl = 'postgres://u@db/pacs'\ntime_zone = 'Asia/Seoul'\n\
                    [target]\nurl = 'sqlite:///nonexistent/rbac.db'\n";

struct Case {
    folder: TempDir,
    path: PathBuf,
}

fn case(text: impl AsRef<[u8]>) -> Case {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("c.toml");
    fs::write(&path, text).unwrap();
    Case { folder, path }
}

impl Case {
    /// A file beside the configuration.
    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        path.display().to_string()
    }

    fn load(&self, variables: &[(&str, &str)]) -> Result<Loaded, Vec<String>> {
        let environment = Environment::from_pairs(variables.iter().copied());
        let folder = format!("{}/", self.folder.path().display());
        let short = |problem: &Problem| problem.to_string().replace(&folder, "");
        load(&self.path, &environment).map_err(|problems| problems.iter().map(short).collect())
    }

    fn warnings(&self) -> Vec<String> {
        self.load(&[]).unwrap().warnings.iter().map(|warning| warning.message.clone()).collect()
    }
}

fn load_text(text: &str) -> Result<Loaded, Vec<String>> {
    case(text).load(&[])
}

fn errors(text: &str) -> Vec<String> {
    load_text(text).expect_err(text)
}

/// One source with these lines added, and a PostgreSQL target.
fn source_with(lines: &str) -> String {
    format!("[target]\nurl = 'postgres://h/t'\n[[source]]\nname = 'main'\n{lines}\n")
}

#[test]
fn the_packaged_file_loads_and_shows_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/rbac-sync.toml");
    let loaded = load(&path, &Environment::default()).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.schedule.plan.interval_sec(), Some(5));
    let text = fs::read_to_string(path).unwrap();
    for key in crate::config::KEYS {
        let nested = key.path.starts_with("target.max_deletes.");
        let split = if nested { key.path.split_once('.') } else { key.path.rsplit_once('.') };
        let (table, name) = split.unwrap();
        // From the table's header to the next header.
        let header = |line: &&str| line.trim_start_matches(['#', ' ']).starts_with('[');
        let of_table = |line: &&str| line.trim_start_matches(['#', ' ']).trim_matches(['[', ']']) != table;
        let section: Vec<&str> = text.lines().skip_while(of_table).skip(1).take_while(|line| !header(line)).collect();
        let assigned = |name: &str| {
            let start = format!("{name} = ");
            section.iter().any(|line| line.strip_prefix("# ").unwrap_or(line).starts_with(&start))
        };
        let shown = match (key.given, name.strip_prefix("max_deletes.")) {
            (crate::config::Given::Variable, _) => {
                let variable = key.variable(crate::config::SourceName::new("main").as_ref());
                section.iter().any(|line| line.contains(&variable))
            }
            (_, Some(inner)) => {
                assigned("max_deletes") && section.iter().any(|line| line.contains(&format!("{inner} = ")))
            }
            _ => assigned(name),
        };
        assert!(shown, "{} is not in etc/rbac-sync.toml", key.path);
    }
}

#[test]
fn defaults_are_filled_in() {
    let config = load_text(GOOD).unwrap().config;
    assert_eq!(config.schedule.plan.interval_sec(), Some(5));
    assert_eq!(config.sources[0].overlap, Duration::from_secs(360));
    assert_eq!(config.target.deletes, Deletes::Tombstone);
    assert_eq!((config.target.max_deletes.rows, config.target.max_deletes.percent), (500, 5.0));
    assert_eq!(config.http, None);
    assert_eq!(config.socket.path, Path::new(crate::config::DEFAULT_SOCKET));
    assert_eq!(config.socket.mode, 0o660);
    assert_eq!(config.history_keep, 1000);
    assert_eq!((config.log.level.as_str(), config.log.format), ("info", LogFormat::Auto));
    assert_eq!(config.metrics_textfile, None);
}

#[test]
fn every_error_is_reported_at_once_with_its_place_in_the_order_of_the_file() {
    let text = "\
[schedule]
intervall = 5
interval = 0

[[source]]
url = 'mysql://h/d'
time_zone = 'Asia/Soul'
instances = 'many'

[target]
url = 5
deletes = 'purge'
max_deletes = { rows = -1, percent = 101 }

[http]
listen = 'localhost'
token_file = 'relative'

[socket]
path = ''
mode = '0888'

[history]
keep = 0

[log]
level = 'loud'
format = 'xml'

[metrics]
textfile = 5
";
    let all = errors(text);
    let places: Vec<&str> = all.iter().map(|error| error.split(": ").next().unwrap()).collect();
    assert_eq!(
        places,
        [
            "c.toml:2:1",
            "c.toml:3:12",
            "c.toml:5:1",
            "c.toml:6:7",
            "c.toml:7:13",
            "c.toml:8:13",
            "c.toml:11:7",
            "c.toml:12:11",
            "c.toml:13:24",
            "c.toml:13:38",
            "c.toml:16:10",
            "c.toml:17:14",
            "c.toml:20:8",
            "c.toml:21:8",
            "c.toml:24:8",
            "c.toml:27:9",
            "c.toml:28:10",
            "c.toml:31:12",
        ]
    );
    assert!(all[2].contains("`source.name` is missing"), "{all:#?}");
    assert!(all[3].contains("has no user"));
    assert!(all[5].contains("expected true or false"), "{}", all[5]);
}

#[test]
fn an_empty_file_misses_a_source_and_a_target() {
    let all = errors("");
    assert_eq!(all.len(), 2);
    assert!(all[0].contains("[[source]]") && all[1].contains("[target]"), "{all:?}");
}

#[test]
fn a_file_that_cannot_be_used_is_one_error() {
    let missing = load(Path::new("/nonexistent/c.toml"), &Environment::default()).unwrap_err();
    assert_eq!(missing[0].to_string(), "/nonexistent/c.toml: cannot read the configuration: there is no such file");
    assert!(case(vec![b'#'; (1 << 20) + 1]).load(&[]).unwrap_err()[0].contains("larger than 1048576 bytes"));
    assert_eq!(case(b"# ok\n# \xff").load(&[]).unwrap_err(), ["c.toml:2:3: not UTF-8 text"]);
}
