//! The life of the demo's archive: one random change after another, each its own transaction.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{NaiveDateTime, SubsecRound, Utc};
use sqlx::{Connection, SqliteConnection};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Dice;
use super::changes;
use super::kind::Kind;

/// Time between two changes.
const PACE: Duration = Duration::from_millis(500);
/// A smaller archive loses nothing: a single study would be too large a part of it for the daemon's
/// brake on deletes.
const SMALLEST_TO_LOSE: i64 = 100;

/// How many changes of each kind were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    made: BTreeMap<Kind, u64>,
    /// Changes that the database refused.
    pub(super) failed: u64,
}

impl Tally {
    /// Changes of that kind.
    pub(super) fn of(&self, kind: Kind) -> u64 {
        self.made.get(&kind).copied().unwrap_or(0)
    }

    /// Changes of all kinds.
    pub(super) fn total(&self) -> u64 {
        self.made.values().sum()
    }
}

/// An archive with what decides its next change.
#[derive(Debug)]
pub(super) struct Simulator {
    archive: SqliteConnection,
    dice: Dice,
    tally: Tally,
}

impl Simulator {
    /// Takes the archive over.
    pub(super) fn new(archive: SqliteConnection, dice: Dice) -> Self {
        Self { archive, dice, tally: Tally::default() }
    }

