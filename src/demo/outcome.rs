//! The end of a demo: one last run over everything, and whether the target then holds what the
//! archive holds.
//!
//! The last run has work to do: the changes since the daemon's latest one, and the deletes that no
//! changed row points to (a whole patient, a rejected study), which only a full run can find.

use std::fmt;
use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqliteConnection};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::folder::Folder;
use crate::config::{self, Config, Environment, Problem};
use crate::engine::{self, Levels, Mode, Settings};
use crate::history::RunRecord;
use crate::source::Source;
use crate::target::{Claim, Target};

/// How archive and target compare after the last run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Runs in the target's history.
    runs: Runs,
    /// Rows that the last run had to write.
    written: u64,
    /// Rows that it looked at.
    looked_at: u64,
    archive: Live,
    target: Live,
}

/// Runs of the daemon as the target's history has them: those that changed nothing are not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Runs {
    recorded: usize,
    failed: usize,
    /// Ended by somebody, not by a failure: also the run under way when the demo's time is over.
    cancelled: usize,
}

impl Runs {
    fn of(history: &[RunRecord]) -> Self {
        let unsuccessful = || history.iter().filter(|run| run.success == Some(false));
        let cancelled = unsuccessful().filter(|run| run.is_cancelled()).count();
        Self { recorded: history.len(), failed: unsuccessful().count() - cancelled, cancelled }
    }
}

impl fmt::Display for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "The history holds {} runs with changes or errors; {} failed", self.recorded, self.failed)?;
        if self.cancelled > 0 {
            write!(f, ", {} cancelled", self.cancelled)?;
        }
        f.write_str(".")
    }
}

/// Rows that exist and are not being deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Live {
    patients: i64,
    studies: i64,
    series: i64,
}

impl Outcome {
    /// Whether both sides hold as many rows of each level.
    pub(super) fn in_step(&self) -> bool {
        self.archive == self.target
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, written, looked_at, archive, target } = self;
        writeln!(f, "{runs}")?;
        writeln!(f, "A last full run looked at {looked_at} rows and had to write {written} of them.")?;
        writeln!(f, "{:>10} {:>9} {:>9} {:>9}", "", "patients", "studies", "series")?;
        for (side, live) in [("archive", archive), ("target", target)] {
            writeln!(f, "{side:>10} {:>9} {:>9} {:>9}", live.patients, live.studies, live.series)?;
        }
        f.write_str(if self.in_step() { "The target is in step.\n" } else { "The target is NOT in step.\n" })
    }
}

/// Makes the last run, as `rbac-sync once --mode full` would, and compares. Nobody else may be
/// writing to either side.
///
/// # Errors
/// One sentence: the run or a look at the files failed.
pub(super) async fn check(folder: &Folder) -> Result<Outcome, String> {
    let (runs, levels) = last_run(folder).await?;
    let unreadable = |error: sqlx::Error| format!("cannot compare archive and target: {error}");
    let archive = count(
        &folder.archive(),
        [
            "patient",
            "study WHERE study_deleting = 0",
            "series JOIN study ON study.pk = study_fk WHERE study_deleting = 0",
        ],
    )
    .await
    .map_err(unreadable)?;
    let target = count(
        &folder.target(),
        [
            "rbac_patient WHERE deleted_at IS NULL",
            "rbac_study WHERE deleted_at IS NULL",
            "rbac_series WHERE deleted_at IS NULL",
        ],
    )
    .await
    .map_err(unreadable)?;
    Ok(Outcome { runs, written: levels.changed(), looked_at: levels.processed(), archive, target })
}

/// The demo's configuration, and what the last run is to do.
fn configured(folder: &Folder) -> Result<(Config, Settings), String> {
    let environment = Environment::read(Some(&folder.env_file())).map_err(problems)?;
    let config = config::load(&folder.configuration(), &environment).map_err(problems)?.config;
    let source = config.sources.first().expect("a configuration has at least one source");
    // After hours of a demo there may be much to delete, all of it made up.
    let settings = Settings { mode: Mode::Full, allow_deletes: true, ..Settings::new(source, &config.target) };
    Ok((config, settings))
}

