//! The OpenAPI document against the real program: schemathesis makes requests of it, right ones and wrong
//! ones, and holds every answer to it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::harness::cluster::free_port;
use crate::harness::generate;
use crate::harness::random;
use crate::harness::shape::Shape;
use crate::harness::site::Site;

const TOKEN: &str = "t0ken-Of-The-Tester-9301";
/// Requests for each operation and phase at the most.
const EXAMPLES: &str = "40";
/// More than it needs on a busy machine.
const CAP: Duration = Duration::from_secs(180);

#[tokio::test]
#[ignore = "needs schemathesis: tests/run schemathesis"]
async fn schemathesis_finds_no_answer_that_the_document_does_not_promise() {
    let program = std::env::var_os("RBAC_SYNC_TEST_SCHEMATHESIS").expect("the path of schemathesis");
    let seed = random::seed(171);
    let mut site = Site::new(Shape::release("5.35.0"), seed).await;
    generate::fill(&mut site.archive, 20).await;
    let http = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let token = site.folder.path().join("token");
    std::fs::write(&token, TOKEN).unwrap();
    site.settings.level = "warn";
    site.settings.http = Some(format!("\"{http}\"\ntoken_file = \"{}\"", token.display()));
    let daemon = site.daemon().await;
    daemon.status_with("the first run", |status| status["last_result"]["success"] == true).await;
    let mut command = Command::new(program);
    // All checks; none is left out.
    command.args(["run", &format!("http://{http}/openapi.json"), "--checks", "all", "--max-examples", EXAMPLES]);
    command.args(["--continue-on-failure", "--no-color", "--request-timeout", "30", "--seed", &seed.to_string()]);
    // An answer that goes on for an hour; the tests beside the code hold each event to the document.
    command.args(["--exclude-operation-id", "getEvents"]);
    command.args(["--header", &format!("Authorization: Bearer {TOKEN}")]);
    command.env("SCHEMATHESIS_HOOKS", Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemathesis/hooks.py"));
    command.current_dir(site.folder.path()).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(CAP, command.output()).await.expect("it ends in time").unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}\n{}", String::from_utf8_lossy(&output.stderr));
    println!("{report}");
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    daemon.stop().await;
}
