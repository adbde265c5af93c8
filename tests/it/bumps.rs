//! What the archive writes that says nothing of access, or says it elsewhere than one would think.

use crate::harness::archive::Val;
use crate::harness::generate;
use crate::harness::random;
use crate::harness::shape::{Dialect, Shape};
use crate::harness::site::Site;

async fn loaded(dialect: Dialect, seed: u64) -> Site {
    let mut site = Site::within(dialect, Shape::release("5.35.0"), random::seed(seed)).await;
    generate::fill(&mut site.archive, 80).await;
    site.sync(&[]).await;
    site
}

/// Neither a delta nor a full run writes anything.
async fn nothing_to_do(site: &mut Site, what: &str) {
    for mode in ["delta", "full"] {
        let once = site.sync(&["--mode", mode]).await;
        assert_eq!(once.changed(), 0, "{what}, {mode} in {:?}: {}", site.archive.dialect, once.output);
    }
    site.assert_in_step(what).await;
}

#[tokio::test]
async fn columns_that_say_nothing_of_access_cause_no_write() {
    for dialect in Dialect::SERVERS {
        let mut site = loaded(dialect, 191).await;
        for (table, change) in [
            // At every retrieval.
            ("study", "access_time = access_time + interval '1' day"),
            ("study", "storage_ids = 'fs1\\fs2'"),
            // Retention may take the objects and leave the study.
            ("study", "storage_ids = NULL"),
            ("study", "completeness = 2, expiration_state = 1, expiration_date = '20300101'"),
            ("series", "completeness = 2, expiration_state = 1, expiration_date = '20300101'"),
            // Maintenance claims rows with it; bulk changes leave it alone.
            ("study", "version = version + 7"),
            ("series", "version = version + 7"),
            ("patient", "version = version + 7"),
            // Misses rejections, and goes backwards.
            ("study", "modified_time = modified_time - interval '1' year"),
            ("series", "modified_time = modified_time + interval '1' year"),
            // Known to be wrong.
            ("patient", "num_studies = 77"),
        ] {
            site.archive.db.run(&format!("UPDATE {table} SET {change}")).await;
            nothing_to_do(&mut site, &format!("{table}: {change}")).await;
        }
    }
}

#[tokio::test]
async fn a_purge_to_metadata_is_no_delete() {
    for dialect in Dialect::SERVERS {
        let mut site = loaded(dialect, 192).await;
        site.archive
            .db
            .run("UPDATE series SET inst_purge_state = 1, inst_purge_time = now(); DELETE FROM instance")
            .await;
        nothing_to_do(&mut site, "instances purged to metadata").await;
    }
}

#[tokio::test]
async fn attributes_that_are_recomputed_lazily_are_not_read() {
    for dialect in Dialect::SERVERS {
        let mut site = loaded(dialect, 193).await;
        // Present with what is wrong in it, and in PostgreSQL forbidden; then, as after every store, absent.
        site.archive
            .db
            .run(
                "CREATE TABLE study_query_attrs (pk bigint, study_fk bigint, mods_in_study text, num_instances integer); \
                 CREATE TABLE series_query_attrs (pk bigint, series_fk bigint, num_instances integer); \
                 INSERT INTO study_query_attrs SELECT pk, pk, 'WRONG', 0 FROM study",
            )
            .await;
        nothing_to_do(&mut site, "attributes that are wrong").await;
        site.archive.db.run("DELETE FROM study_query_attrs").await;
        nothing_to_do(&mut site, "attributes that are absent").await;
    }
}

#[tokio::test]
async fn a_rejection_arrives_although_it_is_made_in_several_transactions() {
    for dialect in Dialect::SERVERS {
        let mut site = loaded(dialect, 194).await;
        let study = "SELECT study_fk FROM series WHERE rejection_state = 0 GROUP BY 1 HAVING count(*) > 1";
        let study = site.archive.pick(&format!("SELECT min(study_fk) FROM ({study}) s")).await.unwrap();
        // First the objects are recorded, elsewhere; then each series, then the study.
        site.archive
            .db
            .run(
                "INSERT INTO rejected_instance (pk, created_time, study_iuid, series_iuid, sop_iuid, sop_cuid) \
                 SELECT e.pk, now(), s.study_iuid, e.series_iuid, '1.2.3', '1.2.840.10008.5.1.4.1.1.2' \
                 FROM series e JOIN study s ON s.pk = e.study_fk",
            )
            .await;
        nothing_to_do(&mut site, "objects are recorded as rejected").await;
        let series =
            site.archive.db.numbers(&format!("SELECT pk FROM series WHERE study_fk = {study} ORDER BY 1")).await;
        for pk in series {
            site.archive.update("series", pk, &[("rejection_state", Val::Int(2))]).await;
            site.archive.bump("series", pk).await;
            site.sync(&["--mode", "delta"]).await;
            // A series that is rejected as a whole no longer counts for its study.
            site.assert_in_step("a series is rejected, its study not yet").await;
        }
        site.archive.update("study", study, &[("rejection_state", Val::Int(2))]).await;
        site.archive.bump("study", study).await;
        site.sync(&["--mode", "delta"]).await;
        site.assert_in_step("the study is rejected").await;
    }
}
