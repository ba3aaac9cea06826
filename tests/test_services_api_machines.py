"""Machines through HTTP: bad input gets a 4xx that names the field, and changes nothing."""

import asyncio

import pytest

from provisioner.conductor.machine_changes import NewMachine
from provisioner.model.machines import Machine
from tests.parts import BMC, MAC, OPERATOR, operator, problem

API = "/api/v1"
JSON = {"Content-Type": "application/json"}
JSON_PATCH = {"Content-Type": "application/json-patch+json"}


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
        (b'{"tasks": ["x"]}', 422, "tasks"),
        (b'{"id": "x"}', 422, "id"),
        (b'{"colour": "red"}', 422, "colour"),
        (b"[]", 422, "body"),
        (b"", 400, None),
        (b'{"workflow": "x"}', 422, "workflow"),
        (b'{"params": {"colour": "green"}}', 422, "params.colour"),
    ],
    ids=str,
)
async def test_a_wrong_patch_names_its_field_and_changes_nothing(parts, body, status, path):
    machine = await parts.ready()
    before = parts.machine(machine)
    async with await operator(parts) as client:
        answer = await problem(await client.patch(f"{API}/machines/{machine}", data=body, headers=JSON), status)
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


async def shown(client, machine):
    answer = await client.get(f"{API}/machines/{machine}")
    return await answer.json(), answer.headers["ETag"]


async def test_a_wrong_patch_names_every_wrong_field(parts):
    machine = await parts.ready()
    async with await operator(parts) as client:
        sent = {"name": 1, "id": "x", "colour": "red", "runnable": "yes"}
        answer = await problem(await client.patch(f"{API}/machines/{machine}", json=sent), 422)
        assert {error["path"] for error in answer["errors"]} == {"name", "id", "colour", "runnable"}


async def test_a_change_of_what_is_read_only_is_named_and_what_stays_is_not(parts):
    machine = await parts.ready()
    async with await operator(parts) as client:
        document, _ = await shown(client, machine)
        assert (await client.put(f"{API}/machines/{machine}", json=document)).status == 200
        for name, value in (("revision", 1), ("id", "x"), ("inventory", {"a": 1}), ("done", not document["done"])):
            answer = await problem(await client.put(f"{API}/machines/{machine}", json=document | {name: value}), 422)
            assert [error["path"] for error in answer["errors"]] == [name]


async def test_a_machine_is_replaced_only_as_a_whole(parts):
    machine = await parts.ready(params={"count": 7, "secret": "s"})
    async with await operator(parts) as client:
        answer = await problem(await client.put(f"{API}/machines/{machine}", json={"name": "n2"}), 422)
        assert {error["path"] for error in answer["errors"]} >= {"macs", "params", "description"}
        document, _ = await shown(client, machine)
        document |= {"name": "n2", "params": {"secret": "********"}, "profiles": ["rack"]}
        assert (await client.put(f"{API}/machines/{machine}", json=document)).status == 200
    after = parts.machine(machine)
    assert (after.name, after.profiles, list(after.params)) == ("n2", ("rack",), ["secret"])


async def test_a_json_patch_works_on_the_machine_as_it_is_shown(parts):
    machine = await parts.ready(name="n1", params={"count": 7, "secret": "s"})
    async with await operator(parts) as client:
        steps = [
            {"op": "test", "path": "/name", "value": "n1"},
            {"op": "test", "path": "/params/secret", "value": "********"},
            {"op": "add", "path": "/profiles/-", "value": "rack"},
            {"op": "remove", "path": "/params/count"},
            {"op": "add", "path": "/meta/row", "value": "7"},
        ]
        answer = await client.patch(f"{API}/machines/n1", json=steps, headers=JSON_PATCH)
        changed = await answer.json()
        assert (changed["profiles"], changed["params"]) == (["rack"], {"secret": "********"})
        wrong = [{"op": "test", "path": "/name", "value": "n2"}, {"op": "replace", "path": "/name", "value": "n3"}]
        refused = await problem(await client.patch(f"{API}/machines/n1", json=wrong, headers=JSON_PATCH), 409)
        assert refused["code"] == "patch-test-failed"
    assert parts.machine(machine).meta == {"row": "7"}


