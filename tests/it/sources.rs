//! Several archives in one target: none holds up another; what is left of one that is gone; forgetting it.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::archive::Archive;
use crate::harness::cluster::{self, Cluster, READER, READER_PASSWORD};
use crate::harness::compare::{Gone, Seen, describe, differences};
use crate::harness::daemon::{CAP, Daemon};
use crate::harness::db::Cells;
use crate::harness::generate;
use crate::harness::mutate::Change;
use crate::harness::oracle::Expected;
use crate::harness::random::{self, Random};
use crate::harness::shape::{Dialect, Shape};
use crate::harness::site::{Once, Site, program};
use crate::harness::wait::{check, eventually};

/// A run of a source that nothing holds up, on a busy machine.
const UNDISTURBED: Duration = Duration::from_secs(8);

/// A site whose source is "main", with a second one in a cluster that may be disturbed.
struct Two {
    site: Site,
    other: Archive,
    name: String,
    cluster: &'static Cluster,
    seen: Seen,
}

impl Two {
    async fn new(cluster: &'static Cluster, target: Dialect, seed: u64) -> Self {
        let mut site = Site::between(Dialect::Postgres, target, Shape::release("5.35.0"), seed).await;
        let name = format!("other_{}", site.source_url.rsplit('_').next().unwrap());
        // The same seed: both archives hold the same UIDs and keys.
        let mut other = Archive::on(cluster, Dialect::Postgres, &name, Shape::release("5.34.3"), seed).await;
        generate::fill(&mut site.archive, 80).await;
        generate::fill(&mut other, 80).await;
        let password = site.folder.path().join("other.password");
        std::fs::write(&password, READER_PASSWORD).unwrap();
        site.settings.interval = "1s";
        site.settings.more = format!(
            "[[source]]\nname = \"other\"\nurl = \"{}\"\npassword_file = \"{}\"\ntime_zone = \"UTC\"\n",
            cluster.url(READER, &name),
            password.display()
        );
        site.configure();
        Self { site, other, name, cluster, seen: Seen::default() }
    }

    /// Changes the first archive and measures how long it takes until that has arrived.
    async fn first_goes_on(&mut self, daemon: &Daemon, while_what: &str) {
        for _ in 0..4 {
            Change::NewStudy.apply(&mut self.site.archive).await;
            let start = Instant::now();
            let body = "{\"source\": \"main\"}";
            let reply = daemon.socket.ask("POST", "/sync/run?wait=60s", Some(body)).await;
            assert!(reply.code == 200 && reply.json()["success"] == true, "{while_what}: {reply:?}\n{}", daemon.log());
            assert!(start.elapsed() < UNDISTURBED, "{while_what}: {:?}", start.elapsed());
            self.site.assert_in_step(while_what).await;
        }
    }

    async fn other_is_in_step(&mut self, when: &str) {
        let expected = Expected::of(&mut self.other.db).await;
        let mut target = self.site.target().await;
        let found = differences(&mut target, "other", &expected, &self.seen, Gone::Tombstoned).await;
        self.seen.add(&expected);
        assert!(found.is_empty(), "{when}: {}", describe(&found));
    }

    async fn other_recovers(&mut self, daemon: &Daemon, when: &str) {
        let reachable = |status: &Value| source(status, "other")["reachable"] == true;
        daemon.status_with(when, reachable).await;
        let body = "{\"source\": \"other\"}";
        let reply = daemon.socket.ask("POST", "/sync/run?wait=60s", Some(body)).await;
        assert_eq!(reply.json()["success"], true, "{reply:?}");
        self.other_is_in_step(when).await;
    }
}

fn source<'a>(status: &'a Value, name: &str) -> &'a Value {
    let sources = status["sources"].as_array().expect("sources");
    sources.iter().find(|source| source["name"] == name).unwrap_or_else(|| panic!("no {name} in {status}"))
}

fn both_loaded(status: &Value) -> bool {
    ["main", "other"].iter().all(|name| source(status, name)["last_success"].is_string())
}

