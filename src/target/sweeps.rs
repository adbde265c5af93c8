//! How far the rolling comparison has come (`sync_sweep`), and the target's side of the comparison of
//! access control IDs.

use chrono::{DateTime, Utc};

use super::bookkeeping::utc;
use super::session::TargetSession;
use crate::database::{Error, Param, on_conflict_set};
use crate::source::{AccessIds, AccessMap};

/// How far a pass of the rolling comparison has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    /// Every pk up to here has been compared in this pass.
    pub position: i64,
    /// When this pass began; none: it waits for its time.
    pub started: Option<DateTime<Utc>>,
    /// When the latest complete pass began: every row has been compared since.
    pub verified_since: Option<DateTime<Utc>>,
}

impl Default for Pass {
    fn default() -> Self {
        Self { position: i64::MIN, started: None, verified_since: None }
    }
}

/// The passes, by the index that the engine gives them.
const PASSES: [&str; 4] = ["access", "patient", "study", "instance"];

/// All passes of a source; that over the instances never begins where this level is switched off.
pub type Passes = [Pass; PASSES.len()];

impl TargetSession {
    /// The passes of the rolling comparison.
    ///
    /// # Errors
    /// The database failed.
    pub async fn passes(&mut self) -> Result<Passes, Error> {
        let (started, verified) = (utc(&self.lease, "started"), utc(&self.lease, "verified_since"));
        let sql = format!("SELECT pass, place, {started}, {verified} FROM sync_sweep WHERE source_fk = $1");
        let source = [Param::int(self.source_fk)];
        let rows = self
            .read(sql, &source, |cells| {
                let instant = |column| Ok(cells.time(column)?.map(|time| time.and_utc()));
                let pass = Pass { position: cells.key(1)?, started: instant(2)?, verified_since: instant(3)? };
                Ok((cells.name(0)?, pass))
            })
            .await?;
        let found = |name: &str| rows.iter().find(|(pass, _)| pass == name).map(|(_, pass)| *pass);
        Ok(PASSES.map(|name| found(name).unwrap_or_default()))
    }

    /// Keeps the first so many passes.
    ///
    /// # Errors
    /// The database failed.
    pub async fn set_passes(&mut self, passes: &[Pass]) -> Result<(), Error> {
        let key = ["source_fk", "pass"];
        let conflict = on_conflict_set(self.lease.dialect(), &key, &["place", "started", "verified_since"], &[]);
        let sql = format!(
            "INSERT INTO sync_sweep (source_fk, pass, place, started, verified_since) \
             VALUES ($1, $2, $3, $4, $5){conflict}"
        );
        for (name, pass) in PASSES.iter().zip(passes) {
            let params = [
                Param::int(self.source_fk),
                Param::text(name),
                Param::int(pass.position),
                Param::Instant(pass.started),
                Param::Instant(pass.verified_since),
            ];
            self.write(sql.as_str(), &params).await?;
        }
        Ok(())
    }

    /// Access control IDs of the live studies with `after < source_pk <= upto` and of their live series.
    ///
    /// # Errors
    /// The database failed.
    pub async fn access(&mut self, after: i64, upto: i64) -> Result<AccessMap, Error> {
        let range = [Param::int(self.source_fk), Param::int(after), Param::int(upto)];
        let live = "s.source_fk = $1 AND s.source_pk > $2 AND s.source_pk <= $3 AND s.deleted_at IS NULL";
        let sql = format!("SELECT s.source_pk, s.access_control_ids FROM rbac_study s WHERE {live}");
        let studies = self
            .read(sql, &range, |cells| Ok((cells.key(0)?, AccessIds { ids: cells.text(1)?, ..AccessIds::default() })))
            .await?;
        let mut map: AccessMap = studies.into_iter().collect();
        let sql = format!(
            "SELECT s.source_pk, e.source_pk, e.access_control_ids FROM rbac_study s \
             JOIN rbac_series e ON e.study_fk = s.id WHERE {live} AND e.deleted_at IS NULL"
        );
        let series = self.read(sql, &range, |cells| Ok((cells.key(0)?, cells.key(1)?, cells.text(2)?))).await?;
        for (study, pk, ids) in series {
            if let Some(entry) = map.get_mut(&study) {
                entry.series.insert(pk, ids);
            }
        }
        Ok(map)
    }
}
