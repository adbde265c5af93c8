//! Database URLs: what they must have, and how the password gets out of them.
//!
//! A URL that somebody mistyped may have a password in any of its parts (an unescaped `#`, `/` or `?`
//! in a password moves the rest of it). So no message repeats a part of a URL, and shapes in which a
//! part of a password could pass for a host, a path or a parameter are refused.

use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use url::Url;

use super::keys::did_you_mean;
use super::{Dialect, Endpoint, Secret};

/// What sqlx knows; it would log the value of any other parameter.
const POSTGRES_PARAMETERS: [&str; 17] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
];
/// What sqlx knows and has no part in what a session needs, such as its time zone.
const MYSQL_PARAMETERS: [&str; 9] =
    ["sslmode", "ssl-mode", "sslca", "ssl-ca", "sslcert", "ssl-cert", "sslkey", "ssl-key", "socket"];
const MYSQL_SSL_MODES: [&str; 5] = ["disabled", "preferred", "required", "verify_ca", "verify_identity"];
const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
const SQLITE_PARAMETERS: [&str; 4] = ["mode", "cache", "immutable", "vfs"];

const RESERVED: &str = "a `#`, `/`, `?`, `@` or `:` inside a user name or password must be percent-encoded; \
                        a password is better kept in password_file";

const NO_POSTGRES_HOST: &str = "has no host: write postgres://USER@HOST/DATABASE, or \
                       postgres:///DATABASE?host=/run/postgresql&user=USER for a local socket";
const NO_MYSQL_HOST: &str = "has no host: write mysql://USER@HOST/DATABASE, or \
                             mysql://USER@localhost/DATABASE?socket=/run/mysqld/mysqld.sock for a local socket";

/// Reads a URL; the password that it holds is taken out.
pub(super) fn parse(text: &str) -> Result<Endpoint, String> {
    let text = text.trim();
    let (scheme, rest) =
        text.split_once(':').ok_or("not a URL: it must begin with postgres:, mysql:, mariadb: or sqlite:")?;
    match scheme.to_ascii_lowercase().as_str() {
        "postgres" | "postgresql" => postgres(text),
        "sqlite" => sqlite(rest),
        "mysql" | "mariadb" => mysql(text),
        "jdbc" => Err("this is a JDBC URL: write it without `jdbc:`, as postgres://USER@HOST/DATABASE or \
                       mysql://USER@HOST/DATABASE"
            .into()),
        other => Err(format!(
            "unknown scheme{}; use postgres:, mysql:, mariadb: or sqlite:",
            did_you_mean(other, ["postgres", "postgresql", "mysql", "mariadb", "sqlite"])
        )),
    }
}

fn postgres(text: &str) -> Result<Endpoint, String> {
    let mut url = server_url(text, "postgres", NO_POSTGRES_HOST)?;
    check_postgres_parameters(&url)?;
    let given = |name: &str| url.query_pairs().any(|(key, value)| key == name && !value.is_empty());
    if url.host_str().is_none_or(str::is_empty) && !given("host") && !given("hostaddr") {
        return Err(NO_POSTGRES_HOST.into());
    }
    if database_of(&url).is_empty() && !given("dbname") {
        return Err("has no database: write postgres://USER@HOST/DATABASE".into());
    }
    let password = take_password(&mut url)?;
    Ok(Endpoint { dialect: Dialect::Postgres, url: url.into(), password: password.map(Secret::new) })
}

fn mysql(text: &str) -> Result<Endpoint, String> {
    let mut url = server_url(text, "mysql", NO_MYSQL_HOST)?;
    check_mysql_parameters(&url)?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(NO_MYSQL_HOST.into());
    }
    for (part, what) in [(url.username(), "user"), (database_of(&url), "database")] {
        if part.is_empty() {
            return Err(format!("has no {what}: write mysql://USER@HOST/DATABASE"));
        }
    }
    let password = take_password(&mut url)?;
    Ok(Endpoint { dialect: Dialect::Mysql, url: url.into(), password: password.map(Secret::new) })
}

