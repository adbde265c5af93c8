# What happens to the databases, and what the daemon says of it. Sourced by run.

test_source_lost_and_back() {
    # Its server is down; it comes back at another address.
    local lost back
    lost=$(entries SOURCE_LOST | wc -l) back=$(entries SOURCE_BACK | wc -l)
    with_configuration 'sed -i "s|^url = \"sqlite:.*archive.db\"|url = \"postgres://nobody@127.0.0.1:5999/pacsdb\"|" /etc/rbac-sync.toml'
    in_bed systemctl restart rbac-sync
    until_status 'main: failing'
    until_more SOURCE_LOST "$lost"
    shell 'mv /good.toml /etc/rbac-sync.toml; systemctl reload rbac-sync; rbac-sync run >/dev/null 2>&1'
    until_more SOURCE_BACK "$back"
    until_status 'main: ok'
}

test_run_fails() {
    # The archive was upgraded to a release that this version does not know.
    in_bed systemctl stop rbac-sync
    use_archive broken.db
    in_bed systemctl start rbac-sync
    until_more RUN_FAILED 0
    local entry
    entry=$(entries RUN_FAILED | tail -n 1)
    contains "the entry of the failed run" "$entry" accession_no
    contains "the entry of the failed run" "$entry" '"PRIORITY":"3"'
    in_bed systemctl stop rbac-sync
    use_archive archive.db
    as_before
}

test_brake() {
    in_bed systemctl stop rbac-sync
    use_archive emptied.db
    in_bed systemctl start rbac-sync
    same "the run that would delete too much" "$(shell 'rbac-sync run --mode full --wait >/dev/null 2>&1 || echo $?')" 1
    until_more BRAKE_HIT 0
    local entry
    entry=$(entries BRAKE_HIT | tail -n 1)
    contains "the entry of the brake" "$entry" '"SOURCE":"main"'
    contains "the entry of the brake" "$entry" '"PRIORITY":"3"'
    in_bed systemctl stop rbac-sync
    use_archive archive.db
    as_before
    in_bed rbac-sync run --mode full --wait >/dev/null 2>&1
}

test_standby() {
    shell 'systemd-run --quiet --unit=second --property=User=rbac-sync --property=RuntimeDirectory=second \
        --setenv=RBAC_SYNC_SOCKET_PATH=/run/second/control.sock rbac-sync daemon'
    until_more STANDBY 0
    in_bed systemctl stop rbac-sync
    until_more TAKEOVER 0
    contains "the entry of the takeover" "$(entries TAKEOVER)" '"_SYSTEMD_UNIT":"second.service"'
    in_bed systemctl stop second
    as_before
}

# A PostgreSQL of this host in the machine's network, where everybody needs the password "right".
postgres() {
    local programs
    programs=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
    (cd / && "$here/machine" beside "$machine" setpriv --reuid=postgres --regid=postgres --init-groups "$programs/$1" "${@:2}")
}
postgres_with_a_password() {
    install -d -o postgres -g postgres -m 700 "$work/postgres"
    printf right >"$work/right"
    chmod 644 "$work/right"
    postgres initdb --pgdata="$work/postgres/data" --username=rbac_sync --pwfile="$work/right" --auth=scram-sha-256 >/dev/null
    printf '%s\n' "listen_addresses = '127.0.0.1'" "unix_socket_directories = ''" fsync=off >>"$work/postgres/data/postgresql.conf"
}
postgres_control() { postgres pg_ctl --pgdata="$work/postgres/data" --log="$work/postgres/log" --wait --silent "$@"; }

test_database_password() {
    postgres_with_a_password
    postgres_control start
    shell 'install -m 600 /dev/null /etc/rbac-sync/target.password; printf wrong-Pa55 >/etc/rbac-sync/target.password'
    with_configuration 'sed -i "s|^url = \"sqlite:.*rbac.db\"|url = \"postgres://rbac_sync@127.0.0.1/postgres\"\npassword_credential = \"target.password\"|" \
        /etc/rbac-sync.toml'
    with_unit LoadCredential=target.password:/etc/rbac-sync/target.password
    local lost open
    lost=$(entries TARGET_LOST | wc -l)
    in_bed systemctl restart rbac-sync
    until_status 'target: '
    until_more TARGET_LOST "$lost"
    shell '! journalctl -q -u rbac-sync | grep wrong-Pa55'
    shell 'printf right >/etc/rbac-sync/target.password; systemctl restart rbac-sync'
    until_status 'main: ok'
    # The server is restarted, as for its own upgrade.
    lost=$(entries TARGET_LOST | wc -l) open=$(entries TARGET_OPEN | wc -l)
    postgres_control --mode=fast stop
    until_more TARGET_LOST "$lost"
    postgres_control start
    # Asks at once, not only when it is due to try again.
    shell 'rbac-sync run >/dev/null 2>&1 || :'
    until_more TARGET_OPEN "$open"
    until_status 'main: ok'
    shell 'rm /etc/rbac-sync/target.password'
    as_before
    postgres_control --mode=immediate stop
    rm -r "$work/postgres"
}
