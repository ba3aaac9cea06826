#!/bin/bash
# Builds the operating system image that deployments write to disks: OUTPUT_DIR/images/debian-12.img.zst, its checksum
# and a JSON description. Debian 12 on a GPT disk that boots under BIOS and UEFI; see images/README.md.
# Usage: debian-12.sh [OUTPUT_DIR]      (default build/files of the checkout)
set -euo pipefail
# shellcheck source=images/lib.sh
. "$(dirname "$0")/lib.sh"

# In 512-byte sectors. bios_grub holds GRUB's core; the ESP is as small as FAT32 likes; the root comes last and grows.
BIOS_FIRST=2048
BIOS_SECTORS=2048
ESP_FIRST=4096
ESP_SECTORS=131072
ROOT_FIRST=$((ESP_FIRST + ESP_SECTORS))
# Room in the root for what happens before it grows.
ROOT_SPARE_MIB=96
GPT_BACKUP_SECTORS=2048

fetch_boot_parts() {
    say "downloading signed boot loaders and firmware packages"
    bootstrap extract "$WORK_DIR/parts" --components=main,non-free-firmware \
        --include="shim-signed,grub-efi-amd64-signed,$(read_list hardware/firmware)"
}

# INITRD=No: the initramfs is made once, when the drivers' firmware and the settings are there.
make_root() {
    say "installing Debian 12 into a root folder"
    INITRD=No bootstrap minbase "$ROOT" --components=main,non-free-firmware \
        --include="$(read_list debian-12/packages)" --dpkgopt="$IMAGES_DIR/debian-12/dpkg-exclude"
    KERNEL_VERSION=$(ls "$ROOT/lib/modules")
    copy_firmware "$ROOT/lib/modules/$KERNEL_VERSION" "$WORK_DIR/parts/lib/firmware" "$ROOT/usr/lib/firmware"
}

switch_units() {
    local sign unit
    while read -r sign unit; do
        case $sign in
            +) chroot "$ROOT" systemctl --quiet enable "$unit" ;;
            -) chroot "$ROOT" systemctl --quiet disable "$unit" ;;
            *) fail "images/debian-12/units: '$sign $unit' begins with neither + nor -" ;;
        esac
    done < <(sed 's/#.*//; /^\s*$/d' "$IMAGES_DIR/debian-12/units")
}

configure() {
    overlay debian-12/root "$ROOT"
    switch_units
    # Both look for partitions to mount, or swap to wake up from, on whatever disks the machine has.
    mkdir -p "$ROOT/etc/systemd/system-generators"
    ln -s /dev/null "$ROOT/etc/systemd/system-generators/systemd-gpt-auto-generator"
    ln -s /dev/null "$ROOT/etc/systemd/system-generators/systemd-hibernate-resume-generator"
    mkdir -p "$ROOT/opt/provisioner" "$ROOT/etc/provisioner"
    chmod 0700 "$ROOT/etc/provisioner"
    install -d -m 0700 "$ROOT/root/.ssh"
    printf '127.0.0.1 localhost\n::1 localhost ip6-localhost\n' >"$ROOT/etc/hosts"
    ln -sf ../run/systemd/resolve/stub-resolv.conf "$ROOT/etc/resolv.conf"
    sed -i 's/^root:[^:]*:/root:*:/' "$ROOT/etc/shadow"
    say "making the initramfs"
    chroot "$ROOT" update-initramfs -c -k "$KERNEL_VERSION" >"$WORK_DIR/initramfs.log" 2>&1 \
        || fail "update-initramfs failed: $(cat "$WORK_DIR/initramfs.log")"
    chroot "$ROOT" linux-update-symlinks install "$KERNEL_VERSION" "/boot/vmlinuz-$KERNEL_VERSION" >/dev/null
    if [ ! -e "$ROOT/vmlinuz" ] || [ ! -e "$ROOT/initrd.img" ]; then fail "the root has no /vmlinuz and /initrd.img"; fi
}

