"""Params of machines as filters see them."""

from provisioner.conductor.machine_changes import NewMachine
from provisioner.params import Params
from provisioner.services.effective import effective_values, own_values, shown_params
from tests.parts import OPERATOR


async def test_own_and_effective_values_are_told_apart_and_secrets_hidden(parts):
    machine = parts.machine(await parts.ready(profiles=("rack",), params={"secret": "s"}))
    view = parts.catalog.view
    own, effective = own_values(view), effective_values(view)
    assert (own("colour")(machine), effective("colour")(machine)) == (None, "blue")
    assert (own("secret")(machine), effective("secret")(machine)) == ("********", "********")
    assert (own("nowhere")(machine), effective("nowhere")(machine)) == (None, None)
    assert effective("count")(machine) == 3
    shown = shown_params(machine, Params(view))
    assert [shown[name] for name in ("colour", "count", "secret")] == ["blue", 3, "********"]


async def test_machines_that_are_alike_share_what_is_worked_out_but_not_their_own(parts):
    one = parts.machine(await parts.ready(params={"count": 7}))
    other = await parts.machines.create(NewMachine(name="n2"), OPERATOR)
    assert list(map(effective_values(parts.catalog.view)("count"), (one, other))) == [7, 3]


async def test_composed_values_are_put_together(parts):
    machine = parts.machine(await parts.ready(params={"change-stage/map": {"a": "b"}}))
    assert effective_values(parts.catalog.view)("change-stage/map")(machine) == {"a": "b"}
