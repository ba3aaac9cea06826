#!/bin/bash
# Builds a small environment for arm64: OUTPUT_DIR/arm64/{vmlinuz,initrd.img}, Debian's kernel with Python and the starter
# of the agent, to boot machines of that kind with. It takes no stock of hardware as the discovery image does.
# Usage: arm64.sh [OUTPUT_DIR]      (default build/files of the checkout)
set -euo pipefail
# shellcheck source=images/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=images/foreign.sh
. "$(dirname "$0")/foreign.sh"

PACKAGES=(
    busybox-static python3.11-minimal libpython3.11-minimal libpython3.11-stdlib libc6 libgcc-s1
    zlib1g libssl3 libexpat1 libffi8 libuuid1 libbz2-1.0 liblzma5 libsqlite3-0
)
MODULES=(virtio_pci virtio_net e1000e igb efivarfs)
STARTER=discovery/root/usr/lib/provisioner/start_agent.py

fetch() {
    say "downloading packages for arm64"
    unpack "$ROOT" "${PACKAGES[@]/%/:arm64}"
    rm -rf "$WORK_DIR/packages"
    unpack "$WORK_DIR/kernel" "$(depends_on linux-image-arm64:arm64)"
    KERNEL_VERSION=$(ls "$WORK_DIR/kernel/lib/modules")
}

# Only what carries the network; the kernel names what each module stands on.
add_modules() {
    local from=$WORK_DIR/kernel module path
    depmod -b "$from" "$KERNEL_VERSION"
    for module in "${MODULES[@]}"; do
        modprobe --dirname "$from" --set-version "$KERNEL_VERSION" --show-depends "$module" \
            | awk '$1 == "insmod" {print $2}' | while read -r path; do
                install -D -m 0644 "$path" "$ROOT/${path#"$from"/}"
            done
    done
    cp "$from/lib/modules/$KERNEL_VERSION/"modules.{order,builtin,builtin.modinfo} "$ROOT/lib/modules/$KERNEL_VERSION/"
    depmod -b "$ROOT" "$KERNEL_VERSION"
}

configure() {
    rm -rf "$ROOT/usr/share/doc" "$ROOT/usr/share/man" "$ROOT/usr/share/python3"
    mkdir -p "$ROOT"/{proc,sys,dev,run,tmp,etc,sbin,usr/lib/provisioner}
    ln -sf python3.11 "$ROOT/usr/bin/python3"
    install -m 0644 "$IMAGES_DIR/$STARTER" "$ROOT/usr/lib/provisioner/start_agent.py"
    install -m 0755 "$IMAGES_DIR/arm64/init" "$ROOT/init"
    install -m 0755 "$IMAGES_DIR/arm64/lease" "$ROOT/etc/lease"
    printf 'root:x:0:0:root:/root:/bin/sh\n' >"$ROOT/etc/passwd"
    printf '127.0.0.1 localhost\n' >"$ROOT/etc/hosts"
}

begin "${1:-$IMAGES_DIR/../build/files}" "foreign.sh arm64 $STARTER" arm64/vmlinuz arm64/initrd.img
need_root
need_packages kmod zstd cpio
work_folder
ROOT=$WORK_DIR/root
fetch
add_modules
configure
say "packing $(du -sm "$ROOT" | cut -f 1) MB"
(cd "$ROOT" && find . -print0 | LC_ALL=C sort -z | cpio --quiet --null --create --format=newc --owner=0:0) \
    | zstd -q -T0 -10 -o "$WORK_DIR/initrd.img"
publish "$WORK_DIR/kernel/boot/vmlinuz-$KERNEL_VERSION" arm64/vmlinuz
publish "$WORK_DIR/initrd.img" arm64/initrd.img
say "kernel $KERNEL_VERSION, initrd.img of $(du -m "$OUTPUT_DIR/arm64/initrd.img" | cut -f 1) MB"
finish
