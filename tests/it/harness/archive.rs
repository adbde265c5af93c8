//! An archive's database under the tests' control: its clock, its keys, its rows.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{Duration, DurationRound as _, NaiveDate, NaiveDateTime};

use super::cluster::{Cluster, READER};
use super::db::Db;
use super::random::Random;
use super::shape::{Column, Dialect, Shape};

/// A value on its way into a column.
#[derive(Clone, Debug)]
pub(crate) enum Val {
    /// What the archive stores for a missing text: `'*'`, or NULL where the column lets it.
    Missing,
    Null,
    Int(i64),
    Text(String),
    Time(NaiveDateTime),
    Bool(bool),
}

impl From<i64> for Val {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<&str> for Val {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Val {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl<T: Into<Val>> From<Option<T>> for Val {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Missing, Into::into)
    }
}

/// Columns of one row; those that the shape lacks are left out, those that must not be null filled in.
pub(crate) type Fields = BTreeMap<&'static str, Val>;

/// The wall clock of one of several nodes of an archive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    /// How far it is ahead.
    pub(crate) skew: Duration,
    /// Its database keeps whole seconds, rounded up from the half.
    pub(crate) whole_seconds: bool,
}

impl Node {
    fn now(self) -> NaiveDateTime {
        let now = chrono::Utc::now().naive_utc() + self.skew;
        let step = if self.whole_seconds { Duration::seconds(1) } else { Duration::milliseconds(1) };
        now.duration_round(step).expect("a time of our age")
    }
}

#[derive(Debug)]
pub(crate) struct Archive {
    pub(crate) db: Db,
    pub(crate) shape: Shape,
    pub(crate) random: Random,
    /// Keys of the institutions that have a code: each institution has the same one everywhere.
    pub(crate) codes: BTreeMap<&'static str, i64>,
    /// Keys of the shared issuers, before 5.26.
    pub(crate) issuers: Vec<i64>,
    pub(crate) dialect: Dialect,
    clock: NaiveDateTime,
    /// Moves the clock; none: it moves by chance with each tick.
    node: Option<Node>,
    /// The last primary key and the last UID given away, shared by all nodes.
    last: Arc<AtomicI64>,
}

impl Archive {
    /// An empty archive in a new database of a server, readable for [`READER`].
    pub(crate) async fn on(cluster: &Cluster, dialect: Dialect, database: &str, shape: Shape, seed: u64) -> Self {
        cluster.create_database(database, "admin");
        let mut db = cluster.admin(database).await;
        db.run(&shape.ddl(dialect)).await;
        let tables = if dialect == Dialect::Mariadb { "*" } else { "ALL TABLES IN SCHEMA public" };
        db.run(&format!("GRANT SELECT ON {tables} TO {READER}")).await;
        Self::new(db, shape, dialect, seed)
    }

    /// An empty archive in a new file.
    pub(crate) async fn sqlite(path: &Path, shape: Shape, seed: u64) -> Self {
        let mut db = Db::sqlite(path).await;
        db.run(&shape.ddl(Dialect::Sqlite)).await;
        Self::new(db, shape, Dialect::Sqlite, seed)
    }

    fn new(db: Db, shape: Shape, dialect: Dialect, seed: u64) -> Self {
        let clock = NaiveDate::from_ymd_opt(2024, 3, 1).and_then(|date| date.and_hms_milli_opt(8, 0, 0, 0)).unwrap();
        let (codes, issuers) = (BTreeMap::new(), Vec::new());
        let last = Arc::default();
        Self { db, shape, random: Random::new(seed), codes, issuers, dialect, clock, node: None, last }
    }

    /// Another node of the same archive, with its own session, clock and choices.
    pub(crate) fn node(&self, db: Db, node: Node, seed: u64) -> Self {
        Self {
            db,
            shape: self.shape.clone(),
            random: Random::new(seed),
            codes: self.codes.clone(),
            issuers: self.issuers.clone(),
            dialect: self.dialect,
            clock: node.now(),
            node: Some(node),
            last: Arc::clone(&self.last),
        }
    }

