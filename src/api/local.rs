//! Who is at the other end of the Unix socket: the kernel says which user, the socket's file decides what that
//! one may do.
//!
//! Where the file's mode lets in only its owner and its group, the kernel has checked already, with every group
//! that the caller has: whoever is connected may change things. Where it lets in everybody (`0666`), only
//! root, the daemon's own user and members of the socket's group may, and all others read. Membership is then
//! the caller's present group, or an entry in `/etc/group`: other directories of users could hang, and the
//! process's other groups are hidden from a hardened service.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tokio::net::UnixStream;

use super::access::Identity;
use crate::config::Role;
use crate::history::Actor;

/// The permission to connect for those who are neither owner nor group.
const OTHERS_CONNECT: u32 = 0o002;

/// Where the socket's file is: it is asked anew for each caller, for its mode may be changed while it is in use.
#[derive(Clone, Debug)]
pub(super) struct Door {
    path: PathBuf,
    /// What it said at first; counts where it says nothing any more.
    first: Rules,
}

/// What a socket's file says of its callers.
#[derive(Clone, Copy, Debug)]
struct Rules {
    open_to_others: bool,
    owner: u32,
    group: u32,
}

/// Somebody at the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// The user; none where the kernel does not say.
    uid: Option<u32>,
    role: Role,
}

impl Local {
    #[cfg(test)]
    pub(super) fn new(uid: u32, role: Role) -> Self {
        Self { uid: Some(uid), role }
    }

    pub(super) fn uid(self) -> Option<u32> {
        self.uid
    }

    pub(super) fn identity(self) -> Identity {
        Identity::new(self.uid.map_or_else(|| Actor::named("socket"), Actor::uid), self.role)
    }
}

impl Door {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), first: Rules::of(path)? })
    }

    /// Who has connected. Reads two small local files where the mode leaves the question open.
    pub(super) fn caller(&self, stream: &UnixStream) -> Local {
        let rules = Rules::of(&self.path).unwrap_or(self.first);
        let Ok(caller) = stream.peer_cred() else {
            let role = if rules.open_to_others { Role::Viewer } else { Role::Operator };
            return Local { uid: None, role };
        };
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let listed = || is_listed(&read("/etc/passwd"), &read("/etc/group"), caller.uid(), rules.group);
        Local { uid: Some(caller.uid()), role: rules.role(caller.uid(), caller.gid(), listed) }
    }
}

impl Rules {
    fn of(path: &Path) -> io::Result<Self> {
        let file = std::fs::symlink_metadata(path)?;
        Ok(Self { open_to_others: file.mode() & OTHERS_CONNECT != 0, owner: file.uid(), group: file.gid() })
    }

    fn role(self, uid: u32, gid: u32, listed: impl FnOnce() -> bool) -> Role {
        let operator = !self.open_to_others || uid == 0 || uid == self.owner || gid == self.group || listed();
        if operator { Role::Operator } else { Role::Viewer }
    }
}

/// Whether a user is a member of a group, by the texts of `/etc/passwd` and `/etc/group`.
fn is_listed(passwd: &str, group: &str, uid: u32, gid: u32) -> bool {
    let number = |field: Option<&&str>| field.and_then(|field| field.parse::<u32>().ok());
    let user = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let Some(user) = user.into_iter().find(|fields| number(fields.get(2)) == Some(uid)) else { return false };
    let mut groups = group.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let members = groups.find(|fields| number(fields.get(2)) == Some(gid));
    members
        .and_then(|fields| fields.get(3).copied())
        .is_some_and(|members| members.split(',').any(|member| !member.is_empty() && Some(&member) == user.first()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nanna:x:1000:1000::/:/bin/sh\nben:x:1001:1001::/:/bin/sh\njunk\n";
    const GROUP: &str = "root:x:0:\nrbac-sync:x:900:carl,anna\nempty:x:901:\njunk\n";

    #[test]
    fn a_member_is_who_the_files_list() {
        assert!(is_listed(PASSWD, GROUP, 1000, 900));
        assert!(!is_listed(PASSWD, GROUP, 1001, 900));
        assert!(!is_listed(PASSWD, GROUP, 1000, 901));
        assert!(!is_listed(PASSWD, GROUP, 4242, 900));
        assert!(!is_listed("", "", 1000, 900));
    }

    #[test]
    fn where_the_mode_lets_in_owner_and_group_whoever_is_in_may_change_things() {
        let door = Rules { open_to_others: false, owner: 900, group: 900 };
        assert_eq!(door.role(1001, 1001, || unreachable!("the kernel has checked")), Role::Operator);
    }

    #[test]
    fn where_it_lets_in_everybody_only_root_owner_and_group_may() {
        let door = Rules { open_to_others: true, owner: 900, group: 901 };
        for (uid, gid) in [(0, 0), (900, 5), (1000, 901)] {
            assert_eq!(door.role(uid, gid, || false), Role::Operator, "{uid} {gid}");
        }
        assert_eq!(door.role(1000, 1000, || true), Role::Operator);
        assert_eq!(door.role(1000, 1000, || false), Role::Viewer);
    }

    #[test]
    fn a_mode_that_is_changed_counts_for_whoever_connects_next() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let role = || Rules::of(&path).unwrap().role(4242, 4242, || false);
        for (mode, expected) in [(0o660, Role::Operator), (0o666, Role::Viewer), (0o600, Role::Operator)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(role(), expected, "{mode:o}");
        }
    }
}
