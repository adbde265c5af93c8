//! Logging: where it goes, in what shape, and its level at run time.
//!
//! A process has one log, set up before anything can fail and set up again when the configuration is known. What the lines say is the business of
//! those who write them: no row values, no secrets. The crates below do not know this rule, and at debug
//! and trace they may say statements, messages of servers, and headers: whatever the filter, they stay at
//! info (see [`is_safe`]).

pub(crate) mod message;

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::{LogConfig, LogFormat};

/// The crate whose lines are known to hold nothing private.
const OURS: &str = env!("CARGO_CRATE_NAME");

/// The journal reads within microseconds, unless the host is very busy.
const TIME_TO_READ: Duration = Duration::from_millis(250);

/// Whether the log goes to the journal now.
static JOURNAL_IN_USE: AtomicBool = AtomicBool::new(false);
static TELEMETRY: OnceLock<Telemetry> = OnceLock::new();
static SETTING_UP: Mutex<()> = Mutex::new(());

/// The log of this process; clones are the same log.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// `None`: somebody else, such as a test, set up the log of this process.
    handles: Option<Arc<Handles>>,
}

/// What can be changed later.
struct Handles {
    filter: reload::Handle<EnvFilter, Registry>,
    output: reload::Handle<Output, Filtered>,
}

impl fmt::Debug for Handles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handles").finish_non_exhaustive()
    }
}

impl Telemetry {
    /// Changes the level, or the filter per module, from the next line on.
    ///
    /// # Errors
    /// The text is no filter.
    pub fn set_level(&self, level: &str) -> Result<(), String> {
        let filter = EnvFilter::try_new(level).map_err(|error| error.to_string())?;
        self.handles.as_ref().map_or(Ok(()), |handles| handles.filter.reload(filter)).map_err(|error| error.to_string())
    }

    fn set_output(&self, output: Output) -> Result<(), String> {
        self.handles.as_ref().map_or(Ok(()), |handles| handles.output.reload(output)).map_err(|error| error.to_string())
    }
}

/// Sets up the log. A second call gives the same log, from then on with this level and format.
pub fn init(config: &LogConfig) -> Telemetry {
    let _one_at_a_time = SETTING_UP.lock().unwrap_or_else(PoisonError::into_inner);
    let (output, complaint) = output(config.format);
    let telemetry = match TELEMETRY.get() {
        Some(telemetry) => {
            if let Err(error) = telemetry.set_level(&config.level).and_then(|()| telemetry.set_output(output)) {
                tracing::warn!(error, "the log was not changed");
            }
            telemetry
        }
        None => TELEMETRY.get_or_init(|| first(&config.level, output)),
    };
    if let Some(complaint) = complaint {
        tracing::warn!("{complaint}");
    }
    telemetry.clone()
}

fn first(level: &str, output: Output) -> Telemetry {
    // The configuration and its variables refuse a level that cannot be read.
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new(LogConfig::default().level));
    let (filter, filter_handle) = reload::Layer::new(filter);
    let (output, output_handle) = reload::Layer::new(output);
    let ours = tracing_subscriber::registry().with(filter).with(output.with_filter(safe())).try_init().is_ok();
    Telemetry { handles: ours.then(|| Arc::new(Handles { filter: filter_handle, output: output_handle })) }
}

/// Lets errors into the log, whatever the configured level: the last words of a process that ends by one.
pub(crate) fn let_errors_through() {
    if !tracing::enabled!(Level::ERROR)
        && let Some(telemetry) = TELEMETRY.get()
    {
        // An error here has nowhere to go.
        let _ = telemetry.set_level("error");
    }
}

/// To be called between the last words of a process and its end: the journal asks who has sent a message after it
/// has received it, and the words of a process that is gone by then have no unit.
pub(crate) fn let_the_journal_read() {
    if JOURNAL_IN_USE.load(Ordering::Relaxed) {
        std::thread::sleep(TIME_TO_READ);
    }
}

/// Whether standard error leads to the journal.
pub(crate) fn stderr_is_journal() -> bool {
    leads_there(std::env::var("JOURNAL_STREAM").ok().as_deref(), standard_error())
}

/// From now on a panic is a line in the log that says where it happened. Its message is shown only if
/// it is a fixed text of this program: a composed one may hold row values.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload().downcast_ref::<&'static str>().copied();
        let location = panic.location().map(ToString::to_string);
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(location, panic = message.unwrap_or("(withheld)"), %backtrace, "panicked");
    }));
}

