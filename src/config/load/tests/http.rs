//! Who may use HTTP.

use super::*;
use crate::config::{Digest, Proof, Role};

const HASH: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

#[test]
fn clients_have_a_name_a_role_and_one_proof_each() {
    let clients = format!("[[http.client]]\nname = 'grafana'\nrole = 'viewer'\ntoken_hash = '{HASH}'\n");
    let text = format!("{GOOD}[http]\nlisten = '0.0.0.0:80'\n{clients}");
    let http = load_text(&text).unwrap().config.http.unwrap();
    assert_eq!(http.clients.len(), 1);
    assert_eq!((http.clients[0].name.as_str(), http.clients[0].role), ("grafana", Role::Viewer));
    assert_eq!(http.clients[0].proof, Proof::Token(Digest::of(b"abc")));
    let promoted = case(&text).load(&[("RBAC_SYNC_HTTP_CLIENT_GRAFANA_ROLE", "operator")]).unwrap().config;
    assert_eq!(promoted.http.unwrap().clients[0].role, Role::Operator);

    for (wrong, expected) in [
        (text.replace("viewer", "admin"), "must be one of viewer, operator"),
        (text.replace("role = 'viewer'\n", ""), "`http.client.role` is missing"),
        (text.replace(HASH, "hunter2"), "must be sha256: and 64 hexadecimal digits"),
        (text.replace(&format!("token_hash = '{HASH}'\n"), ""), "a client needs either"),
        (format!("{text}certificate = '{HASH}'\n"), "a client needs either"),
        (text.replace("token_hash", "certificate"), "need [http.tls] client_ca"),
        (format!("{text}{clients}"), "has the same name"),
        (format!("{text}{}", clients.replace("grafana", "other")), "has the same token"),
        (text.replace("grafana", "token"), "choose another one"),
        (text.replace("[[http.client]]", "[http.client]"), "write [[http.client]]"),
        (text.replace("token_hash", "token_hsah"), "did you mean `token_hash`?"),
    ] {
        let problems = load_text(&wrong).unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(problems.contains(expected), "{expected}: {problems}");
        assert!(!problems.contains("hunter2"), "{problems}");
    }
}

#[test]
fn a_token_file_may_hold_the_hash_instead() {
    let case = case(GOOD);
    let http = |token: &str| case.load(&[("RBAC_SYNC_HTTP_LISTEN", "0.0.0.0:80"), ("RBAC_SYNC_HTTP_TOKEN", token)]);
    assert_eq!(http(HASH).unwrap().config.http.unwrap().token, Some(Digest::of(b"abc")));
    assert!(http("sha256:abc").unwrap_err()[0].contains("64 hexadecimal digits"));
    let short = case.load(&[("RBAC_SYNC_HTTP_LISTEN", "127.0.0.1:80"), ("RBAC_SYNC_HTTP_TOKEN", "hunter2")]).unwrap();
    assert!(short.warnings[0].message.contains("can be guessed"), "{:?}", short.warnings);
    assert!(!format!("{:?}", short.warnings).contains("hunter2"));
    let clear = http("a-token-of-more-than-22-characters").unwrap().warnings;
    assert!(clear.iter().all(|warning| warning.message.contains("in the clear")) && clear.len() == 1, "{clear:?}");
    assert!(http("two words").unwrap_err()[0].contains("visible ASCII"));
}
