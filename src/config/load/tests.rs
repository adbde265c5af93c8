use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::config::{Deletes, Digest, LogFormat, Proof, Role, Secret};

/// A file that loads; tests change parts of it.
const GOOD: &str = "[[source]]\nname = 'main'\nurl = 'postgres://u@db/pacs'\ntime_zone = 'Asia/Seoul'\n\
                    [target]\nurl = 'sqlite:///nonexistent/rbac.db'\n";

struct Case {
    folder: TempDir,
    path: PathBuf,
}

fn case(text: impl AsRef<[u8]>) -> Case {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("c.toml");
    fs::write(&path, text).unwrap();
    Case { folder, path }
}

impl Case {
    /// A file beside the configuration.
    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        path.display().to_string()
    }

    fn load(&self, variables: &[(&str, &str)]) -> Result<Loaded, Vec<String>> {
        let environment = Environment::from_pairs(variables.iter().copied());
        let folder = format!("{}/", self.folder.path().display());
        let short = |problem: &Problem| problem.to_string().replace(&folder, "");
        load(&self.path, &environment).map_err(|problems| problems.iter().map(short).collect())
    }

    fn warnings(&self) -> Vec<String> {
        self.load(&[]).unwrap().warnings.iter().map(|warning| warning.message.clone()).collect()
    }
}

fn load_text(text: &str) -> Result<Loaded, Vec<String>> {
    case(text).load(&[])
}

fn errors(text: &str) -> Vec<String> {
    load_text(text).expect_err(text)
}

/// One source with these lines added, and a PostgreSQL target.
fn source_with(lines: &str) -> String {
    format!("[target]\nurl = 'postgres://h/t'\n[[source]]\nname = 'main'\n{lines}\n")
}

#[test]
fn the_packaged_file_loads_and_shows_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/rbac-sync.toml");
    let loaded = load(&path, &Environment::default()).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.schedule.plan.interval_sec(), Some(5));
    let text = fs::read_to_string(path).unwrap();
    for key in crate::config::KEYS {
        let nested = key.path.starts_with("target.max_deletes.");
        let split = if nested { key.path.split_once('.') } else { key.path.rsplit_once('.') };
        let (table, name) = split.unwrap();
        // From the table's header to the next header.
        let header = |line: &&str| line.trim_start_matches(['#', ' ']).starts_with('[');
        let of_table = |line: &&str| line.trim_start_matches(['#', ' ']).trim_matches(['[', ']']) != table;
        let section: Vec<&str> = text.lines().skip_while(of_table).skip(1).take_while(|line| !header(line)).collect();
        let assigned = |name: &str| {
            let start = format!("{name} = ");
            section.iter().any(|line| line.strip_prefix("# ").unwrap_or(line).starts_with(&start))
        };
        let shown = match (key.given, name.strip_prefix("max_deletes.")) {
            (crate::config::Given::Variable, _) => {
                let variable = key.variable(crate::config::SourceName::new("main").as_ref());
                section.iter().any(|line| line.contains(&variable))
            }
            (_, Some(inner)) => {
                assigned("max_deletes") && section.iter().any(|line| line.contains(&format!("{inner} = ")))
            }
            _ => assigned(name),
        };
        assert!(shown, "{} is not in etc/rbac-sync.toml", key.path);
    }
}

#[test]
fn defaults_are_filled_in() {
    let config = load_text(GOOD).unwrap().config;
    assert_eq!(config.schedule.plan.interval_sec(), Some(5));
    assert_eq!(config.sources[0].overlap, Duration::from_secs(360));
    assert_eq!(config.target.deletes, Deletes::Tombstone);
    assert_eq!((config.target.max_deletes.rows, config.target.max_deletes.percent), (500, 5.0));
    assert_eq!(config.http, None);
    assert_eq!(config.socket.path, Path::new(crate::config::DEFAULT_SOCKET));
    assert_eq!(config.socket.mode, 0o660);
    assert_eq!(config.history_keep, 1000);
    assert_eq!((config.log.level.as_str(), config.log.format), ("info", LogFormat::Auto));
    assert_eq!(config.metrics_textfile, None);
}

