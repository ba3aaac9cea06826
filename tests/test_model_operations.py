"""Long actions and kept replies survive the way to JSON and back."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from provisioner.model.operations import ItemResult, Operation, OperationState, Reply

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def operation(**fields):
    return Operation(id="o1", action="power", machines=("m1",), started_at=NOW, **fields)


@pytest.mark.parametrize(
    "value",
    [
        operation(results=(ItemResult("m1", "n1", 409, "conflict", "it is locked"),)),
        Reply(key="k", fingerprint="f", begun_at=NOW, body=b"\x00sealed\xff"),
    ],
)
def test_it_comes_back_from_json_as_it_was(value):
    assert msgspec.json.decode(msgspec.json.encode(value), type=type(value)) == value


@pytest.mark.parametrize("state", OperationState)
def test_an_operation_is_final_unless_it_runs(state):
    assert operation(state=state).final is (state is not OperationState.RUNNING)
