//! Writing sheets beside each other in a load: a server works for each session on one row at a time, and a session waits
//! for the disk at each commit, and for the network. PostgreSQL only: SQLite has one writer, and a MySQL server locks
//! rows beside those that are written, for which the sessions would wait for each other.
//!
//! Each sheet is a transaction of its own. What it refers to was committed before, its ids were taken before, and no
//! other sheet has its keys: so no pen waits for another, and they may end in any order. The run's own session never
//! waits for a pen inside a transaction, whose locks the pen could want. The cursor moves when all sheets are kept.

use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::Error;
use super::reader::unjoined;
use super::sheet::{Sheet, Written};
use crate::target::TargetSession;

/// Sheets that are written at a time.
const PENS: usize = 2;

/// Sessions that write sheets. Dropping them takes back what is not committed.
pub(super) struct Pens {
    idle: Vec<TargetSession>,
    busy: JoinSet<Result<(TargetSession, Written), Error>>,
}

impl Pens {
    /// Opens as many sessions like `target` as the server takes; none: it takes no further one, and the run's own has
    /// to write. Call it outside of a transaction.
    pub(super) async fn open(target: &TargetSession) -> Option<Self> {
        let mut idle = Vec::with_capacity(PENS);
        while idle.len() < PENS {
            match target.another().await {
                Ok(session) => idle.push(session),
                Err(error) => {
                    tracing::info!(%error, "the load goes on with fewer sessions than it would have");
                    break;
                }
            }
        }
        (!idle.is_empty()).then(|| Self { idle, busy: JoinSet::new() })
    }

    /// Waits until a pen is idle; answers what it has written, if it had to be waited for.
    pub(super) async fn ready(&mut self) -> Result<Option<Written>, Error> {
        if self.idle.is_empty() { self.ended().await } else { Ok(None) }
    }

    /// Begins to write a sheet, its new rows under ids from `first_id` on; call it behind [`Pens::ready`].
    pub(super) fn write(&mut self, sheet: Sheet, first_id: i64) {
        let mut session = self.idle.pop().expect("a pen is idle");
        session.take_ids(first_id, sheet.rows());
        let writing = async move {
            let written = sheet.write(&mut session).await?;
            session.commit().await?;
            Ok((session, written))
        };
        self.busy.spawn(writing.in_current_span());
    }

    /// Waits for a pen that writes, and answers what it has written; none: no pen does.
    pub(super) async fn ended(&mut self) -> Result<Option<Written>, Error> {
        let Some(ended) = self.busy.join_next().await else { return Ok(None) };
        let (session, written) = ended.map_err(unjoined)??;
        self.idle.push(session);
        Ok(Some(written))
    }
}