#[tokio::test]
async fn an_archive_that_is_slow_in_the_middle_of_a_run_holds_up_no_other() {
    for (target, seed) in [(Dialect::Postgres, 161), (Dialect::Sqlite, 162)] {
        let mut two = Two::new(cluster::shared(), target, random::seed(seed)).await;
        // Its first load reads patients, and then waits for the series. The target has the patients by then.
        let mut holder = two.cluster.admin(&two.name).await;
        holder.run("BEGIN; LOCK TABLE series IN ACCESS EXCLUSIVE MODE").await;
        let daemon = two.site.daemon().await;
        daemon.status_with("the first is loaded", |status| source(status, "main")["last_success"].is_string()).await;
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                     AND wait_event_type = 'Lock' AND application_name = 'rbac-sync'";
        let mut observer = two.cluster.admin(&two.name).await;
        eventually("the other one is stuck", CAP, async || check(observer.numbers(waits).await[0] > 0, daemon.log()))
            .await;
        two.first_goes_on(&daemon, "while the other archive is slow").await;
        assert!(observer.numbers(waits).await[0] > 0, "it was stuck all the time");
        assert_eq!(source(&daemon.status().await, "other")["last_success"], Value::Null);
        holder.run("ROLLBACK").await;
        two.other_recovers(&daemon, "the other archive is fast again").await;
        daemon.stop().await;
    }
}

#[tokio::test]
async fn an_archive_that_is_down_or_frozen_holds_up_no_other_and_comes_back_by_itself() {
    let own: &'static Cluster = Box::leak(Box::new(Cluster::new()));
    for (target, seed) in [(Dialect::Postgres, 163), (Dialect::Sqlite, 164)] {
        let mut two = Two::new(own, target, random::seed(seed)).await;
        let daemon = two.site.daemon().await;
        daemon.status_with("both are loaded", both_loaded).await;

        own.kill_9();
        let down = |status: &Value| source(status, "other")["reachable"] == false;
        daemon.status_with("the other archive is down", down).await;
        two.first_goes_on(&daemon, "while the other archive is down").await;
        own.start();
        two.other.db = own.admin(&two.name).await;
        Change::NewStudy.apply(&mut two.other).await;
        two.other_recovers(&daemon, "the other archive is up again").await;

        own.freeze();
        let frozen = Instant::now();
        let status = daemon.status_with("the other archive is frozen", down).await;
        println!(
            "{target:?}: a frozen archive noticed after {:?}: {}",
            frozen.elapsed(),
            source(&status, "other")["error"]
        );
        two.first_goes_on(&daemon, "while the other archive is frozen").await;
        assert_eq!(source(&daemon.status().await, "main")["consecutive_failures"], 0);
        own.thaw();
        Change::NewStudy.apply(&mut two.other).await;
        two.other_recovers(&daemon, "the other archive is thawed").await;
        daemon.stop().await;
    }
}

async fn command(site: &Site, arguments: &[&str]) -> Once {
    let output = program(site.folder.path()).args(arguments).arg("--config").arg(site.config()).output().await.unwrap();
    Once::from(output)
}

/// All rows of the target that belong to the first source.
async fn rows_of_main(site: &Site) -> Vec<Vec<Cells>> {
    let mut target = site.target().await;
    let id = target.value("SELECT id FROM rbac_source WHERE name = 'main'").await.expect("the source");
    let mut tables = Vec::new();
    for sql in [
        "SELECT * FROM rbac_institution WHERE source_fk = ",
        "SELECT * FROM rbac_patient WHERE source_fk = ",
        "SELECT i.* FROM rbac_patient_identifier i JOIN rbac_patient p ON p.id = i.patient_fk WHERE p.source_fk = ",
        "SELECT * FROM rbac_study WHERE source_fk = ",
        "SELECT e.* FROM rbac_series e JOIN rbac_study s ON s.id = e.study_fk WHERE s.source_fk = ",
        "SELECT * FROM sync_cursor WHERE source_fk = ",
    ] {
        let mut rows = target.rows(&format!("{sql}{id}")).await;
        rows.sort();
        tables.push(rows);
    }
    tables
}

