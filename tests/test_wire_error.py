"""The error of the codecs."""

from provisioner.errors import Invalid
from provisioner.wire.error import WireError


def test_the_reason_is_for_counting_and_the_message_for_people():
    error = WireError("option runs past the end", "option 12")
    assert (error.reason, error.message) == ("option runs past the end", "option runs past the end: option 12")


def test_a_malformed_packet_is_the_senders_fault():
    assert isinstance(WireError("short"), Invalid)
