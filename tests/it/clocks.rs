//! Times as archives really write them: many alike, rounded, ahead, behind.

use chrono::{Duration, NaiveDateTime, Utc};

use crate::harness::archive::Val;
use crate::harness::cluster::{self, Cluster};
use crate::harness::generate;
use crate::harness::mutate::Change;
use crate::harness::product::Product;
use crate::harness::random;
use crate::harness::shape::{Dialect, Shape};
use crate::harness::site::Site;
use crate::harness::store::Batch;

/// Studies of the archive that stands in these tests.
const STUDIES: u32 = 200;

/// The ways in which times are kept: finely, and in MariaDB on old installations in whole seconds.
fn clocks() -> [(Dialect, Shape); 3] {
    let fine = || Shape::release("5.35.0");
    [(Dialect::Postgres, fine()), (Dialect::Mariadb, fine()), (Dialect::Mariadb, Shape::upgraded())]
}

/// An archive that was filled a day ago, and the present time.
async fn yesterdays(dialect: Dialect, shape: Shape, seed: u64) -> (Site, NaiveDateTime) {
    let mut site = Site::within(dialect, shape, random::seed(seed)).await;
    if dialect == Dialect::Mariadb {
        // MySQL rounds to whole seconds; MariaDB cuts off unless it is told to do the same.
        site.archive.db.run("SET sql_mode = CONCAT(@@sql_mode, ',TIME_ROUND_FRACTIONAL')").await;
    }
    let now = Utc::now().naive_utc();
    site.archive.set_clock(now - Duration::days(1));
    generate::fill(&mut site.archive, STUDIES).await;
    (site, now)
}

/// A delta that brings the target in step and looks at no more than `most` studies.
async fn small_delta(site: &mut Site, most: u64, when: &str) {
    let once = site.sync(&["--mode", "delta"]).await;
    site.assert_in_step(when).await;
    let looked_at: u64 = ["inserted", "updated", "unchanged"].map(|action| once.count("study", action)).iter().sum();
    assert!(looked_at <= most, "{when} in {:?}: {looked_at} of {STUDIES} studies were looked at", site.archive.dialect);
}

#[tokio::test]
async fn rows_of_one_moment_all_arrive_also_where_they_fill_more_than_a_page() {
    let [fine, _, whole_seconds] = clocks();
    for (dialect, shape) in [fine, whole_seconds] {
        let mut site = Site::within(dialect, shape, random::seed(181)).await;
        generate::fill(&mut site.archive, 20).await;
        let patient = site.archive.pick("SELECT max(pk) FROM patient").await.unwrap();
        let other = site.archive.pick("SELECT min(pk) FROM patient").await.unwrap();
        let mut batch = Batch::default();
        let mut studies = Vec::new();
        for (owner, series) in [(patient, 50_001), (other, 10)] {
            let uid = site.archive.next_uid();
            let study = batch.study(&mut site.archive, owner, &uid);
            for _ in 0..series {
                let uid = site.archive.next_uid();
                batch.series(&mut site.archive, study, &uid);
            }
            studies.push(study);
        }
        batch.write(&mut site.archive).await;
        let moment = site.archive.tick();
        // The levels above are quiet, so that only the series lead to the second study.
        let quiet = moment - Duration::days(1);
        for (table, newest) in [("patient", patient), ("study", studies[0])] {
            let time = format!("CASE WHEN pk = {newest} THEN timestamp '{moment}' ELSE '{quiet}' END");
            site.archive.db.run(&format!("UPDATE {table} SET updated_time = {time}")).await;
        }
        site.archive.db.run(&format!("UPDATE series SET updated_time = '{moment}'")).await;
        site.sync(&[]).await;
        // Within the same second as all others, behind all others in the order of keys.
        site.archive.db.run(&format!("UPDATE series SET series_desc = 'tied' WHERE study_fk = {}", studies[1])).await;
        let once = site.sync(&["--mode", "delta"]).await;
        assert_eq!(once.count("series", "updated"), 10, "{}", once.output);
        site.assert_in_step("after a change behind the first page of rows of one moment").await;
    }
}

#[tokio::test]
async fn a_row_rounded_up_into_the_future_is_read_and_hides_nothing() {
    for (dialect, shape) in clocks() {
        let (mut site, _) = yesterdays(dialect, shape, 182).await;
        site.sync(&[]).await;
        for round in 0..4 {
            // MySQL rounds what it keeps in whole seconds, up to half a second ahead.
            site.archive.set_clock(Utc::now().naive_utc() + Duration::milliseconds(900));
            Change::NewStudy.apply(&mut site.archive).await;
            small_delta(&mut site, 30, &format!("rounded up, round {round}")).await;
            site.archive.set_clock(Utc::now().naive_utc());
            Change::StudyAttributes.apply(&mut site.archive).await;
            Change::NewSeries.apply(&mut site.archive).await;
            small_delta(&mut site, 30, &format!("after a row that was rounded up, round {round}")).await;
        }
    }
}

