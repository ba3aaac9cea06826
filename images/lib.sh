# shellcheck shell=bash disable=SC2034
# What the image scripts share: messages, packages, stamps, a work folder that never outlives its script.
# Sourced by boot-files.sh, discovery.sh and debian-12.sh, which set -euo pipefail first.

IMAGES_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
BUILD_NAME=$(basename "$0" .sh)
WORK_DIR=""

say() { printf '%s: %s\n' "$BUILD_NAME" "$*"; }

fail() {
    printf '%s: %s\n' "$BUILD_NAME" "$*" >&2
    exit 1
}

# need_packages PACKAGE... : installs the missing Debian packages, or names them when that takes other rights.
need_packages() {
    local missing=() package messages
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    [ "$(id -u)" -eq 0 ] || fail "needs the Debian packages: ${missing[*]}. Install them, or run this as root."
    say "installing Debian packages: ${missing[*]}"
    messages=$(apt_install "${missing[@]}" 2>&1) || fail "$messages"
}

apt_install() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q=2 \
        && apt-get install -q=2 -y --no-install-recommends -o Dpkg::Use-Pty=0 "$@"
}

need_root() { [ "$(id -u)" -eq 0 ] || fail "run this as root: the image's files belong to root."; }

# input_hash PATH... : one hash over the names, modes and contents of files and folders, relative to images/.
# Python's byte code beside the tools is no input: running them once would otherwise change the hash.
input_hash() {
    (
        cd "$IMAGES_DIR" || exit
        find "$@" -name __pycache__ -prune -o \( -type f -o -type l \) -printf '%p %m %l\0' | LC_ALL=C sort -z
        find "$@" -name __pycache__ -prune -o -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
    ) | sha256sum | cut -d ' ' -f 1
}

# level SMALL : how hard zstd is to try. PACK=light in the environment: a fifth larger, in a thirtieth of the time.
level() { if [ "${PACK:-small}" = light ]; then echo 5; else echo "$1"; fi; }

# begin OUTPUT_DIR INPUTS OUTPUT... : ends the script when every output is there and made from these inputs (a
# space-separated list of paths in images/). Holds a lock, so that a second run waits for the first and then skips.
# What was packed small will do for who wants it light.
begin() {
    OUTPUT_DIR=$1
    STAMP=$OUTPUT_DIR/.stamps/$BUILD_NAME
    local inputs=$2 output stamp=""
    shift 2
    mkdir -p "$OUTPUT_DIR/.stamps"
    OUTPUT_DIR=$(cd "$OUTPUT_DIR" && pwd)
    exec 9>"$STAMP.lock"
    flock -n 9 || { say "another run is building this; waiting for it"; flock 9; }
    # shellcheck disable=SC2086
    INPUT_HASH=$(input_hash lib.sh "$BUILD_NAME.sh" $inputs)
    local present=yes
    for output in "$@"; do [ -s "$OUTPUT_DIR/$output" ] || present=no; done
    [ ! -f "$STAMP" ] || stamp=$(cat "$STAMP")
    [ "${PACK:-small}" != light ] || stamp=${stamp% light}
    if [ $present = yes ] && [ "$stamp" = "$INPUT_HASH" ]; then
        say "up to date in $OUTPUT_DIR"
        exit 0
    fi
    rm -f "$STAMP"
}

# work_folder : makes WORK_DIR on a disk (not in RAM) and removes it, mounts first, however the script ends.
work_folder() {
    WORK_DIR=$(mktemp -d "${TMPDIR:-/var/tmp}/provisioner-$BUILD_NAME.XXXXXX")
    trap 'remove_work_folder' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

remove_work_folder() {
    local mounted
    [ -n "$WORK_DIR" ] || return 0
    while read -r mounted; do umount -l "$mounted"; done \
        < <(awk -v work="$WORK_DIR/" 'index($2, work) == 1 {print $2}' /proc/self/mounts | sort -r)
    rm -rf --one-file-system "$WORK_DIR"
}

# publish FILE NAME : puts FILE at OUTPUT_DIR/NAME in one step; a server reading the old one is not disturbed.
publish() {
    local target=$OUTPUT_DIR/$2
    mkdir -p "$(dirname "$target")"
    rm -f "$target.new"
    cp --sparse=always --reflink=auto "$1" "$target.new"
    chmod 0644 "$target.new"
    mv -f "$target.new" "$target"
}

finish() {
    local light=""
    [ "${PACK:-small}" != light ] || light=" light"
    printf '%s\n' "$INPUT_HASH$light" >"$STAMP"
    say "done in $SECONDS s"
}

# bootstrap VARIANT TARGET [OPTION...] : mmdebstrap of Debian 12 from Debian's own archive, its chatter kept in a log
# that is shown only on failure. VARIANT extract only unpacks; the others install, with /bin and /lib as links from the
# start: the package usrmerge, which would turn them into links later, pulls in all of Perl.
bootstrap() {
    local variant=$1 target=$2 log=$WORK_DIR/mmdebstrap.log
    shift 2
    if [ "$variant" != extract ]; then
        set -- --include=usr-is-merged --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr "$@"
    fi
    if ! mmdebstrap --mode=root --variant="$variant" --architectures=amd64 --format=directory \
        --aptopt='Apt::Install-Recommends "false"' \
        --aptopt='Acquire::Retries "5"' \
        "$@" bookworm "$target" >"$log" 2>&1; then
        tail -n 60 "$log" >&2
        fail "mmdebstrap failed; the last of its messages are above"
    fi
}

# read_list FILE : the words of a list file, comments left out, joined by commas as mmdebstrap wants them.
read_list() { sed 's/#.*//' "$IMAGES_DIR/$1" | tr -s ' \t\n' ',' | sed 's/^,//; s/,$//'; }

# overlay FOLDER ROOT : copies a folder of images/ over a root; files belong to root, modes as in the checkout's x bit.
overlay() {
    local file
    (cd "$IMAGES_DIR/$1" && find . -type f -printf '%P\n') | while read -r file; do
        if [ -x "$IMAGES_DIR/$1/$file" ]; then install -D -m 0755 "$IMAGES_DIR/$1/$file" "$2/$file"
        else install -D -m 0644 "$IMAGES_DIR/$1/$file" "$2/$file"; fi
    done
}

# copy_firmware MODULES_DIR FIRMWARE_DIR TARGET : only the firmware that these kernel modules ask for by name.
copy_firmware() {
    local name
    find "$1" -name '*.ko' -print0 | xargs -0 modinfo -F firmware | sort -u | while read -r name; do
        if [ -f "$2/$name" ]; then install -D -m 0644 "$2/$name" "$3/$name"; fi
    done
}
