//! A session with the target on behalf of one run of one source.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use chrono::{DateTime, NaiveDateTime, Utc};

use super::schema;
use super::{Target, lock};
use crate::config::{Dialect, SourceName};
use crate::database::{Cells, Class, Damage, Error, Lease, Param, Side, Value, any, on_conflict_set};
use crate::model::{Key, Record};
use crate::source::{LEVELS, Level};

/// A row of the target as it stands.
#[derive(Debug)]
pub struct Existing<T> {
    /// Its `id`.
    pub id: i64,
    /// Whether `deleted_at` is set.
    pub deleted: bool,
    /// Its columns.
    pub row: T,
}

/// A row of the target whose columns are not read yet: `id`, whether it is deleted, and the columns of `T`.
pub struct Standing<'c, T> {
    cells: &'c dyn Cells,
    row: PhantomData<T>,
}

impl<'c, T: Record> Standing<'c, T> {
    pub(super) fn new(cells: &'c dyn Cells) -> Self {
        Self { cells, row: PhantomData }
    }

    /// Its key.
    ///
    /// # Errors
    /// A cell holds something else than its column promises.
    pub fn key(&self) -> Result<Key<'c>, Damage> {
        T::key_of(self.cells, 2)
    }

    /// Its `id`, and whether `deleted_at` is set.
    ///
    /// # Errors
    /// As [`Standing::key`].
    pub fn state(&self) -> Result<(i64, bool), Damage> {
        Ok((self.cells.key(0)?, self.cells.flag(1)?))
    }

    /// Whether its columns are those of `row`.
    ///
    /// # Errors
    /// As [`Standing::key`].
    pub fn is(&self, row: &T) -> Result<bool, Damage> {
        row.is_in(self.cells, 2)
    }

    /// Reads it.
    ///
    /// # Errors
    /// As [`Standing::key`].
    pub fn read(&self) -> Result<Existing<T>, Damage> {
        let (id, deleted) = self.state()?;
        Ok(Existing { id, deleted, row: T::from_cells(self.cells, 2)? })
    }
}

/// How far a level of a source has been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Changes up to here have been applied (the source's wall clock); none: the level was empty.
    pub updated_time: Option<NaiveDateTime>,
    /// While the first load is under way: the pk up to which it has come.
    pub load_pk: Option<i64>,
}

/// A session on behalf of one run. Writes begin a transaction, which [`TargetSession::commit`] ends;
/// dropping the session takes it back. In a dry run nothing is written, and rows that would be
/// inserted stand under negative ids.
pub struct TargetSession {
    pub(super) lease: Lease,
    pub(super) source_fk: i64,
    pub(super) dry_run: bool,
    /// When the rows of this session are synced, for `synced_at` and `deleted_at`.
    pub(super) now: DateTime<Utc>,
    installed: bool,
    /// Whether the table of the instance level is there.
    pub(super) has_instances: bool,
    /// What the fence asks for; none in a dry run.
    token: Option<Arc<str>>,
    writing: bool,
    planned: i64,
    /// Ids that were allocated for this session's rows.
    taken: Range<i64>,
}

impl Target {
    /// Opens a session for a run of `source`, and makes the tables and the source's row if they are
    /// missing (not in a dry run). A session that writes needs a target that was claimed.
    ///
    /// # Errors
    /// As [`Target::claim`], and when this process does not serve the target.
    pub async fn session(&self, source: &SourceName, dry_run: bool) -> Result<TargetSession, Error> {
        let token = if dry_run { None } else { Some(self.lock.token()?) };
        let mut lease = if dry_run { self.look.lease().await? } else { self.slot.lease().await? };
        let installed = if dry_run {
            schema::look(&mut lease).await?.has_rows()
        } else {
            // A database that was replaced behind our back comes with a new session.
            if lease.is_fresh() {
                schema::install(&mut lease).await?;
            }
            true
        };
        let has_instances = installed && schema::has_instances(&mut lease).await?;
        let mut session = TargetSession {
            lease,
            source_fk: 0,
            dry_run,
            now: Utc::now(),
            installed,
            has_instances,
            token,
            writing: false,
            planned: 0,
            taken: 0..0,
        };
        session.source_fk = session.find_source(source).await?;
        Ok(session)
    }
}

impl TargetSession {
    async fn find_source(&mut self, source: &SourceName) -> Result<i64, Error> {
        let name = [Param::text(source.as_str())];
        let found = self.read("SELECT id FROM rbac_source WHERE name = $1", &name, |cells| cells.key(0)).await?;
        if let Some(id) = found.first() {
            return Ok(*id);
        }
        let id = self.allocate(1).await?;
        self.write(
            "INSERT INTO rbac_source (id, name) VALUES ($1, $2)",
            &[Param::int(id), Param::text(source.as_str())],
        )
        .await?;
        self.commit().await?;
        Ok(id)
    }

    /// Whether several sessions can write different rows at a time without waiting for each other.
    #[must_use]
    pub fn has_many_writers(&self) -> bool {
        !self.dry_run && self.lease.dialect() == Dialect::Postgres
    }

    /// Another session on behalf of the same run, with a transaction of its own.
    ///
    /// # Errors
    /// The database cannot be reached or refuses the login.
    pub async fn another(&self) -> Result<Self, Error> {
        let (lease, token) = (self.lease.another().await?, self.token.clone());
        Ok(Self { lease, token, writing: false, planned: 0, taken: 0..0, ..*self })
    }

