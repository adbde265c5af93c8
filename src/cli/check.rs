//! `check`: the configuration, and with `--connect` the databases that it names.

use std::fmt::Write;

use serde::Serialize;
use serde_json::json;

use super::args::{CheckArgs, ConfigArgs};
use super::exit::{Exit, Failure};
use super::print;
use crate::config::{Config, Environment, Loaded, Problem, load};
use crate::database::Inspection;
use crate::engine::Error;
use crate::source::Source;
use crate::target::Target;

/// Reads the configuration that the options name.
pub(super) fn load_config(args: &ConfigArgs) -> Result<Loaded, Vec<Problem>> {
    let environment = Environment::read(args.env_file.as_deref())?;
    load(&args.config, &environment)
}

/// Prints what is wrong, one line each, to standard error.
pub(super) fn report(errors: &[Problem]) {
    for problem in errors {
        print::error(&problem.to_string());
    }
}

/// What one database said.
#[derive(Debug, Serialize)]
struct Connection {
    /// `source NAME` or `target`.
    side: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<Inspection>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Connection {
    fn new(side: String, result: Result<Inspection, Error>) -> Self {
        match result {
            Ok(found) => Self { side, found: Some(found), error: None },
            Err(error) => Self { side, found: None, error: Some(error.to_string()) },
        }
    }
}

pub(super) async fn run(args: &CheckArgs) -> Result<Exit, Failure> {
    let loaded = match load_config(&args.config) {
        Ok(loaded) => loaded,
        Err(errors) if args.json => {
            print::json(&json!({ "ok": false, "errors": errors, "warnings": [] }))?;
            return Ok(Exit::Config);
        }
        Err(errors) => {
            report(&errors);
            return Ok(Exit::Config);
        }
    };
    let connections = if args.connect { connect(&loaded.config).await } else { Vec::new() };
    let ok = connections.iter().all(|connection| connection.error.is_none());
    if args.json {
        let config = crate::config::describe(&loaded.config);
        let (none, warnings) = (Vec::<Problem>::new(), &loaded.warnings);
        print::json(&json!({
            "ok": ok, "errors": none, "warnings": warnings, "config": config, "connections": connections,
        }))?;
    } else {
        for warning in &loaded.warnings {
            print::error(&in_words(warning));
        }
        print::out(&understood(&loaded.config))?;
        print::out(&said(&connections))?;
        for connection in &connections {
            if let Some(error) = &connection.error {
                print::error(&format!("{}: {error}", connection.side));
            }
        }
    }
    Ok(if ok { Exit::Done } else { Exit::Failed })
}

fn in_words(warning: &Problem) -> String {
    let marked = Problem { message: format!("warning: {}", warning.message), ..warning.clone() };
    marked.to_string()
}

/// Asks every database, also after one has failed.
async fn connect(config: &Config) -> Vec<Connection> {
    let mut connections = Vec::with_capacity(config.sources.len() + 1);
    for source in &config.sources {
        let result = Source::new(source).inspect().await;
        connections.push(Connection::new(format!("source {}", source.name), result));
    }
    let result = inspect_target(config).await;
    connections.push(Connection::new("target".to_owned(), result));
    connections
}

async fn inspect_target(config: &Config) -> Result<Inspection, Error> {
    let target = Target::new(&config.target);
    let mut found = target.inspect().await?;
    let configured = |name: &String| config.sources.iter().any(|source| source.name.as_str() == name);
    let left: Vec<String> = target.sources().await?.into_iter().filter(|name| !configured(name)).collect();
    if !left.is_empty() {
        let names = left.join(", ");
        found.findings.push(format!("rows of sources that are not configured: {names}"));
        found.advice.push("if those archives are gone for good, remove their rows: rbac-sync forget NAME".to_owned());
    }
    Ok(found)
}

fn understood(config: &Config) -> String {
    let mut text = format!("the configuration is valid: a run {}\n", config.schedule.plan);
    for source in &config.sources {
        let _ = writeln!(text, "source {}: {} (time zone {})", source.name, source.endpoint, source.time_zone);
    }
    let _ = writeln!(text, "target: {}", config.target.endpoint);
    let _ = writeln!(text, "socket: {}", config.socket.path.display());
    if let Some(http) = &config.http {
        let scheme = if http.tls.is_some() { "https" } else { "http" };
        let who = match http.clients.len() + usize::from(http.token.is_some()) {
            0 => "without a token, for this host only".to_owned(),
            1 => "for one client".to_owned(),
            clients => format!("for {clients} clients"),
        };
        let _ = writeln!(text, "{scheme}: {} {who}", http.listen);
    }
    text
}

fn said(connections: &[Connection]) -> String {
    let mut text = String::new();
    for connection in connections {
        let Some(found) = &connection.found else { continue };
        let _ = writeln!(text, "\n{}: {}", connection.side, found.server);
        for finding in &found.findings {
            let _ = writeln!(text, "  {finding}");
        }
        for advice in &found.advice {
            let _ = writeln!(text, "  advice: {advice}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::config;
    use crate::config::{Digest, HttpConfig, Secret};
    use crate::engine::{Class, Side};

    #[test]
    fn says_what_was_understood_without_secrets() {
        let mut config = config();
        config.sources[0].endpoint.password = Some(Secret::new("hunter2"));
        config.sources[0].endpoint.url = "postgres://u@db/pacs?password=hunter3".into();
        config.http =
            Some(HttpConfig { token: Some(Digest::of(b"hunter4")), ..HttpConfig::on(([127, 0, 0, 1], 80).into()) });
        let text = understood(&config);
        assert!(text.contains("source main: postgres://u@db/pacs (time zone UTC)"), "{text}");
        assert!(!text.contains("hunter"), "{text}");
    }

    #[test]
    fn each_database_has_its_own_words() {
        let found = Inspection {
            server: "PostgreSQL 15".into(),
            findings: vec!["shape of 5.31".into()],
            advice: vec!["CREATE INDEX".into()],
        };
        let connections = [
            Connection::new("source main".into(), Ok(found)),
            Connection::new("target".into(), Err(Error::new(Side::Target, Class::Transient, "refused"))),
        ];
        assert_eq!(said(&connections), "\nsource main: PostgreSQL 15\n  shape of 5.31\n  advice: CREATE INDEX\n");
        assert_eq!(connections[1].error.as_deref(), Some("refused"));
    }

    #[test]
    fn a_warning_is_marked_behind_its_place() {
        let warning = Problem {
            origin: "a.toml".into(),
            position: Some((3, 7)),
            key: None,
            message: "a password in a URL".into(),
        };
        assert_eq!(in_words(&warning), "a.toml:3:7: warning: a password in a URL");
    }
}
