//! Who may write: at any moment one process serves a target, and the others wait.
//!
//! Two things work together, and each has one purpose.
//!
//! - The **lock** decides who serves: in PostgreSQL an advisory lock of a session of its own, in MySQL a
//!   named one, beside an SQLite file an `flock` on `FILE.lock`. It ends with the session or the process that has it, however
//!   that ends, so nothing has to be cleaned up after a crash. Trying it writes nothing.
//! - The **fence** makes sure that nobody else writes: the one row of `sync_lock` holds a token that only
//!   the present holder knows. Whoever gets the lock puts a token of its own there, and every transaction
//!   that writes first reads the row, locks it against change, and gives up if the token is another one.
//!
//! The lock alone is not enough: the session that holds it may die (a cut connection, a server that ends
//! idle sessions) while another session of the same process goes on writing, unaware.
//!
//! Why no two processes ever write in turns:
//!
//! 1. A token is random and belongs to one holder, and the row has one value at a time.
//! 2. A transaction of holder A that has passed the fence keeps a shared lock on the row until it ends (in
//!    SQLite the write lock of the file). B's change of the row waits for that. So when B's token stands,
//!    every transaction of A that passed is over, kept or taken back.
//! 3. Each later transaction of A reads B's token and gives up before its first change.
//!
//! So all writes of A come before all writes of B, whatever happened to the lock. The row is changed in
//! the session that holds the lock, so that one which has lost it meanwhile cannot take the row from its
//! rightful holder. A holder that gets the lock again and finds its own token knows that nobody came in
//! between, and keeps it; so a short cut of that one session ends no run.
//!
//! What this cannot do: a process that is alive but stopped (SIGSTOP, a suspended machine) holds an `flock`
//! until it is killed, and PostgreSQL's lock until the server ends its silent session.

use std::fs::File;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use uuid::Uuid;

use super::{Target, bookkeeping, file, schema};
use crate::config::{Dialect, Endpoint};
use crate::database::{Access, Class, Error, Param, Session, Side};

/// The upper half of the advisory lock's key ("RBAC"); the lower half is the schema, for several targets
/// may share a database.
const KEY: i64 = 0x5242_4143;
/// The name of MySQL's lock, which is known to the whole server and at most 64 characters long.
const MYSQL_NAME: &str = "CONCAT('rbac-sync ', SHA1(database()))";
/// How often the session that holds the lock shows that it lives...
const PING_EVERY: Duration = Duration::from_secs(5);
/// ...and how long it may take to answer: a busy server does that, a dead one does not.
const PING_LIMIT: Duration = Duration::from_secs(10);
/// A server that has not heard of the holder for so long gives the lock to somebody else. Set where the
/// server has the setting (PostgreSQL 14).
const SILENCE: Duration = Duration::from_secs(30);
/// Giving the lock back is a courtesy; the end of the process does it too.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);

/// What became of an attempt to serve a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// This process serves it.
    Held,
    /// Another one does: what it says of itself.
    Elsewhere(String),
}

/// The lock of one target, and the token of the fence.
#[derive(Debug, Default)]
pub(super) struct Lock {
    held: tokio::sync::Mutex<Option<Held>>,
    /// The session of a standby, which asks again and again.
    asking: tokio::sync::Mutex<Option<Session>>,
    token: Mutex<Option<Arc<str>>>,
}

/// What the lock hangs on.
#[derive(Debug)]
enum Held {
    Session(Session),
    File(File),
}

impl Lock {
    /// The token that a transaction must find.
    ///
    /// # Errors
    /// This process does not serve the target.
    pub(super) fn token(&self) -> Result<Arc<str>, Error> {
        let token = self.token.lock().expect("no user of the lock panics").clone();
        token.ok_or_else(|| Error::new(Side::Target, Class::Transient, "this process does not serve the target"))
    }

    fn set_token(&self, token: Option<Arc<str>>) {
        *self.token.lock().expect("no user of the lock panics") = token;
    }
}

impl Target {
    /// Asks to serve the target. If nobody else does: creates or migrates the tables, and from then on this
    /// process may write until [`Target::lost`] says otherwise. Calling it again while it holds is cheap
    /// and right. `role` is what others are told of this process, such as `daemon`.
    ///
    /// # Errors
    /// The database is unreachable, refuses the login, lacks grants, or was made by a newer version.
    pub async fn claim(&self, role: &str) -> Result<Claim, Error> {
        let mut held = self.lock.held.lock().await;
        let endpoint = self.slot.endpoint();
        let before = held.take();
        let taken = match endpoint.dialect {
            Dialect::Postgres | Dialect::Mysql => self.lock_session(endpoint, before).await?,
            Dialect::Sqlite => lock_file(endpoint, before)?,
        };
        let Some(mut taken) = taken else { return Ok(Claim::Elsewhere(self.holder().await?)) };
        match &mut taken {
            Held::Session(session) => self.take_over(session, role).await?,
            Held::File(_) => {
                let mut session = Session::connect(endpoint, Side::Target, Access::ReadWrite).await?;
                self.take_over(&mut session, role).await?;
            }
        }
        *held = Some(taken);
        Ok(Claim::Held)
    }

