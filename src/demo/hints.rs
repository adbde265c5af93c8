//! What the demo prints: what to try at the start, what happened at the end.

use std::env;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;

use super::folder::Folder;
use super::kind::Kind;
use super::outcome::Outcome;
use super::simulator::Tally;

/// Prints what takes a while where there are many studies.
pub(super) fn print_filling(studies: u32) {
    say(&format!("Making an archive of {studies} studies.\n"));
}

/// Prints what runs and what to try, on lines that can be pasted into a shell.
pub(super) fn print(folder: &Folder, listen: SocketAddr, keeps: bool) {
    let program = env::current_exe().unwrap_or_else(|_| "rbac-sync".into());
    say(&start(folder, listen, keeps, &program));
}

/// Prints what the simulator did.
pub(super) fn print_tally(tally: &Tally) {
    say(&summary(tally));
}

/// Prints how archive and target compare.
pub(super) fn print_outcome(outcome: &Outcome) {
    say(&outcome.to_string());
}

/// A reader that has gone away (`rbac-sync demo | head`) is no reason to stop.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn start(folder: &Folder, listen: SocketAddr, keeps: bool, program: &Path) -> String {
    let program = word(program);
    let socket = word(folder.socket());
    let config = word(&folder.configuration());
    let (archive, target) = (word(&folder.archive()), word(&folder.target()));
    let fate = if keeps { "They stay when the demo ends." } else { "They are removed when the demo ends." };
    format!(
        "A made-up archive that changes twice a second, and rbac-sync keeping an RBAC database in step with it.
Ctrl-C ends the demo.

# Files. {fate}
#   {archive}
#   {target}
#   {config}

# Over HTTP
curl http://{listen}/sync/status
curl 'http://{listen}/sync/history?limit=5'
curl -X POST 'http://{listen}/sync/run?wait=30s'
curl -X PUT -H 'Content-Type: application/json' -d '{{\"interval_sec\": 10}}' http://{listen}/sync/schedule
curl -X DELETE http://{listen}/sync/schedule
curl -X POST http://{listen}/sync/pause
curl -X POST http://{listen}/sync/resume
curl http://{listen}/health
curl http://{listen}/metrics

# Over the control socket
{program} status --socket {socket}
{program} history --socket {socket}
{program} run --wait --socket {socket}

# The configuration is read again when it is saved
sed -i 's/interval = .*/interval = \"5s\"/' {config}

# What came over (where sqlite3 is installed)
sqlite3 -readonly {target} 'SELECT patient_name, study_date, modalities, institutions, access_control_ids FROM rbac_study JOIN rbac_patient ON rbac_patient.id = patient_fk WHERE rbac_study.deleted_at IS NULL ORDER BY rbac_study.updated_time DESC LIMIT 10'

"
    )
}

fn summary(tally: &Tally) -> String {
    let mut text = format!("\nThe archive made {} changes:\n", tally.total());
    for (kind, _, name) in Kind::ALL {
        let _ = writeln!(text, "{:>7} {name}", tally.of(kind));
    }
    if tally.failed > 0 {
        let _ = writeln!(text, "{:>7} more were refused by its database, see the log", tally.failed);
    }
    text
}

/// A path as one word of a shell's command line.
fn word(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.+,:@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_spaces_and_quotes_is_one_word() {
        assert_eq!(word(Path::new("/tmp/plain-1.db")), "/tmp/plain-1.db");
        assert_eq!(word(Path::new("/tmp/it's here")), r"'/tmp/it'\''s here'");
    }

    #[test]
    fn every_hint_is_a_line_that_a_shell_accepts() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::prepare(Some(&dir.path().join("a b'c"))).unwrap();
        let text = start(&folder, "127.0.0.1:8080".parse().unwrap(), true, Path::new("/opt/rbac sync/rbac-sync"));
        let (_, commands) = text.split_once("\n\n").unwrap();
        let status = std::process::Command::new("sh").args(["-n", "-c", commands]).status().unwrap();
        assert!(status.success(), "{commands}");
        assert!(commands.contains("'/opt/rbac sync/rbac-sync' status --socket"));
    }
}
