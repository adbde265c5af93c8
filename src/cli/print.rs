//! Writing to standard output and standard error. A reader that went away (`| head`) is no error.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::exit::{Exit, Failure};
use crate::telemetry;

/// Writes a text to standard output.
pub(super) fn out(text: &str) -> Result<(), Failure> {
    more(text).map(drop)
}

/// Writes a text to standard output; false when nobody reads it any more.
pub(super) fn more(text: &str) -> Result<bool, Failure> {
    let mut stdout = stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::new(Exit::Failed, format!("cannot write to standard output: {error}"))),
    }
}

/// Writes a value as one line of JSON to standard output.
pub(super) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).expect("replies have text keys and no value that JSON lacks");
    out(&(text + "\n"))
}

/// Writes a line to standard error; there is nowhere to report that this failed.
pub(super) fn error(line: &str) {
    let _ = writeln!(stderr(), "{line}");
}

/// As [`error`], of why the program ends: in the journal each line has the priority of an error.
pub(super) fn failure(text: &str) {
    error(&if telemetry::stderr_is_journal() { marked(text) } else { text.to_owned() });
}

/// With the mark by which the journal knows an error before each line (see sd-daemon(3)).
fn marked(text: &str) -> String {
    text.lines().map(|line| format!("<3>{line}")).collect::<Vec<_>>().join("\n")
}

/// Whether a person looks at standard output.
pub(super) fn stdout_is_terminal() -> bool {
    // In tests it is kept, wherever they run.
    !cfg!(test) && io::stdout().is_terminal()
}

/// Whether a person looks at standard error.
pub(super) fn stderr_is_terminal() -> bool {
    !cfg!(test) && io::stderr().is_terminal()
}

#[cfg(not(test))]
fn stdout() -> impl Write {
    io::stdout().lock()
}

#[cfg(not(test))]
fn stderr() -> impl Write {
    io::stderr().lock()
}

#[cfg(test)]
use captured::{stderr, stdout};

/// In tests both streams are kept, for each thread.
#[cfg(test)]
pub(super) mod captured {
    use std::cell::RefCell;
    use std::io::{self, Write};

    thread_local! {
        static OUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        static ERR: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }

    struct Stream(&'static std::thread::LocalKey<RefCell<Vec<u8>>>);

    impl Write for Stream {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.with_borrow_mut(|kept| kept.write(bytes))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    pub(super) fn stdout() -> impl Write {
        Stream(&OUT)
    }

    pub(super) fn stderr() -> impl Write {
        Stream(&ERR)
    }

    /// What was written since the last call: standard output, standard error.
    pub(crate) fn take() -> (String, String) {
        let text = |stream: &'static std::thread::LocalKey<RefCell<Vec<u8>>>| {
            String::from_utf8(stream.take()).expect("only text is written")
        };
        (text(&OUT), text(&ERR))
    }
}

/// Columns as wide as their widest cell, two spaces apart; the last one as it is.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(&mut head.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_a_failure_is_marked_for_the_journal() {
        assert_eq!(marked("a\n  b"), "<3>a\n<3>  b");
    }

    #[test]
    fn columns_are_aligned_without_trailing_blanks() {
        let rows = [vec!["a".into(), "long cell".into(), String::new()], vec!["김철수".into(), "b".into(), "c".into()]];
        assert_eq!(table(&["X", "Y", "Z"], &rows), "X    Y          Z\na    long cell\n김철수  b          c\n");
    }
}
