//! MySQL and MariaDB: logging in, and statements in their form.
//!
//! A statement reaches this module with the parameters of the other dialects, `$1`, `$2` and so on. Here
//! a parameter has no number and there are no arrays: each place gets a `?` of its own, and a list one
//! for each of its keys. That is the only form of a list that every version reads through an index,
//! also when it changes rows.

use std::str::FromStr as _;
use std::sync::Arc;

use sqlx::mysql::{MySqlArguments, MySqlConnectOptions, MySqlConnection, MySqlDatabaseError};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, ConnectOptions as _, MySql};

use super::session::STATEMENT_TIMEOUT;
use super::{Access, Param, Value};
use crate::config::Endpoint;

/// Lists are filled up to one of these lengths, so that few statements are prepared; a longer list is
/// asked in parts.
const LENGTHS: [usize; 5] = [1, 8, 64, 512, 2048];
/// Statements that are kept prepared: each in every length of its list, and the rows of inserts.
const PREPARED: usize = 400;

pub(super) fn options(endpoint: &Endpoint) -> Result<MySqlConnectOptions, sqlx::Error> {
    let options = MySqlConnectOptions::from_str(&endpoint.url)?
        .charset("utf8mb4")
        .timezone(Some("+00:00".to_owned()))
        .statement_cache_capacity(PREPARED)
        .disable_statement_logging();
    Ok(match &endpoint.password {
        Some(password) => options.password(password.expose()),
        None => options,
    })
}

pub(super) async fn connect(endpoint: &Endpoint, access: Access) -> Result<MySqlConnection, sqlx::Error> {
    let mut connection = options(endpoint)?.connect().await?;
    sqlx::raw_sql(AssertSqlSafe(settings(access))).execute(&mut connection).await?;
    Ok(connection)
}

/// What a session needs, whatever the server's defaults. The comments are code: `/*M!` for MariaDB,
/// `/*!` for MySQL, from the version behind it on.
fn settings(access: Access) -> String {
    let seconds = STATEMENT_TIMEOUT.as_secs();
    // One that writes and is stopped in the middle keeps others from taking over; one that reads may have to
    // wait long for the target.
    let (access, isolation, idle) = match access {
        Access::ReadOnly | Access::Look => ("READ ONLY", "REPEATABLE READ", 900),
        Access::ReadWrite => ("READ WRITE", "READ COMMITTED", 360),
    };
    format!(
        // A value that does not fit is an error, never cut. A long list is not made a table that is
        // looked through for each row.
        "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', autocommit = 1, \
         lock_wait_timeout = 30, innodb_lock_wait_timeout = 30\
         /*M!100300 , max_statement_time = {seconds}, idle_transaction_timeout = {idle} */\
         /*M!100500 , in_predicate_conversion_threshold = 0 */\
         /*!50708 , max_execution_time = {seconds}000 */; \
         SET SESSION TRANSACTION ISOLATION LEVEL {isolation}; SET SESSION TRANSACTION {access}"
    )
}

/// Whether the login may read every table of the database, not only some: only then the server says that
/// a table is not there, otherwise that the login may not read it.
pub(super) async fn may_read_any_table(connection: &mut MySqlConnection) -> Result<bool, sqlx::Error> {
    const ABSENT: u16 = 1146;
    const DENIED: u16 = 1142;
    match sqlx::raw_sql("SELECT 1 FROM rbac_sync_table_that_is_not_there").execute(connection).await {
        Ok(_) => Ok(true),
        Err(sqlx::Error::Database(error)) => {
            match error.try_downcast_ref::<MySqlDatabaseError>().map(MySqlDatabaseError::number) {
                Some(ABSENT) => Ok(true),
                Some(DENIED) => Ok(false),
                _ => Err(sqlx::Error::Database(error)),
            }
        }
        Err(error) => Err(error),
    }
}

/// Whether a statement of this login waits until somebody frees space on the server's disk. A login sees its
/// own sessions without any grant.
pub(super) async fn waits_for_space(connection: &mut MySqlConnection) -> Result<bool, sqlx::Error> {
    let sql = "SELECT 1 FROM information_schema.processlist WHERE state LIKE 'Waiting for % space' LIMIT 1";
    Ok(!sqlx::raw_sql(sql).fetch_all(connection).await?.is_empty())
}

/// A statement as the server gets it, with what is bound, in order.
#[derive(PartialEq)]
pub(super) struct Statement<'a> {
    sql: Arc<str>,
    values: Vec<Value<'a>>,
}

impl Statement<'_> {
    pub(super) fn query(&self) -> Query<'_, MySql, MySqlArguments> {
        let query = sqlx::query(AssertSqlSafe(self.sql.clone()));
        self.values.iter().fold(query, |query, value| match value {
            Value::Int(value) => query.bind(*value),
            Value::Text(value) => query.bind(*value),
            Value::Time(value) => query.bind(*value),
        })
    }
}

