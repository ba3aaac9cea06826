#!/bin/bash
# Puts the network boot programs of Debian's ipxe package where the server finds them: OUTPUT_DIR/ipxe/.
# Usage: boot-files.sh [OUTPUT_DIR]      (default build/files of the checkout)
set -euo pipefail
# shellcheck source=images/lib.sh
. "$(dirname "$0")/lib.sh"

FILES=(undionly.kpxe ipxe.efi snponly.efi)

begin "${1:-$IMAGES_DIR/../build/files}" "" "${FILES[@]/#/ipxe/}"
need_packages ipxe
work_folder
for file in "${FILES[@]}"; do
    [ -s "/usr/lib/ipxe/$file" ] || fail "Debian's ipxe package has no /usr/lib/ipxe/$file"
    publish "/usr/lib/ipxe/$file" "ipxe/$file"
    say "ipxe/$file ($(stat -c %s "$OUTPUT_DIR/ipxe/$file") bytes)"
done
finish
