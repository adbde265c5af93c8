//! Files that are not TOML, and those that are only in part.

use super::*;

#[test]
fn syntax_errors_hide_no_other_error() {
    let text = "\
[schedule]
interval = 5s
[[source]]
name = 'main'
url 'postgres://u:hunter2@h/d'
overlap = 'soon'
[[source]
name = 'north'
[target]
url = 'postgres://u:hunter2@h/d
deletes = 'tombstones'
colour = 1
[socket]
mode = '0888'
";
    let all = errors(text);
    // Lines 2, 5, 7 and 10 are not TOML; the others are wrong.
    let lines: Vec<&str> = all.iter().map(|error| error.split(':').nth(1).unwrap()).collect();
    assert_eq!(lines, ["2", "5", "6", "7", "10", "11", "12", "14"], "{all:#?}");
    assert!(!all.concat().contains("hunter2"), "{all:#?}");
    assert!(!all.concat().contains("missing"), "what could not be read is not missing: {all:#?}");
    assert!(all[5].contains("did you mean `tombstone`"), "{all:#?}");
}

#[test]
fn a_variable_of_a_source_that_could_not_be_read_is_not_unknown() {
    let case = case("[[source]]\nname = 'main\n[target]\nurl = 'sqlite:/x'\n");
    let all = case.load(&[("RBAC_SYNC_SOURCE_MAIN_PASSWORD", "x"), ("RBAC_SYNC_LOGLEVEL", "x")]).unwrap_err();
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(all[1].contains("did you mean `RBAC_SYNC_LOG_LEVEL`"), "{all:?}");
}
