"""Lists: filtered by any field, sorted, counted and paged."""

from operator import attrgetter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.errors import Invalid
from provisioner.model.addresses import Lease, LeaseState
from provisioner.model.machines import Job, Machine
from provisioner.services.listing import Listing, flag
from tests.parts import START


def machine(name, **fields):
    return Machine(id=f"id-{name}", name=name, created_at=START, updated_at=START, **fields)


MACHINES = [
    machine("b", macs=("m1", "m2"), params={"count": 2}, meta={"row": "1"}, runnable=True, tasks=("t",)),
    machine("a", params={"count": 10}, errors=("broken",)),
    machine("c", meta={"row": "1"}),
]


LISTING = Listing(Machine, attrgetter("id"), "name", {"available": attrgetter("available"), "done": attrgetter("done")})
JOBS = Listing(Job, attrgetter("id"), "created_at")


def names(query):
    return LISTING.page(MACHINES, query, lambda each: each.name).items


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["a", "b", "c"]),
        ({"name": "a"}, ["a"]),
        ({"macs": "m2"}, ["b"]),
        ({"runnable": "true"}, ["b"]),
        ({"available": "false"}, ["a"]),
        ({"done": "false"}, ["b"]),
        ({"params.count": "10"}, ["a"]),
        ({"meta.row": "1", "runnable": "false"}, ["c"]),
        ({"not_before": ""}, ["a", "b", "c"]),
        ({"name": "x"}, []),
        ({"sort": "name"}, ["a", "b", "c"]),
        ({"sort": "-name"}, ["c", "b", "a"]),
        ({"sort": "params.count"}, ["c", "b", "a"]),
        ({"sort": "meta.row,-name"}, ["a", "c", "b"]),
        ({"sort": "created_at,name"}, ["a", "b", "c"]),
        ({"limit": "2"}, ["a", "b"]),
        ({"sort": "-params.count,name"}, ["a", "b", "c"]),
        ({"name:ne": "a"}, ["b", "c"]),
        ({"name:in": "a,c,x"}, ["a", "c"]),
        ({"name:gt": "a", "name:lt": "c"}, ["b"]),
        ({"macs:ne": "m2"}, ["a", "c"]),
        ({"macs:like": "M*"}, ["b"]),
        ({"params.count:ge": "10"}, ["a"]),
        ({"params.count:lt": "10"}, ["b"]),
        ({"params.count:lt": "x"}, []),
        ({"params.count:exists": "false"}, ["c"]),
        ({"created_at": "2026-01-01T13:00:00+01:00"}, ["a", "b", "c"]),
        ({"created_at:gt": "2026-01-01"}, ["a", "b", "c"]),
        ({"created_at:lt": "2026-01-01T12:00:00Z"}, []),
        ({"agent.version": ""}, ["a", "b", "c"]),
        ({"agent.version:has": "1"}, []),
        ({"errors:has": "ROKE"}, ["a"]),
    ],
    ids=str,
)
def test_a_query_finds(query, found):
    assert names(query) == found


def pages(objects, query, change=lambda seen: None):
    """Names on all pages; `change` does what it likes to the objects between two of them."""
    seen, asked = [], dict(query)
    while True:
        page = LISTING.page(objects, asked, lambda each: each.name)
        seen += page.items
        if page.next is None:
            return seen
        asked["cursor"] = page.next
        change(seen)


def test_a_page_counts_all_and_says_where_the_next_begins():
    first = LISTING.page(MACHINES, {"limit": "2"}, lambda each: each.name)
    assert (first.items, first.total) == (["a", "b"], 3)
    second = LISTING.page(MACHINES, {"limit": "2", "cursor": first.next}, lambda each: each.name)
    assert (second.items, second.total, second.next) == (["c"], 3, None)


@pytest.mark.parametrize("sort", ["name", "-name", "meta.row,-name", "-params.count", "created_at", "-updated_at,-id"])
@pytest.mark.parametrize("limit", ["1", "2", "7"])
def test_pages_show_everything_once(sort, limit):
    many = [machine(f"n{number}", params={"count": number % 3}, meta={"row": str(number % 2)}) for number in range(9)]
    whole = LISTING.page(many, {"sort": sort}, lambda each: each.name).items
    assert pages(many, {"sort": sort, "limit": limit}) == whole


def test_what_is_made_and_deleted_between_pages_neither_doubles_nor_hides_what_stays():
    many = {name: machine(name) for name in "bdfhj"}

    def change(seen):
        many.pop(seen[-1], None)
        many.setdefault("a", machine("a"))
        many.setdefault("i", machine("i"))

    class Living:
        def __iter__(self):
            return iter(list(many.values()))

    assert pages(Living(), {"limit": "2"}, change) == ["b", "d", "f", "h", "i", "j"]


