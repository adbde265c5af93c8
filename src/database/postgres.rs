//! PostgreSQL: logging in and binding.

use std::str::FromStr as _;

use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Postgres};

use super::session::STATEMENT_TIMEOUT;
use super::{Access, Param, Value, ValueKind};
use crate::config::Endpoint;

pub(super) fn options(endpoint: &Endpoint) -> Result<PgConnectOptions, sqlx::Error> {
    let options = PgConnectOptions::from_str(&endpoint.url)?.application_name("rbac-sync").disable_statement_logging();
    Ok(match &endpoint.password {
        Some(password) => options.password(password.expose()),
        None => options,
    })
}

/// Plans are made anew each time, but for what [`Session::copy`](super::Session::copy) needs: one that was kept from
/// when a table was empty scans it for ever.
pub(super) const PLANS: &str = "force_custom_plan";

pub(super) async fn connect(endpoint: &Endpoint, access: Access) -> Result<PgConnection, sqlx::Error> {
    let mut connection = options(endpoint)?.connect().await?;
    // One that writes and is stopped in the middle keeps others from taking over; one that reads may have to
    // wait long for the target.
    let (read_only, idle) = if access == Access::ReadWrite { ("off", "6min") } else { ("on", "15min") };
    // Rows are asked for by key, a page of neighbours at a time: for those the server's guess that each costs a
    // seek of a disk makes it read whole tables instead. What it compiles for such a page costs more than the page.
    // A host that vanishes must not keep its locks until the server's two hours are over.
    let settings = format!(
        "SET default_transaction_read_only = {read_only}; SET statement_timeout = '{}s'; SET lock_timeout = '30s'; \
         SET idle_in_transaction_session_timeout = '{idle}'; SET plan_cache_mode = {PLANS}; \
         SET random_page_cost = 1.1; SET jit = off; \
         SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; \
         SET DateStyle = 'ISO, YMD'; SET TimeZone = 'UTC'",
        STATEMENT_TIMEOUT.as_secs()
    );
    sqlx::raw_sql(AssertSqlSafe(settings)).execute(&mut connection).await?;
    Ok(connection)
}

type PostgresQuery<'q> = Query<'q, Postgres, PgArguments>;

pub(super) fn bind<'q>(query: PostgresQuery<'q>, params: &[Param<'_>]) -> PostgresQuery<'q> {
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
