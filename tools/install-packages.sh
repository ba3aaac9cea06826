#!/bin/bash
# Installs the Debian packages that are missing here: for the demo, with the argument `peers` also those that tests and
# measurements use as clients, servers and tools beside ours, with `arm64` those that emulate an arm64 machine.
set -euo pipefail

PACKAGES=(
    python3-venv python3-dev gcc git curl
    qemu-system-x86 qemu-utils ovmf ipxe-qemu seabios openipmi ipmitool iproute2
    mmdebstrap ipxe zstd fdisk e2fsprogs dosfstools mtools kmod cpio grub-common grub-pc-bin
    chromium fonts-inter
    atftp tftp-hpa busybox dnsmasq-base udhcpc shellcheck
)
PEERS=(
    isc-dhcp-client dhcpcd-base systemd kea-admin tcpdump wrk
    kea-dhcp4-server isc-dhcp-server atftpd nginx-light
)
ARM64=(qemu-system-arm qemu-efi-aarch64)
# Packages that cannot stand beside another of the list: only unpacked, into build/peers/NAME.
UNPACKED=(tftpd-hpa)

wanted=("${PACKAGES[@]}")
[ "${1:-}" != peers ] || wanted+=("${PEERS[@]}")
[ "${1:-}" != arm64 ] || wanted+=("${ARM64[@]}")
missing=()
for package in "${wanted[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
folder=$(cd "$(dirname "$0")/.." && pwd)/build/peers
unpack=()
if [ "${1:-}" = peers ]; then
    for package in "${UNPACKED[@]}"; do
        [ -d "$folder/$package" ] || unpack+=("$package")
    done
fi
[ $((${#missing[@]} + ${#unpack[@]})) -gt 0 ] || exit 0
[ ${#missing[@]} -eq 0 ] || echo "installing Debian packages: ${missing[*]}"
if [ "$(id -u)" -ne 0 ]; then
    echo "that needs root: sudo $0 $*" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
# None of the servers among them may start to serve this host's networks: invoke-rc.d(8) asks this program first, and
# 101 means no.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi
apt-get update -qq
if [ ${#missing[@]} -gt 0 ]; then
    apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 "${missing[@]}" \
        | grep -E '^(Setting up|Unpacking)' | sed -u 's/^/  /' || true
    for package in "${missing[@]}"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || {
            echo "could not install $package" >&2
            exit 1
        }
        case $package in
            # Nor after the next start of this host.
            kea-dhcp4-server | isc-dhcp-server) systemctl disable --quiet "$package.service" || true ;;
            atftpd) systemctl disable --quiet atftpd.service atftpd.socket || true ;;
            nginx-light) systemctl disable --quiet nginx.service || true ;;
        esac
    done
fi
for package in "${unpack[@]}"; do
    rm -rf "$folder/$package.part"
    mkdir -p "$folder/$package.part"
    (cd "$folder/$package.part" && apt-get download -qq "$package" && dpkg -x ./*.deb . && rm ./*.deb) 2>/dev/null || {
        echo "could not unpack $package" >&2
        exit 1
    }
    mv "$folder/$package.part" "$folder/$package"
done
