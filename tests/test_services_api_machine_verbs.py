"""What is done with one machine, through HTTP."""

import asyncio

from provisioner.model.machines import JobState
from provisioner.model.operations import Operation
from tests.parts import BMC, operator


def at(machine, *path):
    return "/".join(("/api/v1/machines", machine, *path))


async def said(response, status):
    body = await response.json()
    assert response.status == status, body
    return body


async def test_work_begins_anew_with_and_without_a_stage(parts):
    machine = await parts.ready(workflow="deploy")
    async with await operator(parts) as client:
        shown = await said(await client.post(at(machine, "restart")), 200)
        assert shown["tasks"][0] == "stage:prepare" and shown["current_task"] == -1
        shown = await said(await client.post(at(machine, "restart"), json={"stage": "finish"}), 200)
        assert shown["stage"] == "finish"
        wrong = await said(await client.post(at(machine, "restart"), json={"stage": "x"}), 422)
        assert [error["path"] for error in wrong["errors"]] == ["stage"]


async def test_a_machine_goes_on_at_what_failed(parts):
    machine = await parts.ready(stage="redo", force=True)
    await parts.end(await parts.begin(machine), JobState.FAILED)
    async with await operator(parts) as client:
        assert (await said(await client.post(at(machine, "resume")), 200))["runnable"]
        assert (await said(await client.post(at(machine, "resume"), json={}), 200))["runnable"]
        assert (await client.post(at("ghost", "resume"))).status == 404


async def test_a_verb_is_bound_to_what_the_caller_saw(parts):
    machine = await parts.ready(workflow="deploy")
    async with await operator(parts) as client:
        tag = (await client.get(at(machine))).headers["ETag"]
        await parts.change(machine, description="meanwhile")
        late = await said(await client.post(at(machine, "restart"), headers={"If-Match": tag}), 412)
        assert late["code"] == "precondition-failed"


async def test_leave_to_erase_is_given_and_taken_back(parts):
    machine = await parts.ready()
    async with await operator(parts) as client:
        await said(await client.post(at(machine, "grants"), json={"disk": "/dev/disk/by-id/x", "hours": 2}), 201)
        left = await said(await client.delete(at(machine, "grants", "%2Fdev%2Fdisk%2Fby-id%2Fx")), 200)
        assert left["erase_grants"] == []
        assert (await client.delete(at(machine, "grants", "any"))).status == 404


async def test_an_action_is_waited_for_or_followed(parts):
    machine = await parts.ready(params=BMC)
    running = asyncio.create_task(parts.operations.run())
    async with await operator(parts) as client:
        assert (await said(await client.post(at(machine, "actions", "power-on")), 200))["action"] == "power-on"
        response = await client.post(at(machine, "actions", "power-off"), headers={"Prefer": "wait=5, respond-async"})
        begun = await said(response, 202)
        assert response.headers["Location"] == f"/api/v1/operations/{begun['id']}"
        while not parts.operations.find(begun["id"]).final:
            await parts.ledger.changed(Operation, begun["id"], 10)
        done = await said(await client.get(response.headers["Location"]), 200)
        assert done["state"] == "finished" and done["results"][0]["machine"] == machine
    running.cancel()


async def test_an_action_that_cannot_be_used_is_refused_at_once_either_way(parts):
    machine = await parts.ready()
    async with await operator(parts) as client:
        for headers in ({}, {"Prefer": "respond-async"}):
            for action in ("power-on", "explode"):
                response = await client.post(at(machine, "actions", action), headers=headers)
                assert response.status == 422, await response.text()
    assert list(parts.ledger.all(Operation)) == []
