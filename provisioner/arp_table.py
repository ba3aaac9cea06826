"""Who the neighbours on our links are: the kernel's own table of IPv4 addresses and MACs."""

from __future__ import annotations

from pathlib import Path

TABLE = Path("/proc/net/arp")
# Flag "complete" of <net/if_arp.h>: the neighbour has answered.
_COMPLETE = 0x2


def neighbours(table: Path = TABLE) -> dict[str, str]:
    """The MACs of all neighbours that the kernel knows, by address."""
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return {}
    rows = (line.split() for line in lines)
    return {row[0]: row[3].lower() for row in rows if len(row) >= 4 and int(row[2], 16) & _COMPLETE}