/// The URL of a server, in a shape that cannot hide a part of a password.
fn server_url(text: &str, scheme: &str, no_host: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| match error {
        url::ParseError::EmptyHost => no_host.to_owned(),
        other => format!("not a valid URL ({other}); {RESERVED}"),
    })?;
    if url.cannot_be_a_base() || !text.contains("://") {
        return Err(format!("must be written as {scheme}://USER@HOST/DATABASE"));
    }
    if url.fragment().is_some() {
        return Err(format!("has a `#`; {RESERVED}"));
    }
    if database_of(&url).contains(['/', '@', ':']) {
        return Err(format!("the database's name has a reserved character; {RESERVED}"));
    }
    Ok(url)
}

fn database_of(url: &Url) -> &str {
    url.path().trim_start_matches('/')
}

fn check_mysql_parameters(url: &Url) -> Result<(), String> {
    for (key, value) in url.query_pairs() {
        if key == "sslmode" || key == "ssl-mode" {
            if !MYSQL_SSL_MODES.contains(&value.to_ascii_lowercase().as_str()) {
                let meant = did_you_mean(&value, MYSQL_SSL_MODES);
                return Err(format!("ssl-mode must be one of {}{meant}", MYSQL_SSL_MODES.join(", ")));
            }
        } else if !MYSQL_PARAMETERS.contains(&key.as_ref()) {
            let meant = did_you_mean(&key, MYSQL_PARAMETERS);
            return Err(format!("has an unknown parameter after the `?`{meant}; {RESERVED}"));
        }
    }
    Ok(())
}

fn check_postgres_parameters(url: &Url) -> Result<(), String> {
    for (key, value) in url.query_pairs() {
        if key == "sslmode" || key == "ssl-mode" {
            if !SSL_MODES.contains(&value.as_ref()) {
                let meant = did_you_mean(&value, SSL_MODES);
                return Err(format!("sslmode must be one of {}{meant}", SSL_MODES.join(", ")));
            }
        } else if key == "port" || key == "statement-cache-capacity" {
            value.parse::<u16>().map_err(|_| "port and statement-cache-capacity must be numbers".to_owned())?;
        } else if key == "hostaddr" {
            value.parse::<std::net::IpAddr>().map_err(|_| "hostaddr must be an IP address".to_owned())?;
        } else if !is_postgres_parameter(&key) {
            let meant = did_you_mean(&key, POSTGRES_PARAMETERS);
            return Err(format!("has an unknown parameter after the `?`{meant}; {RESERVED}"));
        }
    }
    Ok(())
}

fn is_postgres_parameter(key: &str) -> bool {
    POSTGRES_PARAMETERS.contains(&key) || key == "options" || (key.starts_with("options[") && key.ends_with(']'))
}

/// A parameter wins over the part before the host, as it does in sqlx.
fn take_password(url: &mut Url) -> Result<Option<String>, String> {
    let mut password = None;
    if let Some(encoded) = url.password() {
        let decoded = percent_decode_str(encoded).decode_utf8();
        password = Some(decoded.map_err(|_| "the password is not UTF-8 once it is percent-decoded")?.into_owned());
    }
    if password.is_some() {
        url.set_password(None).map_err(|()| "cannot have a password without a host")?;
    }
    if url.query_pairs().any(|(key, _)| key == "password") {
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let (passwords, others): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(key, _)| key == "password");
        password = passwords.into_iter().next_back().map(|(_, value)| value);
        url.set_query(None);
        if !others.is_empty() {
            url.query_pairs_mut().extend_pairs(others);
        }
    }
    Ok(password.filter(|password| !password.is_empty()))
}

