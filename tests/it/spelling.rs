//! Names and UIDs count by code point, also where a database's collation sees no difference between them.

use crate::harness::generate;
use crate::harness::random;
use crate::harness::shape::{Dialect, Shape};
use crate::harness::site::Site;

/// The archive and the target in each server, and in one of each.
const PAIRS: [(Dialect, Dialect); 4] = [
    (Dialect::Postgres, Dialect::Postgres),
    (Dialect::Mariadb, Dialect::Mariadb),
    (Dialect::Postgres, Dialect::Mariadb),
    (Dialect::Mariadb, Dialect::Postgres),
];

async fn filled(pair: (Dialect, Dialect), seed: u64) -> (Site, Vec<i64>) {
    let mut site = Site::between(pair.0, pair.1, Shape::release("5.35.0"), random::seed(seed)).await;
    generate::fill(&mut site.archive, 40).await;
    let shown = "SELECT e.pk FROM series e JOIN study s ON s.pk = e.study_fk \
                 WHERE NOT s.study_deleting AND e.rejection_state = 0 ORDER BY e.pk LIMIT 6";
    let series = site.archive.db.numbers(shown).await;
    (site, series)
}

async fn set_institution(site: &mut Site, series: i64, name: &str) {
    site.archive
        .db
        .run(&format!("UPDATE series SET institution = '{name}', inst_code_fk = NULL WHERE pk = {series}"))
        .await;
    site.archive.bump("series", series).await;
}

#[tokio::test]
async fn institutions_that_differ_in_case_blanks_or_accents_stay_apart() {
    for pair in PAIRS {
        let (mut site, series) = filled(pair, 261).await;
        for (series, name) in series.iter().zip(["RAD", "rad ", "RÁD", "rad", "Rad", "RA\u{301}D"]) {
            set_institution(&mut site, *series, name).await;
        }
        if pair.0 == Dialect::Mariadb {
            let alike = "SELECT count(DISTINCT institution) FROM series WHERE institution = 'rad'";
            assert_eq!(site.archive.db.numbers(alike).await, [1], "the archive sees no difference");
        }
        site.sync(&[]).await;
        site.assert_in_step("after the load").await;
        let names = "SELECT count(*) FROM rbac_institution WHERE lower(institution_name) LIKE 'r%d'";
        assert!(site.target().await.numbers(names).await[0] >= 4, "{pair:?}");
        // A change that is none for the collation.
        for (series, name) in series.iter().zip(["rad", "RÁD ", "RAD", "rád", "rad", "RAD"]) {
            set_institution(&mut site, *series, name).await;
        }
        site.sync(&["--mode", "delta"]).await;
        site.assert_in_step("after names changed in case and accents alone").await;
    }
}

#[tokio::test]
async fn uids_that_differ_in_case_alone_are_different() {
    for pair in PAIRS {
        let (mut site, series) = filled(pair, 262).await;
        let studies = site.archive.db.numbers("SELECT pk FROM study WHERE NOT study_deleting ORDER BY pk").await;
        let spell = async |site: &mut Site, uids: [&str; 2], one: &str| {
            for (study, uid) in studies.iter().zip(uids) {
                site.archive.db.run(&format!("UPDATE study SET study_iuid = '{uid}' WHERE pk = {study}")).await;
                site.archive.bump("study", *study).await;
            }
            site.archive.db.run(&format!("UPDATE series SET series_iuid = '{one}' WHERE pk = {}", series[0])).await;
            site.archive.bump("series", series[0]).await;
        };
        spell(&mut site, ["1.2.ABC", "1.2.XYZ"], "1.3.ABC").await;
        site.sync(&[]).await;
        site.assert_in_step("after the load").await;
        spell(&mut site, ["1.2.abc", "1.2.xyz"], "1.3.abc").await;
        site.sync(&["--mode", "full"]).await;
        site.assert_in_step("after UIDs changed in case alone").await;
        if pair.0 == Dialect::Postgres {
            // MariaDB's archives refuse this.
            spell(&mut site, ["1.2.abc", "1.2.ABC"], "1.3.Abc").await;
            site.sync(&["--mode", "full"]).await;
            site.assert_in_step("with both spellings side by side").await;
        }
    }
}
