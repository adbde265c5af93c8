//! Passwords and tokens: how they are given, and that they are never repeated.

use proptest::prelude::*;

use super::*;
use crate::config::Secret;

#[test]
fn a_password_file_loses_one_newline_and_changes_the_hash() {
    let case = case("");
    let file = case.file("pw", "p w \n\n");
    fs::write(&case.path, source_with(&format!("url = 'postgres://u@h/d'\npassword_file = '{file}'"))).unwrap();
    let first = case.load(&[]).unwrap();
    assert_eq!(first.config.sources[0].endpoint.password, Some(Secret::new("p w \n")));
    assert_eq!(first.hash, case.load(&[]).unwrap().hash);
    assert_eq!(first.hash.len(), 64);
    case.file("pw", "rotated\r\n");
    let second = case.load(&[]).unwrap();
    assert_eq!(second.config.sources[0].endpoint.password, Some(Secret::new("rotated")));
    assert_ne!(first.hash, second.hash);
    assert_eq!(first.file_hash, second.file_hash, "the hash that is shown says nothing of a password");
    assert_ne!(second.hash, case.load(&[("RBAC_SYNC_LOG_LEVEL", "info")]).unwrap().hash);
}

#[test]
fn a_bad_password_file_is_named_with_the_reason() {
    let case = case("");
    let (empty, binary) = (case.file("empty", "\n"), case.file("binary", [0xff]));
    let path = |name: &str| case.folder.path().join(name).display().to_string();
    for (file, reason) in [
        (empty, "empty is empty"),
        (binary, "binary is not UTF-8 text"),
        (path("none"), "cannot read none: there is no such file"),
        (path(""), "it is not a regular file"),
        ("hunter2".to_owned(), "must be an absolute path, beginning with /"),
    ] {
        let line = format!("url = 'postgres://u@h/d'\npassword_file = '{file}'");
        fs::write(&case.path, source_with(&line)).unwrap();
        let all = case.load(&[]).unwrap_err();
        assert!(all.len() == 1 && all[0].starts_with("c.toml:6:17: ") && all[0].ends_with(reason), "{all:?}");
        assert!(!all[0].contains("hunter2"));
    }
}

#[test]
fn a_systemd_credential_is_found_in_its_folder() {
    let case = case(source_with("url = 'postgres://u@h/d'\npassword_credential = 'source'"));
    case.file("source", "hunter2\n");
    let folder = case.folder.path().display().to_string();
    let config = case.load(&[("CREDENTIALS_DIRECTORY", &folder)]).unwrap().config;
    assert_eq!(config.sources[0].endpoint.password, Some(Secret::new("hunter2")));
    assert!(case.load(&[]).unwrap_err()[0].contains("there is no $CREDENTIALS_DIRECTORY"));
    let none = case.load(&[("CREDENTIALS_DIRECTORY", "/nonexistent")]).unwrap_err();
    assert!(none[0].ends_with("cannot read the credential in $CREDENTIALS_DIRECTORY: there is no such file"));
    fs::write(&case.path, source_with("url = 'postgres://u@h/d'\npassword_credential = '../source'")).unwrap();
    assert!(case.load(&[("CREDENTIALS_DIRECTORY", &folder)]).unwrap_err()[0].contains("without slashes"));
}

#[test]
fn two_passwords_of_one_precedence_are_an_error_and_a_higher_one_wins() {
    let case = case("");
    let file = case.file("pw", "from file");
    for second in ["password_credential = 'x'", ""] {
        let user = if second.is_empty() { "u:hunter2" } else { "u" };
        let line = format!("url = 'postgres://{user}@h/d'\npassword_file = '{file}'\n{second}");
        fs::write(&case.path, source_with(&line)).unwrap();
        let all = case.load(&[]).unwrap_err();
        assert!(all.len() == 1 && all[0].contains("more than one password"), "{all:?}");
        let config = case.load(&[("RBAC_SYNC_SOURCE_MAIN_PASSWORD", "from variable")]).unwrap().config;
        assert_eq!(config.sources[0].endpoint.password, Some(Secret::new("from variable")));
    }
}

#[test]
fn a_password_in_a_url_works_with_a_warning() {
    let case = case(source_with("url = 'postgres://u:hunter2@h/d'"));
    let loaded = case.load(&[]).unwrap();
    assert_eq!(loaded.config.sources[0].endpoint.password, Some(Secret::new("hunter2")));
    assert!(!format!("{:?}", loaded).contains("hunter2"));
    assert_eq!(loaded.warnings[0].position, Some((5, 7)));
    assert_eq!(loaded.warnings.len(), 1);
}

#[test]
fn what_works_but_should_change_is_a_warning() {
    let case = case("");
    let file = case.file("pw", "x");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let lines = format!("url = 'postgres://h/t'\npassword_file = '{file}'\n[metrics]\ntextfile = '/x.txt'");
    fs::write(&case.path, source_with(&lines)).unwrap();
    let warnings = case.warnings().join("\n");
    assert!(warnings.contains("chmod o-r"), "{warnings}");
    assert!(warnings.contains("the same database"), "{warnings}");
    assert!(warnings.contains(".prom"), "{warnings}");
    fs::write(&case.path, format!("{GOOD}password_file = '{file}'\n")).unwrap();
    assert_eq!(case.warnings(), ["SQLite has no login: the password is not used"]);
}