fn sqlite(rest: &str) -> Result<Endpoint, String> {
    const SHAPE: &str = "must be written as sqlite:///absolute/path or sqlite:relative/path";
    let location = match rest.strip_prefix("//") {
        Some(path) if !path.starts_with('/') => return Err(SHAPE.into()),
        Some(path) => path,
        None => rest,
    };
    let (path, query) = location.split_once('?').unwrap_or((location, ""));
    if path.is_empty() || path.ends_with('/') {
        return Err(format!("names no file: {SHAPE}"));
    }
    let mut parameters = url::form_urlencoded::parse(query.as_bytes());
    if path == ":memory:" || parameters.any(|(key, value)| key == "mode" && value == "memory") {
        return Err("a database in memory would be lost at each reconnect; name a file".into());
    }
    if path.contains(['@', '#']) {
        return Err("has an `@` or `#`: a file has neither login nor fragment; write them as %40 and %23".into());
    }
    if percent_decode_str(path).decode_utf8().is_err() {
        return Err("the path is not UTF-8 once it is percent-decoded".into());
    }
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let allowed: &[&str] = match key.as_ref() {
            "mode" => &["ro", "rw", "rwc"],
            "cache" => &["private", "shared"],
            "immutable" => &["true", "false", "1", "0"],
            "vfs" => continue,
            _ => {
                let meant = did_you_mean(&key, SQLITE_PARAMETERS);
                return Err(format!("has an unknown parameter{meant} (valid: {})", SQLITE_PARAMETERS.join(", ")));
            }
        };
        if !allowed.contains(&value.as_ref()) {
            return Err(format!("{key} must be one of {}", allowed.join(", ")));
        }
    }
    Ok(Endpoint { dialect: Dialect::Sqlite, url: format!("sqlite:{rest}"), password: None })
}

impl Endpoint {
    /// The file of an SQLite database, its links resolved.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        (self.dialect == Dialect::Sqlite).then(|| identity(self).into())
    }
}

/// Text that is equal for two endpoints which are the same database: the file with its links
/// resolved, or host, port and database.
pub(super) fn identity(endpoint: &Endpoint) -> String {
    match endpoint.dialect {
        Dialect::Sqlite => {
            let location = endpoint.url.trim_start_matches("sqlite://").trim_start_matches("sqlite:");
            let path = location.split('?').next().unwrap_or_default();
            let path = percent_decode_str(path).decode_utf8_lossy().into_owned();
            resolved(Path::new(&path)).display().to_string()
        }
        Dialect::Postgres => server_identity(endpoint, &["hostaddr", "host"], 5432),
        Dialect::Mysql => server_identity(endpoint, &["socket"], 3306),
    }
}

/// Host, port and database; `hosts` are parameters that win over the host of the URL.
fn server_identity(endpoint: &Endpoint, hosts: &[&str], default_port: u16) -> String {
    let Ok(url) = Url::parse(&endpoint.url) else { return endpoint.url.clone() };
    let parameter =
        |name: &str| url.query_pairs().filter(|(key, _)| key == name).map(|(_, value)| value.into_owned()).last();
    let host = hosts.iter().find_map(|name| parameter(name));
    let host = host.unwrap_or_else(|| url.host_str().unwrap_or_default().to_owned()).to_lowercase();
    let port = parameter("port").unwrap_or_else(|| url.port().unwrap_or(default_port).to_string());
    let database =
        parameter("dbname").unwrap_or_else(|| percent_decode_str(database_of(&url)).decode_utf8_lossy().into_owned());
    format!("{host}:{port}/{database}")
}

