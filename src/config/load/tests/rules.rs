//! Rules between keys.

use super::*;

#[test]
fn one_sqlite_file_cannot_be_source_and_target() {
    let text = GOOD.replace("postgres://u@db/pacs", "sqlite:/nonexistent/../nonexistent/rbac.db?mode=ro");
    let same = GOOD.replace("postgres://u@db/pacs", "sqlite:///nonexistent/rbac.db?mode=ro");
    assert!(errors(&same)[0].contains("c.toml:3:7: the source and the target are the same file"));
    assert!(load_text(&text).is_ok(), "folders that do not exist cannot be resolved");
}

#[test]
fn names_are_checked_and_unique() {
    let two = format!("{GOOD}[[source]]\nname = 'main'\nurl = 'postgres://h/e'\n[[source]]\nname = 'A_b'\nurl = 'x'\n");
    let all = errors(&two);
    assert!(all[0].starts_with("c.toml:8:8: an earlier [[source]] has the same name"), "{all:?}");
    assert!(all[1].starts_with("c.toml:11:8: must be 1 to 32 characters"), "{all:?}");
    assert!(all[2].starts_with("c.toml:12:7: not a URL"), "{all:?}");
}

#[test]
fn an_open_listener_needs_a_token() {
    let case = case(format!("{GOOD}[http]\nlisten = '0.0.0.0:8080'\n"));
    let all = case.load(&[]).unwrap_err();
    assert!(all.len() == 1 && all[0].starts_with("c.toml:8:10: ") && all[0].contains("needs a token"), "{all:?}");
    assert!(case.load(&[("RBAC_SYNC_HTTP_LISTEN", "127.0.0.1:0")]).is_ok());
    assert!(case.load(&[("RBAC_SYNC_HTTP_TOKEN", "two words")]).unwrap_err()[0].contains("visible ASCII"));
    assert!(errors(&format!("{GOOD}[http]\n"))[0].contains("`http.listen` is missing"));
}

#[test]
fn what_the_next_start_would_miss_on_this_host_is_a_warning_at_its_key() {
    let more = "[socket]\npath = '/nonexistent/run/control.sock'\n[metrics]\ntextfile = '/nonexistent/rbac-sync.prom'\n\
                [http]\nlisten = '192.0.2.1:1'\n";
    let loaded = case(format!("{GOOD}{more}")).load(&[("RBAC_SYNC_HTTP_TOKEN", "0123456789012345678901")]).unwrap();
    let at = |line, key: &str| {
        let mut of_line = loaded.warnings.iter().filter(|warning| warning.position.is_some_and(|(at, _)| at == line));
        of_line.find(|warning| warning.key.as_deref() == Some(key)).map(|warning| warning.message.clone())
    };
    let missing = |folder| Some(format!("the folder {folder} does not exist: create it before the next start"));
    assert_eq!(at(8, "socket.path"), missing("/nonexistent/run"));
    assert_eq!(at(10, "metrics.textfile"), missing("/nonexistent"));
    assert!(loaded.warnings.iter().any(|warning| warning.message.contains("not an address of this host")));
    // What nobody wrote is the business of the package.
    assert_eq!(load_text(GOOD).unwrap().warnings, []);
    let packaged = format!("{GOOD}[socket]\npath = '{}'\n", crate::config::DEFAULT_SOCKET);
    assert_eq!(load_text(&packaged).unwrap().warnings, []);
}
