//! What the daemon keeps in the target beside the rows: history (`sync_run`, `sync_audit`) and what operators
//! said (`sync_control`).

use chrono::{DateTime, Utc};

use super::{Target, lock};
use crate::config::Dialect;
use crate::database::{
    Cells, Class, Damage, Error, Param, Session, Side, Value, bigint, on_conflict_keep, on_conflict_set,
};
use crate::engine::{Levels, Mode};
use crate::history::{Actor, Change, RunRecord, RunState, Trigger};
use crate::schedule::Control;

/// The row of `sync_control` that holds [`Control`].
const CONTROL: &str = "control";

impl Target {
    /// What operators said, from `sync_control`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn load_control(&self) -> Result<Control, Error> {
        let mut lease = self.slot.lease().await?;
        let sql = "SELECT value FROM sync_control WHERE name = $1".into();
        let value = lease.fetch(&sql, &[Param::text(CONTROL)], |cells| cells.name(0)).await?;
        lease.release();
        value.first().map_or(Ok(Control::default()), |text| {
            serde_json::from_str(text).map_err(|_| {
                let text = "sync_control holds what this version cannot read: delete its row to start without pause and override";
                Error::new(Side::Target, Class::Permanent, text)
            })
        })
    }

    /// Keeps what operators said.
    ///
    /// # Errors
    /// The database failed.
    pub async fn save_control(&self, control: &Control) -> Result<(), Error> {
        let text = serde_json::to_string(control).expect("times and texts always have a JSON form");
        let token = self.lock.token()?;
        let mut lease = self.slot.lease().await?;
        let conflict = on_conflict_set(lease.dialect(), &["name"], &["value"], &[]);
        let sql = format!("INSERT INTO sync_control (name, value) VALUES ($1, $2){conflict}");
        lease.begin_write().await?;
        lock::fence(&mut lease, &token).await?;
        lease.execute(&sql.into(), &[Param::text(CONTROL), Param::text(&text)]).await?;
        lease.commit().await?;
        lease.release();
        Ok(())
    }

    /// Ended runs from `sync_run`, newest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn recent_runs(&self, limit: usize) -> Result<Vec<RunRecord>, Error> {
        let mut lease = self.slot.lease().await?;
        let (started, finished) = (utc(&lease, "started"), utc(&lease, "finished"));
        let sql = format!(
            "SELECT run_id, run_trigger, mode, source, {}, {started}, {finished}, {}, processed, duration_ms, levels, error, actor \
             FROM sync_run ORDER BY run_id DESC LIMIT $1",
            flag(&lease, "dry_run"),
            flag(&lease, "success"),
        );
        let runs = lease.fetch(&sql.into(), &[Param::int(limit as i64)], run).await?;
        lease.release();
        Ok(runs.into_iter().flatten().collect())
    }

    /// Keeps an ended run in `sync_run`, and drops the oldest past `keep`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn record_run(&self, record: &RunRecord, keep: usize) -> Result<(), Error> {
        let run_id = record.run_id.to_string();
        let levels = serde_json::to_string(&record.levels).expect("numbers always have a JSON form");
        let now = Utc::now();
        let params = [
            Param::text(&run_id),
            Param::text(record.trigger.as_str()),
            Param::text(record.mode.as_str()),
            Param::text(&record.source),
            Param::int(record.dry_run.into()),
            Param::Instant(record.started.or(Some(now))),
            Param::Instant(record.finished.or(Some(now))),
            Param::int(record.success.unwrap_or(false).into()),
            Param::int(signed(record.processed)),
            Param::int(signed(record.duration_ms.unwrap_or(0))),
            Param::text(&levels),
            Param::Cell(Value::Text(record.error.as_deref())),
            Param::Cell(Value::Text(record.actor.as_ref().map(Actor::as_str))),
        ];
        let insert = "INSERT INTO sync_run (run_id, run_trigger, mode, source, dry_run, started, finished, success, \
                      processed, duration_ms, levels, error, actor) \
                      VALUES ($1, $2, $3, $4, $5 <> 0, $6, $7, $8 <> 0, $9, $10, $11, $12, $13)";
        self.keep_latest("sync_run", "run_id", insert, &params, keep).await
    }

    /// Adds a row, unless it is there, and drops the oldest past `keep`. The values of `key` are ordered by time.
    async fn keep_latest(
        &self,
        table: &str,
        key: &str,
        insert: &str,
        params: &[Param<'_>],
        keep: usize,
    ) -> Result<(), Error> {
        let token = self.lock.token()?;
        let mut lease = self.slot.lease().await?;
        let insert = format!("{insert}{}", on_conflict_keep(lease.dialect(), key));
        // MySQL reads the table that it deletes from only inside brackets.
        let prune = format!(
            "DELETE FROM {table} WHERE {key} <= (SELECT oldest.{key} FROM \
             (SELECT {key} FROM {table} ORDER BY {key} DESC LIMIT 1 OFFSET $1) oldest)"
        );
        lease.begin_write().await?;
        lock::fence(&mut lease, &token).await?;
        lease.execute(&insert.into(), params).await?;
        lease.execute(&prune.into(), &[Param::int(keep as i64)]).await?;
        lease.commit().await?;
        lease.release();
        Ok(())
    }

    /// Changes from `sync_audit`, newest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn recent_changes(&self, limit: usize) -> Result<Vec<Change>, Error> {
        let mut lease = self.slot.lease().await?;
        let sql = format!(
            "SELECT change_id, {}, actor, via, action, detail FROM sync_audit ORDER BY change_id DESC LIMIT $1",
            utc(&lease, "at")
        );
        let changes = lease.fetch(&sql.into(), &[Param::int(limit as i64)], change).await?;
        lease.release();
        Ok(changes.into_iter().flatten().collect())
    }

    /// Keeps a change in `sync_audit`, and drops the oldest past `keep`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn record_change(&self, change: &Change, keep: usize) -> Result<(), Error> {
        let change_id = change.change_id.to_string();
        let detail = serde_json::to_string(&change.detail).expect("a JSON object has a JSON form");
        let params = [
            Param::text(&change_id),
            Param::Instant(Some(change.at)),
            Param::text(change.actor.as_str()),
            Param::text(&change.via),
            Param::text(&change.action),
            Param::text(&detail),
        ];
        let insert =
            "INSERT INTO sync_audit (change_id, at, actor, via, action, detail) VALUES ($1, $2, $3, $4, $5, $6)";
        self.keep_latest("sync_audit", "change_id", insert, &params, keep).await
    }
}

