"""Jobs through HTTP as operators see them."""

from tests.parts import operator, problem

API = "/api/v1"


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
