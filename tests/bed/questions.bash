# What a test asks of the machine and of its unit, and how it says that an answer is wrong. Sourced by run.

fail() {
    printf 'FAILED: %s\n' "$*" >&2
    exit 1
}

# Of the machine.
in_bed() { "$here/machine" exec "$machine" "$@"; }
shell() { in_bed bash -ec "$@"; }
unit() { in_bed systemctl show --value --property="$1" rbac-sync.service; }

# until_true SECONDS WHAT SCRIPT: waits for the script to succeed.
until_true() {
    local deadline=$((SECONDS + $1))
    until shell "$3" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || fail "after $1 s still not: $2"
        sleep 0.1
    done
}
until_status() { until_true 30 "the status says \"$1\"" "systemctl show -P StatusText rbac-sync | grep -q '$1'"; }

same() { [[ $2 == "$3" ]] || fail "$1: \"$2\" instead of \"$3\""; }
contains() { [[ $2 == *"$3"* ]] || fail "$1: no \"$3\" in: $2"; }

# The IDs of src/telemetry/message.rs by their names.
declare -A message
read_messages() {
    local name id
    while read -r name id; do message[$name]=$id; done < <(
        sed -n 's/^pub(crate) const \([A-Z_]*\): &str = "\([0-9a-f]*\)";$/\1 \2/p' "$root/src/telemetry/message.rs"
    )
    ((${#message[@]} > 10)) || fail "no MESSAGE_IDs in src/telemetry/message.rs"
}

# entries NAME [MATCH...]: the journal's entries of a kind, one JSON object a line.
entries() { in_bed journalctl --quiet --output=json "MESSAGE_ID=${message[$1]}" "${@:2}"; }
# until_more NAME COUNT: waits until there are more entries of a kind than before.
until_more() {
    local deadline=$((SECONDS + 20))
    until (($(entries "$1" | wc -l) > $2)); do
        ((SECONDS < deadline)) || fail "no new $1 in the journal"
        sleep 0.1
    done
}
# What the latest entry of a kind looks like for whoever reads the journal with explanations.
explained() { in_bed journalctl --quiet -x --lines=1 "MESSAGE_ID=${message[$1]}"; }

# The unit and its configuration, changed for a test: lines for [Service], and back to what was installed.
with_unit() {
    shell "mkdir -p /run/systemd/system/rbac-sync.service.d
        printf '%s\n' '[Service]' $(printf '%q ' "$@") >/run/systemd/system/rbac-sync.service.d/test.conf
        systemctl daemon-reload"
}
with_configuration() { shell "cp -p /etc/rbac-sync.toml /good.toml; $1"; }
as_before() {
    shell 'rm -rf /run/systemd/system/rbac-sync.service.d
        if [ -e /good.toml ]; then mv /good.toml /etc/rbac-sync.toml; fi
        systemctl daemon-reload; systemctl reset-failed rbac-sync 2>/dev/null || :; systemctl restart rbac-sync'
    until_status 'main: ok'
}

# What is on the machine's disk, but for what any package leaves in logs and in the package tools' own files.
files() {
    shell 'find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/log \
        -o -path /var/lib/dpkg -o -path /var/lib/rpm -o -path /var/cache -o -path /var/tmp -o -path /root \) \
        -prune -o -print | sort'
}

interval() { shell "rbac-sync schedule --json" | tr -d ' \n' | sed 's/.*"interval_sec":\([0-9]*\).*/\1/'; }
