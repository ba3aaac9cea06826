"""The kernel command line."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.cmdline import boot_mac, parse


def test_what_the_boot_loader_told_us() -> None:
    words = parse(
        "BOOT_IMAGE=vmlinuz quiet provisioner.url=http://10.0.0.1:8091 provisioner.bootenv=discovery "
        "provisioner.ticket=abc=def BOOTIF=01-52-54-00-AA-bb-cc\n"
    )
    assert (words.url, words.bootenv, words.ticket, words.mac) == (
        "http://10.0.0.1:8091",
        "discovery",
        "abc=def",
        "52:54:00:aa:bb:cc",
    )


def test_of_a_word_given_twice_the_last_counts() -> None:
    assert parse("provisioner.bootenv=a provisioner.bootenv=b").bootenv == "b"


def test_quotes_hold_a_value_with_blanks_together() -> None:
    assert parse('x="a provisioner.url=no b" provisioner.url="http://x/"').url == "http://x/"


def test_a_ticket_is_in_no_representation() -> None:
    assert "geheim" not in repr(parse("provisioner.ticket=geheim"))


@pytest.mark.parametrize(
    ("bootif", "mac"),
    [
        ("01-52-54-00-aa-bb-cc", "52:54:00:aa:bb:cc"),
        ("52:54:00:aa:bb:cc", "52:54:00:aa:bb:cc"),
        ("01-52-54-00-aa", ""),
        ("01-52-54-00-aa-bb-zz", ""),
        ("", ""),
    ],
)
def test_the_mac_that_booted(bootif: str, mac: str) -> None:
    assert boot_mac(bootif) == mac


@settings(deadline=None)
@given(st.text())
def test_any_line_is_read_without_an_error(text: str) -> None:
    parse(text)