/// The statements that `sql` with `params` amounts to: one, or one for each part of a long list.
pub(super) fn statements<'a>(sql: &Arc<str>, params: &[Param<'a>]) -> Vec<Statement<'a>> {
    // Rows of an insert, written with anonymous parameters from the start.
    if !sql.contains('$') {
        return vec![Statement { sql: sql.clone(), values: params.iter().flat_map(values).collect() }];
    }
    let bound: Vec<Vec<Value<'a>>> = params.iter().map(values).collect();
    let longest = LENGTHS[LENGTHS.len() - 1];
    let list = params.iter().position(|param| matches!(param, Param::Ints(_) | Param::Texts(_)));
    let Some(list) = list else { return vec![statement(sql, None, &bound)] };
    let parts = bound[list].chunks(longest).map(<[_]>::to_vec).collect::<Vec<_>>();
    // Nothing is one of no keys, and nothing equals null.
    let parts = if parts.is_empty() { vec![vec![Value::Int(None)]] } else { parts };
    let mut statements = Vec::with_capacity(parts.len());
    for mut part in parts {
        let length = LENGTHS.into_iter().find(|length| part.len() <= *length).unwrap_or(longest);
        let last = part[part.len() - 1];
        part.resize(length, last);
        let mut bound = bound.clone();
        bound[list] = part;
        statements.push(statement(sql, Some(list), &bound));
    }
    statements
}

fn values<'a>(param: &Param<'a>) -> Vec<Value<'a>> {
    match param {
        Param::Cell(value) => vec![*value],
        Param::Instant(instant) => vec![Value::Time(instant.map(|instant| instant.naive_utc()))],
        Param::Ints(keys) => keys.iter().map(|key| Value::Int(Some(*key))).collect(),
        Param::Texts(names) => names.iter().map(|name| Value::Text(Some(name))).collect(),
        Param::Column(..) => unreachable!("UNNEST is PostgreSQL's; rows are bound cell by cell"),
    }
}

/// Replaces each `$n` by as many `?` as it has values.
fn statement<'a>(sql: &str, list: Option<usize>, bound: &[Vec<Value<'a>>]) -> Statement<'a> {
    let mut pieces = sql.split('$');
    let mut written = pieces.next().unwrap_or_default().to_owned();
    let mut values = Vec::new();
    for piece in pieces {
        let digits = piece.len() - piece.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: usize = piece[..digits].parse().expect("a `$` is followed by the number of a parameter");
        let own = &bound[number - 1];
        written.push('?');
        if list == Some(number - 1) {
            written.push_str(&", ?".repeat(own.len() - 1));
        }
        written.push_str(&piece[digits..]);
        values.extend(own);
    }
    Statement { sql: written.into(), values }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ints(values: &[i64]) -> Vec<Value<'static>> {
        values.iter().map(|value| Value::Int(Some(*value))).collect()
    }

    #[test]
    fn every_place_of_a_parameter_gets_its_value() {
        let sql = "UPDATE t SET a = $2, b = $2 WHERE k IN ($1) AND c = $3".into();
        let made = statements(&sql, &[Param::Ints(&[7, 8, 9]), Param::int(1), Param::int(2)]);
        assert_eq!(made.len(), 1);
        assert_eq!(&*made[0].sql, "UPDATE t SET a = ?, b = ? WHERE k IN (?, ?, ?, ?, ?, ?, ?, ?) AND c = ?");
        assert!(made[0].values == ints(&[1, 1, 7, 8, 9, 9, 9, 9, 9, 9, 2]));
    }

    #[test]
    fn an_empty_list_matches_nothing() {
        let made = statements(&"SELECT 1 FROM t WHERE k IN ($1)".into(), &[Param::Texts(Vec::new())]);
        assert_eq!(&*made[0].sql, "SELECT 1 FROM t WHERE k IN (?)");
        assert!(made[0].values == [Value::Int(None)]);
    }

    #[test]
    fn a_long_list_is_asked_in_parts() {
        let keys: Vec<i64> = (0..5000).collect();
        let made = statements(&"SELECT 1 FROM t WHERE k IN ($1)".into(), &[Param::Ints(&keys)]);
        assert_eq!(made.iter().map(|part| part.values.len()).collect::<Vec<_>>(), [2048, 2048, 2048]);
        let mut asked: Vec<_> = made.into_iter().flat_map(|part| part.values).collect();
        asked.dedup();
        assert!(asked == ints(&keys));
    }

    #[test]
    fn anonymous_parameters_are_bound_as_they_come() {
        let sql: Arc<str> = "INSERT INTO t VALUES (?, ?)".into();
        let made = statements(&sql, &[Param::int(1), Param::text("x")]);
        assert!(made == [Statement { sql, values: vec![Value::Int(Some(1)), Value::Text(Some("x"))] }]);
    }
}
