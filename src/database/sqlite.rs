//! SQLite: opening a file and binding.

use std::str::FromStr as _;
use std::time::Duration;

use chrono::{DateTime, Datelike as _, NaiveDateTime, Timelike as _, Utc};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Sqlite};

use super::{Access, Param, Value};
use crate::config::Endpoint;

/// SQLite has no lock queue; writers poll for this long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// How a time is stored: it sorts as text, and SQLite's date functions read it.
const TIME: &str = "%Y-%m-%d %H:%M:%S%.3f";

pub(super) async fn connect(endpoint: &Endpoint, access: Access) -> Result<SqliteConnection, sqlx::Error> {
    let mut options = SqliteConnectOptions::from_str(&endpoint.url)?
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .disable_statement_logging();
    options = match access {
        Access::Look if !options.get_filename().exists() => SqliteConnectOptions::from_str("sqlite::memory:")?,
        Access::ReadOnly | Access::Look => options.read_only(true),
        // FULL: a commit that was answered survives a power cut.
        Access::ReadWrite => {
            options.create_if_missing(true).journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full)
        }
    };
    options.connect().await
}

type SqliteQuery<'q> = Query<'q, Sqlite, SqliteArguments>;

pub(super) fn bind<'q>(query: SqliteQuery<'q>, params: &[Param<'_>]) -> SqliteQuery<'q> {
    params.iter().fold(query, |query, param| match param {
        Param::Cell(Value::Int(value)) => query.bind(*value),
        Param::Cell(Value::Text(value)) => query.bind(value.map(str::to_owned)),
        Param::Cell(Value::Time(value)) => query.bind(value.map(stored_time)),
        Param::Instant(value) => query.bind(value.map(stored_instant)),
        Param::Ints(values) => query.bind(json(values)),
        Param::Texts(values) => query.bind(json(values)),
        Param::Column(..) => unreachable!("UNNEST is PostgreSQL's; SQLite rows are bound cell by cell"),
    })
}

/// As [`TIME`]; written out, for reading a format takes longer than the rest of binding a row.
fn stored_time(time: NaiveDateTime) -> String {
    let (year, nanosecond) = (time.year(), time.nanosecond());
    if !(0..=9999).contains(&year) || nanosecond >= 1_000_000_000 {
        return time.format(TIME).to_string();
    }
    let (month, day, millisecond) = (time.month(), time.day(), nanosecond / 1_000_000);
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{millisecond:03}")
}

fn stored_instant(instant: DateTime<Utc>) -> String {
    stored_time(instant.naive_utc())
}

fn json<T: serde::Serialize>(values: &[T]) -> String {
    serde_json::to_string(values).expect("numbers and texts always have a JSON form")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_time_is_written_as_its_format_says(
            second in -400_000_000_000i64..400_000_000_000, nanosecond in 0u32..2_000_000_000,
        ) {
            let leap = if nanosecond < 1_000_000_000 { second } else { second - second.rem_euclid(60) + 59 };
            let time = DateTime::from_timestamp(leap, nanosecond).expect("a time of chrono's").naive_utc();
            prop_assert_eq!(stored_time(time), time.format(TIME).to_string());
        }
    }
}
