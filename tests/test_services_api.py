"""The operators' API through HTTP: bad input gets a 4xx that names the field, and changes nothing."""

import asyncio
import json

import pytest

from provisioner.model import Machine
from tests.parts import BMC, MAC, OPERATOR, opened, serving

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


async def test_an_unknown_stage_in_a_workflow_is_named_with_the_choices(parts):
    async with await operator(parts) as client:
        answer = await client.put(f"{API}/workflows/mine", json={"stages": ["discover", "nowhere"]})
        body = await problem(answer, 422)
        assert "unknown stage 'nowhere'; there is: discover, finish" in body["detail"]
        assert [error["path"] for error in body["errors"]] == ["stages[1]"]
        await problem(await client.get(f"{API}/workflows/mine"), 404)


async def test_content_is_made_saved_and_removed(parts):
    async with await operator(parts) as client:
        assert (await client.post(f"{API}/stages", json={"name": "mine", "tasks": ["one"]})).status == 201
        body = await problem(await client.post(f"{API}/stages", json={"name": "mine"}), 409)
        assert body["code"] == "name-taken"
        assert (await client.put(f"{API}/stages/mine", json={"tasks": ["two"]})).status == 200
        assert (await (await client.get(f"{API}/stages/mine")).json())["tasks"] == ["two"]
        assert (await client.delete(f"{API}/stages/mine")).status == 200
        assert (await problem(await client.put(f"{API}/stages/discover", json={}), 409))["code"] == "read-only"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("stages/mine", {"name": "yours"}, "name"),
        ("stages/mine", {"tasks": "one"}, "tasks"),
        ("subnets/mine", {"name": "yours", "cidr": "10.0.0.0/24"}, "name"),
        ("subnets/mine", {"cidr": "10.0.0.0/240"}, "cidr"),
        ("subnets/mine", {"cidr": "10.0.0.0/24", "options": {"router": "gate"}}, "options.router"),
        ("subnets/mine", {"cidr": "10.0.0.0/24", "lease_seconds": "long"}, "lease_seconds"),
        ("reservations/10.0.0.5", {"address": "10.0.0.6", "mac": MAC}, "address"),
        ("reservations/10.0.0.5", {"mac": "x"}, "mac"),
    ],
    ids=str,
)
async def test_a_wrong_object_names_its_field_and_is_not_saved(parts, path, body, field):
    async with await operator(parts) as client:
        answer = await problem(await client.put(f"{API}/{path}", json=body), 422)
        assert [error["path"] for error in answer["errors"]] == [field]
        await problem(await client.get(f"{API}/{path}"), 404)


async def test_subnets_and_reservations_are_saved_under_their_address(parts):
    async with await operator(parts) as client:
        for path, body in (("subnets/mine", {"cidr": "10.0.0.0/24"}), ("reservations/10.0.0.5", {"mac": MAC})):
            assert (await client.put(f"{API}/{path}", json=body)).status == 201
            assert (await client.put(f"{API}/{path}", json=body)).status == 200
            assert (await client.delete(f"{API}/{path}")).status == 200


async def test_params_are_read_set_and_removed(parts):
    machine = await parts.ready(params={"secret": "s"})
    async with await operator(parts) as client:
        params = f"{API}/machines/{machine}/params"
        assert (await client.put(f"{params}/count", json=7)).status == 204
        assert await (await client.get(params)).json() == {"secret": "********", "count": 7}
        assert (await (await client.get(f"{params}/secret")).json()) == "********"
        await problem(await client.put(f"{params}/count", json="x"), 422)
        assert (await client.delete(f"{params}/count")).status == 204
        assert await (await client.get(params, params={"aggregate": "true"})).json() == {
            "secret": "********",
            "count": 3,
        }
        await problem(await client.get(f"{params}/needed"), 404)


