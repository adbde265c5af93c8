//! No personal data and no secret in anything that the program shows, whatever happens.

use std::collections::BTreeSet;

use crate::control::started;
use crate::harness::cluster::{READER_PASSWORD, WRITER_PASSWORD};
use crate::harness::mutate::{self, Change};
use crate::harness::oracle::Expected;
use crate::harness::site::Site;

/// Names, patient IDs and accession numbers of the archive, and the passwords.
pub(crate) async fn private(site: &mut Site, words: &mut BTreeSet<String>) {
    let expected = Expected::of(&mut site.archive.db).await;
    let patients = expected.patients.values().flat_map(|row| [row["patient_name"].clone(), row["patient_id"].clone()]);
    let ids = expected.identifiers.values().flatten().map(|(id, _)| id.clone());
    let studies =
        expected.studies.values().flat_map(|row| [row["accession_no"].clone(), row["referring_physician"].clone()]);
    let found: Vec<String> = patients.chain(ids).chain(studies).flatten().collect();
    // A family name alone is personal data too; the made-up ones carry numbers and so are unmistakable.
    let families = found.iter().filter_map(|name| name.split_once('^')).map(|(family, _)| family.to_owned());
    words.extend(families.filter(|family| family.chars().any(|character| character.is_ascii_digit())));
    words.extend(found);
    words.extend([READER_PASSWORD, WRITER_PASSWORD].map(str::to_owned));
}

#[tokio::test]
async fn neither_log_nor_api_shows_personal_data_or_secrets_also_after_failures() {
    let (mut site, daemon, http) = started(141, 80).await;
    // The loudest log there is, also of the crates below.
    let loud = r#"{"level": "trace,sqlx=trace,sqlx::query=trace,hyper=trace,rustls=trace"}"#;
    assert_eq!(http.ask("PUT", "/log/level", Some(loud)).await.code, 200);
    let mut words = BTreeSet::new();
    private(&mut site, &mut words).await;
    for change in mutate::ALL {
        change.apply(&mut site.archive).await;
        private(&mut site, &mut words).await;
    }
    daemon.run("{\"mode\": \"delta\"}").await;
    daemon.run("{\"mode\": \"full\"}").await;
    // Failures with a row at hand: a value that the target refuses, a source that changes its tables.
    let mut target = site.target().await;
    target.run("ALTER TABLE rbac_patient ADD CONSTRAINT refuse CHECK (patient_name IS NULL) NOT VALID").await;
    Change::Rename.apply(&mut site.archive).await;
    Change::NewPatient.apply(&mut site.archive).await;
    private(&mut site, &mut words).await;
    let failed = daemon.run("{}").await;
    assert_eq!(failed["success"], false, "{failed}");
    target.run("ALTER TABLE rbac_patient DROP CONSTRAINT refuse").await;
    site.archive.db.run("ALTER TABLE patient RENAME TO patients").await;
    assert_eq!(daemon.run("{}").await["success"], false);
    site.archive.db.run("ALTER TABLE patients RENAME TO patient").await;
    assert_eq!(daemon.run("{}").await["success"], true);
    let mut shown = vec![("log", daemon.log())];
    for target in ["/sync/status", "/sync/history?limit=100", "/metrics", "/health", "/health/ready", "/config"] {
        shown.push((target, http.get(target).await.body));
    }
    let once = site.once(&["--mode", "full"]).await;
    shown.push(("once", once.output + &once.log));
    daemon.stop().await;
    assert!(words.len() > 150, "the test knows what to look for");
    let quiet = |line: &&str| line.contains(" TRACE ") || line.contains(" DEBUG ");
    let (ours, others): (Vec<&str>, Vec<&str>) =
        shown[0].1.lines().filter(quiet).partition(|line| line.contains(" rbac_sync::"));
    assert!(!ours.is_empty(), "the log is loud");
    assert!(others.is_empty(), "{others:?}");
    for (place, text) in shown {
        assert!(!text.is_empty(), "{place} is empty");
        let leaks: Vec<&String> = words.iter().filter(|word| text.contains(word.as_str())).collect();
        assert!(leaks.is_empty(), "{place} shows {leaks:?}");
    }
}
