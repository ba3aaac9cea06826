"""The agents' side of the API through HTTP, from registration to the result."""

import asyncio
import json

import pytest
from aiohttp.test_utils import make_mocked_request
from msgspec import to_builtins

from provisioner.bus import Bus
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.machine_changes import NewMachine
from provisioner.model.access import TokenPurpose
from provisioner.model.machines import JobState, Machine
from provisioner.services.http import PRINCIPAL
from provisioner.services.work import Work
from provisioner.store.database import Database
from tests.parts import IDENTITY, MAC, OPERATOR, OTHER_MAC, START, serving

BOOT = {"boot_id": "boot-1", "instance": "agent-1"}


async def machine_client(parts, machine):
    return serving(parts.agents_app(), await parts.secret(TokenPurpose.MACHINE, machine))


async def test_an_agent_registers_works_and_reports(parts):
    async with serving(parts.agents_app()) as client:
        said = {"ticket": await parts.ticket(), "macs": [MAC], "bootenv": "discovery"}
        answer = await client.post("/api/v1/register", json=said)
        assert answer.status == 201
        given = await answer.json()
        assert given["url"] == f"http://{client.host}:{client.port}" and given["name"] == "m-52-54-00-00-00-01"
        machine, headers = given["machine"], {"Authorization": f"Bearer {given['token']}"}
        again = await client.post("/api/v1/register", json=said)
        assert again.status == 200 and (await again.json())["machine"] == machine
        hello = await client.post(
            f"/api/v1/machines/{machine}/hello", json={"boot_id": "boot-1", "bootenv": "discovery"}, headers=headers
        )
        assert (await hello.json())["machine"]["runnable"]
        work = await (await client.get(f"/api/v1/machines/{machine}/work", headers=headers)).json()
        assert work["claimable"] and work["tasks"][-1] == "one" and work["errors"] == []
        inventory = await client.put(f"/api/v1/machines/{machine}/inventory", json={"cpu": 4}, headers=headers)
        assert inventory.status == 204
        claim = await client.post("/api/v1/jobs", json={"machine": machine, "boot_id": "boot-1"}, headers=headers)
        assert claim.status == 201
        job = f"/api/v1/jobs/{(await claim.json())['job']['id']}"
        assert (
            await client.put(f"{job}/actions", json=[{"name": "run", "content": "x"}], headers=headers)
        ).status == 204
        assert (await client.post(f"{job}/start", json=BOOT, headers=headers)).status == 200
        assert await (await client.put(f"{job}/log?offset=0", data=b"abc", headers=headers)).json() == {"size": 3}
        beat = await client.post(f"{job}/heartbeat", json=BOOT | {"progress": 50}, headers=headers)
        assert await beat.json() == {"cancel": False, "state": "running"}
        result = BOOT | {"state": "finished", "exit_state": "complete", "exit_code": 0}
        for _ in range(2):
            ended = await (await client.post(f"{job}/result", json=result, headers=headers)).json()
            assert (ended["job"]["state"], ended["machine"]["current_task"]) == ("finished", 3)
        done = await client.post("/api/v1/jobs", json={"machine": machine, "boot_id": "boot-1"}, headers=headers)
        assert done.status == 204


async def test_looking_for_work_shows_that_a_machine_is_up_so_that_its_twin_is_held(parts):
    machine = await parts.ready()
    parts.clock.pass_seconds(86400)
    async with await machine_client(parts, machine) as client:
        assert (await client.get(f"/api/v1/machines/{machine}/work")).status == 200
        said = {"ticket": await parts.ticket(OTHER_MAC), "macs": [OTHER_MAC], "identity": to_builtins(IDENTITY)}
        answer = await client.post("/api/v1/register", json=said)
        assert answer.status == 409 and (await answer.json())["code"] == "identity-clash"


async def test_a_wrong_ticket_is_answered_with_403(parts):
    async with serving(parts.agents_app()) as client:
        answer = await client.post("/api/v1/register", json={"ticket": "x", "macs": [MAC]})
        assert answer.status == 403 and (await answer.json())["code"] == "ticket-refused"


async def test_a_claim_says_clearly_why_there_is_no_job(parts):
    machine = await parts.ready()
    for secret, body, status, code in (
        ("", {"machine": "ghost"}, 401, "login-required"),
        (await parts.secret(TokenPurpose.MACHINE, machine), {"machine": "ghost"}, 403, "denied"),
        (await parts.secret(), {"machine": "ghost"}, 422, "unknown-machine"),
        (await parts.secret(), {}, 400, "invalid"),
        (await parts.secret(), {"machine": 7}, 422, "invalid"),
    ):
        async with serving(parts.agents_app(), secret) as client:
            answer = await client.post("/api/v1/jobs", json=body)
            assert (answer.status, (await answer.json())["code"]) == (status, code)