/// The file may not exist yet, so its folder is resolved when the file cannot be.
fn resolved(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if let Ok(real) = absolute.canonicalize() {
        return real;
    }
    match (absolute.parent().map(Path::canonicalize), absolute.file_name()) {
        (Some(Ok(folder)), Some(name)) => folder.join(name),
        _ => absolute,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(endpoint: &Endpoint) -> Option<&str> {
        endpoint.password.as_ref().map(Secret::expose)
    }

    #[test]
    fn a_password_is_decoded_and_taken_out() {
        let endpoint = parse("postgres://rbac:p%40ss%2Fw%25%23@db.example:5433/pacsdb?sslmode=require").unwrap();
        assert_eq!(endpoint.url, "postgres://rbac@db.example:5433/pacsdb?sslmode=require");
        assert_eq!(password(&endpoint), Some("p@ss/w%#"));
        assert_eq!(endpoint.to_string(), "postgres://rbac@db.example:5433/pacsdb");
    }

    #[test]
    fn a_password_parameter_is_taken_out_too() {
        let endpoint = parse("postgresql://h/d?password=a%26b&application_name=x%20y").unwrap();
        assert_eq!(password(&endpoint), Some("a&b"));
        assert_eq!(endpoint.url, "postgresql://h/d?application_name=x+y");
        let only = parse("postgres://u:first@h/d?password=second").unwrap();
        assert_eq!((only.url.as_str(), password(&only)), ("postgres://u@h/d", Some("second")));
    }

    #[test]
    fn a_local_socket_is_accepted() {
        for url in [
            "postgres:///pacsdb?host=/run/postgresql&user=u",
            "postgres://u@%2Frun%2Fpostgresql/pacsdb",
            "mysql://u@localhost/d?socket=/run/mysqld/mysqld.sock",
        ] {
            assert!(parse(url).is_ok(), "{url}: {:?}", parse(url));
        }
    }

    #[test]
    fn bad_urls_are_refused_without_repeating_them() {
        for url in [
            "hunter2",
            "hunter2://x",
            "postgres:hunter2",
            "postgres://",
            "postgres://u:hunter2@/d",
            "postgres://u:hunter2@h",
            "postgres://u:hunter2@h/",
            "postgres://u:hunter2#x@h/d",
            "postgres://u:hunter2/x@h/d",
            "postgres://u:12/hunter2@h/d",
            "postgres://u:12?hunter2@h/d",
            "postgres://u:hunter2@h:port/d",
            "postgres://h/d?pasword=hunter2",
            "postgres://h/d?sslmode=hunter2",
            "postgres://h/d?port=hunter2",
            "postgres://h/d?hostaddr=hunter2",
            "postgres://u:hunter2%ff@h/d",
            "mysql:hunter2",
            "mysql://u:hunter2@h",
            "mysql://u:hunter2#x@h/d",
            "mysql://u:12/hunter2@h/d",
            "mysql://:hunter2@h/d",
            "mariadb://u@h/d?password=hunter2",
            "mariadb://u@h/d?ssl-mode=hunter2",
            "mariadb://u@h/d?timezone=hunter2",
            "jdbc:postgresql://h/d?password=hunter2",
            "sqlite:",
            "sqlite:///",
            "sqlite://hunter2",
            "sqlite::memory:",
            "sqlite:///x?mode=memory",
            "sqlite:///x?mode=hunter2",
            "sqlite:///x?password=hunter2",
            "sqlite:u:hunter2@x",
            "sqlite:///%ff",
        ] {
            let message = parse(url).expect_err(url);
            assert!(!message.contains("hunter2"), "{url}: {message}");
        }
    }

    #[test]
    fn the_refusal_says_what_is_meant() {
        assert!(parse("mariadb://h/d").unwrap_err().contains("has no user"));
        assert!(parse("mysql://u@h/d?ssl-mode=verify").unwrap_err().contains("verify_identity"));
        assert!(parse("postgre://h/d").unwrap_err().contains("did you mean `postgres`"));
        assert!(parse("postgres://h/d?ssl_mode=require").unwrap_err().contains("did you mean `sslmode`"));
        for no_host in ["postgres:///d", "postgres://u@/d?host=/run/postgresql"] {
            assert!(parse(no_host).unwrap_err().contains("postgres:///DATABASE?host=/run/postgresql&user=USER"));
        }
    }

    #[test]
    fn one_database_has_one_identity() {
        let same = |one: &str, two: &str| identity(&parse(one).unwrap()) == identity(&parse(two).unwrap());
        assert!(same("postgres://a@DB/x", "postgresql://b:pw@db:5432/x?sslmode=require"));
        assert!(!same("postgres://db/x", "postgres://db/y"));
        assert!(same("mysql://a@DB/x", "mariadb://b:pw@db:3306/x?ssl-mode=REQUIRED"));
        assert!(!same("mysql://a@db/x", "mysql://a@db:3307/x"));
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("real")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("real"), folder.path().join("link")).unwrap();
        let at = |part: &str| format!("sqlite://{}/{part}", folder.path().display());
        assert!(same(&at("real/a.db"), &at("link/a.db?mode=rwc")));
        assert!(!same(&at("real/a.db"), &at("real/b.db")));
    }
}