#[tokio::test]
async fn a_row_dated_in_the_future_does_not_make_later_runs_read_the_table_again() {
    for (dialect, shape) in clocks() {
        let (mut site, now) = yesterdays(dialect, shape, 183).await;
        site.archive.set_clock(now + Duration::days(400));
        Change::NewStudy.apply(&mut site.archive).await;
        site.sync(&[]).await;
        for round in 0..3 {
            site.archive.set_clock(Utc::now().naive_utc());
            Change::StudyAttributes.apply(&mut site.archive).await;
            small_delta(&mut site, 30, &format!("beside a row from the future, round {round}")).await;
        }
        // The row itself is changed, and still lies in the future.
        let study = site.archive.pick("SELECT max(pk) FROM study").await.unwrap();
        site.archive.update("study", study, &[("study_desc", Val::from("still ahead"))]).await;
        small_delta(&mut site, 30, "a change of the row from the future").await;
    }
}

#[tokio::test]
async fn a_node_whose_clock_is_behind_loses_nothing() {
    for (dialect, shape) in clocks() {
        let (mut site, now) = yesterdays(dialect, shape, 184).await;
        site.sync(&[]).await;
        for minutes in [0, 5, 1, 4] {
            site.archive.set_clock(now + Duration::minutes(10) - Duration::minutes(minutes));
            for change in [Change::NewStudy, Change::Rename, Change::SeriesAttributes, Change::DeleteStudy] {
                // One clock for all of it.
                change.apply(&mut site.archive).await;
                site.archive.set_clock(now + Duration::minutes(10) - Duration::minutes(minutes));
            }
            site.sync(&["--mode", "delta"]).await;
            site.assert_in_step(&format!("{minutes} minutes behind")).await;
        }
    }
}

/// An archive in Vienna, whose clock the tests set, in a server of its own: nobody else's transactions hold the
/// cursor back.
///
/// The program asks the server for its clock. In PostgreSQL a function of the archive's schema answers in place of
/// the system's; in MariaDB every session of the reader begins with a statement that sets its clock. So each run
/// finds itself at that moment, with the rows that a JVM in Vienna has written by its wall clock.
async fn vienna(dialect: Dialect, seed: u64, filled: &str) -> Site {
    let product = if dialect == Dialect::Postgres { Product::Postgres } else { Product::Mariadb };
    let server: &'static Cluster = Box::leak(Box::new(Cluster::of(product)));
    let target = cluster::shared_for(dialect);
    let mut site = Site::on(server, target, dialect, dialect, Shape::release("5.35.0"), random::seed(seed)).await;
    site.settings.zone = "Europe/Vienna";
    if dialect == Dialect::Postgres {
        let name = site.archive.db.value("SELECT current_database()").await.unwrap();
        site.archive.db.run(&format!("ALTER DATABASE {name} SET search_path = public, pg_catalog")).await;
    }
    site.archive.set_clock(wall(filled));
    generate::fill(&mut site.archive, 120).await;
    site
}

fn wall(time: &str) -> NaiveDateTime {
    NaiveDateTime::parse_from_str(time, "%F %T").unwrap()
}

/// From now on the server's clock stands at that time of UTC.
async fn stand_at(site: &mut Site, utc: &str) {
    let set = match site.archive.dialect {
        Dialect::Postgres => format!(
            "CREATE OR REPLACE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql \
             AS 'SELECT timestamptz ''{utc}Z'''"
        ),
        Dialect::Mariadb => {
            format!("SET GLOBAL init_connect = 'SET timestamp = {}'", wall(utc).and_utc().timestamp())
        }
        Dialect::Sqlite => panic!("SQLite's clock is the machine's"),
    };
    site.archive.db.run(&set).await;
}

/// Patients with series, whom no merge ties to others.
async fn loners(site: &mut Site) -> Vec<i64> {
    let loners = "SELECT DISTINCT s.patient_fk FROM study s JOIN series e ON e.study_fk = s.pk \
                  JOIN patient p ON p.pk = s.patient_fk WHERE NOT s.study_deleting AND p.merge_fk IS NULL \
                  AND p.pk NOT IN (SELECT merge_fk FROM patient WHERE merge_fk IS NOT NULL)";
    site.archive.db.numbers(loners).await
}