async def test_a_machine_that_may_not_run_is_answered_with_the_reason(parts):
    machine = await parts.ready(workflow="greet", runnable=False)
    async with await machine_client(parts, machine) as client:
        answer = await client.post("/api/v1/jobs", json={"machine": machine, "boot_id": "boot-1"})
        assert answer.status == 409 and "an operator paused it" in (await answer.json())["detail"]
        work = await (await client.get(f"/api/v1/machines/{machine}/work")).json()
        assert not work["claimable"] and work["reason"] == "an operator paused it"


class HeldDatabase(Database):
    """Saves nothing, and says that it has when told to."""

    def __init__(self):
        self._batches = []

    def submit(self, batch, *, lazy=False):
        self._batches.append(batch)

    def save(self):
        """All that was submitted is as good as on disk."""
        while self._batches:
            self._batches.pop(0).settled(None)


async def test_a_change_between_the_look_and_the_wait_is_told_at_once(parts):
    database = HeldDatabase()
    ledger = Ledger(database, Bus(), lambda: START)
    for name in ("before", "after"):
        tx = ledger.transaction()
        tx.put(Machine(id="m1", name=name, created_at=START, updated_at=START))
        tx.commit()
        if name == "before":
            database.save()
    app = parts.agents_app()
    path = "/api/v1/machines/m1/work?revision=1&wait=110"
    request = make_mocked_request("GET", path, match_info={"machine": "m1"}, app=app)
    request[PRINCIPAL] = OPERATOR
    work = Work(ledger, parts.registrations, parts.jobs, parts.actions, parts.boot, {})
    asked = asyncio.create_task(work.work(request))
    # Behind the question in this very turn of the loop, so before whatever the question begins.
    asyncio.get_running_loop().call_soon(database.save)
    async with asyncio.timeout(10):
        assert json.loads((await asked).body)["revision"] == 2


async def test_an_incomplete_job_is_answered_with_202(parts):
    machine = await parts.ready(stage="redo", force=True)
    job = await parts.begin(machine)
    await parts.end(job, JobState.INCOMPLETE)
    await parts.change(machine, runnable=True)
    async with await machine_client(parts, machine) as client:
        answer = await client.post("/api/v1/jobs", json={"machine": machine, "boot_id": "boot-1"})
        assert answer.status == 202 and (await answer.json())["job"]["id"] == job.id


async def test_a_machines_token_reaches_no_other_machine(parts):
    machine = await parts.ready(stage="redo", force=True)
    job = await parts.begin(machine)
    other = (await parts.machines.create(NewMachine("other"), OPERATOR)).id
    async with await machine_client(parts, other) as client:
        for method, path in (
            ("GET", "/api/v1/machines"),
            ("GET", f"/api/v1/machines/{machine}"),
            ("GET", f"/api/v1/machines/{machine}/work"),
            ("GET", f"/api/v1/machines/{machine}/params"),
            ("PUT", f"/api/v1/machines/{machine}/params/count"),
            ("PATCH", f"/api/v1/machines/{other}"),
            ("GET", "/api/v1/jobs"),
            ("GET", f"/api/v1/jobs/{job.id}/log"),
            ("PUT", f"/api/v1/jobs/{job.id}/log?offset=0"),
            ("POST", f"/api/v1/jobs/{job.id}/result"),
            ("POST", f"/api/v1/jobs/{job.id}/cancel"),
            ("GET", f"/api/v1/events?machine={machine}"),
            ("GET", "/api/v1/tasks"),
        ):
            answer = await client.request(method, path, json={} if method != "GET" else None)
            assert (answer.status, path) == (403, path)
        assert (await client.get(f"/api/v1/machines/{other}")).status == 200
        seen = (await (await client.get("/api/v1/events")).json())["items"]
        assert {event["machine"] for event in seen} == {other}
    assert parts.jobs.find(job.id).state is JobState.RUNNING


