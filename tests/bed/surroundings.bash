# What the unit is combined with: files of other services, credentials, drop-ins, the socket unit. Sourced by run.

test_textfile() {
    # For node_exporter, which is another user.
    in_bed install -d -o root -g rbac-sync -m 775 /var/lib/collector
    with_unit ReadWritePaths=/var/lib/collector
    with_configuration 'sed -i "s|^\[metrics\]|&\ntextfile = \"/var/lib/collector/rbac-sync.prom\"|" /etc/rbac-sync.toml'
    in_bed systemctl restart rbac-sync
    until_true 20 "node_exporter's user reads the metrics" \
        "setpriv --reuid=nobody --regid=nogroup --clear-groups grep -q rbac_sync_build_info /var/lib/collector/*.prom"
    in_bed systemctl stop rbac-sync
    in_bed rm -r /var/lib/collector
    as_before
}

test_credentials() {
    shell 'printf secret-token-for-the-test-0123456789 >/etc/rbac-sync/token; chmod 600 /etc/rbac-sync/token'
    with_configuration 'printf "[http]\nlisten = \"127.0.0.1:8080\"\ntoken_credential = \"http-token\"\n" >>/etc/rbac-sync.toml'
    with_unit LoadCredential=http-token:/etc/rbac-sync/token
    in_bed systemctl restart rbac-sync
    shell 'rbac-sync status --url http://127.0.0.1:8080 --token-file /etc/rbac-sync/token >/dev/null'
    same "without the token" "$(shell 'rbac-sync status --url http://127.0.0.1:8080 >/dev/null 2>&1 || echo $?')" 77
    as_before
}

test_local_only() {
    shell 'install -D -m 644 /usr/share/doc/rbac-sync/examples/local-only.conf \
        /run/systemd/system/rbac-sync.service.d/local-only.conf
        systemctl daemon-reload; systemctl restart rbac-sync'
    until_true 20 "a success without a network" "rbac-sync run --wait && rbac-sync health"
    as_before
}

socket() { in_bed stat -c '%a %U %G' /run/rbac-sync/control.sock; }

test_socket_activation() {
    in_bed systemctl stop rbac-sync
    in_bed systemctl enable --quiet --now rbac-sync.socket
    same "the unit" "$(in_bed systemctl is-active rbac-sync || true)" inactive
    same "the socket" "$(socket)" "660 root rbac-sync"
    # The first client starts the daemon.
    in_bed rbac-sync status >/dev/null
    same "the unit" "$(in_bed systemctl is-active rbac-sync)" active
    # A client that comes while the daemon is starting waits, and is not refused.
    with_unit 'ExecStartPre=+/bin/sleep 1'
    in_bed systemctl restart --no-block rbac-sync
    until_true 10 "the slow start" "systemctl show -P SubState rbac-sync | grep -q start-pre"
    in_bed rbac-sync status >/dev/null
    shell 'rm -r /run/systemd/system/rbac-sync.service.d; systemctl daemon-reload'
    same "the socket after a restart" "$(socket)" "660 root rbac-sync"
    in_bed systemctl stop rbac-sync 2>/dev/null # It warns that a client may start it again.
    in_bed rbac-sync status >/dev/null
    same "the unit" "$(in_bed systemctl is-active rbac-sync)" active
}

test_socket_stopped() {
    # Only the socket unit: the daemon goes on with the socket that it was given.
    in_bed systemctl disable --quiet --now rbac-sync.socket
    in_bed rbac-sync status >/dev/null
    in_bed systemctl reload rbac-sync
    # While it runs the socket unit cannot come back.
    if in_bed systemctl start rbac-sync.socket 2>/dev/null; then fail "two own the socket"; fi
    # From the next start on the socket is the daemon's own.
    in_bed systemctl restart rbac-sync
    same "the socket" "$(socket)" "660 rbac-sync rbac-sync"
    in_bed rbac-sync status >/dev/null
    # Nothing is left that could start it.
    in_bed systemctl stop rbac-sync
    same "a client" "$(shell 'rbac-sync status >/dev/null 2>&1 || echo $?')" 69
    same "the unit" "$(in_bed systemctl is-active rbac-sync || true)" inactive
    in_bed systemctl start rbac-sync
}
