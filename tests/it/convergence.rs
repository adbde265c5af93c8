//! The heart of the matter: many write at once, commit late or not at all, and the daemon is killed again
//! and again; in the end the target holds what an independent computation makes of the archive.

use std::time::{Duration, Instant};

use crate::harness::daemon::{CAP, Daemon};
use crate::harness::generate;
use crate::harness::mutate::{self, Change};
use crate::harness::random::{self, Random};
use crate::harness::shape::{Dialect, Shape};
use crate::harness::site::Site;
use crate::harness::wait::eventually;
use crate::harness::writers::{Habits, Tally, Writers};

const SKEW: Duration = Duration::from_millis(1200);

/// An archive of some dialect, and how long its transactions are to the overlap that it is read with.
struct Setting {
    dialect: Dialect,
    shape: Shape,
    overlap: &'static str,
    late: Duration,
    longest: Duration,
    /// Whether the instance level is mirrored, and written to.
    instances: bool,
}

impl Setting {
    /// A late transaction takes longer than the overlap: something else than the overlap must find it.
    fn beyond_the_overlap(dialect: Dialect, release: &str) -> Self {
        let (late, longest) = (Duration::from_millis(3500), Duration::from_secs(300));
        Self { dialect, shape: Shape::release(release), overlap: "3s", late, longest, instances: false }
    }

    /// MariaDB cannot tell which transactions are under way. The overlap has to be more than the longest of
    /// them, by what a clock may be behind (1.2 s) and what whole seconds round away (0.5 s in the node, 1 s in
    /// the column); the rest is for a slow machine. That is how the default stands to the archive's 300 s.
    fn within_the_overlap() -> Self {
        let (late, longest) = (Duration::from_millis(1500), Duration::from_secs(4));
        Self { dialect: Dialect::Mariadb, shape: Shape::upgraded(), overlap: "9s", late, longest, instances: false }
    }

    fn with_instances(self) -> Self {
        Self { instances: true, ..self }
    }

    fn name(&self, what: &str) -> String {
        format!("{what} in {:?}{}", self.dialect, if self.instances { " with instances" } else { "" })
    }

    fn habits(&self, kinds: impl Fn(Change) -> bool) -> Habits {
        // A late study writes a time of its own making into the past; here transactions are really late.
        let of_instances = mutate::OF_INSTANCES.into_iter().filter(|_| self.instances);
        let all = mutate::ALL.into_iter().chain(of_instances);
        let kinds = all.filter(|kind| *kind != Change::LateStudy && kinds(*kind)).collect();
        Habits { quick: 5, slow: 4, kinds, skew: SKEW, late: self.late, longest: self.longest }
    }

    /// A site whose archive holds something from long ago.
    async fn site(&self, pace: &'static str, seed: u64) -> Site {
        let mut site = Site::within(self.dialect, self.shape.clone(), seed).await;
        (site.settings.interval, site.settings.overlap, site.settings.pace) = ("1s", self.overlap, pace);
        site.settings.instances = self.instances;
        generate::fill(&mut site.archive, 300).await;
        if self.instances {
            generate::fill_instances(&mut site.archive, 6).await;
        }
        site
    }
}

/// Lets the writers write while the daemon runs and is killed. The first load, too, meets writers.
async fn write_and_kill(site: &Site, habits: &Habits, seed: u64) -> (Daemon, Tally, u32) {
    let mut random = Random::new(seed ^ 0x6B69_6C6C);
    let begun = Instant::now();
    let writing = random::writing(25);
    let writers = Writers::start(site, habits, seed).await;
    // Some transactions are as old as they become when the first load begins.
    tokio::time::sleep(habits.late + SKEW).await;
    let mut daemon = site.daemon().await;
    let mut kills = 0;
    while begun.elapsed() < writing {
        // Kills come in bursts; between them the cursors have time to move on.
        let pause = if random.chance(65) { random.below(1500) } else { 7000 + random.below(4000) };
        tokio::time::sleep(Duration::from_millis(pause)).await;
        // Mostly in the middle of a run.
        daemon.socket.ask("POST", "/sync/run", Some("{}")).await;
        tokio::time::sleep(Duration::from_millis(random.below(100))).await;
        daemon.crash().await;
        kills += 1;
        tokio::time::sleep(Duration::from_millis(random.below(500))).await;
        daemon = site.daemon().await;
    }
    (daemon, writers.end().await, kills)
}

/// Says what was done, and that no run failed meanwhile: nothing was wrong with either database.
fn conclude(name: &str, daemon: &Daemon, tally: Tally, kills: u32) {
    let log = daemon.log();
    let runs = log.matches("run done").count();
    let Tally { committed, late, changes, rolled_back, lost } = tally;
    println!(
        "{name}: {committed} transactions with {changes} changes, {late} of them late, {rolled_back} rolled back, \
         {lost} lost to others; {runs} runs, {kills} kills; 0 differences"
    );
    assert!(!log.contains("run failed"), "{log}");
    assert!(late > 0 && rolled_back > 0 && kills > 0, "the test did not do what it is for");
}

/// The servers are written to at the same time.
#[tokio::test]
async fn whatever_is_written_the_target_comes_in_step_with_no_more_than_the_rolling_comparison() {
    comes_in_step_by_itself(random::seed(171), false).await;
}

#[tokio::test]
async fn whatever_is_written_the_instances_come_in_step_with_no_more_than_the_rolling_comparison() {
    comes_in_step_by_itself(random::seed(173), true).await;
}

async fn comes_in_step_by_itself(seed: u64, instances: bool) {
    let in_step = async |dialect| {
        let setting = Setting { instances, ..Setting::beyond_the_overlap(dialect, "5.35.0") };
        let name = setting.name("with the rolling comparison");
        let mut site = setting.site("sweep_every = \"1s\"\nsweep_percent = 50", seed).await;
        let (daemon, tally, kills) = write_and_kill(&site, &setting.habits(|_| true), seed).await;
        eventually(&name, CAP, async || site.verdict().await).await;
        conclude(&name, &daemon, tally, kills);
        daemon.stop().await;
    };
    tokio::join!(in_step(Dialect::Postgres), in_step(Dialect::Mariadb));
}

#[tokio::test]
async fn the_delta_alone_loses_no_change_that_is_bumped_however_late_it_commits() {
    let postgres = Setting::beyond_the_overlap(Dialect::Postgres, "5.29.2");
    comes_in_step_by_deltas(random::seed(172), postgres, Setting::within_the_overlap()).await;
}

#[tokio::test]
async fn the_delta_alone_loses_no_change_of_an_instance_that_is_bumped_however_late_it_commits() {
    let postgres = Setting::beyond_the_overlap(Dialect::Postgres, "5.34.3").with_instances();
    comes_in_step_by_deltas(random::seed(174), postgres, Setting::within_the_overlap().with_instances()).await;
}

async fn comes_in_step_by_deltas(seed: u64, postgres: Setting, mariadb: Setting) {
    let in_step = async |setting: Setting| {
        let name = setting.name("by the delta alone");
        // Every few runs the table is scanned; between them what is new is found by key.
        let mut site = setting.site("sweep_percent = 0\nscan_percent = 0.1", seed).await;
        let (daemon, tally, kills) = write_and_kill(&site, &setting.habits(Change::is_bumped), seed).await;
        let run = daemon.run("{}").await;
        assert_eq!((&run["success"], &run["mode"]), (&true.into(), &"delta".into()), "{name}: {run}");
        site.assert_in_step("after one delta").await;
        conclude(&name, &daemon, tally, kills);
        daemon.stop().await;
    };
    tokio::join!(in_step(postgres), in_step(mariadb));
}
