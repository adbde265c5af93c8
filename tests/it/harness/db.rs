//! A session of the tests in any database; every value is read as text.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlDatabaseError, MySqlRow};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow};
use sqlx::{AssertSqlSafe, Column, ConnectOptions, Row, TypeInfo, ValueRef, raw_sql};

/// One row: column to text, `None` for NULL.
pub(crate) type Cells = BTreeMap<String, Option<String>>;

#[derive(Debug)]
pub(crate) enum Db {
    Postgres(PgConnection),
    Mariadb(MySqlConnection),
    Sqlite(SqliteConnection),
    /// One of several writers: when its transaction loses against another's, the rest of it is not asked
    /// any more and answers nothing, until [`Db::lost`] is called.
    Contending(Box<Db>, Option<String>),
}

impl Db {
    pub(crate) async fn postgres(socket: &Path, port: u16, user: &str, database: &str) -> Self {
        let options = PgConnectOptions::new_without_pgpass().socket(socket).port(port).username(user);
        Self::Postgres(options.database(database).connect().await.unwrap())
    }

    pub(crate) async fn mariadb(socket: &Path, database: &str) -> Self {
        let options = MySqlConnectOptions::new().socket(socket).username("root").database(database);
        let mut db = Self::Mariadb(options.connect().await.unwrap());
        // A backslash in a text stands for itself, as in the other databases.
        db.run("SET sql_mode = 'STRICT_ALL_TABLES,NO_BACKSLASH_ESCAPES'").await;
        db
    }

    /// Opens or creates a file.
    pub(crate) async fn sqlite(path: &Path) -> Self {
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
        let options = options.journal_mode(SqliteJournalMode::Wal).busy_timeout(std::time::Duration::from_secs(30));
        Self::Sqlite(options.connect().await.unwrap())
    }

    /// This session as one of several writers, which waits for a lock of another only shortly.
    pub(crate) async fn contending(mut self) -> Self {
        let patience = match &self {
            Self::Postgres(_) => "SET lock_timeout = '300ms'",
            // Whole seconds are all that it takes.
            Self::Mariadb(_) => "SET innodb_lock_wait_timeout = 1",
            Self::Sqlite(_) => "PRAGMA busy_timeout = 300",
            Self::Contending(..) => return self,
        };
        self.run(patience).await;
        Self::Contending(Box::new(self), None)
    }

    /// Against what the transaction of one of several writers was lost; it is to be rolled back.
    pub(crate) fn lost(&mut self) -> Option<String> {
        if let Self::Contending(_, lost) = self { lost.take() } else { None }
    }

    /// Runs any number of statements.
    pub(crate) async fn run(&mut self, sql: &str) {
        if let Err(error) = self.try_run(sql).await {
            self.failed(&error, sql);
        }
    }

