use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;

/// Without the poll: what these tests see comes from inotify.
const EVENTS_ONLY: Pace = Pace { quiet: Duration::from_millis(50), poll: Duration::from_secs(3600), ..PACE };
/// Far more than any machine needs.
const CAP: Duration = Duration::from_secs(30);
/// Longer than a burst: no message within it means that none is coming.
const SILENCE: Duration = Duration::from_millis(300);

async fn changes(watch: &mut Watch) {
    timeout(CAP, watch.changed()).await.expect("a message for the change").expect("the watch goes on");
    // A save in several steps may have been seen in the middle of it.
    while timeout(SILENCE, watch.changed()).await.is_ok() {}
}

async fn stays_silent(watch: &mut Watch) {
    assert!(timeout(SILENCE, watch.changed()).await.is_err(), "a message although nothing changed");
}

/// Lays out a folder, saves three times, and expects each save to be seen.
async fn sees_each_save(lay_out: impl FnOnce(&Path) -> PathBuf, save: impl Fn(&Path, &str)) {
    let folder = TempDir::new().unwrap();
    let path = lay_out(folder.path());
    let mut receiver = watch_at(&path, EVENTS_ONLY);
    for content in ["first", "second", "third"] {
        save(folder.path(), content);
        changes(&mut receiver).await;
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
}

fn plain(folder: &Path) -> PathBuf {
    let path = folder.join("c.toml");
    fs::write(&path, "zeroth").unwrap();
    path
}

/// `etc/c.toml` is a link to `store/c.toml`.
fn linked(folder: &Path) -> PathBuf {
    fs::create_dir(folder.join("etc")).unwrap();
    fs::create_dir(folder.join("store")).unwrap();
    fs::write(folder.join("store/c.toml"), "zeroth").unwrap();
    symlink("../store/c.toml", folder.join("etc/c.toml")).unwrap();
    folder.join("etc/c.toml")
}

fn rename_over(path: &Path, content: &str) {
    let temporary = path.with_extension("new");
    fs::write(&temporary, content).unwrap();
    fs::rename(temporary, path).unwrap();
}

/// The way Kubernetes mounts a ConfigMap: the folder of the version is swapped by one rename.
fn swap_data(folder: &Path, content: &str) {
    let version = folder.join(format!("..version-{content}"));
    fs::create_dir(&version).unwrap();
    fs::write(version.join("c.toml"), content).unwrap();
    let old = fs::read_link(folder.join("..data")).ok();
    symlink(version.file_name().unwrap(), folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    if let Some(old) = old {
        fs::remove_dir_all(folder.join(old)).unwrap();
    }
}

#[tokio::test]
async fn sees_a_file_written_in_place() {
    sees_each_save(plain, |folder, content| fs::write(folder.join("c.toml"), content).unwrap()).await;
}

#[tokio::test]
async fn sees_a_file_renamed_over_it() {
    sees_each_save(plain, |folder, content| rename_over(&folder.join("c.toml"), content)).await;
}

#[tokio::test]
async fn sees_vim_move_the_old_file_away_and_write_a_new_one() {
    sees_each_save(plain, |folder, content| {
        let (path, backup) = (folder.join("c.toml"), folder.join("c.toml~"));
        fs::rename(&path, &backup).unwrap();
        fs::write(&path, content).unwrap();
        fs::remove_file(backup).unwrap();
    })
    .await;
}

#[tokio::test]
async fn sees_a_swap_of_the_data_link() {
    let lay_out = |folder: &Path| {
        swap_data(folder, "zeroth");
        symlink("..data/c.toml", folder.join("c.toml")).unwrap();
        folder.join("c.toml")
    };
    sees_each_save(lay_out, swap_data).await;
}

#[tokio::test]
async fn sees_the_target_of_a_link_written_in_place() {
    sees_each_save(linked, |folder, content| fs::write(folder.join("store/c.toml"), content).unwrap()).await;
}

#[tokio::test]
async fn sees_the_target_of_a_link_replaced() {
    sees_each_save(linked, |folder, content| rename_over(&folder.join("store/c.toml"), content)).await;
}

#[tokio::test]
async fn sees_a_link_that_points_elsewhere_and_the_changes_there() {
    let folder = TempDir::new().unwrap();
    let path = linked(folder.path());
    let mut receiver = watch_at(&path, EVENTS_ONLY);
    fs::create_dir(folder.path().join("other")).unwrap();
    fs::write(folder.path().join("other/c.toml"), "first").unwrap();
    symlink("../other/c.toml", folder.path().join("etc/new")).unwrap();
    fs::rename(folder.path().join("etc/new"), &path).unwrap();
    changes(&mut receiver).await;
    fs::write(folder.path().join("other/c.toml"), "second").unwrap();
    changes(&mut receiver).await;
}

#[tokio::test]
async fn sees_a_folder_that_is_a_link_point_elsewhere() {
    let lay_out = |folder: &Path| {
        fs::create_dir(folder.join("zeroth")).unwrap();
        fs::write(folder.join("zeroth/c.toml"), "zeroth").unwrap();
        symlink("zeroth", folder.join("current")).unwrap();
        folder.join("current/c.toml")
    };
    sees_each_save(lay_out, |folder, content| {
        fs::create_dir(folder.join(content)).unwrap();
        fs::write(folder.join(content).join("c.toml"), content).unwrap();
        symlink(content, folder.join("next")).unwrap();
        fs::rename(folder.join("next"), folder.join("current")).unwrap();
    })
    .await;
}

#[tokio::test]
async fn sees_the_file_vanish_and_come_back() {
    let folder = TempDir::new().unwrap();
    let path = plain(folder.path());
    let mut receiver = watch_at(&path, EVENTS_ONLY);
    for content in ["first", "second"] {
        fs::remove_file(&path).unwrap();
        changes(&mut receiver).await;
        fs::write(&path, content).unwrap();
        changes(&mut receiver).await;
    }
}

#[tokio::test]
async fn sees_a_file_that_was_missing_at_the_start() {
    let lay_out = |folder: &Path| folder.join("c.toml");
    sees_each_save(lay_out, |folder, content| rename_over(&folder.join("c.toml"), content)).await;
}

#[tokio::test]
async fn sees_a_folder_that_was_missing_and_one_that_is_replaced() {
    let folder = TempDir::new().unwrap();
    let inner = folder.path().join("etc");
    let mut receiver = watch_at(&inner.join("c.toml"), EVENTS_ONLY);
    for content in ["first", "second"] {
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("c.toml"), content).unwrap();
        changes(&mut receiver).await;
        fs::remove_dir_all(&inner).unwrap();
        changes(&mut receiver).await;
    }
}

/// A watch that inotify tells nothing, and what keeps it from ending.
fn deaf(path: &Path, pace: Pace) -> (mpsc::Sender<()>, Watch) {
    let (keep, hints) = mpsc::channel(1);
    let (deaf, _) = mpsc::channel(1);
    let (mut sight, mut seen) = (Sight::new(path, deaf), Seen::new());
    sight.look(&Companions::default(), false, &mut seen);
    (keep, start(sight, seen, hints, pace))
}

#[tokio::test]
async fn the_poll_alone_finds_a_change() {
    let folder = TempDir::new().unwrap();
    let path = plain(folder.path());
    // The hints have no sender that inotify could use: only the poll is left.
    let (_keep, mut receiver) = deaf(&path, Pace { poll: Duration::from_millis(50), ..PACE });
    for content in ["first", "second"] {
        fs::write(&path, content).unwrap();
        changes(&mut receiver).await;
    }
}

#[tokio::test]
async fn reading_and_saving_the_same_content_are_no_changes() {
    let folder = TempDir::new().unwrap();
    let path = plain(folder.path());
    let mut receiver = watch_at(&path, EVENTS_ONLY);
    for _ in 0..3 {
        assert_eq!(fs::read_to_string(&path).unwrap(), "zeroth");
        rename_over(&path, "zeroth");
        fs::write(folder.path().join("neighbour"), "x").unwrap();
    }
    stays_silent(&mut receiver).await;
    rename_over(&path, "first");
    changes(&mut receiver).await;
}

#[test]
fn reading_gives_no_hint_but_an_error_and_a_rescan_do() {
    use notify::event::{AccessKind, Event, EventKind, Flag};
    let hinted = |event: notify::Result<Event>| {
        let (hint, mut hints) = mpsc::channel(1);
        on_event(&event, &hint);
        hints.try_recv().is_ok()
    };
    assert!(!hinted(Ok(Event::new(EventKind::Access(AccessKind::Read)))));
    assert!(hinted(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan))));
    assert!(hinted(Ok(Event::new(EventKind::Modify(notify::event::ModifyKind::Any)))));
    assert!(hinted(Err(notify::Error::generic("lost"))));
}

