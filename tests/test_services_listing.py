"""Lists: filtered by any field, sorted, counted and paged."""

import pytest

from provisioner.errors import Invalid
from provisioner.model import Job, JobState, Machine
from provisioner.services.listing import page
from tests.parts import START


def machine(name, **fields):
    return Machine(id=f"id-{name}", name=name, created_at=START, updated_at=START, **fields)


MACHINES = [
    machine("b", macs=("m1", "m2"), params={"count": 2}, meta={"row": "1"}, runnable=True, tasks=("t",)),
    machine("a", params={"count": 10}, errors=("broken",)),
    machine("c", meta={"row": "1"}),
]


def names(query):
    return page(MACHINES, Machine, query, lambda each: each.name).items


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["b", "a", "c"]),
        ({"name": "a"}, ["a"]),
        ({"macs": "m2"}, ["b"]),
        ({"runnable": "true"}, ["b"]),
        ({"available": "false"}, ["a"]),
        ({"done": "false"}, ["b"]),
        ({"params.count": "10"}, ["a"]),
        ({"meta.row": "1", "runnable": "false"}, ["c"]),
        ({"not_before": ""}, ["b", "a", "c"]),
        ({"name": "x"}, []),
        ({"sort": "name"}, ["a", "b", "c"]),
        ({"sort": "-name"}, ["c", "b", "a"]),
        ({"sort": "params.count"}, ["c", "b", "a"]),
        ({"sort": "meta.row,-name"}, ["a", "c", "b"]),
        ({"sort": "created_at,name"}, ["a", "b", "c"]),
        ({"limit": "2"}, ["b", "a"]),
        ({"limit": "2", "cursor": "2"}, ["c"]),
        ({"cursor": "9"}, []),
    ],
    ids=str,
)
def test_a_query_finds(query, found):
    assert names(query) == found


def test_a_page_counts_all_and_says_where_the_next_begins():
    first = page(MACHINES, Machine, {"limit": "2"}, lambda each: each)
    assert (first.total, first.next) == (3, "2")
    assert page(MACHINES, Machine, {"cursor": "2"}, lambda each: each).next is None


def test_states_are_compared_by_their_words():
    job = Job(id="j", machine="m", task="t", state=JobState.FAILED, created_at=START)
    assert page([job], Job, {"state": "failed", "sort": "state"}, lambda each: each.id).items == ["j"]


WRONG = [{"x": "1"}, {"sort": "x"}, {"sort": "-x"}, {"name.x": "1"}, {"name": "none", "y": ""}]


@pytest.mark.parametrize("query", WRONG, ids=str)
def test_an_unknown_field_is_named_with_those_there_are(query):
    with pytest.raises(Invalid, match="there is no field .*; there is: .*name") as caught:
        names(query)
    assert caught.value.status == 400 and caught.value.fields


@pytest.mark.parametrize("name", ["available", "done", "params.x"])
def test_what_only_machines_have_cannot_be_asked_of_jobs(name):
    job = Job(id="j", machine="m", task="t", created_at=START)
    with pytest.raises(Invalid):
        page([job], Job, {name: "true"}, lambda each: each)


@pytest.mark.parametrize("name", ["limit", "cursor"])
@pytest.mark.parametrize("text", ["-1", "x", "", "1.5", "٣", "9" * 17, "0" * 18 + "9" * 30, "0" * 5000])
def test_a_wrong_number_is_named_with_its_range(name, text):
    with pytest.raises(Invalid, match=f"{name}: .* is not a whole number up to") as caught:
        names({name: text})
    assert caught.value.status == 400
