"""A machine is available while all that it refers to exists and suits it."""

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from provisioner.availability import bootenv_fault, machine_problems, with_availability
from provisioner.model.content import BootArch, Bootenv, Profile, Stage, Task, Workflow
from provisioner.model.machines import Hold, Machine
from provisioner.plan import PAUSED, hold

NOW = datetime(2026, 1, 1, tzinfo=UTC)
VIEW = {
    "workflows": {"w": Workflow(name="w", stages=("s",))},
    "stages": {"s": Stage(name="s", tasks=("t",))},
    "tasks": {"t": Task(name="t")},
    "profiles": {"p": Profile(name="p")},
    "bootenvs": {
        "local": Bootenv(name="local"),
        "net": Bootenv(name="net", arch={"arm64": BootArch("k")}),
        "strangers": Bootenv(name="strangers", arch={"amd64": BootArch("k")}, only_unknown=True),
    },
}
GOOD = Machine(
    id="m", name="m", created_at=NOW, updated_at=NOW, runnable=True, workflow="w", stage="s", profiles=("p",),
    tasks=("stage:s", "bootenv:local", "t", "action:power-on"),
)  # fmt: skip


def without(kind):
    return {**VIEW, kind: {}}


def test_a_machine_whose_names_all_exist_is_available():
    assert machine_problems(GOOD, VIEW) == () and with_availability(GOOD, VIEW) == GOOD


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("workflows", "unknown workflow 'w'; there is none yet"),
        ("stages", "unknown stage 's'; there is none yet"),
        ("profiles", "unknown profile 'p'; there is none yet"),
        ("bootenvs", "unknown bootenv 'local'; there is none yet"),
        ("tasks", "its work names task 't', which does not exist"),
    ],
)
def test_a_name_that_is_gone_makes_it_unavailable_with_the_reason(kind, reason):
    held = with_availability(GOOD, without(kind))
    assert held.errors[0] == reason and not held.available
    assert (held.runnable, held.hold) == (False, Hold.ERRORS) and reason in held.waiting_for


def test_it_goes_on_when_that_is_mended():
    assert with_availability(with_availability(GOOD, without("tasks")), VIEW) == GOOD


def test_a_machine_that_waits_for_something_else_goes_on_waiting_for_that():
    paused = hold(GOOD, Hold.PAUSED, PAUSED)
    broken = with_availability(paused, without("tasks"))
    assert broken.errors and (broken.hold, broken.waiting_for) == (Hold.PAUSED, PAUSED)
    assert with_availability(broken, VIEW) == paused


def test_work_that_is_done_may_be_gone():
    assert machine_problems(replace(GOOD, current_task=3), without("tasks")) == ()


def test_a_bootenv_must_suit_the_machine():
    assert bootenv_fault(GOOD, "net", VIEW) == "bootenv 'net' has nothing for amd64; it has: arm64"
    assert bootenv_fault(GOOD, "strangers", VIEW) == "bootenv 'strangers' is for unknown machines only"
    assert bootenv_fault(GOOD, "local", VIEW) == "" and bootenv_fault(GOOD, "none", VIEW) == ""


def test_a_bootenv_still_to_come_is_looked_at_too():
    ahead = replace(GOOD, tasks=("t", "bootenv:net"))
    assert machine_problems(ahead, VIEW) == ("bootenv 'net' has nothing for amd64; it has: arm64",)


def test_reasons_that_change_are_told_anew():
    once = with_availability(GOOD, without("tasks"))
    twice = with_availability(once, {**without("tasks"), "profiles": {}})
    assert "unknown profile" in twice.waiting_for and twice.hold is Hold.ERRORS
