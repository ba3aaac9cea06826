"""The sessionless question that tells whether a BMC is there."""

import socket

import pytest

from provisioner.power.presence import Presence, ask_presence, question, read_answer
from tests.fakes.udp import black_hole

# An answer as OpenIPMI's simulator sent it; the others are this one with a byte changed.
ANSWER = bytes.fromhex("0600ff0700000000000000000010811c6320003800019704030000000009")
SHORT_WAITS = (0.01, 0.01)


def changed(at: int, value: int) -> bytes:
    return ANSWER[:at] + bytes((value,)) + ANSWER[at + 1 :]


def test_the_question_is_get_channel_authentication_capabilities() -> None:
    assert question().hex() == "0600ff07000000000000000000092018c88100388e04b5"


def test_a_real_answer_means_present_with_ipmi_2() -> None:
    assert read_answer(ANSWER) == Presence(speaks_ipmi_2=True)


def test_an_answer_without_the_2_0_bit_means_ipmi_1_5_only() -> None:
    assert read_answer(changed(14 + 10, 0x01)) == Presence(speaks_ipmi_2=False)


def test_an_answer_without_extended_data_means_ipmi_1_5_only() -> None:
    assert read_answer(changed(14 + 8, 0x36)) == Presence(speaks_ipmi_2=False)


def test_a_refusal_of_the_question_is_presence_all_the_same() -> None:
    assert read_answer(changed(14 + 6, 0xCC)) == Presence()


@pytest.mark.parametrize(
    "datagram",
    [b"", b"\x06", ANSWER[:20], question(), changed(3, 0x06), changed(14 + 5, 0x39), b"\xff" * 64],
    ids=["empty", "one byte", "cut short", "the question itself", "ASF", "another command", "noise"],
)
def test_what_is_no_answer_is_ignored(datagram: bytes) -> None:
    assert read_answer(datagram) is None


async def test_silence_is_absence_after_the_last_wait() -> None:
    with black_hole() as port:
        presence = await ask_presence("127.0.0.1", port, SHORT_WAITS)
    assert presence.absent == "2 requests in 0.02 s stayed unanswered"


async def test_a_closed_port_is_told_apart_from_silence() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    presence = await ask_presence("127.0.0.1", port)
    assert presence.absent == "that host is up, but nothing listens on that UDP port"


async def test_an_unroutable_address_says_what_the_network_says() -> None:
    presence = await ask_presence("255.255.255.255", 623)
    assert presence.absent.startswith("the network says: ")


async def test_a_name_that_does_not_resolve_is_absence() -> None:
    presence = await ask_presence("bmc.invalid.", 623)
    assert presence.absent.startswith("its name cannot be resolved: ")