async def test_grants_and_actions(parts):
    machine = await parts.ready(params=BMC)
    async with await operator(parts) as client:
        answer = await client.post(f"{API}/machines/{machine}/grants", json={"disk": "any"})
        assert answer.status == 201 and (await answer.json())["erase_grants"][0]["disk"] == "any"
        await problem(await client.post(f"{API}/machines/{machine}/grants", json={"disk": "any", "hours": 0}), 422)
        assert (await (await client.post(f"{API}/machines/{machine}/actions/power-on")).json())["state"] == "on"
        assert len(await (await client.get(f"{API}/machines/{machine}/actions")).json()) > 5
        await problem(await client.post(f"{API}/machines/{machine}/actions/dance"), 422)


async def test_jobs_their_logs_and_their_cancelling(parts):
    machine = await parts.ready(stage="redo", force=True, name="n1")
    job = await parts.begin(machine)
    await parts.jobs.append_log(job.id, 0, b"abcdef")
    async with await operator(parts) as client:
        listed = await (await client.get(f"{API}/jobs", params={"machine": "n1", "state": "running"})).json()
        assert [each["id"] for each in listed["items"]] == [job.id]
        log = await client.get(f"{API}/jobs/{job.id}/log", params={"offset": 2, "limit": 3})
        assert await log.read() == b"cde"
        assert (log.headers["X-Log-Size"], log.headers["X-Job-State"]) == ("6", "running")
        assert await (await client.get(f"{API}/jobs/{job.id}/actions")).json() == []
        assert (await (await client.post(f"{API}/jobs/{job.id}/cancel")).json())["cancel_requested"]
        await problem(await client.get(f"{API}/jobs", params={"available": "true"}), 400)
        await problem(await client.get(f"{API}/jobs/none"), 404)


async def test_events_are_listed_by_machine_kind_and_number(parts):
    machine = await parts.ready(name="n1")
    async with await operator(parts) as client:

        async def listed(**query):
            return (await (await client.get(f"{API}/events", params=query)).json())["items"]

        everything = await listed(machine="n1")
        assert {event["machine"] for event in everything} == {machine}
        assert [event["kind"] for event in await listed(kind="agent.hello,agent.register")] == [
            *("agent.register", "agent.hello")
        ]
        assert await listed(after=everything[0]["id"], limit=1) == [everything[1]]
        assert (await listed(order="newest"))[0] == everything[-1]
        await problem(await client.get(f"{API}/events", params={"machine": "none"}), 404)


async def read_frames(answer, count):
    """The next events of a stream."""
    found = []
    async with asyncio.timeout(20):
        while len(found) < count:
            line = (await answer.content.readline()).decode()
            if line.startswith("data: "):
                found.append(json.loads(line.removeprefix("data: ")))
    return found


async def test_a_stream_goes_on_after_the_last_event_that_was_seen(parts):
    machine = await parts.ready()
    async with await operator(parts) as client:
        listed = (await (await client.get(f"{API}/events", params={"kind": "machine.update"})).json())["items"]
        query, headers = {"kind": "machine.update"}, {"Last-Event-ID": str(listed[0]["id"])}
        async with client.get(f"{API}/events/stream", params=query, headers=headers) as answer:
            assert answer.content_type == "text/event-stream"
            assert await read_frames(answer, len(listed) - 1) == listed[1:]
            await parts.machines.grant_erase(machine, "any", 1, OPERATOR)
            await parts.change(machine, description="x")
            (event,) = await read_frames(answer, 1)
            assert (event["kind"], event["data"]) == ("machine.update", {"fields": ["description"]})
            assert event["id"] > listed[-1]["id"]


async def test_a_stream_of_one_machine_tells_of_that_one_only(parts):
    machine = await parts.ready(name="n1")
    async with (
        await operator(parts) as client,
        client.get(f"{API}/events/stream", params={"machine": "n1"}) as answer,
    ):
        assert await answer.content.readline() == b": listening\n"
        await parts.machines.create("other", (), "", OPERATOR)
        await parts.change(machine, description="x")
        assert (await read_frames(answer, 1))[0]["machine"] == machine
