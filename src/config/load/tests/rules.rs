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