/// One more row of each level is changed, by the wall clock; each of another patient, so that none of them leads
/// a delta to another one.
async fn write_at(site: &mut Site, loners: &mut Vec<i64>, time: &str) {
    for (table, column) in [("patient", "pat_sex"), ("study", "study_desc"), ("series", "department")] {
        let patient = loners.pop().expect("enough patients");
        let row = match table {
            "patient" => format!("SELECT pk FROM patient WHERE pk = {patient}"),
            "study" => format!("SELECT min(pk) FROM study WHERE NOT study_deleting AND patient_fk = {patient}"),
            _ => format!(
                "SELECT min(e.pk) FROM series e JOIN study s ON s.pk = e.study_fk \
                 WHERE NOT s.study_deleting AND s.patient_fk = {patient}"
            ),
        };
        let pk = site.archive.db.numbers(&row).await[0];
        let fields = [(column, Val::from("X")), ("updated_time", Val::Time(wall(time)))];
        site.archive.update(table, pk, &fields).await;
    }
}

async fn cursor(site: &Site) -> NaiveDateTime {
    let text = site.target().await.value("SELECT updated_time FROM sync_cursor WHERE level = 'study'").await.unwrap();
    NaiveDateTime::parse_from_str(&text, "%F %T%.f").unwrap()
}

/// What is written in the hour that comes again lies further before the cursor than any overlap, so that a delta
/// which only compares wall clocks would not read it.
#[tokio::test]
async fn rows_of_the_hour_that_comes_twice_all_arrive() {
    // With runs in the second of the two hours, and with one after it.
    let often: &[(&str, &[&str])] = &[
        ("2026-10-25 01:05:00", &["2026-10-25 02:04:00", "2026-10-25 02:57:10"]),
        ("2026-10-25 01:40:00", &["2026-10-25 02:39:00", "2026-10-25 02:35:00"]),
        ("2026-10-25 01:59:00", &["2026-10-25 02:58:30"]),
        ("2026-10-25 02:02:00", &["2026-10-25 02:59:30", "2026-10-25 03:01:00"]),
        ("2026-10-25 04:00:00", &["2026-10-25 04:59:00"]),
    ];
    let seldom: &[(&str, &[&str])] =
        &[("2026-10-25 02:30:00", &["2026-10-25 02:04:00", "2026-10-25 02:39:00", "2026-10-25 03:29:00"])];
    for dialect in Dialect::SERVERS {
        for runs in [often, seldom] {
            let mut site = vienna(dialect, 185, "2026-10-24 08:00:00").await;
            let mut loners = loners(&mut site).await;
            stand_at(&mut site, "2026-10-25 00:58:00").await;
            write_at(&mut site, &mut loners, "2026-10-25 02:57:30").await;
            site.sync(&[]).await;
            site.assert_in_step("before the clock is set back").await;
            let naive = cursor(&site).await - Duration::minutes(6);
            assert!(wall(runs[0].1[0]) < naive, "{naive}: a naive delta would read it");
            for (utc, times) in runs {
                stand_at(&mut site, utc).await;
                for time in *times {
                    write_at(&mut site, &mut loners, time).await;
                }
                site.sync(&["--mode", "delta"]).await;
                site.assert_in_step(&format!("at {utc} UTC")).await;
            }
        }
    }
}

/// The hour that is skipped does not exist: no time of it can be turned into UTC. Yet a row may carry one, from a
/// node whose clock is set late, and then the cursor stands in it.
#[tokio::test]
async fn around_the_hour_that_is_skipped_rows_arrive_and_nothing_stops() {
    for dialect in Dialect::SERVERS {
        let mut site = vienna(dialect, 186, "2026-03-28 08:00:00").await;
        let mut loners = loners(&mut site).await;
        stand_at(&mut site, "2026-03-29 00:58:00").await;
        write_at(&mut site, &mut loners, "2026-03-29 01:57:30").await;
        site.sync(&[]).await;
        for (utc, times, then) in [
            ("2026-03-29 01:02:00", ["2026-03-29 01:59:50", "2026-03-29 02:59:00"], "2026-03-29 02:59:00"),
            ("2026-03-29 01:08:00", ["2026-03-29 02:58:00", "2026-03-29 03:07:00"], "2026-03-29 03:07:00"),
            ("2026-03-29 01:10:00", ["2026-03-29 03:03:00", "2026-03-29 03:09:30"], "2026-03-29 03:09:30"),
        ] {
            stand_at(&mut site, utc).await;
            for time in times {
                write_at(&mut site, &mut loners, time).await;
            }
            site.sync(&["--mode", "delta"]).await;
            site.assert_in_step(&format!("at {utc} UTC")).await;
            assert_eq!(cursor(&site).await, wall(then), "at {utc} UTC");
        }
    }
}