#[test]
fn every_error_is_reported_at_once_with_its_place_in_the_order_of_the_file() {
    let text = "\
[schedule]
intervall = 5
interval = 0

[[source]]
url = 'mysql://h/d'
time_zone = 'Asia/Soul'
instances = true

[target]
url = 5
deletes = 'purge'
max_deletes = { rows = -1, percent = 101 }

[http]
listen = 'localhost'
token_file = 'relative'

[socket]
path = ''
mode = '0888'

[history]
keep = 0

[log]
level = 'loud'
format = 'xml'

[metrics]
textfile = 5
";
    let all = errors(text);
    let places: Vec<&str> = all.iter().map(|error| error.split(": ").next().unwrap()).collect();
    assert_eq!(
        places,
        [
            "c.toml:2:1",
            "c.toml:3:12",
            "c.toml:5:1",
            "c.toml:6:7",
            "c.toml:7:13",
            "c.toml:8:13",
            "c.toml:11:7",
            "c.toml:12:11",
            "c.toml:13:24",
            "c.toml:13:38",
            "c.toml:16:10",
            "c.toml:17:14",
            "c.toml:20:8",
            "c.toml:21:8",
            "c.toml:24:8",
            "c.toml:27:9",
            "c.toml:28:10",
            "c.toml:31:12",
        ]
    );
    assert!(all[2].contains("`source.name` is missing"), "{all:#?}");
    assert!(all[3].contains("has no user"));
    assert!(all[5].contains("instance level"));
}

#[test]
fn an_empty_file_misses_a_source_and_a_target() {
    let all = errors("");
    assert_eq!(all.len(), 2);
    assert!(all[0].contains("[[source]]") && all[1].contains("[target]"), "{all:?}");
}

#[test]
fn a_file_that_cannot_be_used_is_one_error() {
    let missing = load(Path::new("/nonexistent/c.toml"), &Environment::default()).unwrap_err();
    assert_eq!(missing[0].to_string(), "/nonexistent/c.toml: cannot read the configuration: there is no such file");
    assert!(case(vec![b'#'; (1 << 20) + 1]).load(&[]).unwrap_err()[0].contains("larger than 1048576 bytes"));
    assert_eq!(case(b"# ok\n# \xff").load(&[]).unwrap_err(), ["c.toml:2:3: not UTF-8 text"]);
}

#[test]
fn the_order_of_precedence_is_process_env_file_toml() {
    let case = case(format!("{GOOD}[history]\nkeep = 1\n[log]\nlevel = 'warn'\n"));
    let config = case.load(&[("RBAC_SYNC_HISTORY_KEEP", "2"), ("RBAC_SYNC_LOG_FORMAT", "")]).unwrap().config;
    assert_eq!((config.history_keep, config.log.level.as_str()), (2, "warn"));
    assert_eq!(config.log.format, LogFormat::Auto, "an empty variable counts as not set");
}

#[test]
fn any_value_can_come_from_a_variable() {
    let text = GOOD.replace("'main'", "'north-2'").replace("[target]\nurl = 'sqlite:///nonexistent/rbac.db'\n", "");
    let config = case(&text)
        .load(&[
            ("RBAC_SYNC_SCHEDULE_INTERVAL", "30"),
            ("RBAC_SYNC_SOURCE_NORTH_2_OVERLAP", "10m"),
            ("RBAC_SYNC_SOURCE_NORTH_2_PASSWORD", "hunter2"),
            ("RBAC_SYNC_TARGET_URL", "postgres://u@h/rbac"),
            ("RBAC_SYNC_TARGET_MAX_DELETES_ROWS", "7"),
            ("RBAC_SYNC_TARGET_MAX_DELETES_PERCENT", "2.5"),
            ("RBAC_SYNC_HTTP_LISTEN", "0.0.0.0:80"),
            ("RBAC_SYNC_HTTP_TOKEN", "t0ken"),
        ])
        .unwrap()
        .config;
    assert_eq!(config.schedule.plan.interval_sec(), Some(30));
    assert_eq!(config.sources[0].overlap, Duration::from_secs(600));
    assert_eq!(config.sources[0].endpoint.password, Some(Secret::new("hunter2")));
    assert_eq!((config.target.max_deletes.rows, config.target.max_deletes.percent), (7, 2.5));
    assert_eq!(config.http.unwrap().token, Some(Digest::of(b"t0ken")));
}

