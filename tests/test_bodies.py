"""JSON from outside: every fault is named by its path, all of them at once."""

from datetime import datetime
from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from provisioner.bodies import DEEPEST, convert, decode, parse
from provisioner.conductor.machine_changes import MachineChange
from provisioner.errors import Invalid
from provisioner.model.content import Stage, Task
from provisioner.model.machines import Job


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"\xff",
        b"NaN",
        b"1e400",
        b'"\\ud800"',
        b"1" * 10_000,
        b"[" * 100_000,
        b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_json_is_refused(data):
    with pytest.raises(Invalid) as caught:
        parse(data)
    assert (caught.value.status, caught.value.code) == (400, "not-json")


def test_brackets_count_only_where_they_nest():
    assert parse(b'"' + b'[\\"' * 500 + b'"')
    assert len(parse(b"[" + b",".join([b"[]"] * 500) + b"]")) == 500
    nested = b"[" * DEEPEST + b"]" * DEEPEST
    assert msgspec.json.encode(parse(nested)) == nested


def test_no_body_is_an_empty_object():
    assert decode(b"", MachineChange) == MachineChange()


@pytest.mark.parametrize(
    ("document", "cls", "paths"),
    [
        ([], Stage, ["body"]),
        ({}, Stage, ["name"]),
        ({"name": 1, "tasks": ["x", 2, 3], "colour": "red"}, Stage, ["name", "tasks[1]", "tasks[2]", "colour"]),
        (
            {"name": "a", "files": [{"nam": "x"}], "retry": {"max": "3"}},
            Task,
            ["files[0].nam", "files[0].name", "retry.max"],
        ),
        ({"name": "a", "meta": {"k": 1}, "params": []}, Stage, ["meta.k", "params"]),
        ({"name": None, "runnable": "yes", "current_task": 1.5}, MachineChange, ["name", "runnable", "current_task"]),
        ({"id": "j", "machine": "m", "task": "t", "created_at": "now", "state": "odd"}, Job, ["created_at", "state"]),
    ],
    ids=str,
)  # fmt: skip
def test_every_wrong_field_is_named(document, cls, paths):
    with pytest.raises(Invalid) as caught:
        convert(document, cls)
    assert caught.value.status == 422
    assert [fault.path for fault in caught.value.fields] == paths


def test_a_wrong_word_is_answered_with_the_right_ones():
    job = {"id": "j", "machine": "m", "task": "t", "created_at": "2026-01-01T00:00:00Z", "state": "odd"}
    with pytest.raises(Invalid, match="'odd' is not one of: created, running, incomplete, finished"):
        convert(job, Job)


@pytest.mark.parametrize(
    ("value", "kind", "says"),
    [
        (5, str, "must be text, not a whole number"),
        ("5", int | None, "must be a whole number, not text"),
        ("yes", bool, "must be true or false, not text"),
        ({}, list[str], "must be a list, not an object"),
        (True, float, "must be a number, not true or false"),
        ("short", Annotated[str, Meta(min_length=8)], "must have 8 or more characters"),
        ("long", Annotated[str, Meta(max_length=3)], "must have at most 3 characters"),
        (-1, Annotated[int, Meta(ge=0)], "must be 0 or more"),
        (0, Annotated[float, Meta(gt=0)], "must be more than 0.0"),
        (101, Annotated[int, Meta(le=100)], "must be at most 100"),
        ("today", datetime, "must be a time such as 2030-05-01T12:00:00Z"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_in_words_of_ours_and_without_the_value(value, kind, says):
    with pytest.raises(Invalid) as caught:
        convert(value, kind)
    assert [each.message for each in caught.value.fields] == [says]


def test_an_unknown_field_is_answered_with_those_there_are():
    with pytest.raises(Invalid, match="colour: unknown field; there is: bootenv, description"):
        convert({"name": "a", "colour": 1}, Stage)
