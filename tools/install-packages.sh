#!/bin/bash
# Installs the Debian packages that the demo and the tests need and that are missing here.
set -euo pipefail

PACKAGES=(
    python3-venv python3-dev gcc git curl
    qemu-system-x86 qemu-utils ovmf ipxe-qemu seabios openipmi ipmitool iproute2
    mmdebstrap ipxe zstd fdisk e2fsprogs dosfstools mtools
    chromium fonts-inter
    atftp tftp-hpa busybox dnsmasq-base udhcpc shellcheck
)

missing=()
for package in "${PACKAGES[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
echo "installing Debian packages: ${missing[*]}"
if [ "$(id -u)" -ne 0 ]; then
    echo "that needs root: sudo apt-get install ${missing[*]}" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 "${missing[@]}" | grep -E '^(Setting up|Unpacking)' | sed -u 's/^/  /' || true
for package in "${missing[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || {
        echo "could not install $package" >&2
        exit 1
    }
done
