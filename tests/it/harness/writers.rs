//! Nodes of one archive that write at the same time, each in transactions of its own: some end at once,
//! some late, some are rolled back, some lose against another. What a writer tries follows from the seed;
//! what it meets depends on the others.

use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::archive::{Archive, Node};
use super::mutate::Change;
use super::random::Random;
use super::shape::Dialect;
use super::site::Site;

/// What the writers do.
#[derive(Clone, Debug)]
pub(crate) struct Habits {
    /// Writers whose transactions end at once.
    pub(crate) quick: u64,
    /// Writers most of whose transactions end late.
    pub(crate) slow: u64,
    /// The kinds of change that they make.
    pub(crate) kinds: Vec<Change>,
    /// Clocks are ahead or behind by up to this.
    pub(crate) skew: Duration,
    /// A late transaction stays open for one to two times this, a very late one for three times that.
    pub(crate) late: Duration,
    /// The application server rolls back a transaction that takes longer.
    pub(crate) longest: Duration,
}

/// What the writers did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) committed: u32,
    /// Of those that were committed: late.
    pub(crate) late: u32,
    pub(crate) changes: u32,
    pub(crate) rolled_back: u32,
    /// Given up, because another transaction was in the way.
    pub(crate) lost: u32,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.committed += other.committed;
        self.late += other.late;
        self.changes += other.changes;
        self.rolled_back += other.rolled_back;
        self.lost += other.lost;
    }
}

/// Writers at work.
#[derive(Debug)]
pub(crate) struct Writers {
    tasks: JoinSet<Tally>,
    stop: Arc<AtomicBool>,
}

impl Writers {
    /// Starts to write.
    pub(crate) async fn start(site: &Site, habits: &Habits, seed: u64) -> Self {
        let mut writers = Self { tasks: JoinSet::new(), stop: Arc::default() };
        let mut random = Random::new(seed);
        for number in 0..habits.quick + habits.slow {
            let most = i64::try_from(habits.skew.as_millis()).unwrap();
            let ahead = i64::try_from(random.below(u64::try_from(2 * most + 1).unwrap())).unwrap() - most;
            let node = Node { skew: chrono::Duration::milliseconds(ahead), whole_seconds: number % 3 == 2 };
            let mut db = site.archive_session().await;
            if site.archive.dialect == Dialect::Mariadb && number % 2 == 1 {
                // The others keep the default of MariaDB, and go on seeing what they saw first.
                db.run("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await;
            }
            let db = db.contending().await;
            let archive = site.archive.node(db, node, seed.wrapping_mul(1000).wrapping_add(number));
            let writer = Writer {
                archive,
                slow: number >= habits.quick,
                habits: habits.clone(),
                stop: Arc::clone(&writers.stop),
                tally: Tally::default(),
            };
            writers.tasks.spawn(writer.write());
        }
        writers
    }

    /// Lets every writer end its transaction.
    pub(crate) async fn end(mut self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        while let Some(ended) = self.tasks.join_next().await {
            all += ended.expect("a writer does not panic");
        }
        all
    }
}

struct Writer {
    archive: Archive,
    slow: bool,
    habits: Habits,
    stop: Arc<AtomicBool>,
    tally: Tally,
}

impl Writer {
    async fn write(mut self) -> Tally {
        while !self.stop.load(Ordering::Relaxed) {
            self.transaction().await;
            let pause = self.archive.random.below(200);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        self.tally
    }

    async fn transaction(&mut self) {
        let random = &mut self.archive.random;
        let late = random.chance(if self.slow { 85 } else { 1 });
        let rolls_back = random.chance(12);
        let count = 1 + random.below(4);
        let mut changes = 0;
        let begun = Instant::now();
        self.archive.db.run("BEGIN").await;
        for number in 0..count {
            // In a long transaction some rows are written near its begin and some near its end.
            if late && number > 0 && number + 1 == count {
                self.linger(self.habits.late / 2).await;
            }
            changes += u32::from(self.choose().apply(&mut self.archive).await);
        }
        if late {
            let very = self.archive.random.chance(4);
            self.linger(self.habits.late * if very { 3 } else { 1 }).await;
        }
        if self.archive.db.lost().is_some() {
            self.archive.db.run("ROLLBACK").await;
            self.tally.lost += 1;
        } else if rolls_back || begun.elapsed() > self.habits.longest {
            self.archive.db.run("ROLLBACK").await;
            self.tally.rolled_back += 1;
        } else {
            self.archive.db.run("COMMIT").await;
            self.tally.committed += 1;
            self.tally.late += u32::from(late && changes > 0);
            self.tally.changes += changes;
        }
    }

    /// Stays for one to two times `least`.
    async fn linger(&mut self, least: Duration) {
        let more = self.archive.random.below(u64::try_from(least.as_millis()).unwrap());
        tokio::time::sleep(least + Duration::from_millis(more)).await;
    }

    /// More is stored than is changed or deleted.
    fn choose(&mut self) -> Change {
        let random = &mut self.archive.random;
        if random.chance(40) {
            let stored = [Change::NewStudy, Change::NewStudy, Change::NewPatient, Change::NewSeries];
            let of_instances = self.habits.kinds.contains(&Change::NewInstance) && random.chance(50);
            if of_instances { Change::NewInstance } else { *random.choose(&stored) }
        } else if random.chance(15) {
            // Chains of merges are where many rows depend on one.
            *random.choose(&[Change::Merge, Change::MergeChain, Change::MergeChain, Change::Unmerge])
        } else {
            *random.choose(&self.habits.kinds)
        }
    }
}
