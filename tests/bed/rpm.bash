# The RPM package is installed, upgraded, erased. Sourced by run.
#
# Debian's rpm knows nothing of the packages of its host, so what ours requires is not looked at. What its scripts
# call is the same on both: shadow's programs, systemd's, getent.

# The older one wants to be told that this is meant.
rpm_in_bed() { shell 'if rpm --force-debian --version >/dev/null 2>&1; then set -- --force-debian "$@"; fi; rpm "$@"' rpm "$@"; }
# rpm prints what a script of the package prints; none of them may complain.
quietly() {
    local said
    said=$(rpm_in_bed "$@" 2>&1) || fail "rpm $*: $said"
    same "rpm $*" "$said" ""
}

test_rpm_install() {
    before_install=$(files)
    local said
    said=$(rpm_in_bed -i --nodeps /old.rpm 2>&1)
    contains "what the installation says" "$said" "systemctl enable --now rbac-sync"
    same "the account" "$(in_bed getent passwd rbac-sync | cut -d : -f 6-)" "/var/lib/rbac-sync:/sbin/nologin"
    same "the account's group" "$(in_bed id --groups --name rbac-sync)" rbac-sync
    same "owner of the configuration" "$(in_bed stat -c '%a %U %G' /etc/rbac-sync.toml)" "640 root rbac-sync"
    same "owner of the folder for passwords" "$(in_bed stat -c '%a %U %G' /etc/rbac-sync)" "750 root rbac-sync"
    same "the unit after the installation" "$(in_bed systemctl is-active rbac-sync || true)" inactive
    same "the unit after the installation" "$(in_bed systemctl is-enabled rbac-sync || true)" disabled
    same "what differs from the package" "$(rpm_in_bed -V --nodeps rbac-sync 2>&1)" ""
    same "entries of the catalogue" "$(shell 'journalctl --list-catalog | grep -c rbac-sync:')" "${#message[@]}"
    in_bed rbac-sync check >/dev/null
}

test_rpm_start() {
    configure
    in_bed systemctl enable --quiet --now rbac-sync
    until_status 'main: ok'
    same "open files of the version before" "$(unit LimitNOFILE)" 2048
}

test_rpm_upgrade() {
    local pid configuration
    pid=$(unit MainPID)
    configuration=$(in_bed cat /etc/rbac-sync.toml)
    in_bed rm -f /etc/rbac-sync.toml.rpmnew
    contains "what the upgrade says" "$(rpm_in_bed -U --nodeps /new.rpm 2>&1)" /etc/rbac-sync.toml.rpmnew
    same "the unit" "$(in_bed systemctl is-active rbac-sync)" active
    [[ $(unit MainPID) != "$pid" ]] || fail "the old program still runs"
    same "open files of the new unit" "$(unit LimitNOFILE)" 4096
    same "the unit" "$(in_bed systemctl is-enabled rbac-sync)" enabled
    same "the configuration" "$(in_bed cat /etc/rbac-sync.toml)" "$configuration"
    same "owner of the configuration" "$(in_bed stat -c '%a %U %G' /etc/rbac-sync.toml)" "640 root rbac-sync"
    in_bed test -e /etc/rbac-sync.toml.rpmnew
    same "versions installed" "$(rpm_in_bed -q --queryformat '%{VERSION}\n' rbac-sync | wc -l)" 1
    until_status 'main: ok'
}

test_rpm_stays_stopped() {
    in_bed systemctl stop rbac-sync
    quietly -U --nodeps --replacepkgs /new.rpm
    same "the unit" "$(in_bed systemctl is-active rbac-sync || true)" inactive
    in_bed systemctl start rbac-sync
    # An upgrade does not fail with the service.
    with_configuration "echo 'bogus = 1' >>/etc/rbac-sync.toml"
    rpm_in_bed -U --nodeps --replacepkgs /new.rpm >/dev/null 2>&1
    same "the unit with a wrong configuration" "$(in_bed systemctl is-active rbac-sync || true)" failed
    as_before
}

test_rpm_erase() {
    local configuration
    configuration=$(in_bed cat /etc/rbac-sync.toml)
    contains "what the removal says" "$(rpm_in_bed -e rbac-sync 2>&1)" /etc/rbac-sync.toml.rpmsave
    same "processes" "$(in_bed pgrep -c rbac-sync || true)" 0
    same "the configuration" "$(in_bed cat /etc/rbac-sync.toml.rpmsave)" "$configuration"
    in_bed test -e /var/lib/rbac-sync/rbac.db
    in_bed getent passwd rbac-sync >/dev/null
    in_bed test ! -e /run/rbac-sync
    # What is not the package's: the account, the state, the passwords, the configurations of the administrator, and
    # a folder of the host's own that Debian has not.
    local left
    left=$(comm -13 <(printf '%s\n' "$before_install") <(files) | grep -v -E \
        -e '^/etc/(passwd|group|shadow|gshadow|subuid|subgid)-$' -e '^/var/lib/rbac-sync(/|$)' -e '^/etc/rbac-sync$' \
        -e '^/etc/rbac-sync\.toml\.rpm(save|new)$' -e '^/usr/share/licenses$' || true)
    same "left after the removal" "$left" ""
}

test_rpm_comes_back() {
    rpm_in_bed -i --nodeps /new.rpm >/dev/null 2>&1
    same "the unit after it came back" "$(in_bed systemctl is-enabled rbac-sync || true)" disabled
    shell 'mv /etc/rbac-sync.toml.rpmsave /etc/rbac-sync.toml; systemctl start rbac-sync'
    until_status 'main: ok'
}