/// Places where somebody might put a password by mistake.
const MISTAKES: [&str; 16] = [
    "password = 'SECRET'\n",
    "[target]\npassword = 'SECRET'\nurl = 'postgres://u:SECRET@/x'\n",
    "[target]\nurl = 'postgres://u:SECRET@h:port/x'\npassword_file = 'SECRET'\n",
    "[target]\nurl = 'SECRET'\npassword_credential = 'SECRET'\ndeletes = 'SECRET'\n",
    "[target]\nurl = ['SECRET']\nmax_deletes = 'SECRET'\n",
    "[target.password]\nSECRET = 1\n",
    "[SECRET]\n",
    "SECRET",
    "SECRET = ",
    "[target]\nurl = \"postgres://u:SECRET@h/d\n",
    "[target]\nurl = 'postgres://u:SECRET@h/d' SECRET\n",
    "[target]\nurl = 1\nurl = 'SECRET'\n",
    "'SECRET' = 1\n'SECRET' = 2\n",
    "[[source]]\nname = 'SECRET!'\ntime_zone = 'SECRET'\noverlap = 'SECRET'\ninstances = 'SECRET'\nSECRET = 'SECRET'\n",
    "[http]\nlisten = 'SECRET'\ntoken = 'SECRET'\n[socket]\npath = 5\nmode = 'SECRET'\n[log]\nlevel = 'SECRET=x'\n",
    "[schedule]\ninterval = 'SECRET'\n[history]\nkeep = 'SECRET'\n[metrics]\ntextfile = 'SECRET'\nx.SECRET = 1\n",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn a_password_in_a_wrong_place_is_never_repeated(
        tail in "[a-zA-Z0-9!%&*+,.:;<>?@^~-]{1,8}",
        mistake in 0..MISTAKES.len(),
        also in 0..MISTAKES.len(),
    ) {
        let text = format!("{}{}", MISTAKES[mistake], MISTAKES[also]);
        let case = case(text.replace("SECRET", &format!("hunter2-{tail}")));
        let problems = load(&case.path, &Environment::default()).unwrap_err();
        prop_assert!(!problems.is_empty());
        prop_assert!(!format!("{problems:?}").contains("hunter2"), "{problems:?}");
    }

    #[test]
    fn a_password_in_a_wrong_variable_is_never_repeated(index in 0..crate::config::KEYS.len()) {
        let key = &crate::config::KEYS[index];
        let name = key.variable(crate::config::SourceName::new("main").as_ref());
        let environment = Environment::from_pairs([(name, "hunter2 x")]);
        let shown = format!("{:?}", load(&case(GOOD).path, &environment));
        prop_assert!(!shown.contains("hunter2") || key.path == "socket.path", "{}", shown);
    }

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>(), lines in proptest::collection::vec(
        "(\\[{1,2}(source|target|http|socket|log|x)\\]{1,2}|(name|url|mode|listen|level|percent|a\\.b) ?= ?['\"\\[{0-9a-zé./:@?#%-]{0,12})", 0..12,
    )) {
        for text in [text, lines.join("\n"), format!("{GOOD}{}", lines.join("\n"))] {
            let _ = load(&case(text).path, &Environment::default());
        }
    }
}

#[test]
fn of_a_refused_configuration_it_is_known_which_files_it_waits_for() {
    let case = case("");
    let (key, env) = (case.file("key", "no key"), case.file("env", "RBAC_SYNC_HISTORY_KEEP=many\n"));
    let path = |name: &str| case.folder.path().join(name);
    let tls = format!("[http.tls]\ncertificate = '{}'\nkey = '{key}'", path("none.pem").display());
    let line = format!("url = 'postgres://u@h/d'\npassword_file = '{}'", path("none.password").display());
    let text = source_with(&line) + "[http]\nlisten = '127.0.0.1:1'\n" + &tls;
    fs::write(&case.path, &text).unwrap();
    let read = |env_file: &Path| load_to_watch(&case.path, &Environment::read(Some(env_file))).unwrap_err().companions;
    let expected = [
        (case.path.as_path(), Some(text.as_str())),
        (&path("none.password"), None),
        (&path("none.pem"), None),
        (key.as_ref(), Some("no key")),
        (env.as_ref(), Some("RBAC_SYNC_HISTORY_KEEP=many\n")),
    ];
    assert_eq!(read(env.as_ref()), Companions::of(&expected));

    // Also where the reading ends early.
    fs::write(&case.path, [0xff]).unwrap();
    assert!(read(&path("none.env")).iter().any(|(file, content)| *file == path("none.env") && content.is_none()));
    fs::remove_file(&case.path).unwrap();
    assert_eq!(read(&path("none.env")), Companions::of(&[(&case.path, None), (&path("none.env"), None)]));
}
