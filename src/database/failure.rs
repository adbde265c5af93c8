//! From a driver's error to an [`Error`] that is safe to show.
//!
//! A database's own text can quote the values of a row, which here is personal data. It is passed on
//! only for error classes that speak of names, logins and resources; for all others the code and the
//! constraint are named instead.

use sqlx::error::DatabaseError;
use sqlx::mysql::MySqlDatabaseError;
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
        // MySQL's caching_sha2_password sends the password in the clear, or by RSA, which is not built in.
        sqlx::Error::Configuration(error) if error.to_string().starts_with("RSA") => {
            (Class::Config, "this login needs an encrypted connection: add ?ssl-mode=required to the URL".to_owned())
        }
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
    } else if let Some(error) = error.try_downcast_ref::<MySqlDatabaseError>() {
        Error::new(
            side,
            mysql_class(error.number()),
            format!("{what}: {}", mysql_text(error.number(), error.message())),
        )
    } else {
        let (class, text) = sqlite_meaning(&code);
        Error::new(side, class, format!("{what}: {text} (SQLite code {code})"))
    }
}

fn one_line(text: &str) -> String {
    text.chars().take(LONGEST_TEXT).map(|c| if c.is_control() { ' ' } else { c }).collect()
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
        return format!("{} (SQLSTATE {code})", one_line(error.message()));
    }
    match (error.table(), error.constraint()) {
        (_, Some(constraint)) => format!("constraint {constraint} is violated (SQLSTATE {code})"),
        (Some(table), None) => format!("table {table} does not take a value (SQLSTATE {code})"),
        (None, None) => format!("SQLSTATE {code}"),
    }
}

/// By the error numbers of MySQL and MariaDB; their SQLSTATE is HY000 for most that matter here.
fn mysql_class(number: u16) -> Class {
    match number {
        // Login, database, host, authentication method.
        1044 | 1045 | 1049 | 1130 | 1251 | 1275 | 1524 | 1698 | 1862 | 3118 | 3159 | 4151 => Class::Config,
        // Resources: out of memory, of connections, of disk; too many statements.
        1021 | 1037 | 1038 | 1040 | 1041 | 1114 | 1129 | 1203 | 1226 | 1461
        // The connection, the server going away or changing its role, statements ended from outside.
        | 1047 | 1053 | 1077 | 1152 | 1158..=1161 | 1184 | 1290 | 1317 | 1836 | 1927 | 1969 | 3024 | 3101 | 4031
        // Locks, and a snapshot that does not hold any more.
        | 1020 | 1205 | 1213 | 1412 | 1614 | 1792 => Class::Transient,
        _ => Class::Permanent,
    }
}

/// Numbers whose texts name logins, tables, columns and limits, no values.
const SAFE_NUMBERS: [u16; 54] = [
    1021, 1020, 1037, 1038, 1040, 1041, 1044, 1045, 1046, 1047, 1048, 1049, 1050, 1053, 1054, 1071, 1114, 1118, 1129,
    1130, 1142, 1143, 1146, 1153, 1158, 1159, 1160, 1161, 1184, 1203, 1205, 1213, 1226, 1227, 1251, 1273, 1275, 1290,
    1317, 1364, 1370, 1406, 1412, 1461, 1665, 1698, 1836, 1927, 1969, 3024, 3101, 3118, 3159, 3750,
];

fn mysql_text(number: u16, message: &str) -> String {
    if SAFE_NUMBERS.contains(&number) {
        return format!("{} (error {number})", one_line(message));
    }
    match number {
        // "Duplicate entry '...' for key '...'": the entry is a value, the key is a name.
        1062 | 1586 => match message.rsplit_once("for key ") {
            Some((_, key)) => format!("unique key {} is violated (error {number})", one_line(key)),
            None => format!("a unique key is violated (error {number})"),
        },
        1451 | 1452 => format!("a foreign key is violated (error {number})"),
        _ => format!("error {number}"),
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
    fn mysql_numbers_tell_what_passes_by_itself() {
        for (number, class) in [
            (1040, Class::Transient),
            (1205, Class::Transient),
            (1213, Class::Transient),
            (1290, Class::Transient),
            (1969, Class::Transient),
            (3024, Class::Transient),
            (1045, Class::Config),
            (1049, Class::Config),
            (1142, Class::Permanent),
            (1146, Class::Permanent),
            (1366, Class::Permanent),
        ] {
            assert_eq!(mysql_class(number), class, "{number}");
        }
    }

    #[test]
    fn a_mysql_text_names_the_key_and_never_the_value() {
        let text = mysql_text(1062, "Duplicate entry 'Doe^John' for key 'rbac_study.study_uid'");
        assert_eq!(text, "unique key 'rbac_study.study_uid' is violated (error 1062)");
        let text = mysql_text(1366, "Incorrect string value: 'Doe' for column `patient_name` at row 1");
        assert_eq!(text, "error 1366");
        assert!(mysql_text(1142, "SELECT command denied to user 'u'@'h' for table `d`.`study`").contains("`study`"));
    }

    #[test]
    fn extended_sqlite_codes_mean_what_their_primary_code_means() {
        // SQLITE_BUSY_SNAPSHOT, SQLITE_CONSTRAINT_UNIQUE
        assert_eq!(sqlite_meaning("517").0, Class::Transient);
        assert_eq!(sqlite_meaning("2067").1, "a constraint is violated");
    }

    #[test]
    fn a_login_that_wants_encryption_is_told_so() {
        let rsa = sqlx::Error::Configuration("RSA auth backend disabled".into());
        let error = explain(Side::Source, "cannot connect", &rsa);
        assert_eq!(error.class, Class::Config);
        assert!(error.to_string().contains("ssl-mode=required"), "{error}");
    }

    #[test]
    fn a_refused_connection_names_the_reason_and_passes_by_itself() {
        let io = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = explain(Side::Source, "cannot connect", &sqlx::Error::Io(io));
        assert_eq!(error.class, Class::Transient);
        assert_eq!(error.with_side(), "source: cannot connect: connection refused");
    }
}
