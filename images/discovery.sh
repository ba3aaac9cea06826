#!/bin/bash
# Builds the discovery image, the environment that unknown machines boot into: OUTPUT_DIR/discovery/{vmlinuz,initrd.img}.
# Debian 12 as one zstd initramfs, with systemd as its init; see images/README.md.
# Usage: discovery.sh [OUTPUT_DIR]      (default build/files of the checkout)
set -euo pipefail
# shellcheck source=images/lib.sh
. "$(dirname "$0")/lib.sh"

fetch_kernel() {
    say "downloading kernel and firmware packages"
    bootstrap extract "$WORK_DIR/hardware" --components=main,non-free-firmware \
        --include="linux-image-amd64,$(read_list hardware/firmware)"
    KERNEL_VERSION=$(ls "$WORK_DIR/hardware/lib/modules")
    say "kernel $KERNEL_VERSION"
}

make_root() {
    say "installing Debian 12 and the tools into a root folder"
    bootstrap essential "$ROOT" --components=main --include="$(read_list discovery/packages)" \
        --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*'
}

add_modules() {
    local modules=$ROOT/usr/lib/modules/$KERNEL_VERSION
    mkdir -p "$ROOT/usr/lib/modules"
    mv "$WORK_DIR/hardware/lib/modules/$KERNEL_VERSION" "$modules"
    depmod -b "$ROOT" "$KERNEL_VERSION"
    python3 -B "$IMAGES_DIR/hardware/keep_modules.py" "$modules" "$IMAGES_DIR/hardware/modules"
    depmod -b "$ROOT" "$KERNEL_VERSION"
    copy_firmware "$modules" "$WORK_DIR/hardware/lib/firmware" "$ROOT/usr/lib/firmware"
    say "firmware $(du -sh "$ROOT/usr/lib/firmware" | cut -f 1)"
}

drop_package() {
    local lists=("$ROOT/var/lib/dpkg/info/$1.list" "$ROOT/var/lib/dpkg/info/$1:amd64.list") list path
    for list in "${lists[@]}"; do
        [ -f "$list" ] || continue
        while read -r path; do
            # Lists name /bin and /lib as well, which are links to folders in the root.
            if [ ! -d "$ROOT$path" ]; then rm -f "$ROOT$path"; fi
        done <"$list"
        return
    done
    fail "images/discovery/drop names the package $1, which is not in the image"
}

# Patterns that match nothing are fine: what Debian leaves out tomorrow needs no dropping.
drop_rest() {
    local line
    while read -r line; do
        if [[ $line == package:* ]]; then drop_package "${line#package:}"; fi
    done < <(sed 's/#.*//; /^\s*$/d' "$IMAGES_DIR/discovery/drop")
    while read -r line; do
        # shellcheck disable=SC2086
        if [[ $line != package:* ]]; then (cd "$ROOT" && rm -rf -- $line); fi
    done < <(sed 's/#.*//; /^\s*$/d' "$IMAGES_DIR/discovery/drop")
    rm -rf "${ROOT:?}"/{boot,media,opt,srv,home}/*
}

enable_units() {
    local wanting unit file
    while read -r wanting unit; do
        # An instance (name@tty.service) is a link to its template (name@.service).
        case $unit in *@*) file=${unit%%@*}@.service ;; *) file=$unit ;; esac
        [ -f "$ROOT/etc/systemd/system/$file" ] || [ -f "$ROOT/usr/lib/systemd/system/$file" ] \
            || fail "images/discovery/units names $unit, which is not in the image"
        mkdir -p "$ROOT/etc/systemd/system/$wanting.wants"
        if [ -f "$ROOT/etc/systemd/system/$file" ]; then ln -s "/etc/systemd/system/$file" "$ROOT/etc/systemd/system/$wanting.wants/$unit"
        else ln -s "/usr/lib/systemd/system/$file" "$ROOT/etc/systemd/system/$wanting.wants/$unit"; fi
    done < <(sed 's/#.*//; /^\s*$/d' "$IMAGES_DIR/discovery/units")
    ln -sf /usr/lib/systemd/system/multi-user.target "$ROOT/etc/systemd/system/default.target"
}

configure() {
    overlay discovery/root "$ROOT"
    enable_units
    ln -s /usr/lib/systemd/systemd "$ROOT/init"
    # Empty, not absent: each boot makes its own id, and none counts as a first boot with its questions.
    : >"$ROOT/etc/machine-id"
    echo discovery >"$ROOT/etc/hostname"
    printf '127.0.0.1 localhost discovery\n' >"$ROOT/etc/hosts"
    rm -f "$ROOT/etc/resolv.conf"
    # A locked password: nobody logs in, except where a unit says --autologin.
    sed -i 's/^root:[^:]*:/root:*:/' "$ROOT/etc/shadow"
}

# Byte code that never looks at its source: the copy in RAM cannot go stale, and Python starts faster.
compile_python() {
    find "$ROOT/usr/lib/python3.11" -name __pycache__ -prune -exec rm -rf {} +
    chroot "$ROOT" python3 -m compileall -q --invalidation-mode unchecked-hash /usr/lib/python3.11
}

pack() {
    say "packing $(du -sm "$ROOT" | cut -f 1) MB; zstd takes up to some minutes"
    (cd "$ROOT" && find . -mindepth 1 -print0 | LC_ALL=C sort -z \
        | cpio --quiet --null --create --format=newc --reproducible) \
        | zstd -q -"$(level 19)" -T0 -o "$WORK_DIR/initrd.img"
    publish "$WORK_DIR/hardware/boot/vmlinuz-$KERNEL_VERSION" discovery/vmlinuz
    publish "$WORK_DIR/initrd.img" discovery/initrd.img
    say "discovery/initrd.img $(du -m "$WORK_DIR/initrd.img" | cut -f 1) MB"
}

begin "${1:-$IMAGES_DIR/../build/files}" "hardware discovery" discovery/vmlinuz discovery/initrd.img
need_root
need_packages mmdebstrap kmod cpio zstd python3
work_folder
ROOT=$WORK_DIR/root
fetch_kernel
make_root
add_modules
drop_rest
configure
compile_python
pack
finish
