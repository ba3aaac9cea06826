"""Saving a machine tells what changed about it, and only that."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from provisioner.bus import Bus
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.record import save_machine
from provisioner.model.machines import Machine
from provisioner.store.database import Database

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OLD = Machine(id="m1", name="m1", created_at=NOW, updated_at=NOW, tasks=("t",))


@pytest.fixture
def tx(tmp_path):
    return Ledger(Database(tmp_path / "unused"), Bus(), lambda: NOW).transaction()


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ({"workflow": "w"}, ["machine.workflow"]),
        ({"stage": "s"}, ["machine.stage"]),
        ({"bootenv": "b", "runnable": True}, ["machine.bootenv", "machine.runnable"]),
        ({"waiting_for": "boot"}, ["machine.runnable"]),
        ({"current_task": 1}, ["machine.complete"]),
        ({"tasks": (), "current_task": 0}, []),
        ({"description": "x"}, []),
    ],
)
def test_each_difference_is_told(tx, change, kinds):
    saved = save_machine(tx, OLD, replace(OLD, **change))
    assert [(event.kind, event.machine, event.key) for event in tx] == [(kind, "m1", "m1") for kind in kinds]
    assert tx.get(Machine, "m1") == saved and saved.revision == 1


def test_no_difference_saves_nothing(tx):
    assert save_machine(tx, OLD, replace(OLD)) is OLD
    assert tx.get(Machine, "m1") is None


def test_completion_is_told_once(tx):
    done = replace(OLD, current_task=1)
    save_machine(tx, done, replace(done, description="x"))
    assert list(tx) == []
