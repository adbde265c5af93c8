//! Sessions that stay open between uses.

use std::sync::{Arc, Mutex};

use super::{Access, Error, Session, Side};
use crate::config::Endpoint;

/// Idle sessions kept at the most; a session beyond is closed when its user is done.
const KEEP: usize = 3;

/// A database and the idle sessions with it. A session that saw an error, or whose user went away in
/// the middle, is closed instead of kept, and with it whatever it had begun.
#[derive(Clone, Debug)]
pub struct Slot(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    endpoint: Endpoint,
    side: Side,
    access: Access,
    idle: Mutex<Vec<Session>>,
}

/// A session in use: give it back with [`Lease::release`], or drop it to close it.
pub struct Lease {
    slot: Slot,
    session: Session,
    fresh: bool,
}

impl Slot {
    /// No session yet; does no I/O.
    #[must_use]
    pub fn new(endpoint: Endpoint, side: Side, access: Access) -> Self {
        Self(Arc::new(Inner { endpoint, side, access, idle: Mutex::default() }))
    }

    /// The database.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    /// An idle session that still answers, or a new one.
    ///
    /// # Errors
    /// The database cannot be reached or refuses the login.
    pub async fn lease(&self) -> Result<Lease, Error> {
        while let Some(mut session) = self.pop() {
            if session.is_alive().await {
                return Ok(Lease { slot: self.clone(), session, fresh: false });
            }
        }
        let session = Session::connect(&self.0.endpoint, self.0.side, self.0.access).await?;
        Ok(Lease { slot: self.clone(), session, fresh: true })
    }

    fn pop(&self) -> Option<Session> {
        self.0.idle.lock().expect("no user of the lock panics").pop()
    }
}

impl Lease {
    /// Whether this session was made for this lease: what is known of the database may be old.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// One more session with the same database.
    ///
    /// # Errors
    /// As [`Slot::lease`].
    pub async fn another(&self) -> Result<Self, Error> {
        self.slot.lease().await
    }

    /// Gives the session back; it must be outside a transaction.
    pub fn release(self) {
        let mut idle = self.slot.0.idle.lock().expect("no user of the lock panics");
        if idle.len() < KEEP {
            idle.push(self.session);
        }
    }
}

impl std::ops::Deref for Lease {
    type Target = Session;
    fn deref(&self) -> &Session {
        &self.session
    }
}

impl std::ops::DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Session {
        &mut self.session
    }
}
