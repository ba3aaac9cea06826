"""Machines through HTTP: bad input gets a 4xx that names the field, and changes nothing."""

import pytest

from provisioner.model import Machine
from tests.parts import BMC, MAC, opened, serving

API = "/api/v1"


@pytest.fixture
async def parts(tmp_path):
    async with opened(tmp_path) as parts:
        yield parts


async def operator(parts):
    return serving(parts.operators_app(), await parts.secret())


async def problem(response, status):
    body = await response.json()
    assert (response.status, response.content_type) == (status, "application/problem+json"), body
    return body


async def test_a_machine_is_made_read_changed_and_deleted(parts):
    async with await operator(parts) as client:
        made = await client.post(f"{API}/machines", json={"name": "n1", "macs": [MAC]})
        assert made.status == 201 and (await made.json())["macs"] == [MAC]
        changed = await client.patch(f"{API}/machines/n1", json={"description": "x", "params": {"secret": "s"}})
        shown = await changed.json()
        assert (shown["description"], shown["params"]) == ("x", {"secret": "********"})
        assert (await (await client.get(f"{API}/machines", params={"name": "n1"})).json())["total"] == 1
        assert (await client.delete(f"{API}/machines/n1")).status == 200
        await problem(await client.get(f"{API}/machines/n1"), 404)


@pytest.mark.parametrize(
    ("body", "status", "path"),
    [
        (b"{", 400, None),
        (b'{"runnable": "yes"}', 422, "runnable"),
        (b'{"name": null}', 422, "name"),
        (b'{"profiles": [1]}', 422, "profiles[0]"),
        (b'{"tasks": []}', 422, "body"),
        (b'{"workflow": "x"}', 422, "workflow"),
        (b'{"params": {"colour": "green"}}', 422, "params.colour"),
    ],
    ids=str,
)
async def test_a_wrong_patch_names_its_field_and_changes_nothing(parts, body, status, path):
    machine = await parts.ready()
    before = parts.machine(machine)
    async with await operator(parts) as client:
        answer = await problem(await client.patch(f"{API}/machines/{machine}", data=body), status)
        assert [error["path"] for error in answer["errors"]] == ([path] if path else [])
    assert parts.ledger.get(Machine, machine) == before


async def test_grants_and_actions(parts):
    machine = await parts.ready(params=BMC)
    async with await operator(parts) as client:
        answer = await client.post(f"{API}/machines/{machine}/grants", json={"disk": "any"})
        assert answer.status == 201 and (await answer.json())["erase_grants"][0]["disk"] == "any"
        await problem(await client.post(f"{API}/machines/{machine}/grants", json={"disk": "any", "hours": 0}), 422)
        assert (await (await client.post(f"{API}/machines/{machine}/actions/power-on")).json())["state"] == "on"
        assert len(await (await client.get(f"{API}/machines/{machine}/actions")).json()) > 5
        await problem(await client.post(f"{API}/machines/{machine}/actions/dance"), 422)