async def test_a_merge_patch_merges_into_maps(parts):
    machine = await parts.ready(params={"change-stage/map": {"a": "b", "c": "d"}}, meta={"row": "1", "rack": "2"})
    async with await operator(parts) as client:
        sent = {"params": {"change-stage/map": {"a": None, "e": "f"}}, "meta": {"row": None}}
        headers = {"Content-Type": "application/merge-patch+json"}
        assert (await client.patch(f"{API}/machines/{machine}", json=sent, headers=headers)).status == 200
    after = parts.machine(machine)
    assert (after.params, after.meta) == ({"change-stage/map": {"c": "d", "e": "f"}}, {"rack": "2"})


async def test_setting_the_same_workflow_again_begins_it_anew(parts):
    machine = await parts.ready(workflow="greet")
    await parts.end(await parts.begin(machine))
    assert parts.machine(machine).current_task > 0
    async with await operator(parts) as client:
        assert (await client.patch(f"{API}/machines/{machine}", json={"workflow": "greet"})).status == 200
    assert parts.machine(machine).current_task == -1


async def test_a_body_of_another_type_is_answered_with_the_choices(parts):
    machine = await parts.ready()
    async with await operator(parts) as client:
        answer = await client.patch(f"{API}/machines/{machine}", data=b"x", headers={"Content-Type": "text/yaml"})
        assert "application/merge-patch+json" in (await problem(answer, 415))["detail"]
        assert "application/json-patch+json" in answer.headers["Accept"]
        options = await client.options(f"{API}/machines/{machine}")
        assert options.status == 204 and "json-patch" in options.headers["Accept-Patch"]
        assert {"GET", "PUT", "PATCH", "DELETE"} <= set(options.headers["Allow"].split(", "))


async def test_a_change_is_bound_to_the_revision_that_was_seen(parts):
    machine = await parts.ready(name="n1")
    async with await operator(parts) as client:
        document, tag = await shown(client, machine)
        assert tag == f'"{document["revision"]}"'
        unchanged = await client.get(f"{API}/machines/n1", headers={"If-None-Match": tag})
        assert (unchanged.status, await unchanged.read()) == (304, b"")
        first = await client.patch(f"{API}/machines/n1", json={"description": "x"}, headers={"If-Match": tag})
        assert first.status == 200 and first.headers["ETag"] != tag
        for method, sent in (("PATCH", {"description": "y"}), ("PUT", document), ("DELETE", None)):
            late = await client.request(method, f"{API}/machines/n1", json=sent, headers={"If-Match": tag})
            assert (await problem(late, 412))["code"] == "precondition-failed"
    assert parts.machine(machine).description == "x"


async def test_of_two_changes_to_one_revision_only_one_is_made(parts):
    machine = await parts.ready()
    async with await operator(parts) as client:
        _, tag = await shown(client, machine)

        async def change(words):
            sent, headers = {"description": words}, {"If-Match": tag}
            return (await client.patch(f"{API}/machines/{machine}", json=sent, headers=headers)).status

        assert sorted(await asyncio.gather(*(change(str(number)) for number in range(8)))) == [200, *[412] * 7]


async def test_lists_filter_and_show_what_machines_have_from_anywhere(parts):
    await parts.ready(name="n1", profiles=("rack",), params={"secret": "s"})
    await parts.machines.create(NewMachine(name="n2"), OPERATOR)
    async with await operator(parts) as client:

        async def listed(**query):
            return (await (await client.get(f"{API}/machines", params=query)).json())["items"]

        assert await listed(**{"params.colour": "blue"}) == []
        (found,) = await listed(**{"params.colour": "blue", "aggregate": "true"})
        assert (found["name"], found["params"]["colour"], found["params"]["count"]) == ("n1", "blue", 3)
        assert found["params"]["secret"] == "********" and found["inventory"] == {}
        assert len(await listed(**{"params.count:ge": "3", "aggregate": "true"})) == 2
        assert await listed(**{"params.secret": "s"}) == []
        assert await listed(**{"params.secret": "s", "aggregate": "true"}) == []
        await problem(await client.get(f"{API}/machines", params={"aggregate": "yes"}), 400)
        one = await client.get(f"{API}/machines/n1", params={"aggregate": "true"})
        assert (await one.json())["params"]["colour"] == "blue"
