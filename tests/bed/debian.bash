# The Debian package is upgraded, removed, purged. Sourced by run.

test_upgrade() {
    local pid configuration
    pid=$(unit MainPID)
    configuration=$(in_bed cat /etc/rbac-sync.toml)
    same "open files of the version before" "$(unit LimitNOFILE)" 2048
    # What an administrator chose for the file is his.
    in_bed chmod 660 /etc/rbac-sync.toml
    in_bed dpkg --install --force-confold /new.deb >/dev/null 2>&1
    same "the unit" "$(in_bed systemctl is-active rbac-sync)" active
    [[ $(unit MainPID) != "$pid" ]] || fail "the old program still runs"
    same "open files of the new unit" "$(unit LimitNOFILE)" 4096
    same "the configuration" "$(in_bed cat /etc/rbac-sync.toml)" "$configuration"
    same "owner of the configuration" "$(in_bed stat -c '%a %U %G' /etc/rbac-sync.toml)" "660 root rbac-sync"
    in_bed grep -q '^# interval = ' /etc/rbac-sync.toml.dpkg-dist
    in_bed rm /etc/rbac-sync.toml.dpkg-dist
    # Also where he left it to the group that it was unpacked for.
    in_bed chown root:root /etc/rbac-sync.toml
    in_bed chmod 644 /etc/rbac-sync.toml
    in_bed dpkg --install --force-confold /new.deb >/dev/null 2>&1
    same "owner of the configuration" "$(in_bed stat -c '%a %U %G' /etc/rbac-sync.toml)" "644 root root"
    in_bed chown root:rbac-sync /etc/rbac-sync.toml
    in_bed chmod 640 /etc/rbac-sync.toml
    same "the unit" "$(in_bed systemctl is-enabled rbac-sync)" enabled
    until_status 'main: ok'
}

# What stands in the target of a daemon that is stopped: the tables' version, the rows and their ids, the oldest run.
target() {
    in_bed dd status=none if=/var/lib/rbac-sync/rbac.db >"$work/rbac.db"
    python3 - "$work/rbac.db" <<'PYTHON'
import sqlite3, sys

target = sqlite3.connect(sys.argv[1])
for question in ["version FROM sync_schema", "count(*), sum(id) FROM rbac_series", "min(run_id) FROM sync_run"]:
    print(*target.execute("SELECT " + question).fetchone())
PYTHON
}

test_upgrade_of_tables() {
    local before
    in_bed systemctl stop rbac-sync
    before=$(target)
    contains "the tables" "$before" 2$'\n'
    # As version 1 had them.
    python3 - "$work/rbac.db" <<'PYTHON'
import sqlite3, sys

with sqlite3.connect(sys.argv[1]) as target:
    target.execute("DROP TABLE sync_audit")
    target.execute("ALTER TABLE sync_run DROP COLUMN actor")
    target.execute("UPDATE sync_schema SET version = 1")
PYTHON
    in_bed dd status=none of=/var/lib/rbac-sync/rbac.db <"$work/rbac.db"
    # A daemon that was stopped stays so; the tables wait for its start.
    in_bed dpkg --install --force-confold /new.deb >/dev/null 2>&1
    same "the unit" "$(in_bed systemctl is-active rbac-sync || true)" inactive
    in_bed systemctl start rbac-sync
    until_status 'main: ok'
    contains "the journal" "$(in_bed journalctl -q -u rbac-sync --output=cat)" "tables are upgraded to version 2"
    in_bed systemctl stop rbac-sync
    same "the target after the upgrade of its tables" "$(target)" "$before"
    in_bed systemctl start rbac-sync
}

test_remove() {
    in_bed dpkg --remove rbac-sync >/dev/null 2>&1
    same "processes" "$(in_bed pgrep -c rbac-sync || true)" 0
    in_bed test -e /etc/rbac-sync.toml
    in_bed test -e /var/lib/rbac-sync/rbac.db
    in_bed dpkg --install --force-confold /new.deb >/dev/null 2>&1
    same "the unit after it came back" "$(in_bed systemctl is-enabled rbac-sync)" enabled
    in_bed systemctl start rbac-sync
}

test_purge() {
    in_bed dpkg --purge rbac-sync >/dev/null 2>&1
    same "processes" "$(in_bed pgrep -c rbac-sync || true)" 0
    local left
    # The account stays, and with it the copies that the tools keep of the lists of accounts.
    left=$(comm -13 <(printf '%s\n' "$before_install") <(files) | grep -v -E '^/etc/(passwd|group|shadow|gshadow)-$' || true)
    same "left after the purge" "$left" ""
    in_bed test ! -e /run/rbac-sync
}
