"""`Idempotency-Key` through HTTP."""

import asyncio

import pytest

from provisioner.conductor.replies import Replies
from provisioner.model.machines import Machine
from provisioner.model.operations import Reply
from tests.parts import BMC, serving

MACHINES = "/api/v1/machines"


@pytest.fixture
async def client(parts):
    async with serving(parts.operators_app(), await parts.secret()) as client:
        yield client


def key(text):
    return {"Idempotency-Key": text}


async def test_a_request_sent_again_is_answered_as_the_first_time_and_done_once(parts, client):
    first = await client.post(MACHINES, json={"name": "n1"}, headers=key("k"))
    again = await client.post(MACHINES, json={"name": "n1"}, headers=key("k"))
    assert (first.status, again.status) == (201, 201)
    assert await first.read() == await again.read()
    assert [again.headers[name] for name in ("ETag", "Location")] == [
        first.headers[name] for name in ("ETag", "Location")
    ]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(list(parts.ledger.all(Machine))) == 1


async def test_the_same_key_for_something_else_is_refused(client):
    await client.post(MACHINES, json={"name": "n1"}, headers=key("k"))
    other = await client.post(MACHINES, json={"name": "n2"}, headers=key("k"))
    assert (other.status, (await other.json())["code"]) == (422, "idempotency-mismatch")


async def test_what_was_refused_may_be_tried_again(parts, client):
    await client.post(MACHINES, json={"name": "n1"})
    for _ in range(2):
        taken = await client.post(MACHINES, json={"name": "n1"}, headers=key("k"))
        assert (taken.status, (await taken.json())["code"]) == (409, "name-taken")
    assert list(parts.ledger.all(Reply)) == []


async def test_a_secret_in_an_answer_is_told_again_and_kept_unreadable(parts, client):
    first = await client.post("/api/v1/tokens", json={"days": 1}, headers=key("k"))
    again = await client.post("/api/v1/tokens", json={"days": 1}, headers=key("k"))
    assert await first.json() == await again.json()
    (kept,) = parts.ledger.all(Reply)
    assert (await first.json())["token"].encode() not in kept.body


async def test_many_at_once_make_one(parts, client):
    async def send():
        return (await client.post(MACHINES, json={"name": "n1"}, headers=key("k"))).status

    statuses = await asyncio.gather(*(send() for _ in range(8)))
    assert 201 in statuses and set(statuses) <= {201, 409}
    assert len(list(parts.ledger.all(Machine))) == 1


async def test_what_a_crash_cut_off_is_said_to_be_unknown(parts, client):
    first = await client.post(MACHINES, json={"name": "n1"}, headers=key("k"))
    assert first.status == 201
    (kept,) = parts.ledger.all(Reply)
    await Replies(parts.ledger, parts.vault).forget(kept.key)
    await Replies(parts.ledger, parts.vault).begin(kept.key, kept.fingerprint)
    again = await client.post(MACHINES, json={"name": "n1"}, headers=key("k"))
    assert (again.status, (await again.json())["code"]) == (409, "idempotency-unknown")


async def test_a_power_action_that_failed_is_not_tried_again_under_its_key(parts, client):
    machine = await parts.ready(params=BMC)
    path = f"{MACHINES}/{machine}/actions/power-on"
    first = await client.post(path, headers=key("k"))
    again = await client.post(path, headers=key("k"))
    assert (first.status, again.status) == (200, 200) and await first.read() == await again.read()


@pytest.mark.parametrize("text", [" ", "x" * 256, "é"])
async def test_a_key_that_is_none_is_refused(client, text):
    answer = await client.post(MACHINES, json={"name": "n1"}, headers=key(text))
    assert (answer.status, (await answer.json())["code"]) == (400, "idempotency-key")