/// A row of `sync_audit`; none where a newer version wrote what this one does not know.
fn change(cells: &dyn Cells) -> Result<Option<Change>, Damage> {
    let known = (cells.name(0)?.parse().ok(), cells.time(1)?, serde_json::from_str(&cells.name(5)?).ok());
    let (Some(change_id), Some(at), Some(detail)) = known else { return Ok(None) };
    Ok(Some(Change {
        change_id,
        at: DateTime::<Utc>::from_naive_utc_and_offset(at, Utc),
        actor: Actor::named(&cells.name(2)?),
        via: cells.name(3)?,
        action: cells.name(4)?,
        detail,
    }))
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn flag(session: &Session, column: &str) -> String {
    bigint(session.dialect(), &format!("CASE WHEN {column} THEN 1 ELSE 0 END"))
}

/// An instant as wall clock in UTC.
pub(super) fn utc(session: &Session, column: &str) -> String {
    match session.dialect() {
        Dialect::Postgres => format!("{column} AT TIME ZONE 'UTC'"),
        Dialect::Mysql | Dialect::Sqlite => column.to_owned(),
    }
}

/// A row of `sync_run`; none where a newer version wrote what this one does not know.
fn run(cells: &dyn Cells) -> Result<Option<RunRecord>, Damage> {
    let instant = |column| Ok(cells.time(column)?.map(|time| DateTime::<Utc>::from_naive_utc_and_offset(time, Utc)));
    let known = (
        cells.name(0)?.parse().ok(),
        word::<Trigger>(&cells.name(1)?),
        word::<Mode>(&cells.name(2)?),
        serde_json::from_str::<Levels>(&cells.name(10)?).ok(),
    );
    let (Some(run_id), Some(trigger), Some(mode), Some(levels)) = known else { return Ok(None) };
    Ok(Some(RunRecord {
        run_id,
        state: RunState::Finished,
        trigger,
        mode,
        source: cells.name(3)?,
        dry_run: cells.flag(4)?,
        started: instant(5)?,
        finished: instant(6)?,
        success: Some(cells.flag(7)?),
        processed: cells.key(8)?.unsigned_abs(),
        levels,
        duration_ms: Some(cells.key(9)?.unsigned_abs()),
        error: cells.text(11)?,
        actor: cells.text(12)?.map(|name| Actor::named(&name)),
    }))
}

/// Reads a word of a fixed vocabulary as the API spells it.
fn word<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).ok()
}
