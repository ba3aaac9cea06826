"""Who the neighbours on our links are: the kernel's own table of IPv4 addresses and MACs."""

from __future__ import annotations

from pathlib import Path

TABLE = Path("/proc/net/arp")
# Flag "complete" of <net/if_arp.h>: the neighbour has answered.
_COMPLETE = 0x2


def neighbour(address: str, table: Path = TABLE) -> str:
    """The MAC of a neighbour that has this address, '' when the kernel knows none."""
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return ""
    for line in lines:
        columns = line.split()
        if len(columns) >= 4 and columns[0] == address and int(columns[2], 16) & _COMPLETE:
            return columns[3].lower()
    return ""