@given(st.lists(st.tuples(st.none() | st.integers() | st.text(max_size=2), st.sampled_from("abc"))), st.booleans())
def test_any_values_are_sorted_and_paged(values, down):
    many = [machine(f"n{place}", params={"x": value}, meta={"y": row}) for place, (value, row) in enumerate(values)]
    query = {"sort": f"{'-' if down else ''}params.x,meta.y", "limit": "2"}
    assert sorted(pages(many, query)) == sorted(each.name for each in many)


@pytest.mark.parametrize("cursor", ["", "2", "x" * 300, "W10", "WyJuYW1lIixbMV1d", "\u00e9"])
def test_what_is_no_cursor_of_this_list_is_refused(cursor):
    with pytest.raises(Invalid, match="cursor: is not the `next`"):
        names({"cursor": cursor})


def test_a_cursor_belongs_to_its_order():
    page = LISTING.page(MACHINES, {"limit": "1"}, lambda each: each)
    with pytest.raises(Invalid, match="cursor"):
        names({"cursor": page.next, "sort": "-name"})


def test_addresses_are_sorted_as_numbers():
    leases = [
        Lease(address=f"10.0.0.{last}", mac="m", state=LeaseState.ACKED, expires_at=START) for last in (10, 9, 100)
    ]
    found = Listing(Lease, attrgetter("address"), "address").page(leases, {}, lambda each: each.address).items
    assert found == ["10.0.0.9", "10.0.0.10", "10.0.0.100"]


@pytest.mark.parametrize("sort", ["address", "-address"])
def test_addresses_of_ipv6_come_after_those_of_ipv4_and_pages_show_all(sort):
    texts = ["fd00::10", "fd00::9", "10.0.0.10", "fd00::1:0", "10.0.0.9"]
    leases = [Lease(address=each, mac="m", state=LeaseState.ACKED, expires_at=START) for each in texts]
    listing, found, query = Listing(Lease, attrgetter("address"), "address"), [], {"sort": sort, "limit": "2"}
    while True:
        page = listing.page(leases, query, lambda each: each.address)
        found += page.items
        if not page.next:
            break
        query["cursor"] = page.next
    expected = ["10.0.0.9", "10.0.0.10", "fd00::9", "fd00::10", "fd00::1:0"]
    assert found == (expected if sort == "address" else expected[::-1])


def test_a_flag_is_true_or_false():
    assert flag({"x": "true"}, "x") and not flag({}, "x")
    with pytest.raises(Invalid, match="'yes' is not true or false"):
        flag({"x": "yes"}, "x")


WRONG = [
    {"x": "1"},
    {"x:ne": "1"},
    {"agent.x": "1"},
    {"agent.version.x": "1"},
    {"not_before.year": "1"},
    {"sort": "x"},
    {"sort": "-x"},
    {"name.x": "1"},
    {"name": "none", "y": ""},
]


@pytest.mark.parametrize("query", WRONG, ids=str)
def test_an_unknown_field_is_named_with_those_there_are(query):
    with pytest.raises(Invalid, match="there is no field .*; there is: .*name") as caught:
        names(query)
    assert caught.value.status == 400 and caught.value.fields


@pytest.mark.parametrize("name", ["available", "done", "params.x"])
def test_what_only_machines_have_cannot_be_asked_of_jobs(name):
    job = Job(id="j", machine="m", task="t", created_at=START)
    with pytest.raises(Invalid):
        JOBS.page([job], {name: "true"}, lambda each: each)


@pytest.mark.parametrize("text", ["-1", "x", "", "1.5", "٣", "0", "1001", "9" * 17, "0" * 18 + "9" * 30, "0" * 5000])
def test_a_wrong_limit_is_named_with_its_range(text):
    with pytest.raises(Invalid, match="limit: .* is not a whole number from 1 to") as caught:
        names({"limit": text})
    assert caught.value.status == 400


def test_an_unknown_operator_is_named_with_those_there_are():
    with pytest.raises(Invalid, match="there is no operator 'near'; there is: eq, ne, lt"):
        names({"name:near": "a"})


@pytest.mark.parametrize("query", [{"name:exists": "x"}, {"name:like": "*" * 300}], ids=str)
def test_what_an_operator_cannot_take_is_refused(query):
    with pytest.raises(Invalid) as caught:
        names(query)
    assert caught.value.status == 400 and caught.value.fields[0].path in query