#[tokio::test]
async fn unread_changes_coalesce_into_one_message() {
    let folder = TempDir::new().unwrap();
    let path = plain(folder.path());
    let pace = Pace { quiet: Duration::from_millis(1), ..EVENTS_ONLY };
    let mut receiver = watch_at(&path, pace);
    let count = tokio::task::spawn_blocking(move || {
        for number in 0..200 {
            rename_over(&path, &number.to_string());
        }
    });
    count.await.unwrap();
    // One message waited all the time; a look that was under way and a last one may follow it.
    let mut messages = 0;
    while timeout(SILENCE, receiver.changed()).await.is_ok() {
        messages += 1;
    }
    assert!((1..=3).contains(&messages), "{messages} messages");
}

#[tokio::test]
async fn ends_when_the_receiver_is_dropped() {
    let folder = TempDir::new().unwrap();
    let path = plain(folder.path());
    let (changed, receiver) = mpsc::channel(1);
    let (hint, hints) = mpsc::channel(1);
    let (_companions, wanted) = watch::channel(Companions::default());
    let task = tokio::spawn(follow(Sight::new(&path, hint), Seen::new(), hints, wanted, changed, EVENTS_ONLY));
    drop(receiver);
    timeout(CAP, task).await.expect("the task ends").unwrap();
}

