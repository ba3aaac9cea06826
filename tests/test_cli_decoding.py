"""Objects of the API as values of the model."""

import pytest

from provisioner.cli.decoding import event_of, exact_of, job_of, machine_of
from provisioner.cli.exits import Failure
from provisioner.model.machines import JobState
from tests.fakes.api import event, job, machine


def test_what_the_api_adds_to_a_machine_is_left_out() -> None:
    assert machine_of(machine("web-1", "1", available=True, done=False, from_the_future=1)).name == "web-1"


def test_a_jobs_state_is_a_value_of_the_model() -> None:
    assert job_of(job("1", "2", state="failed")).state is JobState.FAILED


def test_an_events_time_is_aware() -> None:
    assert event_of(event(1, "dhcp.ack")).time.tzinfo is not None


def test_what_is_not_understood_says_why() -> None:
    with pytest.raises(Failure, match="the server's answer is not understood") as caught:
        job_of(job("1", "2", state="levitating"))
    assert "different versions" in caught.value.advice


def test_a_time_is_shown_to_the_second() -> None:
    assert exact_of("2026-11-21T09:34:58.855709Z") == "2026-11-21 09:34:58 UTC"
    assert exact_of(None) == ""