    /// Makes one change every half second until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) -> Tally {
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while stop.run_until_cancelled(pace.tick()).await.is_some() {
            self.attempt(Utc::now().naive_utc().trunc_subsecs(3)).await;
        }
        if let Err(error) = self.archive.close().await {
            warn!(%error, "the demo's archive was not closed cleanly");
        }
        self.tally
    }

    /// Makes one change at `now`. One that fails is logged, counted and rolled back; the next one
    /// comes all the same.
    async fn attempt(&mut self, now: NaiveDateTime) {
        match self.step(now).await {
            Ok(kind) => *self.tally.made.entry(kind).or_default() += 1,
            Err(error) => {
                self.tally.failed += 1;
                warn!(%error, "the demo's archive refused a change");
            }
        }
    }

    async fn step(&mut self, now: NaiveDateTime) -> sqlx::Result<Kind> {
        let mut transaction = self.archive.begin_with("BEGIN IMMEDIATE").await?;
        let mut kind = Kind::roll(&mut self.dice);
        if kind.deletes() {
            let studies: i64 = sqlx::query_scalar("SELECT count(*) FROM study").fetch_one(&mut *transaction).await?;
            if studies < SMALLEST_TO_LOSE {
                kind = Kind::StoreStudy;
            }
        }
        if !changes::make(&mut transaction, kind, &mut self.dice, now).await? {
            // Nothing in the archive fits that kind of change; a study can always arrive.
            kind = Kind::StoreStudy;
            changes::make(&mut transaction, kind, &mut self.dice, now).await?;
        }
        transaction.commit().await?;
        Ok(kind)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chrono::TimeDelta;
    use rand::SeedableRng;

    use super::super::testing::{NOW, archive, dump};
    use super::*;

    /// Each row's `updated_time` and `version` by table and key.
    type Rows = BTreeMap<(&'static str, i64), (String, i64)>;

    async fn rows(archive: &mut SqliteConnection) -> Rows {
        let mut rows = Rows::new();
        for table in ["patient", "study", "series"] {
            let sql = sqlx::AssertSqlSafe(format!("SELECT pk, updated_time, version FROM {table}"));
            let found: Vec<(i64, String, i64)> = sqlx::query_as(sql).fetch_all(&mut *archive).await.unwrap();
            rows.extend(found.into_iter().map(|(pk, time, version)| ((table, pk), (time, version))));
        }
        rows
    }

    /// What a change did, as counts of [patients, studies, series].
    #[derive(Debug, Default, PartialEq)]
    struct Effect {
        new: [usize; 3],
        bumped: [usize; 3],
        gone: [usize; 3],
    }

    fn effect(before: &Rows, after: &Rows) -> Effect {
        let level = |table: &str| ["patient", "study", "series"].iter().position(|name| *name == table).unwrap();
        let mut effect = Effect::default();
        for (key, row) in after {
            match before.get(key) {
                None => effect.new[level(key.0)] += 1,
                Some(old) if old != row => {
                    assert!(row.0 > old.0 && row.1 == old.1 + 1, "time and version move together: {key:?}");
                    effect.bumped[level(key.0)] += 1;
                }
                Some(_) => {}
            }
        }
        for key in before.keys().filter(|key| !after.contains_key(*key)) {
            effect.gone[level(key.0)] += 1;
        }
        effect
    }

    #[tokio::test]
    async fn each_kind_of_change_moves_exactly_the_rows_that_the_archive_moves() {
        let (_folder, mut archive) = archive(200).await;
        let mut dice = Dice::seed_from_u64(11);
        let mut now = NOW;
        for (kind, _, _) in Kind::ALL {
            let mut made = 0;
            while made < 12 {
                now += TimeDelta::milliseconds(500);
                let before = rows(&mut archive).await;
                if !changes::make(&mut archive, kind, &mut dice, now).await.unwrap() {
                    // Deleting a study is how a patient comes to have none.
                    changes::make(&mut archive, Kind::DeleteStudy, &mut dice, now).await.unwrap();
                    continue;
                }
                made += 1;
                let Effect { new, bumped, gone } = effect(&before, &rows(&mut archive).await);
                match kind {
                    Kind::StoreStudy => assert!(new[0] <= 1 && new[1] == 1 && new[2] >= 1),
                    Kind::AddSeries => assert_eq!(new, [0, 0, 1]),
                    _ => assert_eq!(new, [0; 3]),
                }
                match kind {
                    Kind::StoreStudy | Kind::AddSeries | Kind::DeletePatient => assert_eq!(bumped, [0; 3]),
                    Kind::RenamePatient => assert_eq!(bumped, [1, 0, 0]),
                    Kind::ChangeAccess => assert!(bumped == [0, 1, 0] || bumped == [0, 0, 1]),
                    Kind::MergePatients => assert!(bumped[0] == 1 && bumped[2] == 0),
                    Kind::CorrectSeries => assert_eq!(bumped, [0, 0, 1]),
                    Kind::DeleteSeries => assert_eq!(bumped, [0, 1, 0]),
                    Kind::DeleteStudy => assert!(bumped[0] <= 1 && bumped[1..] == [0, 0]),
                    Kind::Reject => assert!(bumped[0] == 0 && bumped[1] == 1 && bumped[2] >= 1),
                }
                match kind {
                    Kind::DeleteSeries => assert_eq!(gone, [0, 0, 1]),
                    Kind::DeleteStudy => assert!(gone[0] == 0 && gone[1] == 1 && gone[2] >= 1),
                    Kind::DeletePatient => assert!(gone[0] >= 1 && gone[1..] == [0, 0]),
                    _ => assert_eq!(gone, [0; 3]),
                }
            }
        }
    }

    #[tokio::test]
    async fn a_deleted_study_moves_its_patient_unless_it_had_been_rejected() {
        let (_folder, mut archive) = archive(60).await;
        let mut dice = Dice::seed_from_u64(5);
        for (state, moved) in [(0, 1), (2, 0)] {
            let set = sqlx::query("UPDATE study SET rejection_state = ?").bind(state);
            set.execute(&mut archive).await.unwrap();
            let before = rows(&mut archive).await;
            changes::make(&mut archive, Kind::DeleteStudy, &mut dice, NOW + TimeDelta::days(state + 1)).await.unwrap();
            assert_eq!(effect(&before, &rows(&mut archive).await).bumped, [moved, 0, 0]);
        }
    }

    #[tokio::test]
    async fn a_merge_moves_the_studies_to_the_survivor_and_keeps_the_merged_row() {
        let (_folder, mut archive) = archive(60).await;
        let mut dice = Dice::seed_from_u64(6);
        sqlx::query("UPDATE patient SET merge_fk = NULL").execute(&mut archive).await.unwrap();
        while !changes::make(&mut archive, Kind::MergePatients, &mut dice, NOW).await.unwrap() {}
        let merged: Vec<(i64, i64)> = sqlx::query_as("SELECT pk, merge_fk FROM patient WHERE merge_fk IS NOT NULL")
            .fetch_all(&mut archive)
            .await
            .unwrap();
        let [(merged, survivor)] = merged[..] else { panic!("one patient is merged: {merged:?}") };
        assert_ne!(merged, survivor);
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM study WHERE patient_fk = ?")
            .bind(merged)
            .fetch_one(&mut archive)
            .await
            .unwrap();
        assert_eq!(left, 0);
    }

    #[tokio::test]
    async fn five_hundred_changes_are_of_every_kind_and_leave_no_dangling_key() {
        let (_folder, archive) = archive(300).await;
        let mut simulator = Simulator::new(archive, Dice::seed_from_u64(1));
        for step in 0..500 {
            simulator.attempt(NOW + TimeDelta::milliseconds(500 * step)).await;
        }
        for (kind, _, name) in Kind::ALL {
            assert!(simulator.tally.of(kind) > 0, "no {name}");
        }
        assert_eq!((simulator.tally.total(), simulator.tally.failed), (500, 0));
        let dangling = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut simulator.archive).await.unwrap();
        assert_eq!(dangling.len(), 0);
        let lost_names: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM person_name WHERE pk NOT IN (
                 SELECT pat_name_fk FROM patient WHERE pat_name_fk IS NOT NULL
                 UNION SELECT ref_phys_name_fk FROM study WHERE ref_phys_name_fk IS NOT NULL
                 UNION SELECT perf_phys_name_fk FROM series WHERE perf_phys_name_fk IS NOT NULL)",
        )
        .fetch_one(&mut simulator.archive)
        .await
        .unwrap();
        assert_eq!(lost_names, 0);
    }

    #[tokio::test]
    async fn the_same_seed_makes_the_same_changes() {
        let mut dumps = Vec::new();
        for seed in [8, 8, 9] {
            let (_folder, archive) = archive(150).await;
            let mut simulator = Simulator::new(archive, Dice::seed_from_u64(seed));
            for step in 0..100 {
                simulator.attempt(NOW + TimeDelta::milliseconds(500 * step)).await;
            }
            dumps.push(dump(&mut simulator.archive).await);
        }
        assert_eq!(dumps[0], dumps[1]);
        assert_ne!(dumps[0], dumps[2]);
    }

    #[tokio::test]
    async fn a_small_archive_loses_nothing() {
        let (_folder, archive) = archive(5).await;
        let mut simulator = Simulator::new(archive, Dice::seed_from_u64(2));
        for step in 0..60 {
            simulator.attempt(NOW + TimeDelta::milliseconds(500 * step)).await;
        }
        let lost: u64 =
            Kind::ALL.iter().filter(|(kind, ..)| kind.deletes()).map(|(kind, ..)| simulator.tally.of(*kind)).sum();
        assert_eq!(lost, 0);
    }

    #[tokio::test]
    async fn a_refused_change_is_counted_and_the_next_one_is_made() {
        let (_folder, mut archive) = archive(20).await;
        sqlx::query("PRAGMA query_only = 1").execute(&mut archive).await.unwrap();
        let before = rows(&mut archive).await;
        let mut simulator = Simulator::new(archive, Dice::seed_from_u64(3));
        simulator.attempt(NOW + TimeDelta::seconds(1)).await;
        assert_eq!((simulator.tally.failed, simulator.tally.total()), (1, 0));
        assert_eq!(rows(&mut simulator.archive).await, before);

        sqlx::query("PRAGMA query_only = 0").execute(&mut simulator.archive).await.unwrap();
        simulator.attempt(NOW + TimeDelta::seconds(2)).await;
        assert_eq!((simulator.tally.failed, simulator.tally.total()), (1, 1));
    }

    #[tokio::test]
    async fn a_simulator_that_is_told_to_stop_gives_its_tally() {
        let (_folder, archive) = archive(0).await;
        let stop = CancellationToken::new();
        stop.cancel();
        assert_eq!(Simulator::new(archive, Dice::seed_from_u64(3)).run(stop).await, Tally::default());
    }
}
