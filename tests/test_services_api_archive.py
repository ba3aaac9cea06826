"""Files that jobs hand in, retention, search and export through HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import io
import tarfile
from datetime import timedelta

import pytest
from aiohttp import ClientError

from provisioner.model.access import TokenPurpose
from provisioner.model.machines import Job, JobState
from provisioner.retention import Limits
from tests.parts import START, operator, problem, serving

API = "/api/v1"


async def agent(parts, machine):
    return serving(parts.agents_app(), await parts.secret(TokenPurpose.MACHINE, machine))


async def save(parts, id, *, machine="m1", task="one", state=JobState.FINISHED, days=0, log=b""):
    at = START - timedelta(days=days)
    tx = parts.ledger.transaction()
    tx.put(Job(id=id, machine=machine, task=task, state=state, created_at=at, ended_at=at))
    await tx.commit()
    if log:
        await parts.logs.append(id, 0, log)


# --- assets ---------------------------------------------------------------------------------------------------


async def test_a_file_is_handed_in_by_the_jobs_agent_and_fetched_by_an_operator(parts):
    machine = await parts.ready(stage="redo", force=True)
    job = await parts.begin(machine)
    data = bytes(range(256)) * 3000
    digest = hashlib.sha256(data).hexdigest()
    async with await agent(parts, machine) as client:
        answer = await client.put(f"{API}/jobs/{job.id}/assets/core.gz", data=data)
        assert answer.status == 201
        asset = await answer.json()
        assert (asset["name"], asset["size"], asset["sha256"]) == ("core.gz", len(data), digest)
    async with await operator(parts) as client:
        assert await (await client.get(f"{API}/jobs/{job.id}/assets")).json() == {"items": [asset]}
        fetched = await client.get(f"{API}/jobs/{job.id}/assets/core.gz")
        assert await fetched.read() == data


async def test_a_file_is_never_shown_as_a_page(parts):
    await save(parts, "j1", state=JobState.RUNNING)
    async with await operator(parts) as client:
        await client.put(f"{API}/jobs/j1/assets/a.html", data=b"<script>")
        fetched = await client.get(f"{API}/jobs/j1/assets/a.html")
        assert fetched.content_type == "application/octet-stream"
        assert fetched.headers["Content-Disposition"] == 'attachment; filename="a.html"'
        assert fetched.headers["X-Content-Type-Options"] == "nosniff"
        assert fetched.headers["Repr-Digest"].startswith("sha-256=:")
        part = await client.get(f"{API}/jobs/j1/assets/a.html", headers={"Range": "bytes=1-6"})
        assert (part.status, await part.read()) == (206, b"script")


async def test_a_file_of_another_machines_job_is_refused(parts):
    await save(parts, "j1", state=JobState.RUNNING)
    async with await agent(parts, (await parts.register()).machine.id) as client:
        await problem(await client.put(f"{API}/jobs/j1/assets/a", data=b"x"), 403)
        await problem(await client.put(f"{API}/jobs/none/assets/a", data=b"x"), 403)
        await problem(await client.get(f"{API}/jobs/j1/assets"), 403)
        await problem(await client.get(f"{API}/jobs/j1/assets/a"), 403)
    async with serving(parts.agents_app()) as client:
        await problem(await client.put(f"{API}/jobs/j1/assets/a", data=b"x"), 401)
    assert list(parts.assets.kept()) == []


@pytest.mark.parametrize(
    ("path", "size", "status", "code"),
    [
        ("j1/assets/.hidden", 1, 422, "invalid"),
        ("j1/assets/a%20b", 1, 422, "invalid"),
        ("j1/assets/a", 1_000_001, 413, "too-large"),
        ("none/assets/a", 1, 404, "not-found"),
        ("ended/assets/a", 1, 409, "job-state"),
    ],
)
async def test_a_file_that_cannot_be_taken_in_says_why_and_leaves_nothing(parts, path, size, status, code):
    await save(parts, "j1", state=JobState.RUNNING)
    await save(parts, "ended", days=1)
    async with await operator(parts) as client:
        assert (await problem(await client.put(f"{API}/jobs/{path}", data=b"x" * size), status))["code"] == code
    assert list(parts.assets.kept()) == []


async def test_a_file_that_is_sent_in_pieces_is_too_large_when_it_turns_out_so(parts):
    await save(parts, "j1", state=JobState.RUNNING)

    async def pieces():
        for _ in range(20):
            yield b"x" * 100_000

    async with await operator(parts) as client:
        try:
            answer = await client.put(f"{API}/jobs/j1/assets/a", data=pieces())
            assert answer.status == 413
        except ClientError:
            pass  # it was told before all had been sent
    assert list(parts.assets.kept()) == []


async def test_a_file_whose_sending_is_cut_off_leaves_nothing(parts):
    await save(parts, "j1", state=JobState.RUNNING)
    secret = await parts.secret()
    async with serving(parts.operators_app()) as client:
        reader, writer = await asyncio.open_connection(client.server.host, client.server.port)
        head = f"PUT {API}/jobs/j1/assets/a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\n"
        writer.write(f"{head}Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n".encode())
        assert b"100" in await reader.readline()
        writer.write(b"x" * 500)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    assert list(parts.assets.kept()) == []


async def test_a_file_that_is_not_there_is_told_with_those_that_are(parts):
    await save(parts, "j1")
    async with await operator(parts) as client:
        assert "there is: none" in (await problem(await client.get(f"{API}/jobs/j1/assets/a"), 404))["detail"]
        await problem(await client.get(f"{API}/jobs/none/assets"), 404)
        await problem(await client.get(f"{API}/jobs/j1/assets/.a"), 422)


# --- retention ------------------------------------------------------------------------------------------------


async def test_jobs_are_pruned_after_a_dry_run_has_told_which(parts):
    await save(parts, "old", days=9, log=b"12345")
    await save(parts, "young", days=1)
    async with await operator(parts) as client:
        asked = {"older_than_days": 5, "dry_run": True}
        told = await (await client.post(f"{API}/jobs/prune", json=asked)).json()
        assert told == {"jobs": ["old"], "count": 1, "bytes": 5}
        assert (await client.get(f"{API}/jobs/old")).status == 200
        done = await (await client.post(f"{API}/jobs/prune", json=asked | {"dry_run": False})).json()
        assert done == told
        await problem(await client.get(f"{API}/jobs/old"), 404)
        kept = await (await client.post(f"{API}/jobs/prune", json={"keep_per_machine": 0})).json()
        assert kept["jobs"] == ["young"]


async def test_without_limits_the_settings_count(parts):
    await save(parts, "old", days=9)
    async with await operator(parts) as client:
        assert (await (await client.post(f"{API}/jobs/prune", json={})).json())["count"] == 0
        parts.retention.limits = Limits(keep_days=5)
        assert (await (await client.post(f"{API}/jobs/prune", json={})).json())["count"] == 1


@pytest.mark.parametrize(
    "asked", [{"older_than_days": -1}, {"keep_per_machine": 1.5}, {"older": 1}, {"older_than_days": 1e9}]
)
async def test_wrong_limits_are_refused(parts, asked):
    async with await operator(parts) as client:
        await problem(await client.post(f"{API}/jobs/prune", json=asked), 422)


async def test_a_chain_of_jobs_says_where_one_was_removed(parts):
    await save(parts, "a")
    tx = parts.ledger.transaction()
    for id, previous in (("b", "a"), ("c", "b")):
        job = Job(id=id, machine="m1", task="t", state=JobState.FINISHED, previous=previous, created_at=START)
        tx.put(job)
    await tx.commit()
    async with await operator(parts) as client:
        await client.delete(f"{API}/jobs/a")
        listed = (await (await client.get(f"{API}/jobs", params={"sort": "id"})).json())["items"]
        assert [(each["previous"], each["previous_removed"]) for each in listed] == [("a", True), ("b", False)]


async def test_a_job_is_deleted_once_it_has_ended(parts):
    await save(parts, "j1", log=b"x")
    await save(parts, "j2", state=JobState.RUNNING)
    async with await operator(parts) as client:
        deleted = await client.delete(f"{API}/jobs/j1")
        assert (deleted.status, (await deleted.json())["id"]) == (200, "j1")
        await problem(await client.delete(f"{API}/jobs/j1"), 404)
        assert (await problem(await client.delete(f"{API}/jobs/j2"), 409))["code"] == "job-state"


async def test_a_job_is_deleted_only_while_it_is_what_if_match_says(parts):
    await save(parts, "j1")
    async with await operator(parts) as client:
        tag = (await client.get(f"{API}/jobs/j1")).headers["ETag"]
        stale = await problem(await client.delete(f"{API}/jobs/j1", headers={"If-Match": '"other"'}), 412)
        assert stale["code"] == "precondition-failed" and tag in stale["detail"]
        assert (await client.delete(f"{API}/jobs/j1", headers={"If-Match": tag})).status == 200


async def test_a_machine_removes_no_jobs_searches_no_logs_and_exports_nothing(parts):
    machine = (await parts.register()).machine.id
    await save(parts, "j1", machine=machine)
    async with await agent(parts, machine) as client:
        await problem(await client.post(f"{API}/jobs/prune", json={"keep_per_machine": 0}), 403)
        await problem(await client.delete(f"{API}/jobs/j1"), 403)
        await problem(await client.get(f"{API}/logs?q=x"), 403)
        await problem(await client.get(f"{API}/machines/{machine}/export"), 403)


# --- search ---------------------------------------------------------------------------------------------------


async def test_lines_that_have_a_text_are_found_with_their_jobs(parts):
    machine = (await parts.register()).machine
    await save(parts, "a", machine=machine.id, task="one", log=b"fine\nan Error\n", days=2)
    await save(parts, "b", machine="m2", task="two", log=b"error\n", state=JobState.FAILED)
    async with await operator(parts) as client:

        async def found(**query):
            return await (await client.get(f"{API}/logs", params=query)).json()

        everything = await found(q="ERROR")
        line = {"job": "a", "machine": machine.id, "task": "one", "line": 2, "offset": 8, "text": "an Error"}
        assert everything["items"][1] == line
        assert [item["job"] for item in everything["items"]] == ["b", "a"]
        assert (everything["searched"], everything["truncated"]) == (2, False)
        for query, jobs in (
            ({"machine": machine.name}, ["a"]),
            ({"task": "two"}, ["b"]),
            ({"state": "failed"}, ["b"]),
            ({"since": "2025-12-31T00:00:00Z"}, ["b"]),
            ({"since": "2025-12-31"}, ["b"]),
            ({"limit": "1"}, ["b"]),
        ):
            assert [item["job"] for item in (await found(q="error", **query))["items"]] == jobs, query
        assert (await found(q="error", limit="1"))["truncated"]
        assert [item["job"] for item in (await found(q="Error", case="true"))["items"]] == ["a"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({}, "q"),
        ({"q": ""}, "q"),
        ({"q": "x" * 201}, "q"),
        ({"q": "a\nb"}, "q"),
        ({"q": "a", "state": "dead"}, "state"),
        ({"q": "a", "since": "yesterday"}, "since"),
        ({"q": "a", "limit": "0"}, "limit"),
        ({"q": "a", "case": "maybe"}, "case"),
        ({"q": "a", "colour": "red"}, "colour"),
    ],
)
async def test_a_wrong_question_names_the_field(parts, query, field):
    async with await operator(parts) as client:
        told = await problem(await client.get(f"{API}/logs", params=query), 400)
        assert [error["path"] for error in told["errors"]] == [field]


async def test_logs_of_a_machine_that_is_not_there_are_not_found(parts):
    async with await operator(parts) as client:
        await problem(await client.get(f"{API}/logs", params={"q": "a", "machine": "none"}), 404)


# --- export ---------------------------------------------------------------------------------------------------


async def test_a_machine_is_exported_as_a_tar(parts):
    machine = (await parts.register()).machine
    await save(parts, "11111111-1", machine=machine.id, log=b"hello\n")
    async with await operator(parts) as client:
        answer = await client.get(f"{API}/machines/{machine.name}/export")
        assert (answer.status, answer.content_type) == (200, "application/x-tar")
        assert answer.headers["Content-Disposition"] == f'attachment; filename="{machine.name}.tar"'
        with tarfile.open(fileobj=io.BytesIO(await answer.read())) as tar:
            assert tar.extractfile("jobs/0001-one-11111111/log.txt").read() == b"hello\n"
        assert (await client.head(f"{API}/machines/{machine.name}/export")).status == 200
        await problem(await client.get(f"{API}/machines/none/export"), 404)


async def test_an_export_that_fails_in_the_middle_is_cut_off_and_never_looks_whole(parts):
    machine = (await parts.register()).machine
    await save(parts, "11111111-1", machine=machine.id)
    parts.logs.path("11111111-1").mkdir(parents=True)
    async with await operator(parts) as client:
        with pytest.raises(ClientError):
            answer = await client.get(f"{API}/machines/{machine.name}/export")
            await answer.read()
