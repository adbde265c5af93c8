//! Writing sheets beside each other in a load: a server works for each session on one row at a time, and a session waits
//! for the disk at each commit, and for the network. PostgreSQL only: SQLite has one writer, and a MySQL server locks
//! rows beside those that are written, for which the sessions would wait for each other.
//!
//! Each sheet is a transaction of its own. What it refers to was committed before, its ids were taken before, and no
//! other sheet has its keys: so no session waits for another, and they may end in any order. The cursor moves when
//! all of them have.

use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::sheet::{Sheet, Written};
use super::{Class, Error, Side};
use crate::target::TargetSession;

/// Sheets that are written at a time.
const PENS: usize = 2;

/// Sessions that write sheets, each in a task. Dropping them takes back what is not committed.
pub(super) struct Pens {
    idle: Vec<TargetSession>,
    busy: JoinSet<Result<(TargetSession, Written), Error>>,
    most: usize,
}

impl Pens {
    /// No session yet.
    pub(super) fn new() -> Self {
        Self { idle: Vec::new(), busy: JoinSet::new(), most: PENS }
    }

    /// Whether there is a pen, if not now then when one has written its sheet. Opens sessions like `target` while
    /// the server takes them: a load needs one for itself, and no more than that.
    pub(super) async fn ready(&mut self, target: &TargetSession) -> bool {
        if self.idle.is_empty() && self.busy.len() < self.most {
            match target.another().await {
                Ok(session) => self.idle.push(session),
                Err(error) => {
                    self.most = self.busy.len();
                    tracing::info!(%error, "the load goes on without one more session that writes");
                }
            }
        }
        self.most > 0
    }

    /// Begins to write a sheet under new ids from `first_id` on, when a pen is idle; answers what one has written
    /// meanwhile.
    pub(super) async fn write(&mut self, sheet: Sheet, first_id: i64) -> Result<Written, Error> {
        let written = if self.idle.is_empty() { self.ended().await?.unwrap_or_default() } else { Written::default() };
        let mut session = self.idle.pop().expect("who writes has asked whether there is a pen");
        session.take_ids(first_id, sheet.rows());
        let writing = async move {
            let written = sheet.write(&mut session).await?;
            session.commit().await?;
            Ok((session, written))
        };
        self.busy.spawn(writing.in_current_span());
        Ok(written)
    }

    /// Waits for a pen, and answers what it has written; none: all of them are idle.
    pub(super) async fn ended(&mut self) -> Result<Option<Written>, Error> {
        let Some(ended) = self.busy.join_next().await else { return Ok(None) };
        let (session, written) = ended.map_err(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Error::new(Side::Run, Class::Cancelled, "cancelled"),
        })??;
        self.idle.push(session);
        Ok(Some(written))
    }
}
