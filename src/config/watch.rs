//! Watching the file, however it is saved.
//!
//! inotify watches inodes, and most ways to save a file replace its inode. So the folders are watched
//! that the path goes through: the file's, those of its links, and the one that it really lies in.
//! Whatever happens in them is only a hint to look at the file's content again; a slow poll is a hint
//! too, for what inotify misses (network file systems, an exhausted watch limit). Each look arms the
//! watches again first, so a folder that was replaced is found again.
//!
//! The files beside it that the configuration was made of (passwords, tokens, the env file) are watched
//! in the same way, also those of a configuration that was refused: a file that was missing heals it by
//! appearing. Which ones they are changes with each reload.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout_at};

use super::companions::{Companions, Content, LARGEST, content};
use super::contents::read_small;

/// How patient the watch is.
#[derive(Clone, Copy)]
struct Pace {
    /// A burst of events is over when none came for this long: editors write, sync and rename.
    quiet: Duration,
    /// A burst that does not end is looked at after this long.
    longest: Duration,
    /// Time between looks without any event.
    poll: Duration,
}

const PACE: Pace =
    Pace { quiet: Duration::from_millis(200), longest: Duration::from_secs(2), poll: Duration::from_secs(5) };

/// A chain of links that is longer than this is a circle.
const LINKS: usize = 16;

/// A watch; it ends when this is dropped.
#[derive(Debug)]
pub struct Watch {
    changed: mpsc::Receiver<()>,
    last_read: watch::Sender<Companions>,
}

impl Watch {
    /// Waits for the end of a burst of changes after which a file's content differs (appearing and
    /// vanishing count); bursts that nobody waited for coalesce. `None`: the watch has ended.
    pub async fn changed(&mut self) -> Option<()> {
        self.changed.recv().await
    }

    /// Watches these files too, instead of those before; to be told after each reload, whoever asked for it, be
    /// it accepted or refused. What the watch saw last may be older than what that reload read, or newer, so the
    /// files are looked at again: they have changed if they are not as they were read.
    pub fn beside(&self, companions: &Companions) {
        self.last_read.send_if_modified(|known| {
            let differs = *known != *companions;
            if differs {
                known.clone_from(companions);
            }
            differs
        });
    }
}

/// Watches a file, however it is saved.
///
/// Must be called within a tokio runtime. What the file holds when this returns is the content that
/// changes are measured against: load the configuration after the call, and no change is missed.
#[must_use]
pub fn watch(path: &Path) -> Watch {
    watch_at(path, PACE)
}

fn watch_at(path: &Path, pace: Pace) -> Watch {
    // One slot is enough: a hint has no content, and one that waits stands for all that follow.
    let (hint, hints) = mpsc::channel(1);
    let mut sight = Sight::new(path, hint);
    let mut seen = BTreeMap::new();
    sight.look(&Companions::default(), false, &mut seen);
    start(sight, seen, hints, pace)
}

fn start(sight: Sight, seen: Seen, hints: mpsc::Receiver<()>, pace: Pace) -> Watch {
    let (changed, receiver) = mpsc::channel(1);
    let (last_read, reloads) = watch::channel(Companions::default());
    tokio::spawn(follow(sight, seen, hints, reloads, changed, pace));
    Watch { changed: receiver, last_read }
}

/// What each file held at the last look.
type Seen = BTreeMap<PathBuf, Content>;

async fn follow(
    mut sight: Sight,
    mut seen: Seen,
    mut hints: mpsc::Receiver<()>,
    mut reloads: watch::Receiver<Companions>,
    changed: mpsc::Sender<()>,
    pace: Pace,
) {
    loop {
        let mut reloaded = false;
        tokio::select! {
            () = changed.closed() => return,
            Some(()) = hints.recv() => settle(&mut hints, pace).await,
            Ok(()) = reloads.changed() => reloaded = true,
            () = sleep(pace.poll) => {}
        }
        // Whatever woke us up first.
        reloaded |= reloads.has_changed().unwrap_or(false);
        let last_read = reloads.borrow_and_update().clone();
        let looked = tokio::task::spawn_blocking(move || {
            let news = sight.look(&last_read, reloaded, &mut seen);
            (sight, seen, news)
        });
        let news;
        (sight, seen, news) = match looked.await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down.
                Err(_) => return,
            },
        };
        // Full means that the receiver has not read the last message: it will look anyway.
        if news && matches!(changed.try_send(()), Err(mpsc::error::TrySendError::Closed(()))) {
            return;
        }
    }
}