#[test]
fn a_variable_that_means_nothing_or_is_wrong_is_an_error() {
    let all = case(GOOD)
        .load(&[
            ("RBAC_SYNC_SCHEDULE_INTERVALL", "5"),
            ("RBAC_SYNC_SOURCE_OTHER_URL", "hunter2"),
            ("RBAC_SYNC_SOURCE_MAIN_NAME", "x"),
            ("RBAC_SYNC_HISTORY_KEEP", "hunter2"),
        ])
        .unwrap_err();
    let text = all.join("\n");
    assert_eq!(all.len(), 4, "{text}");
    assert!(
        text.contains("RBAC_SYNC_SCHEDULE_INTERVALL: unknown variable; did you mean `RBAC_SYNC_SCHEDULE_INTERVAL`")
    );
    assert!(text.contains("RBAC_SYNC_SOURCE_OTHER_URL: unknown variable"));
    assert!(text.contains("RBAC_SYNC_HISTORY_KEEP: expected a whole number"));
    assert!(!text.contains("hunter2"));
}

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
fn a_cron_expression_has_a_zone_and_replaces_the_interval() {
    let zone = "[schedule]\ncron = '*/5 6-22 * * MON-FRI'\ntime_zone = 'Europe/Vienna'\njitter = '20s'\n";
    let schedule = load_text(&format!("{zone}{GOOD}")).unwrap().config.schedule;
    let cron = schedule.plan.cron().unwrap();
    assert_eq!((cron.text(), cron.zone()), ("*/5 6-22 * * MON-FRI", chrono_tz::Europe::Vienna));
    assert_eq!((schedule.time_zone, schedule.jitter), (chrono_tz::Europe::Vienna, Duration::from_secs(20)));
    let wrong =
        errors(&format!("[schedule]\ncron = '*/5 24 * * *'\ntime_zone = 'Europe/Wien'\njitter = '25h'\n{GOOD}"));
    assert_eq!(wrong.len(), 3, "{wrong:?}");
    assert!(wrong[0].starts_with("c.toml:2:8: the field of the hour"), "{wrong:?}");
    assert!(wrong[1].starts_with("c.toml:3:13: not a time zone"), "{wrong:?}");
}

#[test]
fn an_interval_and_a_cron_expression_exclude_each_other_unless_one_overrides() {
    let both = format!("[schedule]\ncron = '0 3 * * *'\ntime_zone = 'UTC'\ninterval = '5s'\n{GOOD}");
    assert_eq!(
        errors(&both),
        ["c.toml:4:12: `interval` (line 4) and `cron` (line 2) exclude each other: keep one of them"]
    );
    let plan = |text: &str, variables: &[(&str, &str)]| case(text).load(variables).unwrap().config.schedule.plan;
    let by_interval = format!("[schedule]\ninterval = '5s'\n{GOOD}");
    let cron = ("RBAC_SYNC_SCHEDULE_CRON", "0 3 * * *");
    assert!(plan(&by_interval, &[cron]).cron().is_some());
    let by_cron = format!("[schedule]\ncron = '0 3 * * *'\n{GOOD}");
    let interval = ("RBAC_SYNC_SCHEDULE_INTERVAL", "30");
    assert_eq!(plan(&by_cron, &[interval]).interval_sec(), Some(30));
    let refused = case(GOOD).load(&[cron, interval]).unwrap_err();
    assert!(refused[0].contains("exclude each other"), "{refused:?}");
}

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
