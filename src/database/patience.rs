//! How long an answer is waited for: long, while the server lives.
//!
//! A scan of a large table may take minutes, and so may the silence of a server that is frozen or cut off:
//! the network alone does not tell them apart, for the kernel of a stopped process still acknowledges what
//! it is sent. So when an answer takes long, a second login is tried: a server that takes it is at work. The
//! exception is a MariaDB server whose disk is full: it takes logins, and waits with a commit until somebody
//! frees space. It says so when it is asked, and nobody is helped by waiting with it.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, timeout};

use super::failure::explain;
use super::session::{CONNECT_TIMEOUT, STATEMENT_TIMEOUT, greet};
use super::{Class, Error, Side};
use crate::config::Endpoint;

/// After so long without an answer, and again after each further such time, the server is asked for a sign
/// of life. Most statements never get there.
const ASK_AFTER: Duration = Duration::from_secs(10);
/// The server's own timeout comes first and says more.
const GRACE: Duration = Duration::from_secs(10);

/// Waits for the outcome of a statement, until its time is over or the server is found dead.
pub(super) async fn answer<T>(
    side: Side,
    endpoint: &Endpoint,
    what: &str,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, Error> {
    let mut work = pin!(work);
    let begun = Instant::now();
    loop {
        if let Ok(result) = timeout(ASK_AFTER, &mut work).await {
            return result.map_err(|error| explain(side, what, &error));
        }
        if begun.elapsed() > STATEMENT_TIMEOUT + GRACE {
            let text = format!("{what}: no answer within {} s", STATEMENT_TIMEOUT.as_secs());
            return Err(Error::new(side, Class::Transient, text));
        }
        tokio::select! {
            biased;
            result = &mut work => return result.map_err(|error| explain(side, what, &error)),
            sign = sign_of_life(endpoint) => {
                let why = match sign {
                    Sign::Works => continue,
                    Sign::NeedsSpace => "the server waits for somebody to free disk space",
                    Sign::None => "a second login gets none either: the server is frozen or cut off",
                };
                let text = format!("{what}: no answer for {} s, and {why}", begun.elapsed().as_secs());
                return Err(Error::new(side, Class::Transient, text));
            }
        }
    }
}

/// What a second login tells of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    /// It takes the login, or refuses it.
    Works,
    /// It works, but a statement of ours waits until there is space on its disk.
    NeedsSpace,
    /// Nothing.
    None,
}

/// On the heap: few statements ever need it.
fn sign_of_life(endpoint: &Endpoint) -> BoxFuture<'_, Sign> {
    Box::pin(async {
        match timeout(CONNECT_TIMEOUT, greet(endpoint)).await {
            Ok(Ok(false) | Err(sqlx::Error::Database(_))) => Sign::Works,
            Ok(Ok(true)) => Sign::NeedsSpace,
            Ok(Err(_)) | Err(_) => Sign::None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Dialect;

    fn endpoint(port: u16) -> Endpoint {
        let url = format!("postgres://nobody@127.0.0.1:{port}/none");
        Endpoint { dialect: Dialect::Postgres, url, password: None }
    }

    /// A server that is stopped: the kernel takes connections, nobody answers.
    #[tokio::test(start_paused = true)]
    async fn a_frozen_server_is_noticed_long_before_the_statement_times_out() {
        let frozen = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = endpoint(frozen.local_addr().unwrap().port());
        let begun = Instant::now();
        let never = std::future::pending::<Result<(), sqlx::Error>>();
        let error = answer(Side::Source, &endpoint, "reading failed", never).await.unwrap_err();
        assert_eq!((error.side, error.class), (Side::Source, Class::Transient));
        assert!(error.to_string().contains("frozen"), "{error}");
        assert!(begun.elapsed() <= ASK_AFTER + CONNECT_TIMEOUT + Duration::from_secs(1), "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_statement_goes_on_while_there_is_a_sign_of_life() {
        // A file needs no server.
        let endpoint = Endpoint { dialect: Dialect::Sqlite, url: "sqlite:none".to_owned(), password: None };
        let slow = async {
            tokio::time::sleep(Duration::from_secs(200)).await;
            Ok(7)
        };
        assert_eq!(answer(Side::Source, &endpoint, "reading failed", slow).await.unwrap(), 7);
    }
}
