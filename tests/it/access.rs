//! Who may do what, and the record of it: roles, certificates, callers of the socket, the audit.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::harness::cluster::free_port;
use crate::harness::credentials::{bearer, client, hash};
use crate::harness::daemon::{CAP, Daemon};
use crate::harness::generate;
use crate::harness::http::Address;
use crate::harness::random;
use crate::harness::shape::{Dialect, Shape};
use crate::harness::site::{Site, program};
use crate::harness::tls::{self, Authority};
use crate::harness::wait::{check, eventually};

const VIEWER: &str = "v1ewer-Token-7731";
const OPERATOR: &str = "0perator-Token-9914";

/// Reads, then changes; each with a body that the route takes.
const READS: [&str; 10] = [
    "/sync/status",
    "/sync/schedule",
    "/sync/history",
    "/sync/audit",
    "/health",
    "/health/ready",
    "/health/live",
    "/metrics",
    "/config",
    "/sync/runs/00000000-0000-7000-8000-000000000000",
];
const CHANGES: [(&str, &str, Option<&str>); 7] = [
    ("POST", "/sync/run", Some("{}")),
    ("POST", "/sync/cancel", None),
    ("PUT", "/sync/schedule", Some("{\"interval_sec\": 1800}")),
    ("DELETE", "/sync/schedule", None),
    ("POST", "/sync/pause", Some("{\"reason\": \"a test\"}")),
    ("POST", "/sync/resume", None),
    ("POST", "/config/reload", None),
];

async fn site(seed: u64, listen: SocketAddr, more: &str) -> Site {
    let mut site =
        Site::between(Dialect::Postgres, Dialect::Sqlite, Shape::release("5.35.0"), random::seed(seed)).await;
    generate::fill(&mut site.archive, 10).await;
    let viewer = client("grafana", "viewer", "token_hash", &hash(VIEWER.as_bytes()));
    let operator = client("ops", "operator", "token_hash", &hash(OPERATOR.as_bytes()));
    site.settings.http = Some(format!("\"{listen}\"\n{viewer}{operator}{more}"));
    site
}

fn problem(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    body["type"].as_str().unwrap_or_default().rsplit(':').next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_viewer_reads_everything_and_changes_nothing() {
    let listen = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let site = site(131, listen, "").await;
    let daemon = site.daemon().await;
    daemon.status_with("the first run", |status| status["last_result"]["success"] == true).await;
    let http = Address::Tcp(listen);
    let ask = async |method: &str, target: &str, body: Option<&str>, headers: &str| {
        let reply = http.try_ask(method, target, body, headers).await.unwrap();
        assert!(reply.header("access-control-allow-origin").is_none(), "{reply:?}");
        (reply.code, problem(&reply.body))
    };
    for target in READS {
        let code = if target == "/health/live" { 200 } else { 401 };
        assert_eq!(ask("GET", target, None, "").await.0, code, "{target} without a token");
        assert_eq!(ask("GET", target, None, &bearer("guess")).await.0, code, "{target} with a wrong token");
        for token in [VIEWER, OPERATOR] {
            let (code, problem) = ask("GET", target, None, &bearer(token)).await;
            assert!([200, 404].contains(&code), "{target}: {code} {problem}");
            for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
                let allowed = CHANGES.iter().any(|(known, path, _)| (*known, *path) == (method, target));
                if !allowed {
                    assert_eq!(ask(method, target, None, &bearer(token)).await.0, 405, "{method} {target}");
                }
            }
        }
    }
    for (method, target, body) in CHANGES {
        assert_eq!(ask(method, target, body, "").await.0, 401, "{method} {target}");
        let denied = ask(method, target, body, &bearer(VIEWER)).await;
        assert_eq!(denied, (403, "insufficient-role".to_owned()), "{method} {target}");
        assert_eq!(ask("OPTIONS", target, None, &bearer(OPERATOR)).await.0, 405, "{target}");
    }
    assert_eq!(daemon.get("/sync/audit").await.json()["changes"], Value::Array(Vec::new()), "a denial changes nothing");
    // Refused before the body, which never comes.
    let half = format!("POST /sync/pause HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n{}\r\n{{", bearer(VIEWER));
    let mut stream = TcpStream::connect(listen).await.unwrap();
    stream.write_all(half.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    tokio::time::timeout(std::time::Duration::from_secs(10), stream.read_exact(&mut start)).await.unwrap().unwrap();
    assert_eq!(&start, b"HTTP/1.1 403");

    for (method, target, body) in CHANGES {
        let (code, problem) = ask(method, target, body, &bearer(OPERATOR)).await;
        assert!([200, 202, 409].contains(&code), "{method} {target}: {code} {problem}");
    }
    let changes = daemon.get("/sync/audit").await.json()["changes"].clone();
    assert!(changes.as_array().is_some_and(|changes| changes.len() >= 4), "{changes}");
    for change in changes.as_array().unwrap() {
        assert_eq!((&change["actor"], &change["via"]), (&Value::from("token ops"), &Value::from("http")), "{change}");
        assert_eq!(change["detail"]["remote"], "127.0.0.1", "{change}");
    }
    eventually("the run in the history", CAP, async || {
        let history = daemon.get("/sync/history").await.json();
        check(history["runs"].as_array().unwrap().iter().any(|run| run["actor"] == "token ops"), history)
    })
    .await;
    let log = daemon.log();
    assert!(log.contains("pause by token ops: ok"), "{log}");
    assert!(log.contains("insufficient-role"), "{log}");
    assert!(log.lines().filter(|line| line.contains("denied: ")).count() <= 40, "denials are rate-limited");
    assert!(!log.contains(VIEWER) && !log.contains(OPERATOR));
    daemon.stop().await;
}

async fn connect(listen: SocketAddr, authority: &Authority) -> TlsStream<TcpStream> {
    tls::connect(TcpStream::connect(listen).await.unwrap(), authority.trusted()).await.unwrap()
}

fn shown(stream: &TlsStream<TcpStream>) -> String {
    hash(&stream.get_ref().1.peer_certificates().unwrap()[0])
}

/// One request on a connection that stays open.
async fn still_answers(stream: &mut TlsStream<TcpStream>) {
    let request = format!("GET /sync/schedule HTTP/1.1\r\nHost: localhost\r\n{}\r\n", bearer(VIEWER));
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    while !reply.ends_with(b"}\n") {
        assert_ne!(stream.read_buf(&mut reply).await.unwrap(), 0, "{}", String::from_utf8_lossy(&reply));
    }
    assert!(reply.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&reply));
}