async fn count(site: &Site, table: &str) -> i64 {
    site.target().await.numbers(&format!("SELECT count(*) FROM {table}")).await[0]
}

#[tokio::test]
async fn a_source_that_is_not_configured_is_told_about_and_forgotten_only_on_demand() {
    for (target, seed) in [(Dialect::Postgres, 165), (Dialect::Mariadb, 167), (Dialect::Sqlite, 166)] {
        let seed = random::seed(seed);
        let mut two = Two::new(cluster::shared(), target, seed).await;
        generate::fill(&mut two.other, 1500).await;
        let daemon = two.site.daemon().await;
        daemon.status_with("both are loaded", both_loaded).await;
        two.site.settings.more.clear();
        two.site.configure();
        let status =
            daemon.status_with("it is told about", |status| status["unconfigured_sources"][0] == "other").await;
        assert_eq!(status["sources"].as_array().map(Vec::len), Some(1), "{status}");
        assert!(daemon.log().contains("sources that are not configured"), "{}", daemon.log());
        let refused = command(&two.site, &["forget", "other", "--yes"]).await;
        assert_eq!(refused.code, 75, "a daemon serves the target: {refused:#?}");
        daemon.stop().await;

        let check = command(&two.site, &["check", "--connect"]).await;
        assert!(check.output.contains("not configured: other"), "{check:#?}");
        for (arguments, text) in [
            (&["forget", "main", "--yes"][..], "still configured"),
            (&["forget", "nobody", "--yes"][..], "other"),
            (&["forget", "other"][..], "add --yes"),
        ] {
            let refused = command(&two.site, arguments).await;
            assert!(refused.code == 2 && refused.log.contains(text), "{refused:#?}");
        }
        two.other_is_in_step("nothing was removed").await;

        let main = rows_of_main(&two.site).await;
        let killed = killed_while_forgetting(&two.site, &mut Random::new(seed)).await;
        println!("{target:?}: forget was killed {killed} times");
        if count(&two.site, "rbac_source").await == 2 {
            let done = command(&two.site, &["forget", "other", "--yes", "--json"]).await;
            assert_eq!(done.code, 0, "{done:#?}");
        }
        assert_eq!(rows_of_main(&two.site).await, main, "rows of somebody else");
        assert_eq!(count(&two.site, "rbac_source").await, 1);
        let left = |index: usize| i64::try_from(main[index].len()).unwrap();
        for (index, table) in
            ["rbac_institution", "rbac_patient", "rbac_patient_identifier", "rbac_study", "rbac_series", "sync_cursor"]
                .iter()
                .enumerate()
        {
            assert_eq!(count(&two.site, table).await, left(index), "{table}");
        }
        assert_eq!(command(&two.site, &["forget", "other", "--yes"]).await.code, 2, "it is gone");
        two.site.sync(&["--mode", "full"]).await;
        two.site.assert_in_step("after the other one was forgotten").await;
    }
}

/// Starts `forget` and kills it in the middle, a few times, while there is something left to do.
async fn killed_while_forgetting(site: &Site, random: &mut Random) -> u32 {
    let mut killed = 0;
    let mut target = site.target().await;
    let studies = "SELECT count(*) FROM rbac_study";
    for _ in 0..4 {
        if count(site, "rbac_source").await == 1 {
            break;
        }
        let before = target.numbers(studies).await[0];
        let mut child = program(site.folder.path())
            .args(["forget", "other", "--yes", "--config"])
            .arg(site.config())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let pause = Duration::from_millis(random.below(4));
        while child.try_wait().unwrap().is_none() && target.numbers(studies).await[0] == before {
            tokio::time::sleep(pause).await;
        }
        child.kill().await.ok();
        killed += u32::from(child.wait().await.unwrap().code().is_none());
    }
    killed
}
