//! The demo: an archive in a SQLite file, a simulator that keeps changing it, and the real daemon
//! that keeps an RBAC database beside it in step.
//!
//! Everything is made up and everything is local: the demo refuses variables that would point its
//! daemon at another database. It needs nothing but the program.
//!
//! | module | owns |
//! |---|---|
//! | `folder` | where the files are, who may use them, the configuration |
//! | `schema` | the tables of the archive |
//! | `people`, `imaging` | made-up patients, studies and series: pure |
//! | `archive`, `rows` | opening and filling the archive; its rows as statements |
//! | `kind`, `changes`, `simulator` | what an archive does all day: what next, how, when |
//! | `outcome` | the last check: is the target in step? |
//! | `hints` | what is printed |

mod archive;
mod changes;
mod folder;
mod hints;
mod imaging;
mod kind;
mod outcome;
mod people;
mod rows;
mod schema;
mod simulator;

use std::ffi::OsString;
use std::fmt::Display;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use chrono::{SubsecRound, Utc};
use rand::SeedableRng;
use sqlx::SqliteConnection;
use tokio_util::sync::CancellationToken;

use crate::daemon::{self, Failure};
use archive::Content;
use folder::Folder;
use simulator::Simulator;

/// What decides all chance. The same seed gives the same values on every machine and in every
/// version, which the library's default generator does not promise.
type Dice = rand::rngs::Xoshiro256PlusPlus;

/// How the archive stores a text that is missing.
const MISSING: &str = "*";

/// A new demo always begins with the same archive.
const SEED: u64 = 535;

/// What the command line says of a demo.
#[derive(Clone, Debug)]
pub struct Options {
    /// HTTP address.
    pub listen: SocketAddr,
    /// Where the files go; `None`: a temporary folder that goes with the demo.
    pub dir: Option<PathBuf>,
    /// Studies to begin with.
    pub studies: u32,
    /// Ends by itself after this time.
    pub duration: Option<Duration>,
}

/// Runs the demo until it is told to stop or its time is over.
///
/// # Errors
/// The folder or the address cannot be used, the daemon does not start, or in the end the target
/// is not in step with the archive.
pub async fn run(options: Options) -> Result<(), Failure> {
    refuse_variables(std::env::vars_os().map(|(name, _)| name))?;
    let listen = free_address(options.listen)?;
    let folder = Folder::prepare(options.dir.as_deref()).map_err(Failure::Start)?;
    let Some(opened) = unless_interrupted(open_archive(&folder, options.studies)).await else { return Ok(()) };
    let archive = opened?;
    folder.write_configuration(listen).map_err(failed("cannot write the demo's configuration"))?;
    hints::print(&folder, listen, options.dir.is_some());

    let stop = CancellationToken::new();
    // What happens to the archive differs each time, also when an earlier demo goes on.
    let dice = Dice::seed_from_u64(Utc::now().timestamp_micros().unsigned_abs());
    let simulator = tokio::spawn(Simulator::new(archive, dice).run(stop.clone()));
    let ended = run_daemon(&folder, options.duration, &stop).await;
    stop.cancel();
    let tally = simulator.await.map_err(failed("the simulator broke"))?;
    ended?;

    hints::print_tally(&tally);
    match unless_interrupted(outcome::check(&folder)).await {
        Some(outcome) => {
            let outcome = outcome.map_err(Failure::Start)?;
            hints::print_outcome(&outcome);
            if outcome.in_step() { Ok(()) } else { Err(Failure::Start("the target is not in step".to_owned())) }
        }
        None => Ok(()),
    }
}

/// The daemon, until a signal ends it or its time is over.
async fn run_daemon(folder: &Folder, duration: Option<Duration>, stop: &CancellationToken) -> Result<(), Failure> {
    let options = daemon::Options { config: folder.configuration(), env_file: Some(folder.env_file()) };
    let mut daemon = pin!(daemon::run(options, stop.clone()));
    let time_is_over = async {
        match duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = &mut daemon => ended,
        () = time_is_over => {
            stop.cancel();
            daemon.await
        }
    }
}

/// The archive of an earlier demo in the folder, or a new one.
async fn open_archive(folder: &Folder, studies: u32) -> Result<SqliteConnection, Failure> {
    let path = folder.archive();
    let unusable = || failed(format!("cannot use {}", path.display()));
    let content = archive::content(&path).await.map_err(unusable())?;
    if content == Content::Foreign {
        return Err(Failure::Start(format!(
            "{} was not made by a demo: name another folder with --dir",
            path.display()
        )));
    }
    let mut archive = archive::open(&path).await.map_err(unusable())?;
    if content == Content::Nothing {
        hints::print_filling(studies);
        let now = Utc::now().naive_utc().trunc_subsecs(3);
        archive::fill(&mut archive, studies, SEED, now).await.map_err(unusable())?;
    }
    Ok(archive)
}

