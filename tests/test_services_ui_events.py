"""Events as sentences."""

from datetime import UTC, datetime

import pytest

from provisioner.events import KINDS, Event
from provisioner.services.ui_events import tell, tone

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def event(kind, key="", by="", **data):
    return Event(id=7, time=NOW, kind=kind, key=key, by=by, data=data)


def test_an_event_is_told_in_a_sentence():
    assert tell(event("dhcp.offer", "10.0.0.9")).text == "Was offered 10.0.0.9"
    assert tell(event("machine.resume", "n1")).text == "Goes on at its task"


def test_an_event_without_more_to_say_is_told_by_its_plain_words():
    assert tell(event("content.load")).text == "Content loaded"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_told_without_any_data(kind):
    told = tell(event(kind))
    assert told.text
    assert "None" not in told.text
    assert told.source == kind.partition(".")[0]


@pytest.mark.parametrize("kind", KINDS)
def test_data_of_a_surprising_shape_is_no_reason_to_fail(kind):
    names = (
        "bytes",
        "seconds",
        "fields",
        "score",
        "lease_seconds",
        "task",
        "state",
        "exit_code",
        "workflow",
        "attempt",
    )
    assert tell(event(kind, **dict.fromkeys(names, {"odd": [1]}))).text


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        (event("job.end", task="a", state="finished"), "good"),
        (event("job.end", task="a", state="failed"), "bad"),
        (event("job.end", task="stage:a", state="finished"), "faint"),
        (event("job.end", task="stage:a", state="failed"), "bad"),
        (event("job.create", task="a"), "faint"),
        (event("machine.runnable", runnable=False, waiting_for="boot of local"), "plain"),
        (event("machine.runnable", runnable=False, waiting_for="task 'a' failed"), "warn"),
        (event("power.error"), "bad"),
        (event("dhcp.ack"), "plain"),
    ],
)
def test_the_tone_says_what_needs_attention(told, wanted):
    assert tone(told) == wanted


def test_jobs_and_content_are_linked():
    assert tell(event("job.end", "j1", task="a", state="failed")).link == "/jobs/j1"
    assert tell(event("object.put", "tasks/group/a")).link == "/content/tasks/group/a"
    assert tell(event("object.put", "subnets/rack")).link == "/leases"
    assert tell(event("object.put", "users/admin")).link == ""


def test_only_people_are_named_as_causes():
    assert tell(event("machine.update", by="user:admin")).by == "admin"
    assert tell(event("machine.update", by="machine:1234")).by == ""
