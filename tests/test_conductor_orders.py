"""Work orders: which sources, params and grants an agent is handed with a job."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from agent.render import Renderer
from provisioner.conductor.orders import Orders
from provisioner.model.content import Param, Task, TaskFile, Template
from provisioner.model.machines import EraseGrant, Job, Machine
from tests.parts import OPERATOR, START, WHERE

MACHINE = Machine(id="m", name="n1", created_at=START, updated_at=START, params={"secret": "s"})
JOB = Job(id="00", machine="m", task="greet", created_at=START)


@pytest.fixture
async def orders(parts):
    """Makes the order for a job of a task."""
    made = Orders(parts.ledger, parts.catalog, parts.logs, Renderer())

    async def make(machine, job, task, **how):
        return await made.make(machine, job, task, WHERE, parts.catalog.values.of(machine, WHERE.as_context), **how)

    return make


async def test_a_file_by_template_comes_under_the_templates_name(orders):
    task = Task(name="greet", files=(TaskFile("run", template="shared/hello"),))
    order = await orders(MACHINE, JOB, task)
    assert [(file.name, file.template) for file in order.files] == [("run", "shared/hello")]
    assert order.templates == {"shared/hello": "hello {{ machine.name }}\n"}


async def test_an_inline_file_brings_the_templates_it_includes(orders):
    task = Task(name="greet", files=(TaskFile("run", contents='{% include "shared/hello" %}'),))
    order = await orders(MACHINE, JOB, task)
    assert sorted(order.templates) == ["greet/run", "shared/hello"]


async def test_a_source_that_is_no_template_is_handed_over_for_the_agent_to_refuse(orders):
    task = Task(name="greet", files=(TaskFile("run", contents="{% if %}"),))
    order = await orders(MACHINE, JOB, task)
    assert order.templates == {"greet/run": "{% if %}"}


async def test_a_secure_param_goes_only_to_tasks_that_declare_it(orders):
    plain = await orders(MACHINE, JOB, Task(name="a"))
    told = await orders(MACHINE, JOB, Task(name="a", optional_params=("secret",)))
    assert "secret" not in plain.context["params"]
    assert told.context["params"]["secret"] == "s"


async def test_an_expired_erase_grant_is_not_handed_over(orders):
    grants = tuple(EraseGrant(disk, START + timedelta(hours=hours)) for disk, hours in (("old", -1), ("new", 1)))
    order = await orders(replace(MACHINE, erase_grants=grants), JOB, Task(name="a"))
    assert [grant.disk for grant in order.context["machine"]["erase_grants"]] == ["new"]


async def test_what_a_task_is_made_of_is_worked_out_once_for_each_content(parts, orders):
    task = parts.catalog.find("tasks", "greet")
    first, second = await orders(MACHINE, JOB, task), await orders(MACHINE, JOB, task)
    assert first.templates is second.templates
    await parts.catalog.put(Template(name="mine", contents="x"), OPERATOR)
    third = await orders(MACHINE, JOB, task)
    assert third.templates == first.templates and third.templates is not first.templates


async def test_a_task_that_was_saved_anew_is_handed_over_anew(parts, orders):
    for text in ("old", "new"):
        await parts.catalog.put(Task(name="mine", files=(TaskFile("run", contents=text),)), OPERATOR)
        order = await orders(MACHINE, JOB, parts.catalog.find("tasks", "mine"))
        assert order.templates == {"mine/run": text}


async def test_a_param_that_cannot_be_expanded_comes_with_the_reason(parts, orders):
    await parts.catalog.put(Param(name="broken", expand=True, default="{{ gone }}"), OPERATOR)
    order = await orders(MACHINE, JOB, Task(name="a"))
    assert "broken" not in order.context["params"]
    assert order.context["param_errors"] == {"broken": "param 'broken' cannot be expanded: 'gone' is undefined"}


async def test_a_param_is_expanded_with_the_address_by_which_the_agent_came(parts, orders):
    await parts.catalog.put(Param(name="url", expand=True, default="{{ server.url }}/x"), OPERATOR)
    order = await orders(MACHINE, JOB, Task(name="a"))
    assert order.context["params"]["url"] == f"{WHERE.url}/x"