    async fn lock_session(&self, endpoint: &Endpoint, before: Option<Held>) -> Result<Option<Held>, Error> {
        if let Some(Held::Session(mut session)) = before
            && session.answers_within(PING_LIMIT).await
        {
            return Ok(Some(Held::Session(session)));
        }
        let mut asking = self.lock.asking.lock().await;
        let mut known = asking.take();
        if let Some(session) = &mut known
            && !session.answers_within(PING_LIMIT).await
        {
            known = None;
        }
        let mut session = match known {
            Some(session) => session,
            None => open_lock_session(endpoint).await?,
        };
        let sql = match session.dialect() {
            Dialect::Postgres => format!(
                "SELECT CASE WHEN pg_try_advisory_lock(({KEY}::bigint << 32) | oid::bigint) \
                 THEN 1::bigint ELSE 0 END FROM pg_namespace WHERE nspname = current_schema()"
            ),
            Dialect::Mysql => format!("SELECT GET_LOCK({MYSQL_NAME}, 0)"),
            Dialect::Sqlite => unreachable!("a file is locked beside it"),
        };
        let locked = session.fetch(&sql.into(), &[], |cells| cells.flag(0)).await?;
        match locked.first() {
            Some(true) => Ok(Some(Held::Session(session))),
            Some(false) => {
                *asking = Some(session);
                Ok(None)
            }
            None => Err(Error::new(
                Side::Target,
                Class::Permanent,
                "the login's search_path names no schema that exists: create one, or set search_path",
            )),
        }
    }

    /// Puts a token into the row, unless ours stands there. `session` holds the lock.
    async fn take_over(&self, session: &mut Session, role: &str) -> Result<(), Error> {
        schema::install(session).await?;
        session.begin_write().await?;
        let stored = session.fetch(&"SELECT token FROM sync_lock".into(), &[], |cells| cells.name(0)).await?;
        let ours = self.lock.token().ok().filter(|token| stored.first().is_some_and(|stored| **stored == **token));
        if ours.is_none() {
            let token = Uuid::now_v7().to_string();
            let holder = myself(role);
            let params = [Param::text(&token), Param::text(&holder), Param::Instant(Some(Utc::now()))];
            let sql = "UPDATE sync_lock SET token = $1, holder = $2, since = $3";
            if session.execute(&sql.into(), &params).await? != 1 {
                let text = "table sync_lock does not have exactly one row: restore the target from a backup";
                return Err(Error::new(Side::Target, Class::Permanent, text));
            }
            session.commit().await?;
            self.lock.set_token(Some(token.into()));
            return Ok(());
        }
        session.commit().await
    }

    /// What the process that serves the target says of itself.
    async fn holder(&self) -> Result<String, Error> {
        let unknown = || "another process".to_owned();
        let mut lease = self.look.lease().await?;
        if !schema::look(&mut lease).await?.has_rows() {
            return Ok(unknown());
        }
        let sql = format!("SELECT holder, {} FROM sync_lock", bookkeeping::utc(&lease, "since"));
        let rows = lease.fetch(&sql.into(), &[], |cells| Ok((cells.name(0)?, cells.time(1)?))).await?;
        lease.release();
        Ok(rows.into_iter().next().filter(|(holder, _)| !holder.is_empty()).map_or_else(unknown, |(holder, since)| {
            let since = since.map(|since| DateTime::<Utc>::from_naive_utc_and_offset(since, Utc));
            let since = since.map(|since| format!(", since {}", since.to_rfc3339_opts(SecondsFormat::Secs, true)));
            holder + &since.unwrap_or_default()
        }))
    }

    /// Waits until this process does not hold the lock any more, and says why. Keeps its session alive
    /// meanwhile, so somebody must wait here for as long as the lock is wanted.
    pub async fn lost(&self) -> Error {
        loop {
            tokio::time::sleep(PING_EVERY).await;
            let mut held = self.lock.held.lock().await;
            let alive = match held.as_mut() {
                None => false,
                Some(Held::File(_)) => true,
                Some(Held::Session(session)) => session.answers_within(PING_LIMIT).await,
            };
            if !alive {
                *held = None;
                let text = "the session that holds the lock on the target has ended or does not answer";
                return Error::new(Side::Target, Class::Transient, text);
            }
        }
    }

    /// What tells this time of serving the target from every other one, also of another target; none: this
    /// process does not serve it.
    #[must_use]
    pub fn tenure(&self) -> Option<Arc<str>> {
        self.lock.token().ok()
    }

