"""Bulk work and operations through HTTP."""

import asyncio

import pytest

from provisioner.conductor.machine_changes import NewMachine
from provisioner.model.machines import Machine
from provisioner.model.operations import Operation
from tests.parts import BMC, OPERATOR, opened, operator, serving

BULK = "/api/v1/bulk/machines"


@pytest.fixture
async def parts(tmp_path):
    async with opened(tmp_path) as parts:
        for number in range(3):
            asked = NewMachine(f"n{number}", meta={"rack": str(number % 2)}, params=BMC if number else {})
            await parts.machines.create(asked, OPERATOR)
        yield parts


async def answer(client, body, status=200):
    response = await client.post(BULK, json=body)
    said = await response.json()
    assert response.status == status, said
    return said


async def test_machines_that_fit_a_filter_are_changed_and_answered_by_name(parts):
    async with await operator(parts) as client:
        done = await answer(client, {"filter": "meta.rack=0", "change": {"workflow": "deploy"}})
        assert (done["total"], done["done"], done["failed"], done["dry_run"]) == (2, 2, 0, False)
        assert [(item["name"], item["status"], item["code"]) for item in done["items"]] == [
            ("n0", 200, "ok"),
            ("n2", 200, "ok"),
        ]
        assert {machine.name: machine.workflow for machine in parts.ledger.all(Machine)} == {
            "n0": "deploy",
            "n1": "",
            "n2": "deploy",
        }


async def test_named_machines_are_each_answered_once_whatever_becomes_of_others(parts):
    async with await operator(parts) as client:
        done = await answer(client, {"machines": ["n1", "ghost", "n1"], "change": {"description": "x"}})
        assert [(item["name"], item["status"]) for item in done["items"]] == [("n1", 200), ("ghost", 404)]


async def test_an_empty_filter_is_all_machines_and_a_dry_run_changes_none(parts):
    async with await operator(parts) as client:
        done = await answer(client, {"filter": "", "verb": "delete", "dry_run": True})
        assert done["total"] == done["done"] == 3 and len(list(parts.ledger.all(Machine))) == 3
        assert (await answer(client, {"filter": "", "verb": "delete"}))["done"] == 3
        assert list(parts.ledger.all(Machine)) == []


async def test_a_filter_may_look_at_params_from_anywhere(parts):
    async with await operator(parts) as client:
        fitting = {"filter": "aggregate=true&params.count=3", "verb": "restart", "dry_run": True}
        assert (await answer(client, fitting))["total"] == 3


@pytest.mark.parametrize(
    ("body", "status", "path"),
    [
        ({"change": {}}, 422, "filter"),
        ({"filter": "", "machines": [], "verb": "delete"}, 422, "filter"),
        ({"filter": "", "verb": "explode"}, 422, "verb"),
        ({"filter": "limit=1", "verb": "delete"}, 422, "filter"),
        ({"filter": "stage", "verb": "delete"}, 422, "filter"),
        ({"filter": "colour=red", "verb": "delete"}, 400, "colour"),
        ({"machines": ["n1"], "change": {"colour": 1}}, 422, "change.colour"),
        ({"machines": ["n1"], "chnage": {}}, 422, "chnage"),
    ],
    ids=str,
)
async def test_what_makes_no_sense_is_refused_and_changes_nothing(parts, body, status, path):
    before = list(parts.ledger.all(Machine))
    async with await operator(parts) as client:
        said = await answer(client, body, status)
        assert [error["path"] for error in said["errors"]] == [path]
    assert list(parts.ledger.all(Machine)) == before


async def test_power_of_many_is_an_operation_to_follow(parts):
    running = asyncio.create_task(parts.operations.run())
    async with await operator(parts) as client:
        response = await client.post(BULK, json={"filter": "", "action": "power-on"})
        begun = await response.json()
        where = response.headers["Location"]
        assert response.status == 202 and where == f"/api/v1/operations/{begun['id']}"
        while not parts.operations.find(begun["id"]).final:
            await parts.ledger.changed(Operation, begun["id"], 10)
        done = await (await client.get(where)).json()
        assert (done["state"], done["error"]) == ("failed", "failed for 1 of 3 machines")
        assert {each["name"]: each["status"] for each in done["results"]} == {"n0": 422, "n1": 200, "n2": 200}
        listed = await (await client.get("/api/v1/operations", params={"action": "power-on"})).json()
        assert listed["total"] == 1 and listed["items"][0]["id"] == begun["id"]
        assert (await client.get("/api/v1/operations/x")).status == 404
    running.cancel()


async def test_only_users_do_bulk_work(parts):
    async with serving(parts.agents_app()) as client:
        assert (await client.post(BULK, json={"filter": "", "verb": "delete"})).status == 401
