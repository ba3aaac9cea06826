"""Machines and jobs survive the way to JSON and back, and know when they are done."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from provisioner.model.machines import FINAL_STATES, LIVE_STATES, Job, JobState, Machine

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def machine(**fields):
    return Machine(id="m1", name="m1", created_at=NOW, updated_at=NOW, **fields)


def test_a_machine_comes_back_from_json_as_it_was():
    value = machine(macs=("a",), not_before=NOW)
    assert msgspec.json.decode(msgspec.json.encode(value), type=Machine) == value


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