    /// Lets somebody else serve the target. What this process still writes fails.
    pub async fn release(&self) {
        self.lock.set_token(None);
        let release = async {
            // What fails here is done by the end of the session, or by closing the file.
            match self.lock.held.lock().await.take() {
                Some(Held::Session(mut session)) => {
                    let unlock = match session.dialect() {
                        Dialect::Mysql => format!("DO RELEASE_LOCK({MYSQL_NAME})"),
                        Dialect::Postgres | Dialect::Sqlite => "SELECT pg_advisory_unlock_all()".to_owned(),
                    };
                    let _ = session.command(&unlock).await;
                }
                Some(Held::File(file)) => {
                    file::unlock(&file);
                }
                None => {}
            }
        };
        let _ = tokio::time::timeout(RELEASE_LIMIT, release).await;
    }
}

/// `None`: somebody else has the file.
fn lock_file(endpoint: &Endpoint, before: Option<Held>) -> Result<Option<Held>, Error> {
    match before {
        Some(held @ Held::File(_)) => Ok(Some(held)),
        _ => Ok(file::lock(&endpoint.file().unwrap_or_default())?.map(Held::File)),
    }
}

async fn open_lock_session(endpoint: &Endpoint) -> Result<Session, Error> {
    let mut session = Session::connect(endpoint, Side::Target, Access::ReadWrite).await?;
    let seconds = SILENCE.as_secs();
    if session.dialect() == Dialect::Mysql {
        session.command(&format!("SET SESSION wait_timeout = {seconds}")).await?;
        return Ok(session);
    }
    let silence =
        format!("SELECT set_config(name, '{seconds}s', false) FROM pg_settings WHERE name = 'idle_session_timeout'");
    session.fetch(&silence.into(), &[], |cells| cells.text(0)).await?;
    Ok(session)
}

/// This process as others are told of it.
fn myself(role: &str) -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{role} on host {host}, process {}", std::process::id())
}

/// The first statement of a transaction that writes: passes only if `token` stands in the row, and keeps it
/// there until the transaction ends.
pub(super) async fn fence(session: &mut Session, token: &str) -> Result<(), Error> {
    let sql = match session.dialect() {
        Dialect::Postgres => "SELECT token FROM sync_lock FOR SHARE",
        Dialect::Mysql => "SELECT token FROM sync_lock LOCK IN SHARE MODE",
        // The transaction has the only write lock of the file.
        Dialect::Sqlite => "SELECT token FROM sync_lock",
    };
    let stored = session.fetch(&sql.into(), &[], |cells| cells.name(0)).await?;
    if stored.iter().any(|stored| stored == token) {
        return Ok(());
    }
    let text = "another rbac-sync has taken over the target; nothing was written after that";
    Err(Error::new(Side::Target, Class::Transient, text))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::{Deletes, MaxDeletes, SourceName, TargetConfig};

    pub(in super::super) fn target(folder: &tempfile::TempDir) -> Target {
        let url = format!("sqlite://{}", folder.path().join("rbac.db").display());
        let endpoint = Endpoint { dialect: Dialect::Sqlite, url, password: None };
        let max_deletes = MaxDeletes { rows: 1, percent: 1.0 };
        Target::new(&TargetConfig { endpoint, deletes: Deletes::Tombstone, max_deletes })
    }

    #[tokio::test]
    async fn the_second_is_told_of_the_first_until_that_gives_the_target_back() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (target(&folder), target(&folder));
        assert_eq!(first.claim("daemon").await.unwrap(), Claim::Held);
        assert_eq!(first.claim("daemon").await.unwrap(), Claim::Held, "asking again is right");
        let Claim::Elsewhere(holder) = second.claim("once").await.unwrap() else { panic!("two at a time") };
        assert!(holder.starts_with("daemon on host ") && holder.contains(", since 20"), "{holder}");
        first.release().await;
        assert_eq!(second.claim("once").await.unwrap(), Claim::Held);
    }

    #[tokio::test]
    async fn who_does_not_serve_the_target_cannot_write_but_look() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (target(&folder), target(&folder));
        let source = SourceName::new("main").unwrap();
        assert!(first.session(&source, false).await.is_err(), "never claimed");
        first.claim("daemon").await.unwrap();
        first.session(&source, false).await.unwrap().close();
        // As if the lock had gone without the first one's knowledge.
        std::fs::remove_file(folder.path().join("rbac.db.lock")).unwrap();
        assert_eq!(second.claim("daemon").await.unwrap(), Claim::Held);
        let mut session = first.session(&source, false).await.unwrap();
        let error = session.allocate(1).await.unwrap_err();
        assert_eq!((error.side, error.class), (Side::Target, Class::Transient));
        assert!(error.to_string().contains("taken over"), "{error}");
        drop(session);
        let control = crate::schedule::Control::default();
        assert!(first.save_control(&control).await.is_err());
        first.session(&source, true).await.unwrap().close();
        second.save_control(&control).await.unwrap();
    }
}
