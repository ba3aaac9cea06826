"""Boot failures that users of other servers have reported, each with its place: these are ours to keep from happening.

Many tests of them stand beside what they are about; `SHOWN_BY` tells which.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from provisioner.conductor.boot import Boot
from provisioner.firmware import ClientKind, boot_client
from provisioner.services.tftp import clean_path
from provisioner.store.event_search import EventQuery
from provisioner.wire.dhcp import decode as decode_dhcp
from provisioner.wire.dhcp import encode as encode_dhcp
from provisioner.wire.tftp import decode as decode_tftp
from tests.dhcp_messages import BIOS, discover
from tests.parts import MAC, opened

# By the number of the complaint: what users saw, and the tests that it cannot happen here.
SHOWN_BY = {
    1: (
        "UEFI ignores the answer of a proxy",
        "test_peers_1_uefi_is_sent_no_option_43",
        "test_peers_1_hpe_uefi_is_answered_on_port_67_in_proxy_mode_as_well",
        "test_peers_1_firmware_that_a_quirk_names_is_answered_on_67_and_on_4011",
    ),
    2: (
        "iPXE loads itself for ever",
        "test_peers_2_ipxe_is_recognised_by_user_class_or_its_own_option",
        "test_peers_2_ipxe_never_loads_itself_again",
        "test_peers_2_bios_that_loops_is_given_the_other_ipxe",
    ),
    3: (
        "cards that say less than the standard wants",
        "test_peers_3_a_card_that_sends_no_uuid_is_sent_none",
        "test_peers_3_a_card_that_says_only_its_class_is_acknowledged",
    ),
    4: (
        "stray bytes at the end of file names",
        "test_peers_4_a_file_name_with_a_stray_end_is_found",
        "test_peers_4_names_end_with_nul_unless_a_quirk_says_otherwise",
    ),
    5: (
        "iPXE's own drivers fail on some cards",
        "test_peers_5_after_two_failed_attempts_the_next_loader_has_its_turn",
        "test_firmware_that_refuses_what_it_fetched_and_asks_at_once_is_given_the_signed_loader",
    ),
    6: (
        "an image of gigabytes is no initrd: it is written to the disk by a small system",
        "test_a_blank_disk_gets_the_image_and_the_log_shows_progress",
    ),
    7: (
        "the machine boots its disk: the next boot was not set, or power came too soon",
        "test_the_next_boot_is_read_back",
        "test_a_next_boot_that_the_bmc_forgets_is_an_error",
        "test_peers_7_a_machine_that_is_not_heard_of_after_its_start_is_named",
    ),
    8: ("it waits for ever for a boot from the network", "test_peers_8_a_machine_that_came_up_from_its_disk_is_named"),
    9: (
        "padded datagrams; failures of nobody knows whom",
        "test_peers_9_a_request_padded_by_a_tunnel_is_read",
        "test_peers_9_every_tftp_transfer_that_fails_is_told_of_its_machine",
    ),
    10: ("TFTP through a firewall", "test_with_a_single_port_all_goes_from_the_port_that_was_asked"),
    11: (
        "a BMC refuses while the machine starts",
        "test_a_busy_bmc_is_asked_again",
        "test_a_bmc_that_is_silent_while_power_changes_is_asked_again",
    ),
    21: (
        "one address offered to two of a burst",
        "test_a_burst_of_thirty_that_ask_twice_each_get_thirty_addresses_and_no_refusal",
        "test_no_address_is_given_to_two_of_five_thousand_clients",
    ),
    22: (
        "no address for the thirtieth",
        "test_a_burst_of_thirty_that_ask_twice_each_get_thirty_addresses_and_no_refusal",
    ),
    23: ("one machine, an address for each of its client ids", "test_one_mac_with_several_client_ids_is_one_client"),
    24: (
        "one bad entry stops all of DHCP",
        "test_peers_24_a_reservation_that_makes_no_sense_disables_only_itself",
        "test_a_subnet_that_makes_no_sense_disables_only_itself",
        "test_a_wrong_configured_option_disables_only_itself",
    ),
    25: ("DHCP is restarted for each change", "test_a_changed_subnet_counts_for_the_next_reply"),
    26: ("GRUB at its prompt beside another server", "test_peers_26_uefi_is_not_given_grub_which_hears_no_proxy"),
}
TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def names():
    sources = (path.read_text(encoding="utf-8") for path in TESTS.glob("**/test_*.py"))
    return {name for source in sources for name in re.findall(r"def (test_\w+)\(", source)}


@pytest.mark.parametrize("number", SHOWN_BY)
def test_each_complaint_has_tests(names, number):
    _, *tests = SHOWN_BY[number]
    assert tests and set(tests) <= names


def test_every_test_of_a_complaint_is_of_one_that_is_listed(names):
    numbers = {int(found[1]) for name in names if (found := re.match(r"test_peers_(\d+)_", name))}
    assert numbers <= set(SHOWN_BY)


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
        boot.served("tftp", "ipxe/none.efi", "10.0.0.50", 0, 0.1, "there is no file 'ipxe/none.efi'")
        await parts.notes.settled()
        [event] = await parts.database.events(EventQuery(kinds=("tftp.error",)))
        assert (event.machine, event.mac, event.key) == (machine, MAC, "ipxe/none.efi")
