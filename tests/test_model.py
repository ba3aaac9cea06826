"""The words survive the way to JSON and back, and refuse what they do not know."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from provisioner.model import CONTENT_KINDS, FINAL_STATES, LIVE_STATES, BootArch, Bootenv, Job, JobState, Machine

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def machine(**fields):
    return Machine(id="m1", name="m1", created_at=NOW, updated_at=NOW, **fields)


@pytest.mark.parametrize("cls", CONTENT_KINDS.values())
def test_content_comes_back_from_json_as_it_was(cls):
    value = cls(name="x", meta={"color": "blue"})
    assert msgspec.json.decode(msgspec.json.encode(value), type=cls) == value


def test_a_machine_comes_back_from_json_as_it_was():
    value = machine(macs=("a",), not_before=NOW)
    assert msgspec.json.decode(msgspec.json.encode(value), type=Machine) == value


@pytest.mark.parametrize("cls", CONTENT_KINDS.values())
def test_an_unknown_field_is_refused(cls):
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"name": "x", "nonsense": 1}, cls)


def test_a_machine_with_errors_is_not_available():
    assert machine().available and not machine(errors=("x",)).available


@pytest.mark.parametrize(("place", "done"), [(-1, False), (0, False), (1, True)])
def test_a_machine_is_done_after_its_last_task(place, done):
    assert machine(tasks=("t",), current_task=place).done is done


@pytest.mark.parametrize("state", JobState)
def test_a_job_is_final_live_or_incomplete(state):
    job = Job(id="j", machine="m1", task="t", state=state, created_at=NOW)
    assert [job.final, state in LIVE_STATES, state is JobState.INCOMPLETE].count(True) == 1
    assert job.final == (state in FINAL_STATES)


def test_a_bootenv_netboots_with_an_architecture_and_installs_by_its_name():
    assert Bootenv(name="x-install", arch={"amd64": BootArch(kernel="k")}).netboots
    assert Bootenv(name="x-install").installs and not Bootenv(name="local").netboots
