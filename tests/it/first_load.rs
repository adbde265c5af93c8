//! The first run of a source: everything arrives, and a second run finds nothing to do.

use crate::harness::cluster;
use crate::harness::daemon::{CAP, Daemon};
use crate::harness::db::{Cells, Db};
use crate::harness::generate;
use crate::harness::random;
use crate::harness::shape::{Dialect, Shape};
use crate::harness::site::Site;
use crate::harness::wait::{check, eventually};

#[tokio::test]
async fn every_shape_of_archive_arrives_whole() {
    every_shape_arrives_in(Dialect::Postgres).await;
}

#[tokio::test]
async fn every_shape_of_mariadb_archive_arrives_whole() {
    every_shape_arrives_in(Dialect::Mariadb).await;
}

async fn every_shape_arrives_in(dialect: Dialect) {
    let seed = random::seed(21);
    for shape in Shape::all() {
        let mut site = Site::within(dialect, shape, seed).await;
        arrives_whole(&mut site, 150).await;
    }
}

#[tokio::test]
async fn an_archive_arrives_in_every_other_kind_of_database() {
    use Dialect::{Mariadb, Postgres, Sqlite};
    for (source, target) in [(Postgres, Sqlite), (Postgres, Mariadb), (Mariadb, Postgres), (Mariadb, Sqlite)] {
        for shape in [Shape::before_5_23(), Shape::release("5.35.0")] {
            let mut site = Site::between(source, target, shape, random::seed(22)).await;
            arrives_whole(&mut site, 150).await;
        }
    }
    for target in [Sqlite, Postgres, Mariadb] {
        let mut site = Site::between(Sqlite, target, Shape::release("5.35.0"), random::seed(23)).await;
        arrives_whole(&mut site, 150).await;
    }
}

#[tokio::test]
async fn an_archive_of_many_pages_arrives_whole() {
    for dialect in Dialect::SERVERS {
        let mut site = Site::within(dialect, Shape::release("5.35.0"), random::seed(24)).await;
        arrives_whole(&mut site, random::studies(6000)).await;
    }
}

/// It writes by more sessions where it may have them.
#[tokio::test]
async fn an_archive_of_many_pages_arrives_where_the_target_takes_two_sessions() {
    let mut site = Site::new(Shape::release("5.35.0"), random::seed(20)).await;
    let name = site.target().await.value("SELECT current_database()").await.unwrap();
    let mut admin = cluster::shared().admin("postgres").await;
    admin.run(&format!("ALTER DATABASE {name} CONNECTION LIMIT 2")).await;
    let open = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'");
    eventually("no session is open", CAP, async || check(admin.numbers(&open).await == [0], "")).await;
    generate::fill(&mut site.archive, random::studies(3000)).await;
    let load = site.sync(&[]).await;
    assert!(load.log.contains("the load goes on with fewer sessions"), "{}", load.log);
    admin.run(&format!("ALTER DATABASE {name} CONNECTION LIMIT -1")).await;
    site.assert_in_step("after a load by one session").await;
}

/// Series of a page refer to institutions while the next page, the last, finds codes for them.
#[tokio::test]
async fn institutions_get_their_codes_in_the_middle_of_a_load() {
    let mut site = Site::new(Shape::release("5.35.0"), random::seed(19)).await;
    loads_slowly(&site).await;
    generate::fill(&mut site.archive, 5000).await;
    let first = "study_fk < (SELECT pk FROM study ORDER BY pk OFFSET 4000 LIMIT 1)";
    site.archive.db.run(&format!("UPDATE series SET inst_code_fk = NULL WHERE {first}")).await;
    site.sync(&[]).await;
    site.assert_in_step("after a load with codes in the middle").await;
}

#[tokio::test]
async fn a_load_that_is_cancelled_reports_what_it_has_kept() {
    let mut site = Site::new(Shape::release("5.35.0"), random::seed(18)).await;
    let mut target = loads_slowly(&site).await;
    generate::fill(&mut site.archive, 5000).await;
    site.configure();
    let daemon = Daemon::spawn(&site, &[]);
    let has_some = async || check(target.numbers("SELECT count(*) FROM rbac_study").await[0] > 0, "");
    eventually("the load has come to the studies", CAP, has_some).await;
    let cancelled = daemon.socket.ask("POST", "/sync/cancel", None).await;
    assert_eq!(cancelled.code, 202, "{cancelled:?}");
    let done = daemon.status_with("the end", |status| status["is_running"] == false).await;
    let run = done["last_result"]["run_id"].as_str().unwrap();
    let run = daemon.get(&format!("/sync/runs/{run}")).await.json();
    assert_eq!(run["success"], false, "{run}");
    for (level, table) in [("study", "rbac_study"), ("series", "rbac_series")] {
        let kept = target.numbers(&format!("SELECT count(*) FROM {table}")).await[0];
        assert_eq!(run["levels"][level]["inserted"], kept, "{level} of {run}");
    }
    daemon.run("{}").await;
    site.assert_in_step("after the run that went on").await;
    daemon.stop().await;
}

