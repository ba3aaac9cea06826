"""The numbers by which a machine is known again when its network cards were changed: what SMBIOS says of it.

Vendors leave fields unset in many ways; such junk would make strangers look like one machine, so it is dropped.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress

_DMI = "sys/class/dmi/id"
_FIELDS = {
    "dmi_uuid": "product_uuid",
    "serial": "product_serial",
    "board_serial": "board_serial",
    "chassis_serial": "chassis_serial",
}
# In lower case. What boards in the field were seen to say instead of nothing.
JUNK = frozenset({
    "", "0", "none", "null", "n/a", "na", "unknown", "default", "default string", "empty", "not specified",
    "not applicable", "not available", "not provided", "not settable", "no asset tag", "no asset information",
    "to be filled by o.e.m.", "to be filled by o.e.m", "to be filled by oem", "tbd by oem", "o.e.m.", "oem", "invalid",
    "system serial number", "system product name", "system manufacturer", "system version", "serial number",
    "chassis serial number", "base board serial number", "board serial number", "chassis manufacture", "asset tag",
    "0123456789", "123456789", "1234567890", "01234567", "012345678", "12345678", "xxxxxxxx", "bad index",
    "123456789012345678",
})  # fmt: skip
# UUIDs that were burnt into more than one board.
_JUNK_UUIDS = frozenset({"03000200-0400-0500-0006-000700080009", "12345678-1234-5678-90ab-cddeefaabbcc"})
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def meaningful(value: str) -> str:
    """The value without blanks around it, or "" when it says nothing."""
    value = value.strip().strip("\0").strip()
    if value.lower() in JUNK or len(set(re.sub(r"[\s.:-]", "", value))) < 2:
        return ""
    return value


def meaningful_uuid(value: str) -> str:
    """The UUID in lower case, or "" when it is none or one that many boards share."""
    value = value.strip().lower()
    if not _UUID.fullmatch(value) or value in _JUNK_UUIDS or len(set(value.replace("-", ""))) < 2:
        return ""
    return value


def read(root: str = "/") -> dict[str, object]:
    """The machine's identity out of the /sys tree below `root`; what is unknown is "".

    No disk is named as a marker: serial numbers and WWNs of disks move with the disk and not with the machine, and one
    disk put into a board without SMBIOS numbers would make it the machine that the disk came from, with its work.
    """
    identity: dict[str, object] = {"disk_markers": []}
    for name, file in _FIELDS.items():
        value = ""
        path = os.path.join(root, _DMI, file)
        # Absent on boards without SMBIOS, unreadable for others than root.
        with suppress(OSError), open(path, encoding="utf-8", errors="replace") as source:
            value = source.read()
        identity[name] = meaningful_uuid(value) if name == "dmi_uuid" else meaningful(value)
    return identity
