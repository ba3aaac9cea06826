"""What an event says is read whatever shape it has."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from provisioner.events import Event
from provisioner.services.ui_event_data import bracketed, is_marker, number, text


def job_end(**data):
    return Event(time=datetime(2026, 3, 1, tzinfo=UTC), kind="job.end", data=data)


@pytest.mark.parametrize(("value", "expected"), [("a", "a"), (0, "0"), (None, ""), ([1], "[1]")])
def test_what_is_said_is_text(value, expected):
    assert text(job_end(x=value), "x") == expected


def test_what_is_not_said_is_empty():
    assert text(job_end(), "x") == ""


@pytest.mark.parametrize(("value", "expected"), [(3, 3), (0.5, 0.5), (True, None), ("3", None), (10**400, None)])
def test_only_numbers_that_can_be_reckoned_with_are_numbers(value, expected):
    assert number(value) == expected


def test_what_is_not_known_has_no_brackets():
    assert bracketed("done", "", "") == "done"
    assert bracketed("done", "a", "", "b") == "done (a, b)"


@pytest.mark.parametrize(("task", "expected"), [("stage:write", True), ("bootenv:local", True), ("image", False)])
def test_jobs_that_only_record_a_change_are_markers(task, expected):
    assert is_marker(job_end(task=task)) is expected
