//! One session with a database.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join};
use futures_util::{Stream, TryStreamExt as _};
use sqlx::mysql::MySqlConnection;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use tokio::task::coop::consume_budget;
use tokio::time::timeout;

use super::copy::Parts;
use super::failure::explain;
use super::patience::answer;
use super::{Cells, Class, Damage, Error, Param, Shared, Side, Value, mysql, postgres, sqlite};
use crate::config::{Dialect, Endpoint};

/// A server that does not finish a login by then counts as down.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A statement that takes longer is given up. The longest one that is normal is a scan of a table without
/// an index.
pub(super) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(300);
/// A healthy idle session answers at once.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

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

/// Takes the rows of an answer one after the other.
type Take<'t> = &'t mut (dyn FnMut(&dyn Cells) -> Result<(), Damage> + Send);

enum Connection {
    Postgres(Box<PgConnection>),
    Mysql(MySqlConnection),
    Sqlite(SqliteConnection),
}

/// One session; at most one statement at a time.
pub struct Session {
    connection: Connection,
    side: Side,
    endpoint: Endpoint,
    /// Whether PostgreSQL keeps plans in the transaction under way.
    keeps_plans: bool,
}

/// The server checks the foreign keys of each row of a `COPY` by a statement of its own, whose plan must be kept for
/// that: until the transaction ends, or a statement follows that must be planned anew.
const KEEP_PLANS: &str = "SET LOCAL plan_cache_mode = auto";

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
                Dialect::Postgres => Connection::Postgres(Box::new(postgres::connect(endpoint, access).await?)),
                Dialect::Mysql => Connection::Mysql(mysql::connect(endpoint, access).await?),
                Dialect::Sqlite => Connection::Sqlite(sqlite::connect(endpoint, access).await?),
            })
        };
        match timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => Ok(Self { connection, side, endpoint: endpoint.clone(), keeps_plans: false }),
            Ok(Err(error)) => Err(explain(side, &what, &error)),
            Err(_) => Err(Error::new(side, Class::Transient, format!("{what}: no answer within {CONNECT_TIMEOUT:?}"))),
        }
    }

    /// What the server speaks.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match self.connection {
            Connection::Postgres(_) => Dialect::Postgres,
            Connection::Mysql(_) => Dialect::Mysql,
            Connection::Sqlite(_) => Dialect::Sqlite,
        }
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
                Connection::Mysql(connection) => connection.ping().await,
                Connection::Sqlite(connection) => connection.ping().await,
            }
        };
        matches!(timeout(limit, ping).await, Ok(Ok(())))
    }

    /// Asks, and decodes every row of the answer. A MySQL server is asked in parts for a list of more
    /// than a few thousand keys or names: the parts of the answer follow each other, so what is counted
    /// per statement must be added up, and an order holds for the rows of one key.
    ///
    /// # Errors
    /// The statement failed, took too long, or a cell cannot be decoded.
    pub async fn fetch<T: Send>(
        &mut self,
        sql: &Arc<str>,
        params: &[Param<'_>],
        mut decode: impl FnMut(&dyn Cells) -> Result<T, Damage> + Send,
    ) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        let mut take = |cells: &dyn Cells| {
            all.push(decode(cells)?);
            Ok(())
        };
        self.take_each(sql, params, &mut take).await?;
        Ok(all)
    }

    /// Asks, and has every row of the answer taken. On the heap, and one for all kinds of rows, for there is much of
    /// it: three dialects.
    fn take_each<'s>(
        &'s mut self,
        sql: &'s Arc<str>,
        params: &'s [Param<'_>],
        take: Take<'s>,
    ) -> BoxFuture<'s, Result<(), Error>> {
        Box::pin(async move {
            self.plan_anew(params).await?;
            let (side, text) = (self.side, AssertSqlSafe(sql.clone()));
            let what = "reading failed";
            let outcome = match &mut self.connection {
                Connection::Postgres(connection) => {
                    let rows = postgres::bind(sqlx::query(text), params).fetch(&mut **connection);
                    answer(side, &self.endpoint, what, taken(rows, |row| take(row))).await?
                }
                Connection::Mysql(connection) => {
                    let mut so_far = Ok(());
                    for statement in mysql::statements(sql, params) {
                        let rows = statement.query().fetch(&mut *connection);
                        so_far = answer(side, &self.endpoint, what, taken(rows, |row| take(row))).await?;
                        if so_far.is_err() {
                            break;
                        }
                    }
                    so_far
                }
                Connection::Sqlite(connection) => {
                    let rows = sqlite::bind(sqlx::query(text), params).fetch(connection);
                    answer(side, &self.endpoint, what, taken(rows, |row| take(row))).await?
                }
            };
            outcome.map_err(|damage| Error::new(side, Class::Permanent, format!("{what}: {damage}")))
        })
    }

    /// Changes rows; answers how many.
    ///
    /// # Errors
    /// The statement failed or took too long.
    pub async fn execute(&mut self, sql: &Arc<str>, params: &[Param<'_>]) -> Result<u64, Error> {
        self.plan_anew(params).await?;
        let side = self.side;
        let text = AssertSqlSafe(sql.clone());
        match &mut self.connection {
            Connection::Postgres(connection) => {
                let query = postgres::bind(sqlx::query(text), params);
                Ok(answer(side, &self.endpoint, "writing failed", query.execute(&mut **connection))
                    .await?
                    .rows_affected())
            }
            Connection::Mysql(connection) => {
                let mut changed = 0;
                for statement in mysql::statements(sql, params) {
                    let query = statement.query();
                    changed += answer(side, &self.endpoint, "writing failed", query.execute(&mut *connection))
                        .await?
                        .rows_affected();
                }
                Ok(changed)
            }
            Connection::Sqlite(connection) => {
                let query = sqlite::bind(sqlx::query(text), params);
                Ok(answer(side, &self.endpoint, "writing failed", query.execute(connection)).await?.rows_affected())
            }
        }
    }

    /// Executes statements one after the other. SQLite works on one while the next one is made.
    ///
    /// # Errors
    /// As [`Session::execute`].
    pub async fn execute_each<'a>(
        &mut self,
        mut statements: impl Iterator<Item = (Arc<str>, Vec<Param<'a>>)>,
    ) -> Result<(), Error> {
        let Connection::Sqlite(connection) = &mut self.connection else {
            for (sql, params) in statements {
                self.execute(&sql, &params).await?;
            }
            return Ok(());
        };
        let mut query = || {
            let (sql, params) = statements.next()?;
            Some(sqlite::bind(sqlx::query(AssertSqlSafe(sql)), &params))
        };
        let mut next = query();
        while let Some(present) = next {
            let executing = answer(self.side, &self.endpoint, "writing failed", present.execute(&mut *connection));
            let (done, ahead) = join(executing, async { query() }).await;
            done?;
            next = ahead;
        }
        Ok(())
    }

    /// A statement with a list of keys or values is planned anew also behind a `COPY`.
    async fn plan_anew(&mut self, params: &[Param<'_>]) -> Result<(), Error> {
        if self.keeps_plans && params.iter().any(Param::is_list) {
            self.keeps_plans = false;
            self.command(&format!("SET LOCAL plan_cache_mode = {}", postgres::PLANS)).await?;
        }
        Ok(())
    }

    /// Adds rows to the columns `columns` of `table` by `COPY`, which of the dialects only PostgreSQL has. Behind
    /// the values of each row stand those that all share.
    ///
    /// # Errors
    /// The statement failed or took too long, or there is no `COPY`.
    pub async fn copy<'a>(
        &mut self,
        table: &str,
        columns: &[&str],
        rows: impl Iterator<Item = Vec<Value<'a>>>,
        shared: &[Shared],
    ) -> Result<(), Error> {
        let Connection::Postgres(connection) = &mut self.connection else {
            return Err(Error::new(self.side, Class::Permanent, "only PostgreSQL has COPY"));
        };
        let sql = format!("COPY {table} ({}) FROM STDIN (FORMAT BINARY)", columns.join(", "));
        let keep = !std::mem::replace(&mut self.keeps_plans, true);
        let copying = async {
            if keep {
                sqlx::raw_sql(KEEP_PLANS).execute(&mut **connection).await?;
            }
            let mut copy = connection.copy_in_raw(&sql).await?;
            for part in Parts::new(rows, shared) {
                copy.send(part).await?;
            }
            copy.finish().await
        };
        answer(self.side, &self.endpoint, "writing failed", copying).await.map(drop)
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
            Connection::Mysql(connection) => {
                answer(self.side, &self.endpoint, "a command failed", sqlx::raw_sql(text).execute(connection)).await?;
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
            Dialect::Mysql => ("MySQL", "SELECT version()"),
            Dialect::Sqlite => ("SQLite", "SELECT sqlite_version()"),
        };
        let version = self.fetch(&sql.into(), &[], |cells| cells.text(0)).await?;
        let version = version.into_iter().next().flatten().unwrap_or_default();
        let product = if version.contains("MariaDB") { "MariaDB" } else { product };
        Ok(format!("{product} {version}"))
    }

    /// Whether the catalogue shows every table and column. A MySQL server shows a login only those that
    /// it may use.
    ///
    /// # Errors
    /// As [`Session::command`].
    pub async fn sees_all_tables(&mut self) -> Result<bool, Error> {
        let Connection::Mysql(connection) = &mut self.connection else { return Ok(true) };
        let asking = async { mysql::may_read_any_table(connection).await };
        answer(self.side, &self.endpoint, "reading the catalogue failed", asking).await
    }

    /// Begins a transaction that sees one moment of the database and writes nothing.
    ///
    /// # Errors
    /// As [`Session::command`].
    pub async fn begin_snapshot(&mut self) -> Result<(), Error> {
        self.command(match self.dialect() {
            Dialect::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            Dialect::Mysql => "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
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
            Dialect::Postgres | Dialect::Mysql => "BEGIN",
            // Takes the write lock now: upgrading a read lock later can only fail.
            Dialect::Sqlite => "BEGIN IMMEDIATE",
        })
        .await
    }

    /// Ends the transaction and takes back what it did.
    ///
    /// # Errors
    /// As [`Session::command`].
    pub async fn roll_back(&mut self) -> Result<(), Error> {
        self.keeps_plans = false;
        self.command("ROLLBACK").await
    }

    /// Ends the transaction and keeps what it did.
    ///
    /// # Errors
    /// As [`Session::command`]; whether the transaction was kept is then unknown.
    pub async fn commit(&mut self) -> Result<(), Error> {
        self.keeps_plans = false;
        self.command("COMMIT").await
    }
}

/// Takes rows as they come, so that none is kept twice, and lets others work in between: many rows lie ready at once.
/// All of them are taken from the session, also behind one that is damaged.
async fn taken<R>(
    mut rows: impl Stream<Item = Result<R, sqlx::Error>> + Unpin,
    mut take: impl FnMut(&R) -> Result<(), Damage>,
) -> Result<Result<(), Damage>, sqlx::Error> {
    let mut all = Ok(());
    while let Some(row) = rows.try_next().await? {
        if all.is_ok() {
            all = take(&row);
        }
        consume_budget().await;
    }
    Ok(all)
}

/// Logs in and goes away again; answers whether a session of ours there waits for space on the disk. A file is
/// always there.
pub(super) async fn greet(endpoint: &Endpoint) -> Result<bool, sqlx::Error> {
    match endpoint.dialect {
        Dialect::Postgres => postgres::options(endpoint)?.connect().await?.close().await.map(|()| false),
        Dialect::Mysql => {
            let mut connection = mysql::options(endpoint)?.connect().await?;
            let waits = mysql::waits_for_space(&mut connection).await?;
            connection.close().await.map(|()| waits)
        }
        Dialect::Sqlite => Ok(false),
    }
}
