# What is carried into the machines: the packages of this version and of one before it, and archives as SQLite
# files. Sourced by run.

# The version before: it has another configuration and another unit, so that an upgrade has something to do.
previous_sources() {
    mkdir "$work/previous"
    tar -C "$root" --exclude=./target --exclude=./.git -c . | tar -C "$work/previous" -x
    printf '\n# Of the version before.\n' >>"$work/previous/etc/rbac-sync.toml"
    sed -i 's/^LimitNOFILE=.*/LimitNOFILE=2048/' "$work/previous/systemd/rbac-sync.service"
}

build_packages() {
    local kind
    previous_sources
    SOURCE_DATE_EPOCH=1700000000 "$work/previous/packaging/build" --quick --binary "$binary" --version 0.0.1 \
        --out "$work/old" deb rpm >/dev/null
    rm -r "$work/previous"
    "$root/packaging/build" --quick --binary "$binary" --out "$work/new" deb rpm >/dev/null
    for kind in deb rpm; do
        mv "$work"/old/*.$kind "$work/old.$kind"
        mv "$work"/new/*.$kind "$work/new.$kind"
    done
}

# archive.db, and what can become of an archive: emptied.db has lost half of its series, broken.db a column.
build_archives() {
    "$binary" demo --listen 127.0.0.1:0 --dir "$work/demo" --studies 5000 --for 1s >"$work/demo.log" 2>&1 ||
        { cat "$work/demo.log" >&2; fail "the demo that makes the archive"; }
    # Copies of one file each: the newest rows may be in the log beside it.
    python3 - "$work" <<'PYTHON'
import sqlite3, sys

def copy(name, *changes):
    path = f"{sys.argv[1]}/{name}.db"
    sqlite3.connect(f"{sys.argv[1]}/demo/archive.db").execute("VACUUM INTO ?", [path])
    with sqlite3.connect(path) as archive:
        for change in changes:
            archive.execute(change)

copy("archive")
copy("emptied", "DELETE FROM series WHERE pk % 2 = 0")
copy("broken", "ALTER TABLE study RENAME COLUMN accession_no TO accession_number")
PYTHON
}

# carry FILE...: from the work folder to the root of the machine.
carry() {
    local file
    for file in "$@"; do in_bed dd status=none "of=/$file" <"$work/$file"; done
}

# The archive is a SQLite file of the daemon's user.
use_archive() { in_bed install -o rbac-sync -g rbac-sync -m 640 "/$1" /var/lib/rbac-sync/archive.db; }
configure() {
    in_bed install -d -o rbac-sync -g rbac-sync -m 750 /var/lib/rbac-sync
    use_archive archive.db
    shell "sed -i -e 's|^url = \"postgres:.*|url = \"sqlite:///var/lib/rbac-sync/archive.db\"|' \
        -e 's|^# interval = .*|interval = \"1s\"|' /etc/rbac-sync.toml"
}
