#!/bin/bash
# Puts the network boot programs of Debian's packages where the server finds them: OUTPUT_DIR/ipxe/, shim/ and grub/.
# Usage: boot-files.sh [OUTPUT_DIR]      (default build/files of the checkout)
set -euo pipefail
# shellcheck source=images/lib.sh
. "$(dirname "$0")/lib.sh"

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

# What is signed comes from packages of three architectures, which could not be installed side by side: they are only
# unpacked, by an apt of their own that knows no installed package.
download_signed() {
    local machine name apt=$WORK_DIR/apt packages=()
    mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial" "$WORK_DIR/packages"
    : >"$apt/status"
    cat >"$apt/apt.conf" <<END
APT::Architecture "amd64";
APT::Architectures { "amd64"; "i386"; "arm64"; };
APT::Sandbox::User "root";
Dir::State "$apt/state";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
Acquire::Languages "none";
Acquire::Retries "5";
END
    for machine in "${MACHINES[@]}"; do
        name=${machine%% *}
        packages+=("shim-signed:$name" "shim-helpers-$name-signed:$name" "grub-efi-${name/i386/ia32}-signed:$name")
    done
    say "downloading signed boot loaders"
    # An index that the mirror is just replacing is no matter as long as another has the package.
    APT_CONFIG=$apt/apt.conf apt-get update -q=2 >"$apt/log" 2>&1 || true
    (cd "$WORK_DIR/packages" && APT_CONFIG=$apt/apt.conf apt-get download -q=2 "${packages[@]}" >>"$apt/log" 2>&1) \
        || fail "cannot download ${packages[*]}: $(cat "$apt/log")"
    for name in "$WORK_DIR/packages/"*.deb; do dpkg-deb --extract "$name" "$WORK_DIR/signed"; done
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
begin "${1:-$IMAGES_DIR/../build/files}" "" "${files[@]}"
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
