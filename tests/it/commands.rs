//! The commands and their exit codes.

use std::path::Path;

use serde_json::Value;

use crate::control::started;
use crate::harness::cluster::free_port;
use crate::harness::http::Address;
use crate::harness::mutate::Change;
use crate::harness::site::{Site, program};

/// Exit code and what was said on both outputs.
async fn run(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output = program(folder).args(arguments).output().await.unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap_or(-1), said)
}

#[tokio::test]
async fn wrong_usage_is_2_and_a_daemon_out_of_reach_is_69() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["no-such-command"][..], &["once", "--mode", "sideways"], &["status", "--no-such-flag"]] {
        assert_eq!(run(folder.path(), arguments).await.0, 2, "{arguments:?}");
    }
    let socket = folder.path().join("none.sock");
    let url = format!("http://127.0.0.1:{}", free_port());
    for command in
        ["status", "run", "pause", "resume", "schedule", "history", "reload", "health", "cancel", "verify", "events"]
    {
        for place in [["--socket", socket.to_str().unwrap()], ["--url", url.as_str()]] {
            let (code, said) = run(folder.path(), &[command, place[0], place[1]]).await;
            assert_eq!(code, 69, "{command} {place:?}: {said}");
        }
    }
    let missing = run(folder.path(), &["once", "--config", "/nonexistent/rbac-sync.toml"]).await;
    assert_eq!(missing.0, 78, "{}", missing.1);
}

/// What `.cargo/config.toml` says of memory has reached the program.
#[tokio::test]
async fn memory_is_given_back_soon() {
    let folder = tempfile::tempdir().unwrap();
    let output = program(folder.path()).arg("--version").env("_RJEM_MALLOC_CONF", "stats_print:true").output().await;
    let said = String::from_utf8_lossy(&output.unwrap().stderr).into_owned();
    for option in
        ["opt.narenas: 1\n", "opt.background_thread: true ", "opt.dirty_decay_ms: 1000 ", "opt.muzzy_decay_ms: 0 "]
    {
        assert!(said.contains(option), "{option}: {said}");
    }
}

#[tokio::test]
async fn the_clients_do_what_they_say_over_the_socket_and_over_http() {
    let (mut site, daemon, http) = started(161, 20).await;
    let Address::Tcp(address) = &http else { panic!("HTTP") };
    let socket = site.socket();
    let url = format!("http://{address}");
    let folder = site.folder.path().to_owned();
    for place in [["--socket", socket.to_str().unwrap()], ["--url", url.as_str()]] {
        let client = async |arguments: &[&str]| {
            let (code, said) = run(&folder, &[arguments, &place[..]].concat()).await;
            assert_eq!(code, 0, "{arguments:?}: {said}");
            said
        };
        for command in ["status", "history", "schedule", "health"] {
            assert!(!client(&[command]).await.is_empty());
            let json = client(&[command, "--json"]).await;
            serde_json::from_str::<Value>(&json).unwrap_or_else(|error| panic!("{command}: {error}: {json}"));
        }
        client(&["pause"]).await;
        assert_eq!(daemon.status().await["paused"], true);
        Change::NewStudy.apply(&mut site.archive).await;
        client(&["run", "--wait"]).await;
        site.assert_in_step("after run --wait").await;
        client(&["resume"]).await;
        assert_eq!(daemon.status().await["paused"], false);
        client(&["reload"]).await;
        let good = site.toml();
        std::fs::write(site.config(), "[[[").unwrap();
        let (code, said) = run(&folder, &["reload", place[0], place[1]]).await;
        assert!([1, 78].contains(&code), "a refused reload: {code} {said}");
        std::fs::write(site.config(), good).unwrap();
        client(&["reload"]).await;
    }
    site.archive.db.run("ALTER TABLE study RENAME TO studies").await;
    let (code, said) = run(&folder, &["run", "--wait", "--socket", socket.to_str().unwrap()]).await;
    assert_eq!(code, 1, "a failed run: {said}");
    site.archive.db.run("ALTER TABLE studies RENAME TO study").await;
    daemon.stop().await;
}

#[tokio::test]
async fn check_accepts_the_shipped_configuration_and_looks_at_the_databases() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/rbac-sync.toml");
    let folder = tempfile::tempdir().unwrap();
    let (code, said) = run(folder.path(), &["check", "--config", shipped.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{said}");
    let (site, daemon, _) = started(162, 10).await;
    daemon.stop().await;
    let config = site.config();
    let (code, said) = run(folder.path(), &["check", "--connect", "--config", config.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{said}");
    for word in ["updated_time", "CREATE INDEX"] {
        assert!(said.contains(word), "no advice about {word}: {said}");
    }
}

#[tokio::test]
async fn once_says_what_keeps_it_from_the_target_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (config, database) = (folder.path().join("rbac-sync.toml"), folder.path().join("none/rbac.db"));
    let (source, target) = (folder.path().join("archive.db"), database.display());
    let text = format!(
        "[[source]]\nname = \"main\"\nurl = \"sqlite://{}\"\ntime_zone = \"UTC\"\n[target]\nurl = \"sqlite://{target}\"\n",
        source.display()
    );
    std::fs::write(&config, text).unwrap();
    let (code, said) = run(folder.path(), &["once", "--config", config.to_str().unwrap()]).await;
    assert_eq!(code, 1, "{said}");
    let none = folder.path().join("none");
    let expected = format!(
        "the folder of the database file, {}, does not exist: create it, or correct target.url",
        none.display()
    );
    assert!(said.contains(&expected), "{said}");
}

#[tokio::test]
async fn check_does_not_take_a_place_where_no_database_can_be_for_a_target() {
    let (mut site, daemon, _) = started(163, 5).await;
    daemon.stop().await;
    let folder = site.folder.path().to_owned();
    let check = async |site: &Site| {
        let config = site.config();
        run(&folder, &["check", "--connect", "--config", config.to_str().unwrap()]).await
    };
    let none = folder.join("none");
    site.target_in(&none);
    let (code, said) = check(&site).await;
    assert_eq!(code, 1, "{said}");
    let expected = format!(
        "target: the folder of the database file, {}, does not exist: create it, or correct target.url",
        none.display()
    );
    assert!(said.contains(&expected) && !said.contains("no tables yet"), "{said}");
    std::fs::create_dir(&none).unwrap();
    let (code, said) = check(&site).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("no tables yet: the first run creates them"), "{said}");
}

#[tokio::test]
async fn completions_are_printed_for_each_shell() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let (code, said) = run(folder.path(), &["completions", shell]).await;
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("rbac-sync") && said.contains("schedule"), "{shell}");
    }
}

#[tokio::test]
async fn the_demo_shows_runs_passing_and_ends_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let listen = format!("127.0.0.1:{}", free_port());
    let demo = program(folder.path())
        .args(["demo", "--for", "8s", "--studies", "200", "--listen", &listen, "--dir"])
        .arg(folder.path().join("demo"))
        .output();
    let http = Address::Tcp(listen.parse().unwrap());
    let watch = async {
        crate::harness::wait::eventually("a run of the demo", std::time::Duration::from_secs(30), async || {
            let reply = http.try_ask("GET", "/sync/status", None, "").await.map_err(|error| error.to_string())?;
            let status = reply.json();
            if status["last_result"]["success"] == true { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
    };
    let (output, ()) = tokio::join!(demo, watch);
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("curl"), "{said}");
}
