# What an administrator asks of the running unit: reloads, signals, pauses. Sourced by run.

test_reload_good() {
    shell "sed -i 's|^interval = .*|interval = \"7s\"|' /etc/rbac-sync.toml"
    in_bed systemctl reload rbac-sync
    same "the interval" "$(interval)" 7
    until_more RELOADED 0
    contains "the entry of the reload" "$(entries RELOADED | tail -n 1)" '"CONFIG_GENERATION":"'
}

test_reload_bad() {
    with_configuration "echo 'bogus = 1' >>/etc/rbac-sync.toml"
    if in_bed systemctl reload rbac-sync 2>/dev/null; then fail "systemctl reload succeeded with a wrong file"; fi
    contains "how the reload ended" "$(unit ExecReload)" "status=78"
    contains "why it failed" "$(said_by_reload)" "bogus"
    same "the unit" "$(in_bed systemctl is-active rbac-sync)" active
    same "the interval" "$(interval)" 7
    until_more RELOAD_REFUSED 0
    contains "the entry of the refusal" "$(entries RELOAD_REFUSED | tail -n 1)" '"PRIORITY":"3"'
    contains "the status" "$(unit StatusText)" "configuration refused"
    shell 'mv /good.toml /etc/rbac-sync.toml'
    until_true 10 "the status is clean" "! systemctl show -P StatusText rbac-sync | grep -q refused"
}

# The words of the client that systemd ran for the latest reload.
said_by_reload() {
    local pid
    pid=$(unit ExecReload | grep -o 'pid=[0-9]*' | cut -d= -f2)
    in_bed journalctl --quiet --output=cat _PID="$pid"
}

test_reload_elsewhere() {
    # A file that names another socket is right, and one without a closing quote names none: the daemon is found anyway.
    with_configuration "printf '[socket]\\npath = \"/run/rbac-sync/other.sock\"\\n' >>/etc/rbac-sync.toml"
    in_bed systemctl reload rbac-sync
    contains "what waits" "$(said_by_reload)" "socket.path"
    in_bed systemctl restart rbac-sync
    same "the link" "$(in_bed readlink /run/rbac-sync/current.sock)" /run/rbac-sync/other.sock
    shell "sed -i 's|other.sock\"|other.sock|' /etc/rbac-sync.toml"
    if in_bed systemctl reload rbac-sync 2>/dev/null; then fail "systemctl reload succeeded without a closing quote"; fi
    contains "how the reload ended" "$(unit ExecReload)" "status=78"
    contains "why it failed" "$(said_by_reload)" "/etc/rbac-sync.toml:"
    as_before
}

test_edit() {
    shell "sed -i 's|^interval = .*|interval = \"1s\"|' /etc/rbac-sync.toml"
    until_true 10 "the saved interval" "rbac-sync schedule --json | tr -d ' \n' | grep -q '\"interval_sec\":1[,}]'"
}

test_signal() {
    in_bed systemctl kill --signal=USR1 --kill-whom=main rbac-sync
    until_true 10 "a run by signal" "rbac-sync history --json | grep -q '\"signal\"'"
}

test_pause() {
    in_bed rbac-sync pause --reason "a test" >/dev/null
    until_more PAUSED 0
    in_bed systemctl restart rbac-sync
    until_true 10 "still paused after a restart" "rbac-sync status --json | tr -d ' ' | grep -q '\"paused\":true'"
    in_bed rbac-sync resume >/dev/null
    until_more RESUMED 0
    until_status 'every 1s'
}

test_pause_expires() {
    in_bed rbac-sync pause --for 1s >/dev/null
    until_more PAUSE_EXPIRED 0
    until_status 'every 1s'
}