async def test_a_gap_in_a_log_is_answered_with_its_size(parts):
    machine = await parts.ready(stage="redo", force=True)
    job = await parts.begin(machine)
    async with await machine_client(parts, machine) as client:
        await client.put(f"/api/v1/jobs/{job.id}/log?offset=0", data=b"abc")
        answer = await client.put(f"/api/v1/jobs/{job.id}/log?offset=9", data=b"x")
        body = await answer.json()
        assert (answer.status, body["code"], body["size"]) == (409, "log-gap", 3)


async def test_who_waits_for_work_is_answered_when_it_comes(parts):
    machine = await parts.ready()
    revision = parts.ledger.get(Machine, machine).revision
    async with await machine_client(parts, machine) as client:
        path = f"/api/v1/machines/{machine}/work"
        assert (await (await client.get(path, params={"revision": 0, "wait": 50})).json())["revision"] == revision
        async with client.get(path, params={"revision": revision, "wait": 1}) as answer:
            assert (await answer.json())["revision"] == revision


async def test_a_wrong_result_names_the_field(parts):
    machine = await parts.ready(stage="redo", force=True)
    job = await parts.begin(machine)
    async with await machine_client(parts, machine) as client:
        answer = await client.post(f"/api/v1/jobs/{job.id}/result", json={"state": "great"})
        assert answer.status == 422 and (await answer.json())["errors"][0]["path"] == "state"


@pytest.mark.parametrize("progress", [-1, 101, 5.5, "half", True, {"percent": 5}])
async def test_progress_is_a_whole_number_of_percent(parts, progress):
    machine = await parts.ready(stage="redo", force=True)
    job = await parts.begin(machine)
    async with await machine_client(parts, machine) as client:
        said = BOOT | {"progress": progress}
        answer = await client.post(f"/api/v1/jobs/{job.id}/heartbeat", json=said)
        assert answer.status == 422 and (await answer.json())["errors"][0]["path"] == "progress"
        assert parts.jobs.progress(job.id) is None


async def test_a_reboot_and_the_next_stage_are_answered(parts):
    machine = await parts.ready()
    async with await machine_client(parts, machine) as client:
        answer = await client.post(f"/api/v1/machines/{machine}/prepare-reboot", json={})
        assert (await answer.json())["next_boot"] == "none"
        answer = await client.post(f"/api/v1/machines/{machine}/next-stage", json={})
        assert answer.status == 200 and (await answer.json())["stage"] == ""


AGENT = {"version": "0.1.0", "sha256": "aa"}


async def test_hello_and_look_tell_which_agent_the_server_has(parts):
    machine = await parts.ready()
    async with await machine_client(parts, machine) as client:
        said = {"boot_id": "boot-1", "bootenv": "discovery"}
        hello = await (await client.post(f"/api/v1/machines/{machine}/hello", json=said)).json()
        work = await (await client.get(f"/api/v1/machines/{machine}/work")).json()
        assert (hello["agent"], work["agent"]) == (AGENT, AGENT)


@pytest.mark.parametrize(
    ("following", "leads"),
    [("", False), ("finish", True), ("ghost", True)],  # of a stage that is not there, the agent hears when it asks
)
async def test_look_tells_whether_the_map_leads_on(parts, following, leads):
    machine = await parts.ready()
    stage = parts.machine(machine).stage
    if following:
        await parts.change(machine, params={"change-stage/map": {stage: following}})
    async with await machine_client(parts, machine) as client:
        work = await (await client.get(f"/api/v1/machines/{machine}/work")).json()
        assert (work["runnable"], work["map_leads"]) == (True, leads)


async def test_where_work_is_left_the_map_waits(parts):
    machine = await parts.ready(workflow="discover", params={"change-stage/map": {"discover": "finish"}})
    async with await machine_client(parts, machine) as client:
        assert (await (await client.get(f"/api/v1/machines/{machine}/work")).json())["map_leads"] is False


async def test_a_kernel_is_named_to_an_agent_that_can_start_it_where_that_is_allowed(parts):
    machine = await parts.ready(workflow="discover", params={"agent/kexec": True})
    async with await machine_client(parts, machine) as client:
        reboot = f"/api/v1/machines/{machine}/prepare-reboot"
        assert "kexec" not in await (await client.post(reboot, json={})).json()
        kernel = (await (await client.post(reboot, json={"kexec": True})).json())["kexec"]
        assert kernel["kernel"] == f"http://{client.host}:{client.port}/files/discovery/vmlinuz"
        assert "provisioner.ticket=" in kernel["cmdline"]
        await parts.change(machine, params={"agent/kexec": None})
        assert (await (await client.post(reboot, json={"kexec": True})).json())["kexec"] is None
