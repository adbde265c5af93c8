//! What cannot work is refused with a reason that names what is missing.

use crate::harness::cluster::{READER, WRITER};
use crate::harness::generate;
use crate::harness::random;
use crate::harness::shape::{Dialect, Shape};
use crate::harness::site::{Site, program};

async fn filled(seed: u64) -> Site {
    filled_within(Dialect::Postgres, seed).await
}

async fn filled_within(dialect: Dialect, seed: u64) -> Site {
    let mut site = Site::within(dialect, Shape::release("5.35.0"), random::seed(seed)).await;
    generate::fill(&mut site.archive, 30).await;
    site
}

/// A run must fail, say all these words, and leave no study in the target.
async fn fails_with(site: &Site, code: i32, words: &[&str]) {
    let once = site.once(&[]).await;
    assert_eq!(once.code, code, "{once:#?}");
    let said = format!("{}{}", once.output, once.log);
    for word in words {
        assert!(said.contains(word), "nothing about {word}: {once:#?}");
    }
    assert_eq!(site.target().await.table("rbac_study").await.len(), 0);
}

#[tokio::test]
async fn a_missing_table_is_named() {
    for dialect in Dialect::SERVERS {
        let mut site = filled_within(dialect, 71).await;
        site.archive.db.run("ALTER TABLE person_name RENAME TO person_names").await;
        fails_with(&site, 1, &["source", "person_name"]).await;
        site.archive.db.run("ALTER TABLE person_names RENAME TO person_name").await;
        site.sync(&[]).await;
        site.assert_in_step("after the table came back").await;
    }
}

#[tokio::test]
async fn a_missing_column_is_named() {
    for dialect in Dialect::SERVERS {
        let site = &mut filled_within(dialect, 72).await;
        site.archive.db.run("ALTER TABLE study RENAME COLUMN accession_no TO accession_number").await;
        fails_with(site, 1, &["source", "accession_no"]).await;
    }
}

#[tokio::test]
async fn a_missing_grant_is_named() {
    for table in ["patient_id", "series", "study_access_control_id"] {
        let mut site = filled(73).await;
        site.archive.db.run(&format!("REVOKE SELECT ON {table} FROM {READER}")).await;
        fails_with(&site, 1, &["source", table]).await;
        site.archive.db.run(&format!("GRANT SELECT ON {table} TO {READER}")).await;
        site.sync(&[]).await;
        site.assert_in_step("after the grant").await;
    }
}

#[tokio::test]
async fn a_login_that_may_only_read_the_target_is_told_before_a_run() {
    let site = filled(78).await;
    site.sync(&[]).await;
    let mut target = site.target().await;
    target.run("CREATE ROLE onlooker LOGIN PASSWORD 'onlooker-one'").await;
    target.run("GRANT SELECT ON ALL TABLES IN SCHEMA public TO onlooker").await;
    std::fs::write(site.folder.path().join("target.password"), "onlooker-one").unwrap();
    let text = site.toml().replace(&format!("//{WRITER}@"), "//onlooker@");
    std::fs::write(site.config(), text).unwrap();
    let check = async || {
        let mut command = program(site.folder.path());
        let output = command.args(["check", "--connect", "--config"]).arg(site.config()).output().await.unwrap();
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        (output.status.code(), said)
    };
    let granted = "GRANT SELECT, INSERT, UPDATE, DELETE ON";
    let (code, said) = check().await;
    assert_eq!(code, Some(1), "{said}");
    for word in ["target: the login may not write its tables", granted, "rbac_study"] {
        assert!(said.contains(word), "nothing about {word}: {said}");
    }
    target.run(&format!("{granted} ALL TABLES IN SCHEMA public TO onlooker")).await;
    target.run("REVOKE DELETE ON rbac_series FROM onlooker").await;
    let (code, said) = check().await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("{granted} rbac_series to it")), "{said}");
    target.run("GRANT DELETE ON rbac_series TO onlooker").await;
    assert_eq!(check().await.0, Some(0));
}

#[tokio::test]
async fn a_refused_password_names_the_side_and_not_the_password() {
    for dialect in Dialect::SERVERS {
        for (file, side) in [("source.password", "source"), ("target.password", "target")] {
            let site = filled_within(dialect, 74).await;
            std::fs::write(site.folder.path().join(file), "wr0ng-Secret").unwrap();
            let once = site.once(&[]).await;
            let said = format!("{}{}", once.output, once.log);
            assert!([1, 78].contains(&once.code), "{once:#?}");
            assert!(said.contains(side), "nothing about the {side}: {once:#?}");
            assert!(!said.contains("wr0ng-Secret"), "{once:#?}");
        }
    }
}

#[tokio::test]
async fn nothing_is_written_to_the_source() {
    let mut site = filled(75).await;
    // Even a login that might write gets a session that only reads.
    site.archive.db.run(&format!("GRANT ALL ON ALL TABLES IN SCHEMA public TO {READER}")).await;
    let written = "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) AS n FROM pg_stat_user_tables";
    let tables = site.archive.db.tables().await;
    site.archive.db.run("SELECT pg_stat_force_next_flush()").await;
    let before = site.archive.db.value(written).await;
    site.sync(&["--mode", "full"]).await;
    assert_eq!(site.archive.db.value(written).await, before);
    assert_eq!(site.archive.db.tables().await, tables);
}

#[tokio::test]
async fn a_wrong_configuration_is_refused_with_every_place() {
    let site = filled(76).await;
    let text = site
        .toml()
        .replace("interval = \"1h\"", "intervall = \"1h\"")
        .replace("overlap = \"6m\"", "overlap = \"soon\"");
    let path = site.folder.path().join("wrong.toml");
    std::fs::write(&path, text).unwrap();
    for command in [&["once"][..], &["daemon"], &["check"]] {
        let output = program(site.folder.path()).args(command).arg("--config").arg(&path).output().await.unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(78), "{command:?}: {said}");
        for place in ["wrong.toml:2:", "`interval`", "wrong.toml:9:", "duration"] {
            assert!(said.contains(place), "{command:?} does not say {place}: {said}");
        }
    }
}

#[tokio::test]
async fn a_listener_for_everybody_without_a_token_is_refused() {
    let mut site = filled(77).await;
    for address in ["0.0.0.0:0", "[::]:0"] {
        site.settings.http = Some(format!("\"{address}\""));
        site.configure();
        let output =
            program(site.folder.path()).args(["daemon", "--config"]).arg(site.config()).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains("token_file"), "{said}");
    }
}