async fn cli(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output = program(folder).args(arguments).output().await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test]
async fn a_certificate_is_replaced_without_a_restart_and_a_wrong_one_is_refused_once() {
    let listen = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name);
    let (authority, first) = (Authority::new(), "server");
    let before = authority.issue(files.path(), first);
    let tls = format!(
        "[http.tls]\ncertificate = \"{}\"\nkey = \"{}\"\n",
        path("server.pem").display(),
        path("server.key").display()
    );
    let site = site(132, listen, &tls).await;
    let daemon = site.daemon().await;
    let mut open = connect(listen, &authority).await;
    assert_eq!(shown(&open), before);
    assert_eq!(open.get_ref().1.alpn_protocol(), None, "none was offered");
    still_answers(&mut open).await;
    // In the clear nobody is served.
    let plain = Address::Tcp(listen).raw(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(plain.map_or(true, |bytes| !bytes.starts_with(b"HTTP/1.1 2")));

    let mut silent = Vec::new();
    for _ in 0..60 {
        silent.push(TcpStream::connect(listen).await.unwrap());
    }
    let beside = tokio::time::timeout(std::time::Duration::from_secs(4), connect(listen, &authority)).await;
    still_answers(&mut beside.expect("silent clients hold nobody up")).await;
    drop(silent);

    let after = authority.issue(files.path(), first);
    eventually("the new certificate", CAP, async || {
        still_answers(&mut open).await;
        check(shown(&connect(listen, &authority).await) == after, daemon.log())
    })
    .await;
    assert_eq!(shown(&open), before, "an open connection goes on with the old one");
    let good = (std::fs::read(path("server.pem")).unwrap(), std::fs::read(path("server.key")).unwrap());

    authority.issue(files.path(), "other");
    std::fs::copy(path("other.key"), path("server.key")).unwrap();
    let refused = |status: &Value| status["config"]["last_reload_successful"] == false;
    let status = daemon.status_with("the refusal", refused).await;
    assert!(status["config"]["errors"].to_string().contains("does not belong to the certificate"), "{status}");
    assert_eq!(shown(&connect(listen, &authority).await), after);
    tokio::time::sleep(std::time::Duration::from_secs(12)).await;
    let said = daemon.log().lines().filter(|line| line.contains("configuration refused")).count();
    assert_eq!(said, 1, "{}", daemon.log());
    std::fs::write(path("server.key"), good.1).unwrap();
    daemon.status_with("the repair", |status| !refused(status)).await;
    assert_eq!(shown(&connect(listen, &authority).await), after);
    daemon.stop().await;
}