    /// `column` is one of the keys or names in the first parameter.
    pub(super) fn any(&self, column: &str) -> String {
        any(self.lease.dialect(), column)
    }

    /// Asks; a target without tables (in a dry run) has no rows.
    pub(super) async fn read<T: Send>(
        &mut self,
        sql: impl Into<Arc<str>>,
        params: &[Param<'_>],
        decode: impl FnMut(&dyn Cells) -> Result<T, Damage> + Send,
    ) -> Result<Vec<T>, Error> {
        if !self.installed {
            return Ok(Vec::new());
        }
        self.lease.fetch(&sql.into(), params, decode).await
    }

    /// Changes rows within the transaction; does nothing in a dry run.
    pub(super) async fn write(&mut self, sql: impl Into<Arc<str>>, params: &[Param<'_>]) -> Result<u64, Error> {
        if self.dry_run {
            return Ok(0);
        }
        self.begin().await?;
        self.lease.execute(&sql.into(), params).await
    }

    /// Begins a transaction that writes, unless one is under way.
    pub(super) async fn begin(&mut self) -> Result<(), Error> {
        if !self.writing {
            self.lease.begin_write().await?;
            self.writing = true;
            if let Some(token) = &self.token {
                lock::fence(&mut self.lease, token).await?;
            }
            self.now = Utc::now();
        }
        Ok(())
    }

    /// Whether anything has been written since the last commit.
    #[must_use]
    pub fn is_writing(&self) -> bool {
        self.writing
    }

    /// Keeps what was written since the last commit, if anything.
    ///
    /// # Errors
    /// The database failed; whether the rows were kept is then unknown, which is why they and the cursor
    /// are one transaction.
    pub async fn commit(&mut self) -> Result<(), Error> {
        if self.writing {
            self.lease.commit().await?;
            self.writing = false;
        }
        Ok(())
    }

    /// Takes back what was written since the last commit.
    pub(super) async fn roll_back(&mut self) -> Result<(), Error> {
        self.lease.roll_back().await?;
        self.writing = false;
        Ok(())
    }

    /// Gives the session back for the next run; call it after [`TargetSession::commit`].
    pub fn close(self) {
        if !self.writing {
            self.lease.release();
        }
    }

    /// The first of `count` ids that no row has ever had; none are had without asking. In a dry run they are negative.
    ///
    /// # Errors
    /// The database failed.
    pub async fn allocate(&mut self, count: usize) -> Result<i64, Error> {
        let count = count as i64;
        if self.dry_run {
            self.planned -= count;
            return Ok(self.planned);
        }
        if count <= self.taken.end - self.taken.start {
            self.taken.start += count;
            return Ok(self.taken.start - count);
        }
        self.begin().await?;
        let take = "UPDATE sync_sequence SET next_id = next_id + $1";
        let first = match self.lease.dialect() {
            Dialect::Postgres | Dialect::Sqlite => format!("{take} RETURNING next_id - $1"),
            Dialect::Mysql => {
                // The row stays locked until the commit, so what is read is what was written.
                self.lease.execute(&take.into(), &[Param::int(count)]).await?;
                "SELECT next_id - $1 FROM sync_sequence".to_owned()
            }
        };
        let first = self.lease.fetch(&first.into(), &[Param::int(count)], |cells| cells.key(0)).await?;
        first.first().copied().ok_or_else(|| {
            Error::new(Side::Target, Class::Permanent, "table sync_sequence is empty: restore the target from a backup")
        })
    }

    /// Has `count` ids from `first` on allocated here, which another session has allocated and kept: who allocates in
    /// a transaction has others wait until it ends.
    pub fn take_ids(&mut self, first: i64, count: usize) {
        self.taken = first..first + count as i64;
    }

    /// The cursor of each level; none: the level has never been read.
    ///
    /// # Errors
    /// The database failed.
    pub async fn cursors(&mut self) -> Result<[Option<Cursor>; LEVELS], Error> {
        let sql = "SELECT level, updated_time, load_pk FROM sync_cursor WHERE source_fk = $1";
        let source = [Param::int(self.source_fk)];
        let rows = self
            .read(sql, &source, |cells| {
                Ok((cells.name(0)?, Cursor { updated_time: cells.time(1)?, load_pk: cells.int(2)? }))
            })
            .await?;
        Ok(Level::ALL.map(|level| rows.iter().find(|(name, _)| name == level.table()).map(|(_, cursor)| *cursor)))
    }

    /// Moves a cursor, in the transaction of the rows that it covers.
    ///
    /// # Errors
    /// The database failed.
    pub async fn set_cursor(&mut self, level: Level, cursor: Cursor) -> Result<(), Error> {
        let key = ["source_fk", "level"];
        let conflict = on_conflict_set(self.lease.dialect(), &key, &["updated_time", "load_pk", "moved_at"], &[]);
        let sql = format!(
            "INSERT INTO sync_cursor (source_fk, level, updated_time, load_pk, moved_at) \
             VALUES ($1, $2, $3, $4, $5){conflict}"
        );
        let params = [
            Param::int(self.source_fk),
            Param::text(level.table()),
            Param::Cell(Value::Time(cursor.updated_time)),
            Param::Cell(Value::Int(cursor.load_pk)),
            Param::Instant(Some(Utc::now())),
        ];
        self.write(sql, &params).await.map(drop)
    }
}
