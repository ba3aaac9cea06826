#!/bin/bash
# Puts the network boot programs of Debian's packages where the server finds them: OUTPUT_DIR/ipxe/, shim/ and grub/.
# Usage: boot-files.sh [OUTPUT_DIR]      (default build/files of the checkout)
set -euo pipefail
# shellcheck source=images/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=images/foreign.sh
. "$(dirname "$0")/foreign.sh"

# The package ipxe is for all machines; it has no iPXE for UEFI on ia32 or arm64, which boot with GRUB.
IPXE=(undionly.kpxe ipxe.pxe ipxe.efi snponly.efi)
# Debian's name of the machine, GRUB's name of its folder, UEFI's suffix.
MACHINES=("amd64 x86_64-efi x64" "i386 i386-efi ia32" "arm64 arm64-efi aa64")

outputs() {
    local suffix
    printf 'ipxe/%s\n' "${IPXE[@]}"
    for suffix in x64 ia32 aa64; do
        printf '%s\n' "shim/shim$suffix.efi" "shim/grub$suffix.efi" "shim/mm$suffix.efi" "grub/grub$suffix.efi"
    done
}

# What is signed comes from packages of three architectures, which could not be installed side by side.
download_signed() {
    local machine name packages=()
    for machine in "${MACHINES[@]}"; do
        name=${machine%% *}
        packages+=("shim-signed:$name" "shim-helpers-$name-signed:$name" "grub-efi-${name/i386/ia32}-signed:$name")
    done
    say "downloading signed boot loaders"
    unpack "$WORK_DIR/signed" "${packages[@]}"
}

publish_signed() {
    local name folder suffix lib=$WORK_DIR/signed/usr/lib
    read -r name folder suffix <<<"$1"
    publish "$lib/shim/shim$suffix.efi.signed" "shim/shim$suffix.efi"
    publish "$lib/shim/mm$suffix.efi.signed" "shim/mm$suffix.efi"
    # The flavour for the network: shim asks for it by this name beside itself, and it looks for its configuration at
    # /grub/$folder/grub.cfg and /grub/grub.cfg of the server it came from.
    publish "$lib/grub/$folder-signed/grubnet$suffix.efi.signed" "shim/grub$suffix.efi"
    publish "$lib/grub/$folder-signed/grubnet$suffix.efi.signed" "grub/grub$suffix.efi"
    say "shim and GRUB for UEFI on $name"
}

mapfile -t files < <(outputs)
begin "${1:-$IMAGES_DIR/../build/files}" foreign.sh "${files[@]}"
need_packages ipxe
work_folder
for file in "${IPXE[@]}"; do
    [ -s "/usr/lib/ipxe/$file" ] || fail "Debian's ipxe package has no /usr/lib/ipxe/$file"
    publish "/usr/lib/ipxe/$file" "ipxe/$file"
    say "ipxe/$file ($(stat -c %s "$OUTPUT_DIR/ipxe/$file") bytes)"
done
download_signed
for machine in "${MACHINES[@]}"; do publish_signed "$machine"; done
finish
