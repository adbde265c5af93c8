# The Debian package is installed, and the unit starts and stops. Sourced by run.

# exposure WHAT LIMIT UNIT
exposure() {
    local score
    score=$(shell "systemd-analyze security --offline=true $3 | sed -n 's/.*exposure level for .*: \([0-9.]*\) .*/\1/p'")
    printf '     exposure %s%s\n' "$score" "$1"
    awk -v score="$score" -v limit="$2" 'BEGIN { exit !(score != "" && score <= limit) }' || fail "exposure $score is over $2"
}

test_units() {
    # Of the packed files, in a tree of their own: systemd-analyze wants the program to be there.
    shell 'dpkg-deb --extract /new.deb /verify'
    local said units=/verify/usr/lib/systemd/system
    said=$(shell "systemd-analyze verify --man=no --root=/ $units/rbac-sync.* 2>&1 |
        grep -v 'Command /usr/bin/rbac-sync is not executable' || true")
    same "systemd-analyze verify" "$said" ""
    exposure "" 1.3 $units/rbac-sync.service
    shell "mkdir $units/rbac-sync.service.d
        cp /verify/usr/share/doc/rbac-sync/examples/local-only.conf $units/rbac-sync.service.d/"
    exposure " with local-only.conf" 0.5 $units/rbac-sync.service
    shell 'rm -r /verify'
}

test_install() {
    before_install=$(files)
    local said
    said=$(in_bed dpkg --install /old.deb 2>&1)
    contains "what the installation says" "$said" "systemctl enable --now rbac-sync"
    same "owner of the configuration" "$(in_bed stat -c '%a %U %G' /etc/rbac-sync.toml)" "640 root rbac-sync"
    same "owner of the folder for passwords" "$(in_bed stat -c '%a %U %G' /etc/rbac-sync)" "750 root rbac-sync"
    same "the unit after the installation" "$(in_bed systemctl is-active rbac-sync || true)" inactive
    same "the unit after the installation" "$(in_bed systemctl is-enabled rbac-sync || true)" disabled
    in_bed rbac-sync check >/dev/null
    in_bed bash -c 'test -s /usr/share/bash-completion/completions/rbac-sync'
}

test_refuses_the_example() {
    # Somebody starts it unedited: it waits for an archive that does not exist, and says so.
    in_bed systemctl start rbac-sync
    until_status 'main: failing'
    in_bed systemctl stop rbac-sync
    until_more SOURCE_LOST 0
}

test_start() {
    configure
    in_bed systemctl enable --quiet --now rbac-sync
    same "the unit" "$(in_bed systemctl is-active rbac-sync)" active
    until_status 'main: ok'
    same "owner of the socket" "$(in_bed stat -c '%a %U %G' /run/rbac-sync/control.sock)" "660 rbac-sync rbac-sync"
    shell 'rbac-sync health >/dev/null'
    same "a stranger" "$(shell 'setpriv --reuid=nobody --regid=nogroup --clear-groups rbac-sync status >/dev/null 2>&1 ||
        echo $?')" 77
}

test_order() {
    # Databases under every name that their packages give them, each slow to start, at the same time as the daemon.
    local names=(postgresql postgresql-{14..18} mariadb mysql mysqld) name
    in_bed systemctl stop rbac-sync
    shell "for name in ${names[*]}; do
            printf '%s\n' '[Service]' Type=oneshot RemainAfterExit=yes 'ExecStart=/bin/sleep 1' >/run/systemd/system/\$name.service
        done
        systemctl daemon-reload; systemctl start ${names[*]/%/.service} rbac-sync"
    local started
    started=$(unit InactiveExitTimestampMonotonic)
    for name in "${names[@]}"; do
        (($(in_bed systemctl show -P ActiveEnterTimestampMonotonic "$name") <= started)) || fail "it did not wait for $name"
    done
    shell "systemctl stop ${names[*]/%/.service}; rm /run/systemd/system/{postgresql,mariadb,mysql}*.service; systemctl daemon-reload"
    same "the unit without the databases" "$(in_bed systemctl is-active rbac-sync)" active
}

# stops_within SECONDS
stops_within() {
    local began=$SECONDS
    in_bed systemctl stop rbac-sync
    ((SECONDS - began < $1)) || fail "the stop took $((SECONDS - began)) s"
    same "the result of the stop" "$(unit Result)" success
}

test_stop_and_start() {
    local before
    before=$(entries STOPPING | wc -l)
    stops_within 15
    until_more STOPPING "$before"
    in_bed test ! -e /run/rbac-sync/control.sock
    in_bed systemctl start rbac-sync
}

test_stop_in_a_load() {
    in_bed systemctl stop rbac-sync
    shell 'rm /var/lib/rbac-sync/rbac.db*; systemctl start rbac-sync'
    until_true 10 "the first load is under way" "rbac-sync status --json | tr -d ' ' | grep -q '\"is_running\":true'"
    stops_within 15
    contains "the entry of the stop" "$(entries STOPPING | tail -n 1)" '"RUNS_UNDER_WAY":"1"'
    in_bed systemctl start rbac-sync
    until_status 'main: ok'
}