    async fn try_run(&mut self, sql: &str) -> sqlx::Result<()> {
        let statements = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Postgres(session) => raw_sql(statements).execute(session).await.map(|_| ()),
            Self::Mariadb(session) => raw_sql(statements).execute(session).await.map(|_| ()),
            Self::Sqlite(session) => raw_sql(statements).execute(session).await.map(|_| ()),
            Self::Contending(_, Some(_)) => Ok(()),
            Self::Contending(session, None) => Box::pin(session.try_run(sql)).await,
        }
    }

    pub(crate) async fn rows(&mut self, sql: &str) -> Vec<Cells> {
        self.try_rows(sql).await.unwrap_or_else(|error| {
            self.failed(&error, sql);
            Vec::new()
        })
    }

    async fn try_rows(&mut self, sql: &str) -> sqlx::Result<Vec<Cells>> {
        let query = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Postgres(session) => {
                raw_sql(query).fetch_all(session).await.map(|rows| rows.iter().map(postgres_cells).collect())
            }
            Self::Mariadb(session) => {
                raw_sql(query).fetch_all(session).await.map(|rows| rows.iter().map(mariadb_cells).collect())
            }
            Self::Sqlite(session) => {
                raw_sql(query).fetch_all(session).await.map(|rows| rows.iter().map(sqlite_cells).collect())
            }
            Self::Contending(_, Some(_)) => Ok(Vec::new()),
            Self::Contending(session, None) => Box::pin(session.try_rows(sql)).await,
        }
    }

    fn failed(&mut self, error: &sqlx::Error, sql: &str) {
        match self {
            Self::Contending(_, lost) if is_contention(error) => *lost = Some(error.to_string()),
            _ => panic!("{error}\nin: {}", sql.chars().take(2000).collect::<String>()),
        }
    }

    /// The first column of the first row.
    pub(crate) async fn value(&mut self, sql: &str) -> Option<String> {
        self.rows(sql).await.into_iter().next()?.into_values().next()?
    }

    /// Numbers of a query with one column.
    pub(crate) async fn numbers(&mut self, sql: &str) -> Vec<i64> {
        let rows = self.rows(sql).await;
        let cells = rows.into_iter().flat_map(BTreeMap::into_values);
        cells.map(|cell| cell.unwrap().parse().expect("a number")).collect()
    }

    /// The tables that the session sees.
    pub(crate) async fn tables(&mut self) -> BTreeSet<String> {
        let sql = match self {
            Self::Postgres(_) => "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()",
            Self::Mariadb(_) => "SELECT table_name FROM information_schema.tables WHERE table_schema = database()",
            Self::Sqlite(_) => "SELECT name FROM sqlite_master WHERE type = 'table'",
            Self::Contending(session, _) => return Box::pin(session.tables()).await,
        };
        self.rows(sql).await.into_iter().filter_map(|row| row.into_values().next()?).collect()
    }

    /// All rows of a table; none where it does not exist.
    pub(crate) async fn table(&mut self, name: &str) -> Vec<Cells> {
        if self.tables().await.contains(name) { self.rows(&format!("SELECT * FROM {name}")).await } else { Vec::new() }
    }
}

/// Whether another transaction was in the way: a deadlock, a lock that was not given in time, a row that
/// was changed since it was read, or one that a key points to and that went, or came, meanwhile.
fn is_contention(error: &sqlx::Error) -> bool {
    let Some(error) = error.as_database_error() else { return false };
    // The states of MariaDB are too coarse.
    if let Some(error) = error.try_downcast_ref::<MySqlDatabaseError>() {
        return [1020, 1062, 1205, 1213, 1451, 1452].contains(&error.number());
    }
    error.code().is_some_and(|code| ["40001", "40P01", "55P03", "23503", "23505"].contains(&code.as_ref()))
}

/// The protocol of `raw_sql` carries text.
fn postgres_cells(row: &PgRow) -> Cells {
    let cell = |column: &sqlx::postgres::PgColumn| {
        let value = row.try_get_raw(column.ordinal()).unwrap();
        let text = if value.is_null() { None } else { Some(value.as_str().unwrap().to_owned()) };
        (column.name().to_owned(), text)
    };
    row.columns().iter().map(cell).collect()
}

/// As with PostgreSQL, but a bit comes as a byte.
fn mariadb_cells(row: &MySqlRow) -> Cells {
    let cell = |column: &sqlx::mysql::MySqlColumn| {
        let bytes: Option<Vec<u8>> = row.try_get_unchecked(column.ordinal()).unwrap();
        let text = |bytes: Vec<u8>| match column.type_info().name() {
            "BIT" => bytes[0].to_string(),
            _ => String::from_utf8(bytes).unwrap(),
        };
        (column.name().to_owned(), bytes.map(text))
    };
    row.columns().iter().map(cell).collect()
}

/// SQLite turns any value into text when it is asked for text.
fn sqlite_cells(row: &SqliteRow) -> Cells {
    let cell = |column: &sqlx::sqlite::SqliteColumn| {
        (column.name().to_owned(), row.try_get_unchecked::<Option<String>, _>(column.ordinal()).unwrap())
    };
    row.columns().iter().map(cell).collect()
}