/// Waits until a burst is over.
async fn settle(hints: &mut mpsc::Receiver<()>, pace: Pace) {
    let end = Instant::now() + pace.longest;
    while let Ok(Some(())) = timeout_at(end.min(Instant::now() + pace.quiet), hints.recv()).await {
        if Instant::now() >= end {
            return;
        }
    }
}

/// The watches and the files behind them; blocking.
struct Sight {
    path: PathBuf,
    folders: BTreeSet<PathBuf>,
    watcher: Option<RecommendedWatcher>,
    hint: mpsc::Sender<()>,
    complained: bool,
}

impl Sight {
    fn new(path: &Path, hint: mpsc::Sender<()>) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self { path, folders: BTreeSet::new(), watcher: None, hint, complained: false }
    }

    /// Whether a reload is due. Arms the watches before it reads: a change in between leaves a hint.
    /// `reloaded`: this is the first look after a reload.
    fn look(&mut self, last_read: &Companions, reloaded: bool, seen: &mut Seen) -> bool {
        let loaded: BTreeMap<&PathBuf, Content> = last_read.iter().collect();
        let paths: BTreeSet<PathBuf> = [&self.path].into_iter().chain(loaded.keys().copied()).cloned().collect();
        match self.arm(&paths) {
            Ok(()) => self.complained = false,
            Err(error) if !self.complained => {
                self.complained = true;
                tracing::warn!(%error, "cannot watch a folder of the configuration; changes there are found by polling");
            }
            Err(_) => {}
        }
        let read = |path: PathBuf| {
            let now = read_small(&path, LARGEST).ok().and_then(|(bytes, _)| content(&bytes));
            (path, now)
        };
        let now: Seen = paths.into_iter().map(read).collect();
        let before = std::mem::replace(seen, now);
        let (seen, loaded) = (&*seen, &loaded);
        let known = |path| if reloaded { loaded.get(path).or(before.get(path)) } else { before.get(path) };
        seen.iter().any(|(path, now)| known(path).is_some_and(|known| known != now))
    }

    /// Watches the folders that matter now. Watching a folder that is watched already is harmless, and
    /// the only way to be sure that the one of this name is.
    fn arm(&mut self, paths: &BTreeSet<PathBuf>) -> notify::Result<()> {
        let mut watcher = match self.watcher.take() {
            Some(watcher) => watcher,
            None => {
                self.folders.clear();
                let hint = self.hint.clone();
                notify::recommended_watcher(move |event| on_event(&event, &hint))?
            }
        };
        let wanted: BTreeSet<_> = paths.iter().flat_map(|path| folders(path)).collect();
        for folder in self.folders.difference(&wanted) {
            // It fails if the folder is gone, which is as good.
            let _ = watcher.unwatch(folder);
        }
        let (mut outcome, mut any) = (Ok(()), false);
        for folder in &wanted {
            let watched = watcher.watch(folder, RecursiveMode::NonRecursive);
            any |= watched.is_ok();
            outcome = outcome.and(watched);
        }
        self.folders = wanted;
        // One folder that may not be watched leaves the others; a watcher that has none is made anew by
        // the next look.
        self.watcher = any.then_some(watcher);
        outcome
    }
}

/// Reading a file is an event too, which must not lead to reading it again. An error and a rescan
/// (events were lost) mean that something may have changed.
fn on_event(event: &notify::Result<notify::Event>, hint: &mpsc::Sender<()>) {
    let only_read = matches!(event, Ok(event) if event.kind.is_access() && !event.need_rescan());
    if !only_read {
        // Full: a hint is waiting already. Closed: the watch has ended.
        let _ = hint.try_send(());
    }
}

/// The real folders in which something can change what the path leads to. Where a folder is missing,
/// the nearest one above it.
fn folders(path: &Path) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    let mut hop = path.to_owned();
    for _ in 0..LINKS {
        folders.extend(hop.ancestors().skip(1).find_map(|folder| folder.canonicalize().ok()));
        let links = hop.ancestors().filter(|part| part.is_symlink()).filter_map(Path::parent);
        folders.extend(links.filter_map(|folder| folder.canonicalize().ok()));
        match std::fs::read_link(&hop) {
            // `join` with an absolute target is that target.
            Ok(target) => hop = hop.parent().unwrap_or(Path::new("/")).join(target),
            Err(_) => break,
        }
    }
    folders
}

#[cfg(test)]
mod tests;
