//! One session with a database.

use std::fmt;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Postgres, Sqlite};
use tokio::time::timeout;

use super::failure::explain;
use super::param::SQLITE_TIME;
use super::patience::answer;
use super::{Cells, Class, Damage, Error, Param, Side, Value, ValueKind};
use crate::config::{Dialect, Endpoint};

/// A server that does not finish a login by then counts as down.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A statement that takes longer is given up. The longest one that is normal is a scan of a table without
/// an index.
pub(super) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(300);
/// A healthy idle session answers at once.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// SQLite has no lock queue; writers poll for this long.
const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads only, and the database enforces it.
    ReadOnly,
    /// As [`Access::ReadOnly`], and an SQLite file that is not there counts as an empty database.
    Look,
    /// Reads and writes; an SQLite file is created when it is missing.
    ReadWrite,
}

enum Connection {
    Postgres(Box<PgConnection>),
    Sqlite(SqliteConnection),
}

/// One session; at most one statement at a time.
pub struct Session {
    connection: Connection,
    side: Side,
    endpoint: Endpoint,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({}, {:?})", self.side, self.dialect())
    }
}

impl Session {
    /// Logs in.
    ///
    /// # Errors
    /// The database cannot be reached or refuses the login.
    pub async fn connect(endpoint: &Endpoint, side: Side, access: Access) -> Result<Self, Error> {
        let what = format!("cannot connect to {endpoint}");
        let connecting = async {
            Ok(match endpoint.dialect {
                Dialect::Postgres => Connection::Postgres(Box::new(postgres(endpoint, access).await?)),
                Dialect::Sqlite => Connection::Sqlite(sqlite(endpoint, access).await?),
            })
        };
        match timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => Ok(Self { connection, side, endpoint: endpoint.clone() }),
            Ok(Err(error)) => Err(explain(side, &what, &error)),
            Err(_) => Err(Error::new(side, Class::Transient, format!("{what}: no answer within {CONNECT_TIMEOUT:?}"))),
        }
    }

    /// What the server speaks.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match self.connection {
            Connection::Postgres(_) => Dialect::Postgres,
            Connection::Sqlite(_) => Dialect::Sqlite,
        }
    }

    /// Which side of the run this is.
    #[must_use]
    pub fn side(&self) -> Side {
        self.side
    }

    /// Whether the session still answers.
    pub(super) async fn is_alive(&mut self) -> bool {
        self.answers_within(PING_TIMEOUT).await
    }

    /// Whether the session answers in that time.
    pub async fn answers_within(&mut self, limit: Duration) -> bool {
        let ping = async {
            match &mut self.connection {
                Connection::Postgres(connection) => connection.ping().await,
                Connection::Sqlite(connection) => connection.ping().await,
            }
        };
        matches!(timeout(limit, ping).await, Ok(Ok(())))
    }

    /// Asks, and decodes every row of the answer.
    ///
    /// # Errors
    /// The statement failed, took too long, or a cell cannot be decoded.
    pub async fn fetch<T>(
        &mut self,
        sql: &Arc<str>,
        params: &[Param<'_>],
        decode: impl Fn(&dyn Cells) -> Result<T, Damage>,
    ) -> Result<Vec<T>, Error> {
        let side = self.side;
        let damaged = |damage: Damage| Error::new(side, Class::Permanent, format!("reading failed: {damage}"));
        let text = AssertSqlSafe(sql.clone());
        match &mut self.connection {
            Connection::Postgres(connection) => {
                let query = bind_postgres(sqlx::query(text), params);
                let rows = answer(side, &self.endpoint, "reading failed", query.fetch_all(&mut **connection)).await?;
                rows.iter().map(|row| decode(row)).collect::<Result<_, _>>().map_err(damaged)
            }
            Connection::Sqlite(connection) => {
                let query = bind_sqlite(sqlx::query(text), params);
                let rows = answer(side, &self.endpoint, "reading failed", query.fetch_all(connection)).await?;
                rows.iter().map(|row| decode(row)).collect::<Result<_, _>>().map_err(damaged)
            }
        }
    }

    /// Changes rows; answers how many.
    ///
    /// # Errors
    /// The statement failed or took too long.
    pub async fn execute(&mut self, sql: &Arc<str>, params: &[Param<'_>]) -> Result<u64, Error> {
        let side = self.side;
        let text = AssertSqlSafe(sql.clone());
        match &mut self.connection {
            Connection::Postgres(connection) => {
                let query = bind_postgres(sqlx::query(text), params);
                Ok(answer(side, &self.endpoint, "writing failed", query.execute(&mut **connection))
                    .await?
                    .rows_affected())
            }
            Connection::Sqlite(connection) => {
                let query = bind_sqlite(sqlx::query(text), params);
                Ok(answer(side, &self.endpoint, "writing failed", query.execute(connection)).await?.rows_affected())
            }
        }
    }

    /// Runs a statement without parameters and without an answer, such as `BEGIN` or DDL.
    ///
    /// # Errors
    /// The statement failed or took too long.
    pub async fn command(&mut self, sql: &str) -> Result<(), Error> {
        let text = AssertSqlSafe(sql);
        match &mut self.connection {
            Connection::Postgres(connection) => {
                answer(self.side, &self.endpoint, "a command failed", sqlx::raw_sql(text).execute(&mut **connection))
                    .await?;
            }
            Connection::Sqlite(connection) => {
                answer(self.side, &self.endpoint, "a command failed", sqlx::raw_sql(text).execute(connection)).await?;
            }
        }
        Ok(())
    }

    /// Product and version.
    ///
    /// # Errors
    /// As [`Session::fetch`].
    pub async fn server_version(&mut self) -> Result<String, Error> {
        let (product, sql) = match self.dialect() {
            Dialect::Postgres => ("PostgreSQL", "SELECT current_setting('server_version')"),
            Dialect::Sqlite => ("SQLite", "SELECT sqlite_version()"),
        };
        let version = self.fetch(&sql.into(), &[], |cells| cells.text(0)).await?;
        Ok(format!("{product} {}", version.into_iter().next().flatten().unwrap_or_default()))
    }

    /// Begins a transaction that sees one moment of the database and writes nothing.
    ///
    /// # Errors
    /// As [`Session::command`].
    pub async fn begin_snapshot(&mut self) -> Result<(), Error> {
        self.command(match self.dialect() {
            Dialect::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            Dialect::Sqlite => "BEGIN DEFERRED",
        })
        .await
    }

    /// Begins a transaction that writes.
    ///
    /// # Errors
    /// As [`Session::command`].
    pub async fn begin_write(&mut self) -> Result<(), Error> {
        self.command(match self.dialect() {
            Dialect::Postgres => "BEGIN",
            // Takes the write lock now: upgrading a read lock later can only fail.
            Dialect::Sqlite => "BEGIN IMMEDIATE",
        })
        .await
    }

    /// Ends the transaction and keeps what it did.
    ///
    /// # Errors
    /// As [`Session::command`]; whether the transaction was kept is then unknown.
    pub async fn commit(&mut self) -> Result<(), Error> {
        self.command("COMMIT").await
    }
}

/// Logs in and goes away again. A file is always there.
pub(super) async fn greet(endpoint: &Endpoint) -> Result<(), sqlx::Error> {
    match endpoint.dialect {
        Dialect::Postgres => postgres_options(endpoint)?.connect().await?.close().await,
        Dialect::Sqlite => Ok(()),
    }
}

fn postgres_options(endpoint: &Endpoint) -> Result<PgConnectOptions, sqlx::Error> {
    let options = PgConnectOptions::from_str(&endpoint.url)?.application_name("rbac-sync").disable_statement_logging();
    Ok(match &endpoint.password {
        Some(password) => options.password(password.expose()),
        None => options,
    })
}

async fn postgres(endpoint: &Endpoint, access: Access) -> Result<PgConnection, sqlx::Error> {
    let mut connection = postgres_options(endpoint)?.connect().await?;
    // Plans are made anew each time: one that was kept from when a table was empty scans it for ever.
    // One that writes and is stopped in the middle keeps others from taking over; one that reads may have to
    // wait long for the target.
    let (read_only, idle) = if access == Access::ReadWrite { ("off", "6min") } else { ("on", "15min") };
    // A host that vanishes must not keep its locks until the server's two hours are over.
    let settings = format!(
        "SET default_transaction_read_only = {read_only}; SET statement_timeout = '{}s'; SET lock_timeout = '30s'; \
         SET idle_in_transaction_session_timeout = '{idle}'; SET plan_cache_mode = force_custom_plan; \
         SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; \
         SET DateStyle = 'ISO, YMD'; SET TimeZone = 'UTC'",
        STATEMENT_TIMEOUT.as_secs()
    );
    sqlx::raw_sql(AssertSqlSafe(settings)).execute(&mut connection).await?;
    Ok(connection)
}

async fn sqlite(endpoint: &Endpoint, access: Access) -> Result<SqliteConnection, sqlx::Error> {
    let mut options = SqliteConnectOptions::from_str(&endpoint.url)?
        .busy_timeout(SQLITE_BUSY_TIMEOUT)
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

type PostgresQuery<'q> = Query<'q, Postgres, PgArguments>;
type SqliteQuery<'q> = Query<'q, Sqlite, SqliteArguments>;

fn bind_postgres<'q>(query: PostgresQuery<'q>, params: &[Param<'_>]) -> PostgresQuery<'q> {
    params.iter().fold(query, |query, param| match param {
        Param::Cell(Value::Int(value)) => query.bind(*value),
        Param::Cell(Value::Text(value)) => query.bind(value.map(str::to_owned)),
        Param::Cell(Value::Time(value)) => query.bind(*value),
        Param::Instant(value) => query.bind(*value),
        Param::Ints(values) => query.bind(values.to_vec()),
        Param::Texts(values) => query.bind(values.iter().map(|text| (*text).to_owned()).collect::<Vec<String>>()),
        Param::Column(ValueKind::Int, values) => query.bind(values.iter().map(Value::as_int).collect::<Vec<_>>()),
        Param::Column(ValueKind::Text, values) => {
            query.bind(values.iter().map(|value| value.as_text().map(str::to_owned)).collect::<Vec<_>>())
        }
        Param::Column(ValueKind::Time, values) => query.bind(values.iter().map(Value::as_time).collect::<Vec<_>>()),
    })
}

fn bind_sqlite<'q>(query: SqliteQuery<'q>, params: &[Param<'_>]) -> SqliteQuery<'q> {
    params.iter().fold(query, |query, param| match param {
        Param::Cell(Value::Int(value)) => query.bind(*value),
        Param::Cell(Value::Text(value)) => query.bind(value.map(str::to_owned)),
        Param::Cell(Value::Time(value)) => query.bind(value.map(sqlite_time)),
        Param::Instant(value) => query.bind(value.map(sqlite_instant)),
        Param::Ints(values) => query.bind(json(values)),
        Param::Texts(values) => query.bind(json(values)),
        Param::Column(..) => unreachable!("UNNEST is PostgreSQL's; SQLite rows are bound cell by cell"),
    })
}

fn sqlite_time(time: NaiveDateTime) -> String {
    time.format(SQLITE_TIME).to_string()
}

fn sqlite_instant(instant: DateTime<Utc>) -> String {
    instant.format(SQLITE_TIME).to_string()
}

fn json<T: serde::Serialize>(values: &[T]) -> String {
    serde_json::to_string(values).expect("numbers and texts always have a JSON form")
}
