//! The kinds of messages that `journalctl -x` explains: IDs for ever, each with a text in
//! `packaging/rbac-sync.catalog`. An event carries one as its field `message_id`, which the journal
//! knows as MESSAGE_ID.

use crate::database::Class;
use crate::engine::{Error, Side};

/// The configuration is valid and the daemon starts.
pub(crate) const STARTING: &str = "20c61718d2b6487e8f2f1a0571f3fadd";
/// The listeners are bound.
pub(crate) const LISTENING: &str = "53112b7e8bef47fb8d337a452266a1bb";
/// A reload took effect, or found nothing new.
pub(crate) const RELOADED: &str = "dc0d232ef2234961833a3681e3f9956e";
/// A reload found errors; the old configuration stays.
pub(crate) const RELOAD_REFUSED: &str = "5ab885d9809841df873f5e0317daf75a";
/// A run failed for a reason that no other message names.
pub(crate) const RUN_FAILED: &str = "ae395a3c395a4bb2965011b528ca809a";
/// A run was stopped by the brake on deletes.
pub(crate) const BRAKE_HIT: &str = "a5b86a81edf642c09e0f59a1ff182a4f";
/// The database of an archive does not answer.
pub(crate) const SOURCE_LOST: &str = "3d6aa64dbbed42abbfe33c100b7a46b6";
/// Runs of a source succeed again.
pub(crate) const SOURCE_BACK: &str = "b363f0e3ca4d4caa91617d51e1785894";
/// The target cannot be opened or written.
pub(crate) const TARGET_LOST: &str = "a2551b890c7c49edbd55fb755ce59816";
/// The target is open, for the first time or again.
pub(crate) const TARGET_OPEN: &str = "3618f46a95cf478fa7b44441d10cca6d";
/// An operator stopped scheduled runs.
pub(crate) const PAUSED: &str = "1524d9a551d141ae960814ff42d13b63";
/// An operator started scheduled runs again.
pub(crate) const RESUMED: &str = "1f1c27072bef41efa5ca5ce5a560b06b";
/// A pause ended by itself.
pub(crate) const PAUSE_EXPIRED: &str = "ec2c95f634054647b2bbc40b106f3b2c";
/// Another daemon serves the target.
pub(crate) const STANDBY: &str = "0b2466937b7a48388649d68213ce2bf3";
/// This daemon serves the target in place of another one.
pub(crate) const TAKEOVER: &str = "bab03f60b2d34372bbce072a402aa48a";
/// The daemon did not start: its configuration is wrong.
pub(crate) const START_REFUSED: &str = "4bc5f4f998eb4779a0c455ab96117b68";
/// The daemon did not start for another reason.
pub(crate) const START_FAILED: &str = "e844d83c52154380a0b94e7c8b97648c";
/// The daemon ended because a part of it did that must not.
pub(crate) const DEFECT: &str = "0aa6cb332b8a4940b1a9d17e7eab973c";
/// The daemon was told to stop.
pub(crate) const STOPPING: &str = "a60df50bc85c4bb89e7c4c34918b7102";

/// The kind of message for a run that failed.
pub(crate) fn of_failed_run(error: &Error) -> &'static str {
    match (error.side, error.class) {
        (Side::Source, Class::Transient) => SOURCE_LOST,
        (Side::Target, _) => TARGET_LOST,
        (Side::Run, Class::Permanent) => BRAKE_HIT,
        _ => RUN_FAILED,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::manual;

    /// The IDs in the table above, as text, so that none can be forgotten here.
    fn ids<'a>(text: &'a str, before: &str) -> BTreeSet<&'a str> {
        let found = text.lines().filter_map(|line| line.split_once(before)?.1.get(..32));
        found.filter(|id| id.bytes().all(|byte| byte.is_ascii_hexdigit())).collect()
    }

    #[test]
    fn the_catalogue_explains_every_id_and_no_other() {
        let ours = ids(include_str!("message.rs"), ": &str = \"");
        let catalogue = ids(include_str!("../../packaging/rbac-sync.catalog"), "-- ");
        assert_eq!(ours, catalogue);
        assert_eq!(ours.len(), 19);
    }

    #[test]
    fn the_manual_has_every_id_with_the_subject_of_the_catalogue_and_no_other() {
        let catalogue = include_str!("../../packaging/rbac-sync.catalog");
        let entries = catalogue.split("\n-- ").skip(1).map(|entry| {
            let subject = entry.lines().find_map(|line| line.strip_prefix("Subject: ")).expect("a subject");
            (entry[..32].to_owned(), subject.to_owned())
        });
        let listed = manual::items(&manual::section(manual::PROGRAM, ".Sh JOURNAL"));
        let ids = listed.iter().filter_map(|item| Some((item.head.strip_prefix("Li ")?, item.lines.join(" "))));
        let ids: BTreeSet<_> = ids.map(|(id, subject)| (id.to_owned(), subject)).collect();
        assert_eq!(ids, entries.collect());
    }
}
