//! From a driver's error to an [`Error`] that is safe to show.
//!
//! A database's own text can quote the values of a row, which here is personal data. It is passed on
//! only for error classes that speak of names, logins and resources; for all others the code and the
//! constraint are named instead.

use sqlx::error::DatabaseError;
use sqlx::postgres::PgDatabaseError;

use super::{Class, Error, Side};

/// A database's text is cut here: enough for a name and a reason.
const LONGEST_TEXT: usize = 300;

/// SQLSTATE classes whose texts hold no row values: connection, feature, login, catalogue, rollback,
/// names and grants, resources, limits, object state, operator, system.
const SAFE_CLASSES: [&str; 13] = ["08", "0A", "25", "28", "3D", "3F", "40", "42", "53", "54", "55", "57", "58"];

/// Translates a driver's error that happened while doing `what`.
pub(super) fn explain(side: Side, what: &str, error: &sqlx::Error) -> Error {
    let (class, text) = match error {
        sqlx::Error::Database(database) => return explain_database(side, what, database.as_ref()),
        sqlx::Error::Io(io) => (Class::Transient, io.to_string()),
        sqlx::Error::Tls(tls) => (Class::Config, format!("TLS: {tls}")),
        sqlx::Error::Configuration(_) => (Class::Config, "the driver does not accept the URL".to_owned()),
        sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
            (Class::Transient, "the connection broke in the middle of an answer".to_owned())
        }
        // Decoding errors quote values.
        _ => (Class::Permanent, "the answer cannot be read".to_owned()),
    };
    Error::new(side, class, format!("{what}: {text}"))
}

fn explain_database(side: Side, what: &str, error: &dyn DatabaseError) -> Error {
    let code = error.code().unwrap_or_default();
    if error.try_downcast_ref::<PgDatabaseError>().is_some() {
        Error::new(side, postgres_class(&code), format!("{what}: {}", postgres_text(&code, error)))
    } else {
        let (class, text) = sqlite_meaning(&code);
        Error::new(side, class, format!("{what}: {text} (SQLite code {code})"))
    }
}

fn postgres_class(code: &str) -> Class {
    match code.get(..2).unwrap_or_default() {
        "28" | "3D" | "3F" => Class::Config,
        // 25006: read-only, as on a standby before it is promoted.
        "08" | "25" | "40" | "53" | "55" | "57" | "58" => Class::Transient,
        _ => Class::Permanent,
    }
}

fn postgres_text(code: &str, error: &dyn DatabaseError) -> String {
    if SAFE_CLASSES.iter().any(|class| code.starts_with(class)) {
        let text: String =
            error.message().chars().take(LONGEST_TEXT).map(|c| if c.is_control() { ' ' } else { c }).collect();
        return format!("{text} (SQLSTATE {code})");
    }
    match (error.table(), error.constraint()) {
        (_, Some(constraint)) => format!("constraint {constraint} is violated (SQLSTATE {code})"),
        (Some(table), None) => format!("table {table} does not take a value (SQLSTATE {code})"),
        (None, None) => format!("SQLSTATE {code}"),
    }
}

/// By SQLite's primary result code, the low byte of the extended one.
fn sqlite_meaning(code: &str) -> (Class, &'static str) {
    match code.parse::<u32>().map_or(0, |code| code & 0xff) {
        5 | 6 => (Class::Transient, "the database is locked by somebody else"),
        8 => (Class::Permanent, "the database is read-only"),
        10 => (Class::Transient, "reading or writing the file failed"),
        11 | 26 => (Class::Permanent, "the file is damaged or is no SQLite database"),
        13 => (Class::Transient, "the disk is full"),
        14 => (Class::Config, "the file cannot be opened"),
        19 => (Class::Permanent, "a constraint is violated"),
        23 => (Class::Config, "access is denied"),
        _ => (Class::Permanent, "the statement failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postgres_codes_tell_what_passes_by_itself() {
        for (code, class) in [
            ("08006", Class::Transient),
            ("57P01", Class::Transient),
            ("53300", Class::Transient),
            ("25006", Class::Transient),
            ("40001", Class::Transient),
            ("28P01", Class::Config),
            ("3D000", Class::Config),
            ("42501", Class::Permanent),
            ("42P01", Class::Permanent),
            ("22021", Class::Permanent),
        ] {
            assert_eq!(postgres_class(code), class, "{code}");
        }
    }

    #[test]
    fn extended_sqlite_codes_mean_what_their_primary_code_means() {
        // SQLITE_BUSY_SNAPSHOT, SQLITE_CONSTRAINT_UNIQUE
        assert_eq!(sqlite_meaning("517").0, Class::Transient);
        assert_eq!(sqlite_meaning("2067").1, "a constraint is violated");
    }

    #[test]
    fn a_refused_connection_names_the_reason_and_passes_by_itself() {
        let io = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = explain(Side::Source, "cannot connect", &sqlx::Error::Io(io));
        assert_eq!(error.class, Class::Transient);
        assert_eq!(error.with_side(), "source: cannot connect: connection refused");
    }
}
