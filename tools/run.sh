#!/bin/bash
# Serves a real network. Usage: run.sh INTERFACE [FIRST-LAST] DATA_DIR; run.sh --check INTERFACE only looks at it.
# Without a pool DHCP stays silent until a subnet is made in the UI or by `provisioner subnets add`.
set -euo pipefail

check=
if [ "$1" = --check ]; then
    check=yes
    shift
fi
interface=$1 pool=${2:-} data=${3:-}
if [ -z "$interface" ]; then
    echo "say which interface faces the machines: make run IFACE=NAME [POOL=FIRST-LAST]; there is:" >&2
    ip -br -4 address | sed 's/^/  /' >&2
    exit 2
fi
cidr=$(ip -4 -o address show dev "$interface" 2>/dev/null | awk '{print $4; exit}' || true)
if [ -z "$cidr" ]; then
    echo "interface $interface does not exist or has no IPv4 address; give it one first: ip address add ADDRESS/LEN dev $interface" >&2
    exit 2
fi
[ -z "$check" ] || exit 0
address=${cidr%/*}
subnet=()
if [ -n "$pool" ]; then
    network=$(python3 -c 'import ipaddress, sys; print(ipaddress.ip_interface(sys.argv[1]).network)' "$cidr")
    subnet=(--dhcp-subnets "$network,$pool")
fi
if [ -z "$pool" ]; then
    echo "no POOL is given: DHCP answers on the subnets made before; make one in the UI or with \`provisioner subnets add\`"
fi
echo "machines on $interface reach us at $address; the UI is at http://127.0.0.1:8092"
mkdir -p -m 700 "$data"
exec .venv/bin/provisioner serve --data-dir "$data" --files-dir build/files --listen-http "$address:8091" \
    --dhcp-interfaces "$interface" "${subnet[@]}"
