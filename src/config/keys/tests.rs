use super::*;
use crate::manual;

#[test]
fn variables_follow_from_the_paths() {
    let name = SourceName::new("north-2").unwrap();
    assert_eq!(find("target.max_deletes.rows").unwrap().variable(None), "RBAC_SYNC_TARGET_MAX_DELETES_ROWS");
    let role = find("http.client.role").unwrap();
    assert_eq!(role.variable(Some(&name)), "RBAC_SYNC_HTTP_CLIENT_NORTH_2_ROLE");
    assert_eq!(find("source.time_zone").unwrap().variable(Some(&name)), "RBAC_SYNC_SOURCE_NORTH_2_TIME_ZONE");
}

/// `RBAC_SYNC_SOURCE_<NAME>_<KEY>` could mean two things only if one key ended in another one, or
/// if two names gave the same text: a name has no `_`, so they never do.
#[test]
fn a_variable_of_a_source_means_one_key_only() {
    for table in REPEATED {
        let keys = || KEYS.iter().filter_map(|key| key.repeated().filter(|(of, _)| *of == table)).map(|(_, key)| key);
        for one in keys() {
            assert!(keys().all(|other| !one.ends_with(&format!("_{other}"))), "{one}");
        }
    }
}

#[test]
fn paths_are_unique() {
    for key in KEYS {
        assert_eq!(KEYS.iter().filter(|other| other.path == key.path).count(), 1, "{}", key.path);
    }
}

#[test]
fn suggests_only_what_is_near() {
    assert_eq!(nearest("intervall", names_in("schedule")), Some("interval"));
    assert_eq!(nearest("Passwort_File", names_in("target")), Some("password_file"));
    assert_eq!(nearest("colour", names_in("target")), None);
    assert_eq!(names_in("target"), ["url", "password_file", "password_credential", "deletes", "max_deletes"]);
    assert!(names_in("").contains(&"source"));
}

/// The manual's items for the keys of a table: their names, and their text without markup.
fn items_of(table: &str) -> Vec<(Vec<String>, String)> {
    let headings = [format!(".Ss The table {table}"), format!(".Ss The tables {table}")];
    let heading = headings.iter().find(|heading| manual::FILE.lines().any(|line| line == *heading));
    let lines = manual::section(manual::FILE, heading.unwrap_or_else(|| panic!("the manual has no table {table}")));
    let named = |item: &manual::Item| {
        let names = manual::words(&item.head).into_iter().filter(|word| *word != ",");
        names.map(str::to_owned).collect()
    };
    let text = |item: &manual::Item| item.lines.iter().map(|line| manual::words(line).join(" ") + " ").collect();
    manual::items(&lines).iter().map(|item| (named(item), text(item))).collect()
}

/// What the manual must say of a key, word for word.
fn facts(key: &Key) -> String {
    let default =
        if key.default.starts_with("required") { String::new() } else { "default: ".to_owned() } + key.default;
    format!("{}; {default}; {}.", key.values, key.effect.as_str())
}

#[test]
fn the_manual_says_of_each_key_what_this_table_says() {
    let variables = manual::FILE.replace(" Ns Ar NAME Ns Ev _", "");
    for key in KEYS {
        if key.given == Given::Variable {
            assert!(variables.contains(&key.variable(None)), "{} is not in the manual", key.variable(None));
            continue;
        }
        let inner = key.path.starts_with("target.max_deletes.");
        let (table, name) = if inner { ("target", "max_deletes") } else { key.path.rsplit_once('.').unwrap() };
        let items = items_of(table);
        let item = items.iter().find(|(names, _)| names.iter().any(|other| other == name));
        let (_, text) = item.unwrap_or_else(|| panic!("{} has no item in the manual", key.path));
        assert!(text.contains(&facts(key)), "of {} the manual must say: {}", key.path, facts(key));
    }
}

#[test]
fn the_manual_names_the_keys_that_wait_for_a_restart() {
    let lines = manual::section(manual::PROGRAM, ".Ss A restart is needed");
    let named: Vec<_> =
        lines.iter().filter_map(|line| line.strip_prefix(".Ic ")).map(|line| line.trim_end_matches(" ,")).collect();
    let restart: Vec<_> = KEYS.iter().filter(|key| key.effect == Restart).map(|key| key.path).collect();
    assert_eq!(named, restart);
}

#[test]
fn the_manual_has_no_key_that_does_not_exist() {
    let headings = manual::FILE
        .lines()
        .filter_map(|line| line.strip_prefix(".Ss The table ").or_else(|| line.strip_prefix(".Ss The tables ")));
    let tables: Vec<_> = headings.collect();
    assert!(tables.contains(&"http.client"), "{tables:?}");
    for table in tables {
        for name in items_of(table).into_iter().flat_map(|(names, _)| names) {
            assert!(names_in(table).contains(&name.as_str()), "there is no {table}.{name}");
        }
    }
}

#[test]
fn the_defaults_are_those_that_count() {
    let text = "[[source]]\nname='a'\nurl='sqlite:a'\n[target]\nurl='sqlite:b'\n[http]\nlisten='[::1]:1'\n";
    let loaded =
        crate::config::load::understand(text.as_bytes(), "f".as_ref(), &Default::default(), Default::default())
            .unwrap();
    let states = crate::config::key_states(&loaded.config, &loaded.origins, &[]);
    for state in states.iter().filter(|state| state.origin == crate::config::Origin::Default) {
        let value = match &state.value {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Null => "none".to_owned(),
            other => other.to_string(),
        };
        let depends = state.default == "the host's zone" || state.default.starts_with("required in");
        assert!(value == state.default || depends, "{}: {value}", state.key);
    }
}

#[test]
fn the_packaged_file_marks_the_keys_that_need_a_restart() {
    let file = include_str!("../../../etc/rbac-sync.toml");
    let (mut table, mut comment, mut marked) = ("", String::new(), Vec::new());
    for line in file.lines() {
        let text = line.strip_prefix("# ").unwrap_or(line);
        if text.starts_with('[') {
            table = text.trim_matches(['[', ']']);
        } else if let Some((name, _)) = text.split_once(" = ").filter(|(name, _)| !name.contains(' ')) {
            if comment.contains("(restart)") {
                marked.push(format!("{table}.{name}"));
            }
        } else if line.starts_with('#') {
            comment.push_str(text);
            continue;
        }
        comment.clear();
    }
    let restart: Vec<&str> = KEYS.iter().filter(|key| key.effect == Restart).map(|key| key.path).collect();
    assert_eq!(marked, restart);
}