#[tokio::test]
async fn a_client_certificate_names_its_bearer() {
    let listen = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name).display().to_string();
    let (authority, foreign) = (Authority::new(), Authority::new());
    authority.issue(files.path(), "server");
    let laptop = authority.issue(files.path(), "laptop");
    authority.issue(files.path(), "unlisted");
    foreign.issue(files.path(), "foreign");
    std::fs::write(path("ca.pem"), &authority.pem).unwrap();
    let tls = format!(
        "{}[http.tls]\ncertificate = \"{}\"\nkey = \"{}\"\nclient_ca = \"{}\"\n",
        client("laptop", "operator", "certificate", &laptop),
        path("server.pem"),
        path("server.key"),
        path("ca.pem")
    );
    let site = site(133, listen, &tls).await;
    let daemon = site.daemon().await;
    let url = format!("https://localhost:{}", listen.port());
    let ask = async |command: &str, more: &[String]| {
        let ca = path("ca.pem");
        let mut arguments = vec![command, "--url", &url, "--ca-file", &ca];
        arguments.extend(more.iter().map(String::as_str));
        cli(files.path(), &arguments).await
    };
    let pair =
        |name: &str| ["--cert".into(), path(&format!("{name}.pem")), "--key".into(), path(&format!("{name}.key"))];
    let (code, text) = ask("pause", &pair("laptop")).await;
    assert_eq!(code, 0, "{text}\n{}", daemon.log());
    assert_eq!(daemon.status().await["pause"]["actor"], "certificate laptop");
    let (code, text) = ask("status", &pair("unlisted")).await;
    assert_eq!(code, 77, "{text}");
    let (code, text) = ask("status", &pair("foreign")).await;
    assert_eq!(code, 69, "{text}");
    let (code, text) = ask("status", &[]).await;
    assert_eq!(code, 77, "{text}");
    std::fs::write(path("token"), VIEWER).unwrap();
    let (code, text) = ask("status", &["--token-file".into(), path("token")]).await;
    assert_eq!(code, 0, "{text}");
    let (code, text) = ask("resume", &["--token-file".into(), path("token")]).await;
    assert_eq!(code, 77, "{text}");
    let (code, text) = cli(files.path(), &["status", "--url", &url]).await;
    assert_eq!(code, 69, "its authority is not one of the host's: {text}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_stranger_at_an_open_socket_reads_and_a_member_of_its_group_changes() {
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: only root can ask as somebody else");
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let mut site = Site::between(Dialect::Postgres, Dialect::Sqlite, Shape::release("5.35.0"), random::seed(134)).await;
    let toml = site.toml().replace("[socket]\n", "[socket]\nmode = \"0666\"\n");
    generate::fill(&mut site.archive, 10).await;
    std::fs::set_permissions(site.folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(site.config(), toml).unwrap();
    let daemon = Daemon::start(&site, &[]).await;
    // A copy, for the folder of the build may be closed to others.
    let copy = site.folder.path().join("rbac-sync");
    std::fs::copy(env!("CARGO_BIN_EXE_rbac-sync"), &copy).unwrap();
    let ask = async |gid: &str, command: &str| {
        let mut program = tokio::process::Command::new("setpriv");
        program.args(["--reuid", "65534", "--regid", gid, "--clear-groups", "--"]).arg(&copy);
        let output = program.arg(command).arg("--socket").arg(site.socket()).output().await.unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (gid, command, code) in
        [("65534", "status", 0), ("65534", "pause", 77), ("65534", "reload", 77), ("0", "pause", 0)]
    {
        let (found, text) = ask(gid, command).await;
        assert_eq!(found, Some(code), "{command} as group {gid}: {text}");
    }
    assert_eq!(daemon.status().await["pause"]["actor"], "uid 65534");
    assert!(daemon.log().contains("denied: POST /sync/pause by uid 65534: insufficient-role"), "{}", daemon.log());
    daemon.stop().await;
}

#[tokio::test]
async fn the_audit_outlives_a_restart_and_tables_of_version_1_are_upgraded_on_every_dialect() {
    for (number, dialect) in [Dialect::Postgres, Dialect::Mariadb, Dialect::Sqlite].into_iter().enumerate() {
        let source = if dialect == Dialect::Sqlite { Dialect::Postgres } else { dialect };
        let seed = random::seed(135 + number as u64);
        let mut site = Site::between(source, dialect, Shape::release("5.35.0"), seed).await;
        generate::fill(&mut site.archive, 10).await;
        site.sync(&[]).await;
        let mut target = site.target().await;
        target.run("DROP TABLE sync_audit").await;
        // In MariaDB an upgrade can be interrupted between its steps.
        if dialect != Dialect::Mariadb {
            target.run("ALTER TABLE sync_run DROP COLUMN actor").await;
        }
        target.run("UPDATE sync_schema SET version = 1").await;
        let dry = site.once(&["--dry-run"]).await;
        assert_eq!((dry.code, dry.changed()), (0, 0), "a dry run reads the older tables and leaves them: {dry:?}");
        assert!(!target.tables().await.contains("sync_audit"));

        let mut daemon = site.daemon().await;
        daemon.run("{}").await;
        let me = format!("uid {}", rustix::process::getuid().as_raw());
        for (method, route, body) in [
            ("PUT", "/sync/schedule", Some("{\"interval_sec\": 1800}")),
            ("POST", "/sync/pause", Some("{\"reason\": \"a move\"}")),
            ("POST", "/sync/resume", None),
        ] {
            assert_eq!(daemon.socket.ask(method, route, body).await.code, 200);
        }
        site.settings.interval = "2h";
        site.configure();
        daemon.status_with("the file's interval", |status| status["interval_sec"] == 7200).await;
        eventually("all rows", CAP, async || {
            let rows = target.table("sync_audit").await;
            check(rows.len() == 4, format!("{rows:?}\n{}", daemon.log()))
        })
        .await;
        assert_eq!(target.value("SELECT version FROM sync_schema").await.as_deref(), Some("2"));
        let actor = "SELECT actor FROM sync_run WHERE run_trigger = 'socket'";
        assert_eq!(target.value(actor).await.as_ref(), Some(&me));
        for restarted in [false, true] {
            if restarted {
                daemon.stop().await;
                daemon = site.daemon().await;
                daemon.status_with("the target is open", |status| status["target"]["reachable"] == true).await;
            }
            let changes = daemon.get("/sync/audit?limit=10").await.json()["changes"].clone();
            let words = |change: &Value| {
                let word = |key: &str| change[key].as_str().unwrap().to_owned();
                format!("{} {} {}", word("actor"), word("via"), word("action"))
            };
            let words: Vec<String> = changes.as_array().unwrap().iter().map(words).collect();
            let by_me = |action| format!("{me} socket {action}");
            assert_eq!(
                words,
                ["file file reload".to_owned(), by_me("resume"), by_me("pause"), by_me("schedule")],
                "{dialect:?}"
            );
            assert_eq!(changes[2]["detail"]["reason"], "a move");
        }
        let socket: PathBuf = site.socket();
        let (code, text) = cli(site.folder.path(), &["audit", "--socket", socket.to_str().unwrap()]).await;
        assert!(code == 0 && text.contains("reason=a move"), "{text}");
        daemon.stop().await;
    }
}

#[tokio::test]
async fn a_made_token_opens_the_door_that_its_lines_describe() {
    let listen = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let folder = tempfile::tempdir().unwrap();
    let made = program(folder.path()).args(["token", "backup", "--role", "operator"]).output().await.unwrap();
    assert!(made.status.success());
    let (token, lines) = (String::from_utf8(made.stdout).unwrap(), String::from_utf8(made.stderr).unwrap());
    assert_eq!(token.trim().len(), 64);
    assert!(!lines.contains(token.trim()));
    let site = site(138, listen, &lines).await;
    let daemon = site.daemon().await;
    let reply = Address::Tcp(listen).try_ask("POST", "/sync/pause", None, &bearer(token.trim())).await.unwrap();
    assert_eq!(reply.code, 200, "{reply:?}");
    assert_eq!(reply.json()["pause"]["actor"], "token backup");
    daemon.stop().await;
}