fn companions(files: &[(&Path, &str)]) -> Companions {
    Companions::of(&files.iter().map(|(path, content)| (*path, Some(*content))).collect::<Vec<_>>())
}

#[tokio::test]
async fn files_beside_it_are_watched_while_the_configuration_names_them() {
    let folder = TempDir::new().unwrap();
    let (etc, secrets) = (folder.path().join("etc"), folder.path().join("secrets"));
    fs::create_dir(&etc).unwrap();
    fs::create_dir(&secrets).unwrap();
    let (path, secret) = (plain(&etc), secrets.join("password"));
    fs::write(&secret, "first").unwrap();
    let mut receiver = watch_at(&path, EVENTS_ONLY);
    receiver.beside(&companions(&[(&secret, "first")]));
    stays_silent(&mut receiver).await;
    for content in ["second", "third"] {
        rename_over(&secret, content);
        changes(&mut receiver).await;
    }
    receiver.beside(&Companions::default());
    stays_silent(&mut receiver).await;
    rename_over(&secret, "fourth");
    stays_silent(&mut receiver).await;
    rename_over(&path, "first");
    changes(&mut receiver).await;
}

#[tokio::test]
async fn a_file_beside_it_that_changed_before_it_was_watched_counts_as_changed() {
    let folder = TempDir::new().unwrap();
    let (path, secret) = (plain(folder.path()), folder.path().join("password"));
    fs::write(&secret, "rotated").unwrap();
    let mut receiver = watch_at(&path, EVENTS_ONLY);
    receiver.beside(&companions(&[(&secret, "as loaded")]));
    changes(&mut receiver).await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_watched_leaves_the_others() {
    let folder = TempDir::new().unwrap();
    let path = plain(folder.path());
    let mut receiver = watch_at(&path, EVENTS_ONLY);
    // inotify has no watches for what is not a folder of a real file system's tree.
    receiver.beside(&companions(&[(Path::new("/proc/self/fd/none/password"), "")]));
    while timeout(SILENCE, receiver.changed()).await.is_ok() {}
    for content in ["first", "second"] {
        rename_over(&path, content);
        changes(&mut receiver).await;
    }
}

/// A reload that somebody else asked for may read what the watch never saw.
#[tokio::test]
async fn a_file_that_changed_and_changed_back_around_a_reload_is_read_again() {
    let folder = TempDir::new().unwrap();
    let path = plain(folder.path());
    let good = fs::read_to_string(&path).unwrap();
    let mut receiver = watch_at(&path, EVENTS_ONLY);
    receiver.beside(&companions(&[(&path, &good)]));
    stays_silent(&mut receiver).await;

    receiver.beside(&companions(&[(&path, "read, and replaced since")]));
    changes(&mut receiver).await;
    receiver.beside(&companions(&[(&path, &good)]));
    stays_silent(&mut receiver).await;
}

#[tokio::test]
async fn what_a_reload_has_read_already_is_no_change() {
    let folder = TempDir::new().unwrap();
    let path = plain(folder.path());
    // Deaf until it is told of the reload, so that it sees the change no earlier.
    let (_keep, mut receiver) = deaf(&path, EVENTS_ONLY);
    rename_over(&path, "first");
    receiver.beside(&companions(&[(&path, "first")]));
    stays_silent(&mut receiver).await;
}

#[tokio::test]
async fn a_file_that_stays_bad_is_read_once() {
    let folder = TempDir::new().unwrap();
    let path = plain(folder.path());
    let good = fs::read_to_string(&path).unwrap();
    let mut receiver = watch_at(&path, EVENTS_ONLY);
    receiver.beside(&companions(&[(&path, &good)]));
    rename_over(&path, "bad");
    changes(&mut receiver).await;
    receiver.beside(&companions(&[(&path, "bad")]));
    stays_silent(&mut receiver).await;
    rename_over(&path, &good);
    changes(&mut receiver).await;
}

#[tokio::test]
async fn a_missing_file_that_a_refused_configuration_names_is_waited_for() {
    let folder = TempDir::new().unwrap();
    let (path, secret) = (plain(folder.path()), folder.path().join("secrets/password"));
    let text = fs::read_to_string(&path).unwrap();
    let mut receiver = watch_at(&path, EVENTS_ONLY);
    receiver.beside(&Companions::of(&[(&path, Some(&text)), (&secret, None)]));
    stays_silent(&mut receiver).await;
    fs::create_dir(folder.path().join("secrets")).unwrap();
    fs::write(&secret, "here now").unwrap();
    changes(&mut receiver).await;
}
