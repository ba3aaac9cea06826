"""The lease book against a view that looks at everything each time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from provisioner.bus import Bus
from provisioner.conductor.lease_book import LeaseBook
from provisioner.conductor.ledger import Ledger
from provisioner.dhcp_case import Offer
from provisioner.links import number
from provisioner.model.addresses import Lease, LeaseState, Reservation, Subnet
from tests.dhcp_messages import mac
from tests.fakes.address_view import PlainView

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SUBNET = Subnet(name="rack", cidr="10.77.0.0/24", pool_start="10.77.0.10", pool_end="10.77.0.15", gateway="10.77.0.12")
OURS = ("10.77.0.13",)


class NoDatabase:
    """A store that accepts everything at once."""

    def __init__(self):
        self.fail = False

    def submit(self, batch):
        batch.settled(None)


def lease(last_octet, client=1, seconds=60.0, state=LeaseState.ACKED):
    return Lease(
        address=f"10.77.0.{last_octet}", mac=mac(client), state=state, expires_at=NOW + timedelta(seconds=seconds)
    )


class Pair:
    """The same changes told to a ledger with its book, and to a plain view."""

    def __init__(self):
        self.ledger = Ledger(NoDatabase(), Bus(), lambda: NOW)
        self.book = LeaseBook(self.ledger)
        self.book.follow()
        self.plain = PlainView([SUBNET])
        self.apply(Subnet, SUBNET.name, SUBNET)

    def apply(self, cls, key, value):
        # What a commit does to `current`; without an event loop to wait for it.
        self.ledger._apply(cls, key, value)

    def put(self, value, eager=False):
        if eager:
            self.book.put(value)
        self.apply(Lease, value.address, value)
        self.plain.leases[value.address] = value

    def hold(self, last_octet, client, seconds, until):
        now = NOW + timedelta(seconds=seconds)
        offers = (Offer(f"10.77.0.{last_octet}", mac(client), NOW + timedelta(seconds=until)),)
        self.book.hold(offers, now)
        self.plain.offers |= {each.address: each for each in offers}
        self.plain.lapse(now)

    def delete(self, address):
        self.apply(Lease, address, None)
        self.plain.leases.pop(address, None)

    def reserve(self, address, client):
        self.apply(Reservation, address, Reservation(address=address, mac=mac(client)))
        self.plain.reservations = list(self.ledger.all(Reservation))

    def unreserve(self, address):
        self.apply(Reservation, address, None)
        self.plain.reservations = list(self.ledger.all(Reservation))

    def free(self, seconds=0.0):
        now = NOW + timedelta(seconds=seconds)
        network = self.book.link(SUBNET.pool_start).here
        return free(self.book, network, now), free(self.plain, network, now)


def free(view, network, now):
    return view.next_free(network, now, OURS) or view.most_expired(network, now, OURS)


def test_addresses_never_used_come_in_order():
    pair = Pair()
    assert pair.free()[0] == "10.77.0.10"
    pair.put(lease(10))
    assert pair.free()[0] == "10.77.0.11"


def test_looking_for_a_free_address_does_not_take_it():
    pair = Pair()
    assert pair.free()[0] == pair.free()[0]


def test_a_lease_deleted_by_hand_frees_its_address():
    pair = Pair()
    for last_octet in range(10, 16):
        pair.put(lease(last_octet))
    pair.delete("10.77.0.11")
    assert pair.free()[0] == "10.77.0.11"


def test_a_lease_taken_back_frees_its_address_or_gives_it_to_who_had_it_before():
    pair = Pair()
    mine, theirs = lease(10), replace(lease(10), mac="52:54:00:00:00:99")
    pair.book.put(mine)
    pair.book.put(theirs)
    pair.book.put_back(theirs, mine)
    assert pair.book.leases_of(mine.mac) == (mine,)
    assert pair.book.leases_of(theirs.mac) == ()
    pair.book.put_back(mine, None)
    assert pair.free()[0] == "10.77.0.10"


def test_a_reservation_deleted_frees_its_address():
    pair = Pair()
    pair.reserve("10.77.0.10", 9)
    assert pair.free()[0] == "10.77.0.11"
    for last_octet in range(11, 16):
        pair.put(lease(last_octet))
    pair.unreserve("10.77.0.10")
    assert pair.free()[0] == "10.77.0.10"


def test_a_lease_that_passes_to_another_client_is_no_longer_the_first_ones():
    pair = Pair()
    pair.put(lease(10, client=1))
    pair.put(lease(10, client=2))
    assert pair.book.leases_of(mac(1)) == ()
    assert [each.address for each in pair.book.leases_of(mac(2))] == ["10.77.0.10"]


def test_a_change_of_the_pool_counts_at_once():
    pair = Pair()
    pair.put(lease(10))
    moved = Subnet(name="rack", cidr="10.77.0.0/24", pool_start="10.77.0.100", pool_end="10.77.0.101")
    pair.apply(Subnet, "rack", moved)
    assert free(pair.book, pair.book.link("10.77.0.1").here, NOW) == "10.77.0.100"


def test_a_disabled_subnet_covers_nothing():
    pair = Pair()
    pair.apply(Subnet, "rack", Subnet(name="rack", cidr="10.77.0.0/24", enabled=False))
    assert pair.book.link("10.77.0.1") is None


def test_configuration_has_a_generation():
    pair = Pair()
    before = pair.book.generation
    pair.put(lease(10))
    assert pair.book.generation == before
    pair.reserve("10.77.0.10", 1)
    assert pair.book.generation > before


def test_an_address_that_was_ours_is_given_out_when_it_is_not_any_more():
    never, ended, deleted = (Pair() for _ in range(3))
    for pair, seconds in ((never, None), (ended, -60), (deleted, 60)):
        for last_octet in (10, 11, 14, 15):
            pair.put(lease(last_octet))
        if seconds is not None:
            pair.put(lease(13, seconds=seconds))
    assert deleted.free()[0] == ""
    deleted.delete("10.77.0.13")
    for pair in (never, ended, deleted):
        network = pair.book.link(SUBNET.pool_start).here
        assert free(pair.book, network, NOW) == ""
        assert pair.book.upcoming("rack", NOW, (), 9) == ["10.77.0.13"]
        assert free(pair.book, network, NOW) == ""
        found = pair.book.next_free(network, NOW, ()) or pair.book.most_expired(network, NOW, ())
        assert found == "10.77.0.13"
        pair.put(lease(13))
        assert (pair.book.next_free(network, NOW, ()), pair.book.most_expired(network, NOW, ())) == ("", "")


def test_an_address_that_was_renewed_is_as_old_as_its_last_lease():
    pair = Pair()
    assert pair.free()[0] == "10.77.0.10"
    for last_octet in (10, 11, 14, 15):
        pair.put(lease(last_octet, seconds=10 * last_octet))
    for last_octet, seconds in ((10, 400), (14, 300)):
        pair.put(lease(last_octet, seconds=seconds))
    now = NOW + timedelta(seconds=500)
    in_order = [f"10.77.0.{last_octet}" for last_octet in (11, 15, 14, 10)]
    assert pair.book.upcoming("rack", now, OURS, 9) == in_order
    for address in in_order:
        assert pair.free(500)[0] == address
        pair.hold(number(address) & 0xFF, 9, 500, 560)


changes = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(9, 16), st.integers(1, 4), st.integers(0, 20), st.booleans()),
        st.tuples(st.just("hold"), st.integers(9, 16), st.integers(1, 4), st.booleans()),
        st.tuples(st.just("delete"), st.integers(9, 16)),
        st.tuples(st.just("reserve"), st.integers(9, 16), st.integers(1, 4)),
        st.tuples(st.just("unreserve"), st.integers(9, 16)),
        st.tuples(st.just("look"), st.integers(0, 25)),
        st.tuples(st.just("pool"), st.booleans()),
    ),
    max_size=60,
)


@settings(max_examples=400, deadline=None)
@given(changes)
def test_the_book_answers_as_the_plain_view_does_after_any_changes(history):
    pair = Pair()
    clock = 0
    for what, *values in history:
        match what, values:
            case "put", (last_octet, client, seconds, eager):
                pair.put(lease(last_octet, client, clock + seconds), eager)
            case "hold", (last_octet, client, withdrawn):
                pair.hold(last_octet, client, clock, clock + (0 if withdrawn else 10))
            case "delete", (last_octet,):
                pair.delete(f"10.77.0.{last_octet}")
            case "reserve", (last_octet, client):
                pair.reserve(f"10.77.0.{last_octet}", client)
            case "unreserve", (last_octet,):
                pair.unreserve(f"10.77.0.{last_octet}")
            case "pool", (disabled,):
                changed = Subnet(name="hall", cidr="10.9.0.0/24", enabled=not disabled)
                pair.apply(Subnet, "hall", changed)
            case "look", (seconds,):
                clock = max(clock, seconds)
        found, plain = pair.free(clock)
        assert bool(found) == bool(plain)
        if found:
            assert_equally_good(pair, found, plain)
        for client in range(1, 5):
            key = lambda each: each.address  # noqa: E731
            now = NOW + timedelta(seconds=clock)
            on_offer = sorted((each for each in pair.book.offers_of(mac(client)) if each.until > now), key=key)
            assert on_offer == sorted(pair.plain.offers_of(mac(client)), key=key)
            mine = sorted(pair.book.leases_of(mac(client)), key=key)
            assert mine == sorted(pair.plain.leases_of(mac(client)), key=key)


def assert_equally_good(pair, found, plain):
    """Never used ones before expired ones; among the former any order is fine, among the latter the oldest."""
    used = pair.book.lease(found)
    assert (used is None) == (pair.plain.lease(plain) is None)
    if used is None:
        assert found not in pair.plain.leases and number("10.77.0.10") <= number(found) <= number("10.77.0.15")
    else:
        assert used.expires_at == pair.plain.leases[plain].expires_at
    assert pair.plain.reservation(found) is None and found not in (*OURS, SUBNET.gateway)


last_octets = st.integers(10, 15)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(last_octets, st.sampled_from([-300.0, -200.0, -100.0, 60.0])),
    st.sets(last_octets, max_size=2),
    st.sets(last_octets, max_size=3),
)
def test_what_is_given_out_next_is_what_was_said_to_be_upcoming(leases, reserved, deleted):
    pair = Pair()
    for last_octet, seconds in leases.items():
        pair.put(lease(last_octet, last_octet, seconds))
    for last_octet in reserved:
        pair.reserve(f"10.77.0.{last_octet}", 99)
    pair.free()
    for last_octet in deleted:
        pair.delete(f"10.77.0.{last_octet}")
    upcoming = pair.book.upcoming("rack", NOW, OURS, 99)
    given_out = []
    while found := pair.free()[0]:
        given_out.append(found)
        pair.hold(number(found) & 0xFF, 50 + len(given_out), 0, 60)
    assert upcoming == given_out
    assert pair.book.upcoming("nowhere", NOW, OURS, 99) == []