# What must differ from machine to machine, and what only the build needed.
forget() {
    : >"$ROOT/etc/machine-id"
    rm -f "$ROOT"/etc/ssh/ssh_host_* "$ROOT/etc/hostname" "$ROOT/var/lib/systemd/random-seed"
    rm -f "$ROOT/etc/apt/apt.conf.d/99mmdebstrap" "$ROOT/var/lib/dpkg/"*-old "$ROOT/var/cache/debconf/"*-old
    rm -rf "$ROOT"/var/lib/apt/lists/* "$ROOT"/var/cache/apt/*.bin "$ROOT"/var/cache/ldconfig/*
    find "$ROOT/var/log" -type f -delete
    # systemd.unit(5), ConditionNeedsUpdate: newer than /usr, so that nothing is brought up to date at the first boot.
    touch "$ROOT/etc/.updated" "$ROOT/var/.updated"
}

make_esp() {
    truncate -s $((ESP_SECTORS * 512)) "$WORK_DIR/esp"
    mkfs.vfat -F 32 -n ESP "$WORK_DIR/esp" >/dev/null
    mmd -i "$WORK_DIR/esp" ::EFI ::EFI/BOOT ::EFI/debian
    mcopy -i "$WORK_DIR/esp" "$WORK_DIR/parts/usr/lib/shim/shimx64.efi.signed" ::EFI/BOOT/BOOTX64.EFI
    mcopy -i "$WORK_DIR/esp" "$WORK_DIR/parts/usr/lib/shim/mmx64.efi.signed" ::EFI/BOOT/mmx64.efi
    mcopy -i "$WORK_DIR/esp" "$WORK_DIR/parts/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed" ::EFI/BOOT/grubx64.efi
    mcopy -i "$WORK_DIR/esp" "$IMAGES_DIR/debian-12/efi/grub.cfg" ::EFI/debian/grub.cfg
}

# GRUB 2.06 cannot read the two features of newer ext4 that are switched off.
make_root_file_system() {
    local mib
    mib=$(($(du -sm "$ROOT" | cut -f 1) * 21 / 20 + ROOT_SPARE_MIB))
    ROOT_SECTORS=$((mib * 2048))
    truncate -s "${mib}M" "$WORK_DIR/rootfs"
    mkfs.ext4 -q -F -L root -T default -b 4096 -m 1 -J size=32 -O '^metadata_csum_seed,^orphan_file' \
        -E root_owner=0:0 -d "$ROOT" "$WORK_DIR/rootfs"
}

make_disk() {
    say "putting the disk together"
    local image=$WORK_DIR/debian-12.img
    truncate -s $(((ROOT_FIRST + ROOT_SECTORS + GPT_BACKUP_SECTORS) * 512)) "$image"
    sfdisk --quiet "$image" <<END
label: gpt
start=$BIOS_FIRST, size=$BIOS_SECTORS, type=21686148-6449-6E6F-744E-656564454649, name=bios
start=$ESP_FIRST, size=$ESP_SECTORS, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=esp
start=$ROOT_FIRST, size=$ROOT_SECTORS, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name=root
END
    dd if="$WORK_DIR/esp" of="$image" bs=1M seek=$((ESP_FIRST / 2048)) conv=notrunc,sparse status=none
    dd if="$WORK_DIR/rootfs" of="$image" bs=1M seek=$((ROOT_FIRST / 2048)) conv=notrunc,sparse status=none
    grub-mkimage -O i386-pc -o "$WORK_DIR/core.img" -p '(,gpt3)/boot/grub' \
        biosdisk part_gpt ext2 normal configfile linux probe test echo serial terminal sleep ls cat reboot halt
    python3 -B "$IMAGES_DIR/debian-12/bios_boot.py" "$image" /usr/lib/grub/i386-pc/boot.img "$WORK_DIR/core.img" \
        $BIOS_FIRST $BIOS_SECTORS
}

describe() {
    local image=$WORK_DIR/debian-12.img.zst
    SHA256=$(sha256sum "$image" | cut -d ' ' -f 1)
    printf '%s  debian-12.img.zst\n' "$SHA256" >"$WORK_DIR/debian-12.img.zst.sha256"
    printf '{"name": "debian-12", "sha256": "%s", "compressed_bytes": %d, "raw_bytes": %d}\n' \
        "$SHA256" "$(stat -c %s "$image")" "$(stat -c %s "$WORK_DIR/debian-12.img")" >"$WORK_DIR/debian-12.json"
}

pack() {
    local file
    say "packing $(du -m --apparent-size "$WORK_DIR/debian-12.img" | cut -f 1) MB; zstd takes a while"
    # Level 19 would take ten times as long for a tenth less.
    zstd -q -"$(level 12)" -T0 "$WORK_DIR/debian-12.img" -o "$WORK_DIR/debian-12.img.zst"
    describe
    for file in debian-12.img.zst debian-12.img.zst.sha256 debian-12.json; do publish "$WORK_DIR/$file" "images/$file"; done
    say "images/debian-12.img.zst $(du -m "$WORK_DIR/debian-12.img.zst" | cut -f 1) MB"
}

begin "${1:-$IMAGES_DIR/../build/files}" "hardware debian-12" \
    images/debian-12.img.zst images/debian-12.img.zst.sha256 images/debian-12.json
need_root
need_packages mmdebstrap kmod zstd python3 fdisk e2fsprogs dosfstools mtools grub-common grub-pc-bin
work_folder
ROOT=$WORK_DIR/root
fetch_boot_parts
make_root
configure
forget
make_esp
make_root_file_system
make_disk
pack
finish