/// What the history held, and what the last run then did.
async fn last_run(folder: &Folder) -> Result<(Runs, Levels), String> {
    let (config, settings) = configured(folder)?;
    let source = Source::new(&config.sources[0]);
    let target = Target::new(&config.target);
    let claim = target.claim("demo").await.map_err(|error| format!("cannot open the target: {error}"))?;
    if let Claim::Elsewhere(holder) = claim {
        return Err(format!("another process serves the target: {holder}"));
    }
    let history = target.recent_runs(config.history_keep).await;
    let history = history.map_err(|error| format!("cannot read the history: {error}"))?;
    let (progress, _) = watch::channel(Levels::default());
    let report = engine::run(&settings, &source, &target, &progress, &CancellationToken::new()).await;
    match report.error {
        None => Ok((Runs::of(&history), report.levels)),
        Some(error) => Err(format!("the last run failed: {error}")),
    }
}

fn problems(problems: Vec<Problem>) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    format!("the demo's configuration is wrong: {}", lines.join("; "))
}

/// Counts the rows of each level; `levels` are statements from FROM on, made in this module.
async fn count(path: &Path, levels: [&'static str; 3]) -> sqlx::Result<Live> {
    let mut file = SqliteConnectOptions::new().filename(path).read_only(true).connect().await?;
    let [patients, studies, series] = levels;
    let live = Live {
        patients: count_one(&mut file, patients).await?,
        studies: count_one(&mut file, studies).await?,
        series: count_one(&mut file, series).await?,
    };
    file.close().await?;
    Ok(live)
}

async fn count_one(file: &mut SqliteConnection, from: &str) -> sqlx::Result<i64> {
    sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {from}"))).fetch_one(file).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{RunState, Trigger};

    #[test]
    fn sides_with_different_counts_are_not_in_step() {
        let live = Live { patients: 1, studies: 2, series: 3 };
        let runs = Runs { recorded: 3, failed: 0, cancelled: 0 };
        let same = Outcome { runs, written: 0, looked_at: 6, archive: live, target: live };
        assert!(same.in_step() && same.to_string().contains("is in step"));
        let fewer = Outcome { target: Live { series: 2, ..live }, ..same };
        assert!(!fewer.in_step() && fewer.to_string().contains("NOT in step"));
    }

    const CANCELLED: &str = "run: cancelled";

    fn ended(error: Option<&str>) -> RunRecord {
        RunRecord {
            run_id: uuid::Uuid::now_v7(),
            state: RunState::Finished,
            trigger: Trigger::Schedule,
            actor: None,
            mode: Mode::Delta,
            source: "demo".to_owned(),
            dry_run: false,
            started: None,
            finished: None,
            success: Some(error.is_none()),
            processed: 0,
            levels: Levels::default(),
            duration_ms: None,
            error: error.map(str::to_owned),
        }
    }

    #[test]
    fn a_run_that_the_end_of_the_demo_cancels_has_not_failed() {
        let runs = Runs::of(&[ended(None), ended(Some("source: gone")), ended(Some(CANCELLED))]);
        assert_eq!(runs, Runs { recorded: 3, failed: 1, cancelled: 1 });
        assert!(runs.to_string().ends_with("1 failed, 1 cancelled."), "{runs}");
    }

    #[tokio::test]
    async fn a_cancelled_run_is_known_by_its_error() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::prepare(Some(&dir.path().join("demo"))).unwrap();
        let mut archive = crate::demo::archive::open(&folder.archive()).await.unwrap();
        let now = crate::demo::testing::NOW;
        crate::demo::archive::fill(&mut archive, 3, crate::demo::SEED, now).await.unwrap();
        folder.write_configuration("127.0.0.1:8080".parse().unwrap()).unwrap();
        let (config, settings) = configured(&folder).unwrap();
        let (progress, _) = watch::channel(Levels::default());
        let cancelled = CancellationToken::new();
        cancelled.cancel();
        let (source, target) = (Source::new(&config.sources[0]), Target::new(&config.target));
        target.claim("demo").await.unwrap();
        let report = engine::run(&settings, &source, &target, &progress, &cancelled).await;
        assert!(ended(Some(&report.error.unwrap().with_side())).is_cancelled());
    }
}
