//! Random files: arbitrary bytes, and valid files with random changes.
//!
//! Whatever the file holds, loading it must not panic, must end with a configuration or with at least one error,
//! each with a position that lies in the file, and must not repeat a password. `RBAC_SYNC_TEST_FUZZ_SECONDS=N`
//! makes each target run for N seconds instead of 3; `BOLERO_RANDOM_SEED`, which a failure prints, repeats one.

use bolero::{TypeGenerator, check};

use super::*;

/// It has a digit, so it can be no name of a key, which a message may repeat.
const PASSWORD: &str = "hunter2";

const FILES: [&str; 3] = [
    include_str!("../../../../etc/rbac-sync.toml"),
    "[[source]]\nname = \"a\"\nurl = 'postgres://u:hunter2@h/d'\ntime_zone = 'UTC'\noverlap = 60\n\
     [[source]]\nname = 'b'\nurl = \"sqlite:///x/b.db\"\ntime_zone = 'UTC'\ninstances = false\n\
     [target]\nurl = 'mysql://u:hunter2@h/d?ssl-mode=required'\nmax_deletes = { rows = 5, percent = 1.5 }\n",
    "source = [{ name = 'a', url = 'postgres://h/d?password=hunter2', time_zone = 'UTC' }]\n\
     target.url = \"\"\"\\\n  sqlite:/x\"\"\"\ntarget.max_deletes.rows = 0x10\n[log]\nlevel = 'info'\n\
     [http]\nlisten = '[::1]:8080'\n",
];

/// What people and editors leave behind, and what parsers stumble over.
const PIECES: [&str; 24] = [
    PASSWORD,
    "=",
    "\"",
    "'",
    "\"\"\"",
    "'''",
    "[",
    "]",
    "[[",
    "{",
    "}",
    ",",
    ".",
    "#",
    "\\",
    "\\u0000",
    "\r\n",
    "\u{feff}",
    "\0",
    "é",
    "-1",
    "1e999",
    "1979-05-27T07:32:00Z",
    "true",
];

#[derive(Debug, TypeGenerator)]
enum Change {
    Insert { at: u16, piece: u8 },
    Remove { at: u16, length: u8 },
    Overwrite { at: u16, byte: u8 },
    RepeatLine { line: u8, to: u8 },
    DropLine { line: u8 },
    Cut { at: u16 },
}

fn place(at: u16, length: usize) -> usize {
    usize::from(at) % (length + 1)
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let lines: Vec<Vec<u8>> = bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        let line_of = |line: u8| usize::from(line) % lines.len().max(1);
        match *self {
            Self::Insert { at, piece } => {
                let at = place(at, bytes.len());
                bytes.splice(at..at, PIECES[usize::from(piece) % PIECES.len()].bytes());
            }
            Self::Remove { at, length } => {
                let at = place(at, bytes.len());
                bytes.drain(at..(at + usize::from(length)).min(bytes.len()));
            }
            Self::Overwrite { at, byte } => {
                let at = place(at, bytes.len());
                bytes.iter_mut().skip(at).take(1).for_each(|old| *old = byte);
            }
            Self::RepeatLine { line, to } => {
                let repeated = lines.get(line_of(line)).cloned().unwrap_or_default();
                let at: usize = lines.iter().take(place(to.into(), lines.len())).map(Vec::len).sum();
                bytes.splice(at..at, repeated);
            }
            Self::DropLine { line } => {
                let kept = lines.iter().enumerate().filter(|(number, _)| *number != line_of(line));
                *bytes = kept.flat_map(|(_, line)| line.clone()).collect();
            }
            Self::Cut { at } => bytes.truncate(place(at, bytes.len())),
        }
    }
}

fn time() -> Duration {
    let seconds = std::env::var("RBAC_SYNC_TEST_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(3))
}

fn holds(bytes: &[u8]) {
    let variables = [("RBAC_SYNC_TARGET_PASSWORD", PASSWORD), ("RBAC_SYNC_HISTORY_KEEP", "5")];
    let problems = match understand(bytes, Path::new("c.toml"), &Environment::from_pairs(variables), Default::default())
    {
        Ok(loaded) => loaded.warnings,
        Err(refused) => {
            assert!(!refused.problems.is_empty());
            refused.problems
        }
    };
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.split('\n').collect();
    for problem in &problems {
        assert!(!problem.message.contains(PASSWORD), "{problem}");
        let Some((line, column)) = problem.position else { continue };
        let length = lines.get(line.wrapping_sub(1)).map(|line| line.chars().count());
        assert!(length.is_some_and(|length| (1..=length + 1).contains(&column)), "{problem} is not in the file");
    }
}

#[test]
fn arbitrary_bytes_are_a_configuration_or_have_errors_in_them() {
    check!().with_test_time(time()).with_max_len(2048).for_each(|bytes: &[u8]| {
        holds(bytes);
        // Most of them are no text at all, which is found out before anything is parsed.
        holds(String::from_utf8_lossy(bytes).as_bytes());
    });
}

#[test]
fn a_changed_file_is_a_configuration_or_has_errors_in_it() {
    check!().with_test_time(time()).with_type::<(u8, Vec<Change>)>().for_each(|(file, changes)| {
        let mut bytes = FILES[usize::from(*file) % FILES.len()].as_bytes().to_vec();
        changes.iter().take(8).for_each(|change| change.apply(&mut bytes));
        holds(&bytes);
    });
}