/// The daemon obeys `RBAC_SYNC_*`, so that a variable meant for a real one could make the demo write
/// made-up patients into a real database. Only those about the log are harmless.
fn refuse_variables(names: impl Iterator<Item = OsString>) -> Result<(), Failure> {
    let mut names: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name.starts_with("RBAC_SYNC_") && !name.starts_with("RBAC_SYNC_LOG_"))
        .collect();
    names.sort();
    if names.is_empty() {
        return Ok(());
    }
    Err(Failure::Start(format!(
        "these variables would change what the demo's daemon works on: {}; unset them, for example with env -u {}",
        names.join(", "),
        names.join(" -u ")
    )))
}

/// Checks early, before anything is made or printed, that the address will do; port 0 becomes a free
/// one. The daemon binds it itself.
fn free_address(listen: SocketAddr) -> Result<SocketAddr, Failure> {
    if !listen.ip().is_loopback() {
        return Err(Failure::Start(format!(
            "the demo listens without a token, so only on a loopback address such as 127.0.0.1:8080, not on {listen}"
        )));
    }
    TcpListener::bind(listen)
        .and_then(|listener| listener.local_addr())
        .map_err(|error| Failure::Start(format!("cannot listen on {listen}: {error}; name another one with --listen")))
}

/// The work's result, or `None` after Ctrl-C. While the daemon runs it takes the signals itself.
async fn unless_interrupted<T>(work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        result = work => Some(result),
        Ok(()) = tokio::signal::ctrl_c() => None,
    }
}

/// Puts what failed before the cause.
fn failed<E: Display>(what: impl Display) -> impl FnOnce(E) -> Failure {
    move |error| Failure::Start(format!("{what}: {error}"))
}

#[cfg(test)]
mod testing {
    use chrono::{NaiveDate, NaiveDateTime, NaiveTime};
    use sqlx::{AssertSqlSafe, SqliteConnection};
    use tempfile::TempDir;

    /// The moment at which the archives of the tests are made.
    pub(super) const NOW: NaiveDateTime =
        NaiveDateTime::new(NaiveDate::from_ymd_opt(2026, 11, 24).unwrap(), NaiveTime::from_hms_opt(12, 0, 0).unwrap());

    /// A new archive, and the folder that it is in.
    pub(super) async fn archive(studies: u32) -> (TempDir, SqliteConnection) {
        let folder = tempfile::tempdir().unwrap();
        let mut archive = super::archive::open(&folder.path().join("archive.db")).await.unwrap();
        super::archive::fill(&mut archive, studies, super::SEED, NOW).await.unwrap();
        (folder, archive)
    }

    /// Every value of every table, as text.
    pub(super) async fn dump(archive: &mut SqliteConnection) -> String {
        let tables: Vec<String> =
            sqlx::query_scalar("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
                .fetch_all(&mut *archive)
                .await
                .unwrap();
        let mut dump = String::new();
        for table in tables {
            let columns: Vec<String> = sqlx::query_scalar("SELECT 'quote(' || name || ')' FROM pragma_table_info(?)")
                .bind(&table)
                .fetch_all(&mut *archive)
                .await
                .unwrap();
            let sql = format!("SELECT {} FROM {table} ORDER BY rowid", columns.join(" || ',' || "));
            let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut *archive).await.unwrap();
            dump += &rows.join("\n");
        }
        dump
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(failure: Failure) -> String {
        failure.to_string()
    }

    #[test]
    fn variables_that_lead_elsewhere_are_refused_by_name() {
        let names = ["PATH", "RBAC_SYNC_LOG_LEVEL", "RBAC_SYNC_TARGET_URL"].map(OsString::from);
        let error = text(refuse_variables(names.into_iter()).unwrap_err());
        assert!(error.contains("RBAC_SYNC_TARGET_URL") && !error.contains("LOG_LEVEL"), "{error}");
        refuse_variables(["HOME", "RBAC_SYNC_LOG_FORMAT"].map(OsString::from).into_iter()).unwrap();
    }

    #[test]
    fn an_address_in_use_is_refused_with_what_to_do() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = text(free_address(taken.local_addr().unwrap()).unwrap_err());
        assert!(error.contains("--listen"), "{error}");
    }

    #[test]
    fn port_0_becomes_a_port_that_can_be_printed() {
        assert_ne!(free_address("127.0.0.1:0".parse().unwrap()).unwrap().port(), 0);
    }

    #[test]
    fn an_address_that_others_reach_is_refused() {
        let error = text(free_address("0.0.0.0:8080".parse().unwrap()).unwrap_err());
        assert!(error.contains("loopback"), "{error}");
    }

    #[tokio::test]
    async fn an_earlier_demo_goes_on_with_its_archive() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("demo");
        for studies in [3, 500] {
            let folder = Folder::prepare(Some(&dir)).unwrap();
            let mut archive = open_archive(&folder, studies).await.unwrap();
            let count: i64 = sqlx::query_scalar("SELECT count(*) FROM study").fetch_one(&mut archive).await.unwrap();
            assert_eq!(count, 3);
        }
    }

    #[tokio::test]
    async fn somebody_elses_archive_is_refused_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("archive.db"), "not a database, but somebody's").unwrap();
        let folder = Folder::prepare(Some(dir.path())).unwrap();
        let error = text(open_archive(&folder, 3).await.unwrap_err());
        assert!(error.contains("archive.db"), "{error}");
        assert_eq!(std::fs::read_to_string(folder.archive()).unwrap(), "not a database, but somebody's");
    }
}