#[tokio::test]
async fn an_empty_archive_is_a_success() {
    for dialect in Dialect::SERVERS {
        let mut site = Site::within(dialect, Shape::release("5.34.3"), random::seed(25)).await;
        assert_eq!(site.sync(&[]).await.changed(), 0);
        site.assert_in_step("nothing at all").await;
        generate::fill(&mut site.archive, 30).await;
        site.sync(&[]).await;
        site.assert_in_step("first studies after an empty start").await;
    }
}

/// Without them the server takes the tables for as small as they were, and the load for ever.
#[tokio::test]
async fn the_server_knows_the_size_of_what_was_loaded() {
    let mut site = Site::new(Shape::release("5.35.0"), random::seed(28)).await;
    generate::fill(&mut site.archive, 60).await;
    site.sync(&[]).await;
    let mut target = site.target().await;
    for table in &TABLES[2..] {
        let rows = target.table(table).await.len() as i64;
        let known = format!("SELECT reltuples::bigint FROM pg_class WHERE oid = '{table}'::regclass");
        assert_eq!(target.numbers(&known).await, [rows], "{table}");
    }
}

#[tokio::test]
async fn a_text_that_is_a_number_in_the_archive_is_refused() {
    let mut site = Site::new(Shape::release("5.35.0"), random::seed(29)).await;
    generate::fill(&mut site.archive, 5).await;
    site.archive.db.run("ALTER TABLE study ALTER study_desc TYPE bigint USING pk").await;
    let failed = site.once(&[]).await;
    assert_eq!(failed.code, 1);
    assert!(failed.output.contains("cannot be read as text"), "{}", failed.output);
}

#[tokio::test]
async fn a_dry_run_says_what_would_change_and_writes_nothing() {
    for dialect in Dialect::SERVERS {
        let mut site = Site::within(dialect, Shape::release("5.35.0"), random::seed(26)).await;
        generate::fill(&mut site.archive, 60).await;
        let dry = site.sync(&["--dry-run"]).await;
        let mut target = site.target().await;
        for table in TABLES {
            assert_eq!(target.table(table).await.len(), 0, "{table} after a dry run");
        }
        let wet = site.sync(&[]).await;
        for level in ["patient", "study", "series"] {
            assert_eq!(dry.count(level, "inserted"), wet.count(level, "inserted"), "{level}");
        }
        site.assert_in_step("after the real run").await;
    }
}

/// Makes the tables of the target, so that a first load takes a while there for each page of studies.
async fn loads_slowly(site: &Site) -> Db {
    site.sync(&[]).await;
    let mut target = site.target().await;
    for slow in [
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END'",
        "CREATE TRIGGER slow BEFORE INSERT ON rbac_series EXECUTE FUNCTION slow()",
        "DELETE FROM sync_cursor",
    ] {
        target.run(slow).await;
    }
    target
}

async fn arrives_whole(site: &mut Site, studies: u32) {
    generate::fill(&mut site.archive, studies).await;
    let first = site.sync(&[]).await;
    site.assert_in_step("after the first load").await;
    let mut target = site.target().await;
    for (level, table) in [("patient", "rbac_patient"), ("study", "rbac_study"), ("series", "rbac_series")] {
        let live = target.rows(&format!("SELECT id FROM {table} WHERE deleted_at IS NULL")).await.len();
        assert_eq!(first.count(level, "inserted"), live as u64, "{level}");
    }
    let before = physical_rows(&mut target).await;
    for mode in ["delta", "full"] {
        let again = site.sync(&["--mode", mode]).await;
        assert_eq!(again.changed(), 0, "{mode} in {}: {}", site.archive.shape.name, again.output);
        assert!(physical_rows(&mut target).await == before, "a {mode} run wrote rows that were equal");
    }
    site.assert_in_step("after runs without a change").await;
}

const TABLES: [&str; 6] =
    ["rbac_source", "rbac_institution", "rbac_patient", "rbac_patient_identifier", "rbac_study", "rbac_series"];

/// Every row with its place and transaction, which any write would change; elsewhere the rows themselves.
async fn physical_rows(target: &mut Db) -> Vec<Vec<Cells>> {
    let place = if matches!(target, Db::Postgres(_)) { "ctid, xmin, " } else { "" };
    let mut tables = Vec::new();
    for table in TABLES {
        let mut rows = target.rows(&format!("SELECT {place}t.* FROM {table} t")).await;
        rows.sort();
        tables.push(rows);
    }
    tables
}
