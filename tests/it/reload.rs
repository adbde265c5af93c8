//! A changed configuration takes effect without a restart; a broken one changes nothing.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::cluster::{READER, WRITER};
use crate::harness::daemon::{CAP, Daemon};
use crate::harness::generate;
use crate::harness::mutate::Change;
use crate::harness::random;
use crate::harness::shape::Shape;
use crate::harness::site::{Site, program};
use crate::harness::wait::eventually;

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
        Change::NewStudy.apply(&mut site.archive).await;
        daemon.run("{}").await;
        site.assert_in_step("a run with the old configuration").await;
        // The very same text as before is a good reload too.
        rename_over(&site, &good);
        let status = daemon.status_with("good again", accepted).await;
        assert_eq!(status["config"]["errors"].as_array().map(Vec::len), Some(0), "{status}");
        assert_eq!(daemon.metric("rbac_sync_config_last_reload_successful").await, Some(1.0));
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_broken_file_is_reported_once() {
    let (site, daemon) = started(103).await;
    rename_over(&site, "[[[");
    daemon.status_with("the refusal", refused).await;
    let failures = async || {
        let text = daemon.get("/metrics").await.body;
        let lines = text.lines().filter(|line| line.starts_with("rbac_sync_config_reloads_total{"));
        let failed = lines.filter(|line| line.contains("trigger=\"file\"") && !line.contains("result=\"success\""));
        failed.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    let before = failures().await;
    assert!(before >= 1.0);
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(failures().await.to_bits(), before.to_bits(), "reported again without a change");
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
    assert!(daemon.log().contains("schedule.interval: 1h -> 25m"), "{}", daemon.log());

    let client = async || {
        let mut command = program(site.folder.path());
        let output = command.arg("reload").arg("--socket").arg(site.socket()).output().await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let (code, words) = client().await;
    assert_eq!(code, Some(0), "{words}");
    let expected = format!(
        "generation 2 is in effect (file {hash})\nnothing has changed\n\
         waits for a restart: socket.mode (changed earlier)\n"
    );
    assert_eq!(words, expected);
    std::fs::write(site.config(), text.replace("[socket]", "[sockets]")).unwrap();
    let (code, words) = client().await;
    assert_eq!(code, Some(78), "{words}");
    assert!(words.contains("did you mean `socket`?") && words.contains("generation 2 stays in effect"), "{words}");
    daemon.stop().await;
}