/// Whether a line of that kind may be logged at all: all of this program's own, of others up to info.
fn is_safe(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let ours = target == OURS || target.strip_prefix(OURS).is_some_and(|rest| rest.starts_with("::"));
    ours || *metadata.level() <= Level::INFO
}

fn safe() -> FilterFn {
    FilterFn::new(is_safe)
}

type Output = Box<dyn Layer<Filtered> + Send + Sync>;
type Filtered = tracing_subscriber::layer::Layered<reload::Layer<EnvFilter, Registry>, Registry>;

/// The layer that writes, and what to say in it first.
fn output(format: LogFormat) -> (Output, Option<String>) {
    JOURNAL_IN_USE.store(false, Ordering::Relaxed);
    match chosen(format, stderr_is_journal()) {
        LogFormat::Journald => match journald() {
            Ok(layer) => {
                JOURNAL_IN_USE.store(true, Ordering::Relaxed);
                (Box::new(layer), None)
            }
            Err(error) => (text(), Some(format!("the journal cannot be reached ({error}); logging to standard error"))),
        },
        LogFormat::Json => {
            (Box::new(tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(io::stderr)), None)
        }
        LogFormat::Text | LogFormat::Auto => (text(), None),
    }
}

fn text() -> Output {
    Box::new(tracing_subscriber::fmt::layer().with_ansi(io::stderr().is_terminal()).with_writer(io::stderr))
}

fn journald() -> io::Result<tracing_journald::Layer> {
    // The library's own mapping makes INFO a notice, which journalctl shows in bold.
    let priorities =
        PriorityMappings { info: Priority::Informational, debug: Priority::Debug, ..PriorityMappings::new() };
    let layer = tracing_journald::layer()?;
    Ok(layer.with_field_prefix(None).with_priority_mappings(priorities).with_syslog_identifier("rbac-sync".to_owned()))
}

/// Device and inode of standard error.
fn standard_error() -> Option<(u64, u64)> {
    rustix::fs::fstat(io::stderr()).ok().map(|stat| (stat.st_dev, stat.st_ino))
}

/// Whether what systemd says of the journal's stream, `DEVICE:INODE`, is true of standard error. Pure.
fn leads_there(journal_stream: Option<&str>, standard_error: Option<(u64, u64)>) -> bool {
    let stream = journal_stream.and_then(|stream| {
        let (device, inode) = stream.split_once(':')?;
        Some((device.parse().ok()?, inode.parse().ok()?))
    });
    stream.is_some() && stream == standard_error
}

/// What `auto` means: the journal only when standard error leads there.
fn chosen(format: LogFormat, journal: bool) -> LogFormat {
    match format {
        LogFormat::Auto if journal => LogFormat::Journald,
        LogFormat::Auto => LogFormat::Text,
        format => format,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_the_journal_only_when_standard_error_is_connected_to_it() {
        assert!(leads_there(Some("8:1234"), Some((8, 1234))));
        assert!(!leads_there(Some("8:1234"), Some((8, 99))), "redirected since");
        assert!(!leads_there(Some("junk"), None));
        assert!(!leads_there(None, None));
        assert_eq!(chosen(LogFormat::Auto, true), LogFormat::Journald);
        assert_eq!(chosen(LogFormat::Auto, false), LogFormat::Text);
        assert_eq!(chosen(LogFormat::Json, true), LogFormat::Json);
    }

    #[test]
    fn other_crates_say_nothing_below_info_whatever_the_filter() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let writer = lines.clone();
        let output = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || Lines(writer.clone()));
        let filter = EnvFilter::new("trace,sqlx::query=trace,hyper=debug");
        let log = tracing_subscriber::registry().with(filter).with(output.with_filter(safe()));
        tracing::subscriber::with_default(log, || {
            tracing::debug!(target: "sqlx::query", "SELECT a secret");
            tracing::trace!(target: "hyper::proto", "authorization: a secret");
            tracing::trace!(target: "rbac_sync_elsewhere", "a secret");
            tracing::warn!(target: "sqlx::pool", "a slow server");
            tracing::trace!(target: "rbac_sync::engine", "read a page");
        });
        let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
        assert!(!text.contains("secret"), "{text}");
        assert!(text.contains("a slow server") && text.contains("read a page"), "{text}");
    }

    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_second_set_up_is_the_same_log_and_a_bad_level_changes_nothing() {
        let config = LogConfig { level: "warn".to_owned(), format: LogFormat::Text };
        init(&config);
        let telemetry = init(&LogConfig { level: "rbac_sync=debug,warn".to_owned(), ..config });
        assert!(telemetry.set_level("rbac_sync=loud").is_err());
        assert_eq!(telemetry.set_level("off"), Ok(()));
    }
}
