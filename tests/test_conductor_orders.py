"""Work orders: which sources, params and grants an agent is handed with a job."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from agent.render import Renderer
from provisioner.conductor.orders import Orders
from provisioner.model import EraseGrant, Job, Machine, Task, TaskFile
from tests.parts import START, WHERE, opened

MACHINE = Machine(id="m", name="n1", created_at=START, updated_at=START, params={"secret": "s"})
JOB = Job(id="00", machine="m", task="greet", created_at=START)


@pytest.fixture
async def orders(tmp_path):
    async with opened(tmp_path) as parts:
        yield Orders(parts.ledger, parts.catalog, parts.logs, Renderer())


async def test_a_file_by_template_comes_under_the_templates_name(orders):
    task = Task(name="greet", files=(TaskFile("run", template="shared/hello"),))
    order = await orders.make(MACHINE, JOB, task, WHERE)
    assert [(file.name, file.template) for file in order.files] == [("run", "shared/hello")]
    assert order.templates == {"shared/hello": "hello {{ machine.name }}\n"}


async def test_an_inline_file_brings_the_templates_it_includes(orders):
    task = Task(name="greet", files=(TaskFile("run", contents='{% include "shared/hello" %}'),))
    order = await orders.make(MACHINE, JOB, task, WHERE)
    assert sorted(order.templates) == ["greet/run", "shared/hello"]


async def test_a_source_that_is_no_template_is_handed_over_for_the_agent_to_refuse(orders):
    task = Task(name="greet", files=(TaskFile("run", contents="{% if %}"),))
    order = await orders.make(MACHINE, JOB, task, WHERE)
    assert order.templates == {"greet/run": "{% if %}"}


async def test_a_secure_param_goes_only_to_tasks_that_declare_it(orders):
    plain = await orders.make(MACHINE, JOB, Task(name="a"), WHERE)
    told = await orders.make(MACHINE, JOB, Task(name="a", optional_params=("secret",)), WHERE)
    assert "secret" not in plain.context["params"]
    assert told.context["params"]["secret"] == "s"


async def test_an_expired_erase_grant_is_not_handed_over(orders):
    grants = tuple(EraseGrant(disk, START + timedelta(hours=hours)) for disk, hours in (("old", -1), ("new", 1)))
    order = await orders.make(replace(MACHINE, erase_grants=grants), JOB, Task(name="a"), WHERE)
    assert [grant.disk for grant in order.context["machine"]["erase_grants"]] == ["new"]
