//! A changed configuration takes effect without a restart; a broken one changes nothing.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::cluster::{READER, WRITER, free_port};
use crate::harness::daemon::{CAP, Daemon};
use crate::harness::generate;
use crate::harness::mutate::Change;
use crate::harness::random;
use crate::harness::shape::Shape;
use crate::harness::site::{Site, program};
use crate::harness::wait::{check, eventually};

async fn started(seed: u64) -> (Site, Daemon) {
    let mut site = Site::new(Shape::release("5.35.0"), random::seed(seed)).await;
    generate::fill(&mut site.archive, 20).await;
    let daemon = site.daemon().await;
    daemon.status_with("the first run", |status| status["last_result"]["success"] == true).await;
    (site, daemon)
}

fn refused(status: &Value) -> bool {
    status["config"]["last_reload_successful"] == false
}

fn accepted(status: &Value) -> bool {
    status["config"]["last_reload_successful"] == true
}

/// Replaces the file as most editors do.
fn rename_over(site: &Site, text: &str) {
    let new = site.folder.path().join("rbac-sync.toml.new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, site.config()).unwrap();
}

#[tokio::test]
async fn a_saved_interval_takes_effect_at_once_however_it_is_saved() {
    let (mut site, daemon) = started(101).await;
    for (interval, seconds, in_place) in
        [("2h", 7200, true), ("90m", 5400, false), ("45m", 2700, true), ("30m", 1800, false), ("2s", 2, false)]
    {
        site.settings.interval = interval;
        if in_place {
            site.configure()
        } else {
            rename_over(&site, &site.toml())
        }
        daemon.status_with(interval, |status| status["interval_sec"] == seconds && accepted(status)).await;
    }
    Change::NewStudy.apply(&mut site.archive).await;
    let runs = daemon.status().await["last_run"].clone();
    daemon.status_with("a run at the new interval", |status| status["last_run"] != runs).await;
    daemon.status_with("another one", |status| status["is_running"] == false).await;
    let pid_of_one_process = daemon.status().await["started"].clone();
    assert!(pid_of_one_process.is_string());
    daemon.stop().await;
}

#[tokio::test]
async fn a_broken_file_keeps_the_old_configuration_and_says_so_until_it_is_good_again() {
    let (mut site, daemon) = started(102).await;
    let good = site.toml();
    for broken in [
        good.replace("interval = \"1h\"", "interval = \"0s\""),
        good.replace("[schedule]", "[shedule]"),
        "[[[".to_owned(),
        String::new(),
    ] {
        rename_over(&site, &broken);
        let status = daemon.status_with("the refusal", refused).await;
        assert_eq!(status["interval_sec"], 3600, "{status}");
        assert!(!status["config"]["errors"].as_array().unwrap().is_empty(), "{status}");
        assert_eq!(daemon.metric("rbac_sync_config_last_reload_successful").await, Some(0.0));
        assert_eq!(daemon.get("/health/live").await.code, 200);
        let health = daemon.get("/health").await;
        assert_eq!((health.code, &health.json()["configuration"]["ok"]), (503, &false.into()), "{health:?}");
        Change::NewStudy.apply(&mut site.archive).await;
        daemon.run("{}").await;
        site.assert_in_step("a run with the old configuration").await;
        // The very same text as before is a good reload too.
        rename_over(&site, &good);
        let status = daemon.status_with("good again", accepted).await;
        assert_eq!(status["config"]["errors"].as_array().map(Vec::len), Some(0), "{status}");
        assert_eq!(daemon.metric("rbac_sync_config_last_reload_successful").await, Some(1.0));
        let health = daemon.get("/health").await;
        assert_eq!((health.code, &health.json()["configuration"]["ok"]), (200, &true.into()), "{health:?}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_broken_file_is_reported_once() {
    let (site, daemon) = started(103).await;
    let failures = "rbac_sync_config_reloads_total{result=\"failure\",trigger=\"file\"}";
    let refusals = |daemon: &Daemon| daemon.log().matches("configuration refused").count();
    rename_over(&site, "[[[");
    let status = daemon.status_with("the refusal", refused).await;
    let errors = status["config"]["errors"].as_array().unwrap().len();
    assert_eq!((daemon.metric(failures).await, refusals(&daemon)), (Some(1.0), errors));
    // The same text again is no change, and another text with the same error no news.
    for text in ["[[[", "[[[", "[[[\n# still wrong\n"] {
        rename_over(&site, text);
    }
    eventually("the last text was read", CAP, async || {
        let counted = daemon.metric(failures).await;
        check(counted == Some(2.0), format!("{counted:?}"))
    })
    .await;
    assert_eq!(refusals(&daemon), errors, "{}", daemon.log());
    daemon.stop().await;
}

#[tokio::test]
async fn sighup_and_the_api_reload_and_answer_with_the_changed_keys() {
    let (mut site, daemon) = started(104).await;
    site.settings.interval = "20m";
    site.configure();
    daemon.signal(Signal::HUP);
    daemon.status_with("the interval after SIGHUP", |status| status["interval_sec"] == 1200).await;
    std::fs::write(site.config(), site.toml().replace("interval = \"20m\"", "interval = 'often'")).unwrap();
    let reply = daemon.socket.ask("POST", "/config/reload", None).await;
    assert!((400..500).contains(&reply.code) || reply.json()["success"] == false, "{reply:?}");
    assert!(reply.body.contains("rbac-sync.toml:2:"), "{reply:?}");
    assert_eq!(daemon.status().await["interval_sec"], 1200);
    site.settings.interval = "10m";
    site.configure();
    let reply = eventually("a good reload", CAP, async || {
        let reply = daemon.socket.ask("POST", "/config/reload", None).await;
        if reply.code == 200 { Ok(reply.json()) } else { Err(format!("{reply:?}")) }
    })
    .await;
    assert_eq!(reply["success"], true, "{reply}");
    assert_eq!(daemon.status().await["interval_sec"], 600);
    let config = daemon.get("/config").await;
    assert_eq!(config.code, 200);
    assert!(!config.body.contains("s3cret"), "{config:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn an_edit_of_the_file_ends_a_schedule_of_the_api() {
    let (mut site, daemon) = started(105).await;
    assert_eq!(daemon.socket.ask("PUT", "/sync/schedule", Some("{\"interval_sec\": 77}")).await.code, 200);
    assert_eq!(daemon.status().await["interval_sec"], 77);
    site.settings.interval = "40m";
    site.configure();
    daemon.status_with("the file's value", |status| status["interval_sec"] == 2400).await;
    assert_eq!(daemon.get("/sync/schedule").await.json()["origin"], "file");
    daemon.stop().await;
}

#[tokio::test]
async fn a_storm_of_signals_is_survived_and_still_obeyed() {
    let (mut site, daemon) = started(106).await;
    for _ in 0..40 {
        daemon.signal(Signal::HUP);
        daemon.signal(Signal::USR1);
    }
    Change::NewStudy.apply(&mut site.archive).await;
    daemon.run("{}").await;
    site.assert_in_step("after the storm").await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_rotated_password_is_proved_by_a_login_before_it_counts() {
    let mut site = Site::new(Shape::release("5.35.0"), random::seed(107)).await;
    generate::fill(&mut site.archive, 20).await;
    let database = &mut site.archive.db;
    database.run(&format!("CREATE ROLE rotating LOGIN PASSWORD 'rotated-one' IN ROLE {READER}")).await;
    site.source_url = site.source_url.replace(&format!("//{READER}@"), "//rotating@");
    let file = site.folder.path().join("source.password");
    let store = |password: &str| {
        std::fs::write(file.with_extension("new"), password).unwrap();
        std::fs::rename(file.with_extension("new"), &file).unwrap();
    };
    store("rotated-one");
    let daemon = site.daemon().await;
    daemon.status_with("the first run", |status| status["last_result"]["success"] == true).await;

    site.archive.db.run("ALTER ROLE rotating PASSWORD 'rotated-two'").await;
    store("rotated-two");
    daemon.status_with("the new password", |status| status["config"]["generation"] == 2).await;
    let config = daemon.get("/config").await;
    let record = config.json()["last_reload"].clone();
    assert_eq!((&record["trigger"], &record["actor"]), (&"file".into(), &"file".into()), "{record}");
    let change = json!([{ "key": "source.main.password", "old": "set", "new": "set", "effect": "hot" }]);
    assert_eq!((&record["changes"], &record["changed"][0]), (&change, &"source.main.password".into()), "{record}");

    // A file that cannot be used for a login is refused, and what was proved goes on.
    store("rotated-wrong");
    let status = daemon.status_with("the refusal", refused).await;
    assert!(status["config"]["errors"][0].as_str().unwrap().starts_with("source \"main\": "), "{status}");
    Change::NewStudy.apply(&mut site.archive).await;
    daemon.run("{}").await;
    site.assert_in_step("a run with the password before").await;
    store("rotated-two");
    let status = daemon.status_with("good again", accepted).await;
    assert_eq!(status["config"]["generation"], 2);
    for text in [config.body, daemon.get("/config").await.body, daemon.log()] {
        assert!(!text.contains("rotated-"), "{text}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_rotated_password_of_the_target_leaves_the_daemon_in_charge_of_it() {
    let mut site = Site::new(Shape::release("5.35.0"), random::seed(109)).await;
    generate::fill(&mut site.archive, 20).await;
    let login = format!("CREATE ROLE keeper LOGIN PASSWORD 'keeper-one' IN ROLE {WRITER}");
    site.archive.db.run(&login).await;
    let text = site.toml();
    let url = text.split('"').find(|part| part.contains(&format!("//{WRITER}@"))).unwrap();
    let url = url.replace(&format!("//{WRITER}@"), "//keeper@");
    let file = site.folder.path().join("target.password");
    std::fs::write(&file, "keeper-one").unwrap();
    let daemon = Daemon::start(&site, &[("RBAC_SYNC_TARGET_URL", &url)]).await;
    daemon.status_with("the first run", |status| status["last_result"]["success"] == true).await;
    site.archive.db.run("ALTER ROLE keeper PASSWORD 'keeper-two'").await;
    std::fs::write(&file, "keeper-two").unwrap();
    daemon.status_with("the new password", |status| status["config"]["generation"] == 2).await;
    Change::NewStudy.apply(&mut site.archive).await;
    daemon.run("{}").await;
    site.assert_in_step("a run with the new password").await;
    assert_eq!(daemon.status().await["standby"], false);
    daemon.stop().await;
}

#[tokio::test]
async fn a_target_where_no_file_can_be_is_refused_and_the_one_before_stays() {
    let (mut site, daemon) = started(113).await;
    let good = site.toml();
    let url = good.split('"').find(|part| part.contains(&format!("//{WRITER}@"))).unwrap();
    let none = site.folder.path().join("none");
    let password = format!("password_file = \"{}\"\n", site.folder.path().join("target.password").display());
    let text = good.replace(url, &format!("sqlite://{}/rbac.db", none.display())).replace(&password, "");
    rename_over(&site, &text);
    let (code, _, words) = reload(&site).await;
    assert_eq!(code, Some(78), "{words}");
    let missing = format!("the folder of the database file, {}, does not exist", none.display());
    assert!(words.contains(&missing) && words.contains("generation 1 stays in effect"), "{words}");
    Change::NewStudy.apply(&mut site.archive).await;
    daemon.run("{}").await;
    site.assert_in_step("a run into the target before").await;
    assert!(!none.exists());
    daemon.stop().await;
}

#[tokio::test]
async fn one_record_says_what_a_reload_did_to_everybody_who_asks() {
    let (mut site, daemon) = started(108).await;
    site.settings.interval = "25m";
    let text = site.toml().replace("[socket]\n", "[socket]\nmode = \"0600\"\n");
    let check = async |more: &[&str]| {
        let mut command = program(site.folder.path());
        let output = command.args(["check", "--config"]).arg(site.config()).args(more).output().await.unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, same) = check(&["--against-running"]).await;
    assert_eq!(code, Some(0), "{same}");
    assert!(same.contains("a reload would change nothing that can be seen\n"), "{same}");

    // A candidate beside the file in use.
    let candidate = site.folder.path().join("candidate.toml");
    std::fs::write(&candidate, &text).unwrap();
    let (code, differs) = check(&["--config", candidate.to_str().unwrap(), "--against-running"]).await;
    assert_eq!(code, Some(2), "one file at a time: {differs}");
    let output = program(site.folder.path())
        .args(["check", "--against-running", "--json", "--config"])
        .arg(&candidate)
        .output()
        .await
        .unwrap();
    let foreseen: Value = serde_json::from_slice(&output.stdout).unwrap();
    let foreseen = &foreseen["against_running"]["changes"];

    rename_over(&site, &text);
    daemon.status_with("the new interval", |status| status["interval_sec"] == 1500).await;
    let shown = daemon.get("/config").await.json();
    let record = &shown["last_reload"];
    assert_eq!(record["changes"], *foreseen, "what check said is what was done");
    let expected = json!([
        { "key": "schedule.interval", "old": "1h", "new": "25m", "effect": "hot" },
        { "key": "socket.mode", "old": "0660", "new": "0600", "effect": "restart" },
    ]);
    assert_eq!(*foreseen, expected);
    assert_eq!(
        (&record["changed"], &record["restart_required"]),
        (&json!(["schedule.interval"]), &json!(["socket.mode"]))
    );
    assert_eq!((&record["hash"], &record["generation"]), (&shown["hash"], &shown["generation"]));
    let keys = shown["keys"].as_array().unwrap();
    let mode = keys.iter().find(|key| key["key"] == "socket.mode").unwrap();
    assert_eq!((&mode["value"], &mode["until_restart"]), (&"0600".into(), &"0660".into()));
    assert_eq!(daemon.metric("rbac_sync_config_pending_restart").await, Some(1.0));
    assert_eq!(daemon.metric("rbac_sync_config_generation").await, Some(2.0));
    let hash = shown["hash"].as_str().unwrap();
    assert_eq!(daemon.metric(&format!("rbac_sync_config_info{{hash=\"{hash}\"}}")).await, Some(1.0));
    let log = daemon.log();
    let records: Vec<_> = log.lines().filter(|line| line.contains("configuration reloaded")).collect();
    assert_eq!(records.len(), 1, "{log}");
    for part in [
        "trigger=\"file\"",
        "config_generation=2",
        &format!("hash=\"{hash}\""),
        "changed=\"schedule.interval: 1h -> 25m\"",
        "waits_for_restart=\"socket.mode: 0660 -> 0600\"",
    ] {
        assert!(records[0].contains(part), "{part}: {log}");
    }
    let counted = "rbac_sync_config_reloads_total{result=\"success\",trigger=\"file\"}";
    assert_eq!(daemon.metric(counted).await, Some(1.0));

    let (code, words, _) = reload(&site).await;
    assert_eq!(code, Some(0), "{words}");
    let expected = format!(
        "generation 2 is in effect (file {hash})\nnothing has changed\n\
         waits for a restart: socket.mode (changed earlier)\n"
    );
    assert_eq!(words, expected);
    std::fs::write(site.config(), text.replace("[socket]", "[sockets]")).unwrap();
    let (code, _, words) = reload(&site).await;
    assert_eq!(code, Some(78), "{words}");
    assert!(words.contains("did you mean `socket`?") && words.contains("generation 2 stays in effect"), "{words}");
    daemon.stop().await;
}

/// The exit code of `rbac-sync reload`, its output, and what it said beside that.
async fn reload(site: &Site) -> (Option<i32>, String, String) {
    let output = program(site.folder.path()).arg("reload").arg("--socket").arg(site.socket()).output().await.unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn a_file_that_a_refused_configuration_names_heals_it_by_appearing() {
    let (mut site, daemon) = started(110).await;
    site.settings.interval = "35m";
    let old = site.folder.path().join("source.password");
    let new = site.folder.path().join("secrets/new.password");
    let text = site.toml().replace(&old.display().to_string(), &new.display().to_string());
    assert!(text.contains("new.password"), "{text}");
    rename_over(&site, &text);
    let status = daemon.status_with("the refusal", refused).await;
    assert!(status["config"]["errors"][0].as_str().unwrap().ends_with("there is no such file"), "{status}");
    assert_eq!(daemon.get("/config").await.json()["last_reload"]["retrying"], false, "it waits for the file");

    std::fs::create_dir(new.parent().unwrap()).unwrap();
    let store = || {
        // At once, so that nobody reads half of it.
        std::fs::copy(&old, new.with_extension("part")).unwrap();
        std::fs::rename(new.with_extension("part"), &new).unwrap();
    };
    store();
    let status = daemon.status_with("the file is there", accepted).await;
    assert_eq!((&status["interval_sec"], &status["config"]["generation"]), (&2100.into(), &2.into()), "{status}");
    // Also where a configuration that was accepted names it.
    std::fs::remove_file(&new).unwrap();
    daemon.status_with("the file is gone", refused).await;
    store();
    daemon.status_with("the file is back", accepted).await;
    assert_eq!(daemon.log().matches("configuration refused").count(), 2, "each refusal once: {}", daemon.log());
    daemon.stop().await;
}

#[tokio::test]
async fn a_database_that_is_down_is_waited_for_without_another_touch_of_the_file() {
    let (mut site, daemon) = started(111).await;
    let port = free_port();
    let real = site.source_url.split(['@', '/']).nth(3).unwrap().to_owned();
    site.source_url = site.source_url.replace(&real, &format!("127.0.0.1:{port}"));
    rename_over(&site, &site.toml());
    daemon.status_with("the refusal", refused).await;
    let (code, _, words) = reload(&site).await;
    assert_eq!(code, Some(78), "{words}");
    assert!(words.contains("generation 1 stays in effect; the daemon tries again by itself"), "{words}");

    // The database comes up: a door to the one that runs.
    let door = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let opened = tokio::spawn(async move {
        loop {
            let (mut outside, _) = door.accept().await.unwrap();
            let mut inside = tokio::net::TcpStream::connect(&real).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut outside, &mut inside).await });
        }
    });
    let longer_than_the_first_wait = CAP * 2;
    let record = eventually("the reload succeeds by itself", longer_than_the_first_wait, async || {
        let record = daemon.get("/config").await.json()["last_reload"].clone();
        check(record["success"] == true, record.to_string()).map(|()| record)
    })
    .await;
    assert_eq!((&record["trigger"], &record["generation"]), (&"socket".into(), &2.into()), "{record}");
    let log = daemon.log();
    assert_eq!(log.matches("tried again until the database answers").count(), 2, "one for each request: {log}");
    assert_eq!(log.matches("configuration reloaded").count(), 1, "{log}");
    Change::NewStudy.apply(&mut site.archive).await;
    daemon.run("{}").await;
    site.assert_in_step("a run through the door").await;
    daemon.stop().await;
    opened.abort();
}

#[tokio::test]
async fn what_the_next_start_would_miss_is_said_by_check_and_by_the_reload() {
    let (site, daemon) = started(112).await;
    let folder = site.folder.path().join("none");
    let socket = format!("path = \"{}\"", site.socket().display());
    let text = site.toml().replace(&socket, &format!("path = \"{}/control.sock\"", folder.display()));
    // Beside it, so that what check says is not what the watch has done already.
    let candidate = site.folder.path().join("candidate.toml");
    std::fs::write(&candidate, &text).unwrap();
    let output = program(site.folder.path()).args(["check", "--config"]).arg(&candidate).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let missing = format!("the folder {} does not exist: create it before the next start", folder.display());
    assert_eq!(output.status.code(), Some(0), "a start may find it: {said}");
    assert!(said.contains("warning: ") && said.contains(&missing), "{said}");

    std::fs::write(site.config(), &text).unwrap();
    let (code, _, words) = reload(&site).await;
    assert_eq!(code, Some(0), "{words}");
    assert!(words.contains("warning: ") && words.contains(&missing), "{words}");
    let record = daemon.get("/config").await.json()["last_reload"].clone();
    assert!(record["warnings"].to_string().contains(&missing), "{record}");
    assert!(daemon.log().contains(&missing), "{}", daemon.log());
    daemon.stop().await;
    let output = program(site.folder.path()).args(["daemon", "--config"]).arg(site.config()).output().await.unwrap();
    assert_eq!(output.status.code(), Some(1), "as foreseen: {}", String::from_utf8_lossy(&output.stderr));
}
