# What the journal holds and what it explains. Sourced by run.

test_journal() {
    local entry
    entry=$(entries STARTING | tail -n 1)
    for field in '"CONFIG":"/etc/rbac-sync.toml"' '"PRIORITY":"6"' '"SYSLOG_IDENTIFIER":"rbac-sync"' '"VERSION":'; do
        contains "the entry of the start" "$entry" "$field"
    done
    in_bed rbac-sync run --mode full --wait >/dev/null 2>&1
    entry=$(in_bed journalctl --quiet --output=json _SYSTEMD_UNIT=rbac-sync.service TRIGGER=socket |
        grep DURATION_MS | tail -n 1)
    for field in '"RUN_ID":"' '"SOURCE":"main"' '"TRIGGER":"socket"' '"CONFIG_GENERATION":"' '"PROCESSED":"' '"CHANGED":"' '"DURATION_MS":"'; do
        contains "the entry of a run" "$entry" "$field"
    done
    entry=$(entries SOURCE_LOST | tail -n 1)
    contains "the entry of a lost source" "$entry" '"PRIORITY":"3"'
    contains "the entry of a lost source" "$entry" '"SOURCE":"main"'
}

test_catalogue() {
    same "entries of the catalogue" "$(shell 'journalctl --list-catalog | grep -c rbac-sync:')" "${#message[@]}"
    local name
    for name in "${!message[@]}"; do
        contains "the catalogue's text for $name" "$(in_bed journalctl --dump-catalog "${message[$name]}")" "Defined-By: rbac-sync"
    done
}

# What cannot be brought about from outside: a part of the daemon that ends by itself is a defect.
never=(DEFECT)

# After all the others: each kind has been in the journal, and is explained there, with every blank filled in.
test_every_kind() {
    local name text subject
    for name in "${!message[@]}"; do
        if [[ " ${never[*]} " == *" $name "* ]]; then continue; fi
        text=$(explained "$name")
        [[ -n $text ]] || fail "no test has brought about $name"
        subject=$(sed -n "/^-- ${message[$name]}\$/,/^Subject:/s/^Subject: //p" "$root/packaging/rbac-sync.catalog")
        contains "journalctl -x of $name" "$text" "$subject"
        if [[ $text =~ @[A-Z_]+@ ]]; then fail "journalctl -x of $name leaves ${BASH_REMATCH[0]}: $text"; fi
    done
}
