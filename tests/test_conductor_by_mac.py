"""What each MAC has, whether that is one address or a whole pool."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.conductor.by_mac import ByMac
from provisioner.dhcp_case import Offer
from tests.dhcp_messages import mac

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Counted(str):
    """An address that counts how often any is compared."""

    __slots__ = ()
    comparisons = 0

    def __eq__(self, other):
        Counted.comparisons += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def offer(number, until=NOW):
    return Offer(f"10.8.0.{number}", mac(1), until)


def test_a_mac_that_has_nothing_has_nothing():
    held = ByMac()
    assert held.of(mac(1)) == ()
    held.remove(offer(1))
    assert held.of(mac(1)) == ()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 20)), max_size=80))
def test_what_was_put_is_there_once_for_each_address_in_the_order_it_came(history):
    held, plain = ByMac(), {}
    for moment, (puts, number) in enumerate(history):
        if puts:
            plain[number] = offer(number, NOW.replace(microsecond=moment))
            held.put(plain[number])
        elif number in plain:
            held.remove(plain.pop(number))
        found = held.of(mac(1))
        assert (list(found), len(found), bool(found)) == (list(plain.values()), len(plain), bool(plain))
        assert [found[place] for place in range(len(found))] == list(found[:])


def test_a_router_that_answers_for_a_whole_pool_does_not_make_it_slow():
    many = 1000
    addresses = [Counted(f"10.8.{each >> 8}.{each & 255}") for each in range(many)]
    held = ByMac()
    for until in (NOW, NOW.replace(year=2027)):
        entries = [Offer(each, mac(1), until) for each in addresses]
        for each in entries:
            held.put(each)
        assert list(held.of(mac(1))) == entries
    for each in entries[1:]:
        held.remove(each)
    assert held.of(mac(1)) == (entries[0],)
    assert Counted.comparisons < 50 * many
