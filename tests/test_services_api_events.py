"""Events through HTTP: listed, and streamed."""

import asyncio
import json

import pytest

from provisioner.conductor.machine_changes import NewMachine
from tests.parts import OPERATOR, opened, serving

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
        await parts.machines.create(NewMachine("other"), OPERATOR)
        await parts.change(machine, description="x")
        assert (await read_frames(answer, 1))[0]["machine"] == machine
