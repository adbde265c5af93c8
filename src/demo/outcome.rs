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
use crate::config::{self, Environment, Problem};
use crate::engine::{self, Levels, Mode, Settings};
use crate::source::Source;
use crate::target::Target;

/// How archive and target compare after the last run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Runs in the target's history, and how many of them failed.
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
        writeln!(f, "The history holds {} runs with changes or errors; {} failed.", runs.recorded, runs.failed)?;
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

/// What the history held, and what the last run then did.
async fn last_run(folder: &Folder) -> Result<(Runs, Levels), String> {
    let environment = Environment::read(Some(&folder.env_file())).map_err(problems)?;
    let config = config::load(&folder.configuration(), &environment).map_err(problems)?.config;
    let source = config.sources.first().expect("a configuration has at least one source");
    // After hours of a demo there may be much to delete, all of it made up.
    let settings = Settings { mode: Mode::Full, allow_deletes: true, ..Settings::new(source, &config.target) };
    let target = Target::new(&config.target);
    target.open().await.map_err(|error| format!("cannot open the target: {error}"))?;
    let history = target.recent_runs(config.history_keep).await;
    let history = history.map_err(|error| format!("cannot read the history: {error}"))?;
    let failed = history.iter().filter(|run| run.success == Some(false)).count();
    let (progress, _) = watch::channel(Levels::default());
    let report = engine::run(&settings, &Source::new(source), &target, &progress, &CancellationToken::new()).await;
    match report.error {
        None => Ok((Runs { recorded: history.len(), failed }, report.levels)),
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

    #[test]
    fn sides_with_different_counts_are_not_in_step() {
        let live = Live { patients: 1, studies: 2, series: 3 };
        let runs = Runs { recorded: 3, failed: 0 };
        let same = Outcome { runs, written: 0, looked_at: 6, archive: live, target: live };
        assert!(same.in_step() && same.to_string().contains("is in step"));
        let fewer = Outcome { target: Live { series: 2, ..live }, ..same };
        assert!(!fewer.in_step() && fewer.to_string().contains("NOT in step"));
    }
}