    /// The wall clock of the archive moves on; now and then two changes happen in the same moment.
    pub(crate) fn tick(&mut self) -> NaiveDateTime {
        if let Some(node) = self.node {
            self.clock = node.now();
        } else if !self.random.chance(20) {
            self.clock += match self.random.below(3) {
                0 => Duration::microseconds(i64::try_from(self.random.below(3_000_000)).unwrap()),
                1 => Duration::milliseconds(i64::try_from(self.random.below(20_000)).unwrap()),
                _ => Duration::seconds(i64::try_from(self.random.below(60)).unwrap()),
            };
        }
        self.clock
    }

    /// The archive's clock stands at that time.
    pub(crate) fn set_clock(&mut self, time: NaiveDateTime) {
        self.clock = time;
    }

    pub(crate) fn next_key(&mut self) -> i64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn next_uid(&mut self) -> String {
        format!("1.2.410.200010.{}", self.next_key())
    }

    /// Adds rows of one table, many in a statement.
    pub(crate) async fn insert(&mut self, table: &str, rows: &[Fields]) {
        let Some(known) = self.shape.table(table).cloned() else { return };
        for rows in rows.chunks(500) {
            let mut values = Vec::with_capacity(rows.len());
            for fields in rows {
                let now = match fields.get("updated_time") {
                    Some(Val::Time(time)) => *time,
                    _ => self.clock,
                };
                let mut cells = Vec::with_capacity(known.columns.len());
                for column in &known.columns {
                    cells.push(match fields.get(column.name.as_str()) {
                        Some(value) => self.literal(value, column),
                        None if !column.not_null => "NULL".to_owned(),
                        None => self.filler(column, now),
                    });
                }
                values.push(format!("({})", cells.join(",")));
            }
            let columns: Vec<&str> = known.columns.iter().map(|column| column.name.as_str()).collect();
            let sql = format!("INSERT INTO {table} ({}) VALUES {}", columns.join(","), values.join(","));
            self.db.run(&sql).await;
        }
    }

    /// Changes columns of one row, as far as the shape has them.
    pub(crate) async fn update(&mut self, table: &str, pk: i64, fields: &[(&str, Val)]) {
        let known = fields.iter().filter_map(|(name, value)| Some((self.shape.column(table, name)?, value)));
        let sets: Vec<String> =
            known.map(|(column, value)| format!("{} = {}", column.name, self.literal(value, column))).collect();
        if !sets.is_empty() {
            self.db.run(&format!("UPDATE {table} SET {} WHERE pk = {pk}", sets.join(", "))).await;
        }
    }

    /// What the archive's entity layer does to a row that it changes: time and version move on.
    pub(crate) async fn bump(&mut self, table: &str, pk: i64) {
        let now = self.tick();
        self.update(table, pk, &[("updated_time", Val::Time(now))]).await;
        self.db.run(&format!("UPDATE {table} SET version = version + 1 WHERE pk = {pk}")).await;
    }

    /// One of the numbers that the query answers, in their order so that a seed repeats itself.
    pub(crate) async fn pick(&mut self, sql: &str) -> Option<i64> {
        let found = self.db.numbers(&format!("{sql} ORDER BY 1")).await;
        if found.is_empty() { None } else { Some(*self.random.choose(&found)) }
    }

    fn literal(&self, value: &Val, column: &Column) -> String {
        match value {
            Val::Missing if column.not_null => "'*'".to_owned(),
            Val::Missing | Val::Null => "NULL".to_owned(),
            Val::Int(number) => number.to_string(),
            Val::Text(text) => format!("'{}'", text.replace('\'', "''")),
            Val::Bool(value) if self.dialect == Dialect::Postgres => value.to_string(),
            Val::Bool(value) => u8::from(*value).to_string(),
            Val::Time(time) if self.dialect != Dialect::Sqlite => format!("'{}'", time.format("%F %T%.6f")),
            Val::Time(time) => format!("'{}'", time.format("%F %T%.3f")),
        }
    }

    /// A column that must hold something, and about which the tests say nothing.
    fn filler(&mut self, column: &Column, now: NaiveDateTime) -> String {
        let value = match column.kind.as_str() {
            kind if kind.starts_with("timestamp") => Val::Time(now),
            kind if kind.starts_with("character") => Val::Missing,
            "boolean" => Val::Bool(false),
            _ if column.name.ends_with("_fk") => Val::Int(self.next_key()),
            _ => Val::Int(0),
        };
        self.literal(&value, column)
    }
}
