//! Others in the same databases: tables of somebody else, a second archive.

use crate::harness::archive::Archive;
use crate::harness::cluster::{self, READER, READER_PASSWORD};
use crate::harness::compare::{Gone, Seen, describe, differences};
use crate::harness::generate;
use crate::harness::mutate::{self, Change};
use crate::harness::oracle::Expected;
use crate::harness::random;
use crate::harness::shape::{Dialect, Shape};
use crate::harness::site::Site;

#[tokio::test]
async fn tables_of_somebody_else_stay_as_they_are() {
    for target in [Dialect::Postgres, Dialect::Mariadb, Dialect::Sqlite] {
        let seed = random::seed(81);
        let mut site = Site::between(Dialect::Postgres, target, Shape::release("5.35.0"), seed).await;
        site.settings.deletes = Gone::Removed;
        let mut neighbour = site.target().await;
        neighbour
            .run(
                "CREATE TABLE study (pk integer PRIMARY KEY, study_iuid text); \
                 INSERT INTO study VALUES (1, 'mine'), (2, 'also mine'); \
                 CREATE TABLE permissions (id integer, role text); INSERT INTO permissions VALUES (7, 'reader');",
            )
            .await;
        let before = [neighbour.table("study").await, neighbour.table("permissions").await];
        generate::fill(&mut site.archive, 60).await;
        site.sync(&[]).await;
        for change in mutate::ALL {
            change.apply(&mut site.archive).await;
        }
        site.sync(&["--mode", "full"]).await;
        site.assert_in_step("beside somebody else's tables").await;
        assert_eq!([neighbour.table("study").await, neighbour.table("permissions").await], before);
        for table in neighbour.tables().await {
            let known = ["study", "permissions"].contains(&table.as_str());
            let ours = table.starts_with("rbac_") || table.starts_with("sync_") || table.starts_with("sqlite_");
            assert!(known || ours, "a table without our prefixes: {table}");
        }
    }
}

#[tokio::test]
async fn two_archives_share_a_target_and_do_not_touch_each_other() {
    for dialect in Dialect::SERVERS {
        let seed = random::seed(82);
        let mut site = Site::new(Shape::release("5.35.0"), seed).await;
        let cluster = cluster::shared_for(dialect);
        // The same seed: both archives hold the same UIDs and keys.
        let mut other = Archive::on(cluster, dialect, "second_archive", Shape::release("5.29.2"), seed).await;
        generate::fill(&mut site.archive, 60).await;
        generate::fill(&mut other, 60).await;
        let password = site.folder.path().join("second.password");
        std::fs::write(&password, READER_PASSWORD).unwrap();
        let second = format!(
            "\n[[source]]\nname = \"second\"\nurl = \"{}\"\npassword_file = \"{}\"\ntime_zone = \"Asia/Seoul\"\n",
            cluster.url(READER, "second_archive"),
            password.display()
        );
        let config = site.folder.path().join("two.toml");
        std::fs::write(&config, site.toml() + &second).unwrap();
        let mut seen = Seen::default();
        for round in 0..2 {
            for mode in ["delta", "full"] {
                let run = crate::harness::site::program(site.folder.path())
                    .args(["once", "--mode", mode, "--config"])
                    .arg(&config)
                    .output()
                    .await
                    .unwrap();
                assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
            }
            site.assert_in_step("the first of two archives").await;
            let expected = Expected::of(&mut other.db).await;
            let found = differences(&mut site.target().await, "second", &expected, &seen, Gone::Tombstoned).await;
            assert!(found.is_empty(), "the second of two archives, round {round}: {}", describe(&found));
            seen.add(&expected);
            for change in [Change::DeleteStudy, Change::DeletePatient, Change::Merge, Change::NewStudy] {
                change.apply(&mut other).await;
            }
        }
    }
}
