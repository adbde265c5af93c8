//! What the daemon keeps in the target beside the rows: history (`sync_run`) and what operators said
//! (`sync_control`).

use chrono::{DateTime, Utc};

use super::{Target, lock};
use crate::config::Dialect;
use crate::database::{Cells, Class, Damage, Error, Param, Session, Side, Value};
use crate::engine::{Levels, Mode};
use crate::history::{RunRecord, RunState, Trigger};
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
        let sql = "INSERT INTO sync_control (name, value) VALUES ($1, $2) \
                   ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        let token = self.lock.token()?;
        let mut lease = self.slot.lease().await?;
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
            "SELECT run_id, run_trigger, mode, source, {}, {started}, {finished}, {}, processed, duration_ms, levels, error \
             FROM sync_run ORDER BY run_id DESC LIMIT $1",
            flag("dry_run"),
            flag("success"),
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
        ];
        let insert = "INSERT INTO sync_run (run_id, run_trigger, mode, source, dry_run, started, finished, success, \
                      processed, duration_ms, levels, error) \
                      VALUES ($1, $2, $3, $4, $5 <> 0, $6, $7, $8 <> 0, $9, $10, $11, $12) ON CONFLICT (run_id) DO NOTHING";
        // Run IDs are ordered by time.
        let prune = "DELETE FROM sync_run WHERE run_id <= \
                     (SELECT run_id FROM sync_run ORDER BY run_id DESC LIMIT 1 OFFSET $1)";
        let token = self.lock.token()?;
        let mut lease = self.slot.lease().await?;
        lease.begin_write().await?;
        lock::fence(&mut lease, &token).await?;
        lease.execute(&insert.into(), &params).await?;
        lease.execute(&prune.into(), &[Param::int(keep as i64)]).await?;
        lease.commit().await?;
        lease.release();
        Ok(())
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn flag(column: &str) -> String {
    format!("CAST(CASE WHEN {column} THEN 1 ELSE 0 END AS bigint)")
}

/// An instant as wall clock in UTC.
pub(super) fn utc(session: &Session, column: &str) -> String {
    match session.dialect() {
        Dialect::Postgres => format!("{column} AT TIME ZONE 'UTC'"),
        Dialect::Sqlite => column.to_owned(),
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
    }))
}

/// Reads a word of a fixed vocabulary as the API spells it.
fn word<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).ok()
}
