# What goes wrong with the daemon: it crashes, hangs, does not start. Sourced by run.

test_crash() {
    local before
    before=$(unit NRestarts)
    in_bed systemctl kill --signal=KILL --kill-whom=main rbac-sync
    until_true 20 "started again by systemd" \
        "[ \$(systemctl show -P NRestarts rbac-sync) -gt $before ] && systemctl is-active --quiet rbac-sync"
    until_status 'main: ok'
}

timeouts() { in_bed journalctl -q -u rbac-sync | grep -c 'atchdog timeout' || true; }

test_watchdog() {
    with_unit WatchdogSec=2 TimeoutAbortSec=1 RestartSec=1
    in_bed systemctl restart rbac-sync
    # Alive and well for longer than the limit, then it hangs.
    local pid
    pid=$(unit MainPID)
    sleep 5
    same "the daemon after twice the watchdog's limit" "$(unit MainPID)" "$pid"
    in_bed kill -STOP "$pid"
    until_true 30 "killed by the watchdog and started again" \
        "[ \$(systemctl show -P MainPID rbac-sync) -ne $pid ] && systemctl is-active --quiet rbac-sync"
    same "watchdog timeouts in the journal" "$(timeouts)" 1
    as_before
}

test_hung_loop() {
    # The log is a pipe. Once it is full, whoever logs waits: that is the supervisor's loop, with the outcome of the
    # run that was asked for. The rest of the process lives.
    shell 'mkfifo /run/log.fifo; systemd-run --quiet --unit=reader bash -c "exec sleep infinity <>/run/log.fifo"'
    with_unit WatchdogSec=8 TimeoutAbortSec=1 RestartSec=3 StandardError=file:/run/log.fifo
    in_bed systemctl restart rbac-sync
    until_status 'main: ok'
    local pid before
    pid=$(unit MainPID)
    before=$(timeouts)
    shell 'for size in 4096 1; do dd if=/dev/zero of=/run/log.fifo bs=$size oflag=nonblock 2>/dev/null || :; done'
    in_bed systemctl kill --signal=USR1 --kill-whom=main rbac-sync
    until_true 5 "an order is not answered" 'code=0; timeout 1 rbac-sync resume || code=$?; [ $code = 124 ]'
    in_bed rbac-sync status >/dev/null
    same "the daemon whose loop hangs" "$(unit MainPID)" "$pid"
    until_true 30 "the watchdog's limit is over" \
        "[ \$(journalctl -q -u rbac-sync | grep -c 'atchdog timeout') -gt $before ]"
    # The next one gets the journal.
    shell 'rm -r /run/systemd/system/rbac-sync.service.d; systemctl daemon-reload'
    until_true 30 "killed by the watchdog and started again" \
        "[ \$(systemctl show -P MainPID rbac-sync) -ne $pid ] && systemctl is-active --quiet rbac-sync"
    shell 'systemctl stop reader; rm /run/log.fifo'
    as_before
}

test_slow_database() {
    # A database that lets in and never answers: the run waits, the daemon does not hang.
    silent 5999
    with_configuration "sed -i 's|^url = \"sqlite:///var/lib/rbac-sync/archive.db\"|url = \"postgres://nobody@127.0.0.1:5999/pacsdb\"|' \
        /etc/rbac-sync.toml"
    with_unit WatchdogSec=2
    in_bed systemctl restart rbac-sync
    local pid
    pid=$(unit MainPID)
    until_status 'main: failing'
    sleep 5
    same "the daemon after more than twice the watchdog's limit" "$(unit MainPID)" "$pid"
    no_more_silence
    as_before
}

# silent PORT: somebody who listens there and says nothing.
silent() {
    shell "cd /run/systemd/system
        printf '%s\n' '[Socket]' ListenStream=127.0.0.1:$1 >silent.socket
        printf '%s\n' '[Service]' 'ExecStart=/bin/sleep infinity' >silent.service
        systemctl daemon-reload; systemctl start silent.socket"
}
no_more_silence() { shell 'systemctl stop silent.socket silent.service 2>/dev/null; rm /run/systemd/system/silent.*'; }

# start_fails STATUS KIND WORDS: the start ends with that exit status and one entry that says why.
start_fails() {
    local status=$1 kind=$2 words=$3 before entry start
    before=$(entries "$kind" | wc -l)
    if in_bed systemctl restart rbac-sync 2>/dev/null; then fail "it started"; fi
    same "how it ended" "$(unit ExecMainStatus)" "$status"
    until_more "$kind" "$before"
    entry=$(entries "$kind" _SYSTEMD_UNIT=rbac-sync.service | tail -n 1)
    contains "the entry of the refused start" "$entry" "$words"
    contains "the entry of the refused start" "$entry" '"PRIORITY":"3"'
    start=$(sed 's/.*"_SYSTEMD_INVOCATION_ID":"\([0-9a-f]*\)".*/\1/' <<<"$entry")
    same "times that it is said" \
        "$(shell "journalctl --quiet --output=cat _SYSTEMD_INVOCATION_ID=$start | grep -c '$words' || :")" 1
}

test_bad_start() {
    with_configuration "echo 'bogus = 1' >>/etc/rbac-sync.toml"
    start_fails 78 START_REFUSED bogus
    contains "journalctl -x" "$(explained START_REFUSED)" "rbac-sync has not started"
    # A configuration does not get better by trying again.
    sleep 6
    same "the unit" "$(in_bed systemctl is-active rbac-sync || true)" failed
    as_before
}

test_address_in_use() {
    silent 5998
    with_configuration 'printf "\n[http]\nlisten = \"127.0.0.1:5998\"\n" >>/etc/rbac-sync.toml'
    start_fails 1 START_FAILED 'cannot listen on 127.0.0.1:5998'
    contains "journalctl -x" "$(explained START_FAILED)" "rbac-sync could not start"
    no_more_silence
    as_before
}

test_wrong_usage() {
    with_unit ExecStart= 'ExecStart=/usr/bin/rbac-sync daemon --konfig /etc/rbac-sync.toml'
    if in_bed systemctl restart rbac-sync 2>/dev/null; then fail "it started"; fi
    contains "errors in the journal" "$(in_bed journalctl --quiet --output=cat --priority=err --lines=20 -u rbac-sync)" "--konfig"
    as_before
}
