"""Boot failures that users of other servers have reported, each with its place: these are ours to keep from happening.

Those that concern the choice of a loader are tests of their own beside it, named `test_peers_N`.
"""

from __future__ import annotations

import pytest

from provisioner.conductor.boot import Boot
from provisioner.firmware import ClientKind, boot_client
from provisioner.services.tftp import clean_path
from provisioner.store.database import EventQuery
from provisioner.wire.dhcp import decode as decode_dhcp
from provisioner.wire.dhcp import encode as encode_dhcp
from provisioner.wire.tftp import decode as decode_tftp
from tests.dhcp_messages import BIOS, discover
from tests.parts import MAC, opened


@pytest.mark.parametrize("end", [b"\xff", b"\xff\xff", b"\0", b""])
def test_peers_4_a_file_name_with_a_stray_end_is_found(end):
    # netbootxyz/netboot.xyz#1198, Foreman #33584: 0xFF or NUL from behind the option is taken for part of the name.
    request = decode_tftp(b"\0\1/ipxe/undionly.kpxe" + end.replace(b"\0", b"") + b"\0octet\0" + end)
    assert clean_path(request.filename) == "ipxe/undionly.kpxe"


def test_peers_9_a_request_padded_by_a_tunnel_is_read():
    # MAAS LP#2118408.
    assert decode_tftp(b"\0\1shim/grubx64.efi\0octet\0blksize\x001468\0" + bytes(11)).options == {"blksize": "1468"}


@pytest.mark.parametrize("padding", [b"\0" * 300, b"\xff" * 7, b"junk"])
def test_peers_9_a_discover_padded_by_a_tunnel_is_read(padding):
    padded = encode_dhcp(discover(1, options=BIOS)) + padding
    assert boot_client(decode_dhcp(padded)).kind is ClientKind.PXE


async def test_peers_9_every_tftp_transfer_that_fails_is_told_of_its_machine(tmp_path):
    # MAAS LP#2129772: "File not found", and nobody knows for whom. Here another server gave the address.
    async with opened(tmp_path) as parts:
        machine = await parts.ready()
        boot = Boot(
            parts.ledger,
            parts.catalog,
            parts.tokens,
            parts.clashes,
            parts.boot_context,
            parts.notes,
            parts.turns,
            neighbour={"10.0.0.50": MAC}.get,
        )
        await boot.served("tftp", "ipxe/none.efi", "10.0.0.50", 0, 0.1, "there is no file 'ipxe/none.efi'")
        await parts.notes.settled()
        [event] = await parts.database.events(EventQuery(kinds=("tftp.error",)))
        assert (event.machine, event.mac, event.key) == (machine, MAC, "ipxe/none.efi")
