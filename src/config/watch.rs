//! Watching the file, however it is saved.
//!
//! inotify watches inodes, and most ways to save a file replace its inode. So the folders are watched
//! that the path goes through: the file's, those of its links, and the one that it really lies in.
//! Whatever happens in them is only a hint to look at the file's content again; a slow poll is a hint
//! too, for what inotify misses (network file systems, an exhausted watch limit). Each look arms the
//! watches again first, so a folder that was replaced is found again.
//!
//! Password and token files are not watched: a rotated one counts at the next reload.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

use super::contents::read_small;
use super::load::FILE_LIMIT;

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

/// Watches a file, however it is saved. The receiver gets one message for each burst of changes after
/// which the content differs (appearing and vanishing count); unread messages coalesce. The watch
/// ends when the receiver is dropped.
///
/// Must be called within a tokio runtime. What the file holds when this returns is the content that
/// changes are measured against: load the configuration after the call, and no change is missed.
#[must_use]
pub fn watch(path: &Path) -> mpsc::Receiver<()> {
    watch_at(path, PACE)
}

fn watch_at(path: &Path, pace: Pace) -> mpsc::Receiver<()> {
    let (changed, receiver) = mpsc::channel(1);
    // One slot is enough: a hint has no content, and one that waits stands for all that follow.
    let (hint, hints) = mpsc::channel(1);
    let mut sight = Sight {
        path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
        folders: BTreeSet::new(),
        watcher: None,
        hint,
        complained: false,
    };
    let seen = sight.look();
    tokio::spawn(follow(sight, seen, hints, changed, pace));
    receiver
}

/// SHA-256 of the content; `None` while there is no readable file.
type Content = Option<[u8; 32]>;

async fn follow(
    mut sight: Sight,
    mut seen: Content,
    mut hints: mpsc::Receiver<()>,
    changed: mpsc::Sender<()>,
    pace: Pace,
) {
    loop {
        tokio::select! {
            () = changed.closed() => return,
            Some(()) = hints.recv() => settle(&mut hints, pace).await,
            () = sleep(pace.poll) => {}
        }
        let looked = tokio::task::spawn_blocking(move || {
            let content = sight.look();
            (sight, content)
        });
        let content;
        (sight, content) = match looked.await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down.
                Err(_) => return,
            },
        };
        if content != seen {
            seen = content;
            // Full means that the receiver has not read the last message: it will look anyway.
            if let Err(mpsc::error::TrySendError::Closed(())) = changed.try_send(()) {
                return;
            }
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

/// The watches and the file behind them; blocking.
struct Sight {
    path: PathBuf,
    folders: BTreeSet<PathBuf>,
    watcher: Option<RecommendedWatcher>,
    hint: mpsc::Sender<()>,
    complained: bool,
}

impl Sight {
    /// Arms the watches, then reads: a change in between leaves a hint.
    fn look(&mut self) -> Content {
        match self.arm() {
            Ok(()) => self.complained = false,
            Err(error) if !self.complained => {
                self.complained = true;
                tracing::warn!(%error, "cannot watch the configuration's folder; changes are found by polling");
            }
            Err(_) => {}
        }
        let (bytes, _) = read_small(&self.path, FILE_LIMIT).ok()?;
        Some(Sha256::digest(bytes).into())
    }

    /// Watches the folders that matter now. Watching a folder that is watched already is harmless, and
    /// the only way to be sure that the one of this name is.
    fn arm(&mut self) -> notify::Result<()> {
        let mut watcher = match self.watcher.take() {
            Some(watcher) => watcher,
            None => {
                self.folders.clear();
                let hint = self.hint.clone();
                notify::recommended_watcher(move |event| on_event(&event, &hint))?
            }
        };
        let wanted = folders(&self.path);
        for folder in self.folders.difference(&wanted) {
            // It fails if the folder is gone, which is as good.
            let _ = watcher.unwatch(folder);
        }
        let mut outcome = Ok(());
        for folder in &wanted {
            outcome = outcome.and(watcher.watch(folder, RecursiveMode::NonRecursive));
        }
        self.folders = wanted;
        // A watcher that failed is made anew by the next look.
        self.watcher = outcome.is_ok().then_some(watcher);
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
