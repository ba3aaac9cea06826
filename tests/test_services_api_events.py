"""Events through HTTP: listed, and streamed."""

import asyncio
import json

import pytest

from provisioner.conductor.machine_changes import NewMachine
from provisioner.model.access import TokenPurpose
from tests.parts import OPERATOR, operator, problem, serving

API = "/api/v1"


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


async def test_events_are_paged_both_ways_and_counted(parts):
    await parts.ready(name="n1")
    async with await operator(parts) as client:

        async def pages(**query):
            seen = []
            while True:
                page = await (await client.get(f"{API}/events", params=query | {"limit": 3})).json()
                seen += [event["id"] for event in page["items"]]
                if page["next"] is None:
                    return seen, page["total"]
                query["cursor"] = page["next"]

        oldest, total = await pages()
        assert oldest == sorted(set(oldest)) and total == len(oldest)
        assert (await pages(order="newest"))[0] == oldest[::-1]


async def test_events_are_found_by_who_caused_them_and_when(parts):
    machine = await parts.ready(name="n1")
    parts.clock.pass_seconds(60)
    await parts.change(machine, description="x")
    async with await operator(parts) as client:

        async def listed(**query):
            return (await (await client.get(f"{API}/events", params=query)).json())["items"]

        (late,) = await listed(since="2026-01-01T12:00:30Z")
        assert (late["kind"], late["by"]) == ("machine.update", "user:admin")
        assert late not in await listed(until="2026-01-01T12:00:30")
        assert {event["by"] for event in await listed(by="user:admin")} == {"user:admin"}
        for written in ("52:54:00:00:00:01", "5254.0000.0001"):
            assert {event["mac"] for event in await listed(mac=written)} == {"52:54:00:00:00:01"}


@pytest.mark.parametrize(
    "query",
    [{"kind": "dance"}, {"order": "odd"}, {"since": "soon"}, {"until": "9999-99"}, {"cursor": "!"}, {"odd": "1"}],
    ids=str,
)
async def test_what_cannot_be_asked_for_is_named(parts, query):
    async with await operator(parts) as client:
        body = await problem(await client.get(f"{API}/events", params=query), 400)
        assert [error["path"] for error in body["errors"]] == list(query)


async def test_a_machine_sees_its_own_events_only(parts):
    machine = await parts.ready(name="n1")
    other = (await parts.machines.create(NewMachine("other"), OPERATOR)).id
    async with serving(parts.agents_app(), await parts.secret(TokenPurpose.MACHINE, machine)) as client:
        seen = (await (await client.get(f"{API}/events")).json())["items"]
        assert seen and {event["machine"] for event in seen} == {machine}
        for path in ("events", "events/stream"):
            await problem(await client.get(f"{API}/{path}", params={"machine": other}), 403)
        async with client.get(f"{API}/events/stream") as answer:
            assert await answer.content.readline() == b": listening\n"
            await parts.change(other, description="y")
            await parts.change(machine, description="x")
            assert (await read_frames(answer, 1))[0]["machine"] == machine


async def test_who_has_seen_more_than_there_is_hears_all_that_comes(parts):
    machine = await parts.ready()
    headers = {"Last-Event-ID": "999999999"}
    async with await operator(parts) as client, client.get(f"{API}/events/stream", headers=headers) as answer:
        assert await answer.content.readline() == b": listening\n"
        assert await answer.content.readline() == b"retry: 2000\n"
        await parts.change(machine, description="x")
        assert (await read_frames(answer, 1))[0]["kind"] == "machine.update"


async def test_a_stream_ends_at_once_when_the_server_stops(parts):
    app = parts.operators_app()
    async with (
        serving(app, await parts.secret()) as client,
        client.get(f"{API}/events/stream") as answer,
        asyncio.timeout(20),
    ):
        assert await answer.content.readline() == b": listening\n"
        await app.shutdown()
        assert await answer.content.read() == b"retry: 2000\n\n"


async def test_the_head_of_a_stream_is_answered(parts):
    async with await operator(parts) as client, asyncio.timeout(20):
        answer = await client.head(f"{API}/events/stream")
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
