"""The routes that agents speak: register, hello, look for work, claim, start, log, heartbeat, result."""

from __future__ import annotations

from typing import Annotated, Any

from aiohttp import web
from msgspec import Meta, Struct
from msgspec.structs import replace

from provisioner.access import Who, require_machine
from provisioner.conductor.actions import Actions
from provisioner.conductor.boot import Boot
from provisioner.conductor.boot_context import Reached
from provisioner.conductor.jobs import Jobs
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.orders import Where, WorkOrder
from provisioner.conductor.registration import Hello, Registration, Registrations, outcome_of
from provisioner.errors import Invalid, NotFound
from provisioner.lifecycle import Outcome
from provisioner.model.machines import ExitState, Job, JobState, Machine, RenderedFile
from provisioner.params import hide
from provisioner.services.http import body, body_bytes, json, number, principal, unless_closing
from provisioner.services.operations import Operation, Query, Raw
from provisioner.services.reach import of_request

LONGEST_WAIT_SECONDS = 110
_NUMBER = Annotated[int, Meta(ge=0, le=1 << 53)]
_WORK_QUERY = (
    Query("revision", "the machine's revision as the agent knows it", _NUMBER),
    Query("wait", "seconds to wait for another revision", Annotated[int, Meta(ge=0, le=LONGEST_WAIT_SECONDS)]),
)
_LOG_QUERY = (Query("offset", "where in the log the bytes belong", _NUMBER),)
_REGISTERED: dict[int, Any] = {201: dict[str, str], 200: dict[str, str]}
_CLAIMED: dict[int, Any] = {201: WorkOrder, 202: WorkOrder, 204: None}


class ClaimBody(Struct, frozen=True):
    """Who asks for work."""

    machine: str = ""
    boot_id: str = ""
    instance: str = ""


class RunBody(Struct, frozen=True):
    """Which agent process on which boot holds the job; `progress` is how much of it is done, in percent."""

    boot_id: str = ""
    instance: str = ""
    progress: Annotated[int, Meta(ge=0, le=100)] | None = None


class RebootBody(Struct, frozen=True):
    """How a machine can boot: `kexec` says that its agent can start a kernel itself."""

    kexec: bool = False


class ResultBody(Struct, frozen=True):
    """How a run ended."""

    state: JobState
    boot_id: str = ""
    instance: str = ""
    exit_state: ExitState = ExitState.NONE
    exit_code: int | None = None
    message: str = ""


class Work:
    """The agents' side of the API. `agent` is `version` and `sha256` of the one that we serve."""

    def __init__(
        self,
        ledger: Ledger,
        registrations: Registrations,
        jobs: Jobs,
        actions: Actions,
        boot: Boot,
        agent: dict[str, str],
    ) -> None:
        self._ledger = ledger
        self._registrations = registrations
        self._jobs = jobs
        self._actions = actions
        self._boot = boot
        self._agent = agent

    def operations(self) -> list[Operation]:
        """What agents say and ask."""
        machine, job = "/api/v1/machines/{machine}", "/api/v1/jobs/{job}"
        spoken = [
            Operation("POST", "/api/v1/register", self.register, body=Registration, public=True, answers=_REGISTERED),
            Operation("POST", f"{machine}/hello", self.hello, body=Hello),
            Operation("GET", f"{machine}/work", self.work, query=_WORK_QUERY),
            Operation("PUT", f"{machine}/inventory", self.inventory, answers={204: None}, body=dict[str, Any]),
            Operation("POST", f"{machine}/prepare-reboot", self.prepare_reboot, body=RebootBody),
            Operation("POST", f"{machine}/next-stage", self.next_stage),
            Operation("POST", "/api/v1/jobs", self.claim, answers=_CLAIMED, body=ClaimBody),
            Operation("POST", f"{job}/start", self.start, body=RunBody),
            Operation("PUT", f"{job}/log", self.log, query=_LOG_QUERY, body=Raw()),
            Operation("PUT", f"{job}/actions", self.report_actions, answers={204: None}, body=list[RenderedFile]),
            Operation("POST", f"{job}/heartbeat", self.heartbeat, body=RunBody),
            Operation("POST", f"{job}/result", self.result, body=ResultBody),
        ]
        return [replace(each, agents=True) for each in spoken]

    def _machine(self, request: web.Request, verb: str) -> str:
        machine, caller = request.match_info["machine"], principal(request)
        require_machine(caller, machine, verb)
        if caller.who is Who.MACHINE:
            self._registrations.hear(machine)
        return machine

    def _job(self, request: web.Request, verb: str) -> str:
        job = self._ledger.get(Job, request.match_info["job"])
        if job is None:
            require_machine(principal(request), "", verb)
            raise NotFound(f"there is no job {request.match_info['job']!r}", object=request.match_info["job"])
        require_machine(principal(request), job.machine, verb)
        return job.id

    async def register(self, request: web.Request) -> web.Response:
        """A machine in a netbooted environment says who it is; its ticket came with its boot script."""
        asked = await body(request, Registration)
        done = await self._registrations.register(asked, request.remote or "")
        answer = {"machine": done.machine.id, "name": done.machine.name, "token": done.token, "url": where(request).url}
        return json(answer, status=201 if done.created else 200)

    async def hello(self, request: web.Request) -> web.Response:
        """An agent has come up."""
        machine = self._machine(request, "say hello")
        saved = await self._registrations.hello(machine, await body(request, Hello), principal(request))
        return json({"machine": hide(saved), "agent": self._agent})

    async def work(self, request: web.Request) -> web.Response:
        """What the machine should be doing; with `wait`, answers when that changes."""
        machine_id = self._machine(request, "look for work")
        revision = number(request, "revision", 0, 0, 1 << 53)
        wait = number(request, "wait", 0, 0, LONGEST_WAIT_SECONDS)
        if wait:
            await unless_closing(request, self._news(machine_id, revision, wait))
        return json(self._summary(self._found(machine_id)))

    async def _news(self, machine_id: str, revision: int, wait: float) -> None:
        """Wait for another revision. It looks and waits in one go: a change between the two would wake nobody."""
        machine = self._found(machine_id)
        if machine.revision == revision:
            await self._ledger.changed(Machine, machine_id, self._until_due(machine, wait))

    def _until_due(self, machine: Machine, wait: float) -> float:
        if machine.not_before is None:
            return wait
        due = (machine.not_before - self._ledger.clock()).total_seconds()
        return min(wait, max(due, 0.1))

    def _found(self, machine_id: str) -> Machine:
        machine = self._ledger.read(Machine, machine_id)
        if machine is None:
            raise NotFound(f"there is no machine {machine_id!r}", object=machine_id)
        return machine

    def _summary(self, machine: Machine) -> dict[str, Any]:
        due = machine.not_before is None or machine.not_before <= self._ledger.clock()
        return {
            "revision": machine.revision,
            "runnable": machine.runnable,
            "available": machine.available,
            "workflow": machine.workflow,
            "stage": machine.stage,
            "bootenv": machine.bootenv,
            "tasks": machine.tasks,
            "current_task": machine.current_task,
            "errors": machine.errors,
            "claimable": machine.runnable and machine.available and not machine.done and due,
            "reason": machine.waiting_for,
            "map_leads": self._registrations.map_leads(machine),
            "agent": self._agent,
        }

    async def inventory(self, request: web.Request) -> web.Response:
        """What the machine is made of."""
        machine = self._machine(request, "report its inventory")
        await self._registrations.report_inventory(machine, await body(request, dict[str, Any]), principal(request))
        return web.Response(status=204)

    async def prepare_reboot(self, request: web.Request) -> web.Response:
        """The agent is about to reboot; the BMC is told what to boot, when there is one."""
        machine = self._machine(request, "prepare its reboot")
        asked = await body(request, RebootBody)
        answer: dict[str, Any] = await self._actions.prepare_reboot(machine, principal(request))
        place = where(request)
        if asked.kexec:
            answer["kexec"] = self._boot.kexec(machine, Reached(place.address, place.url), request.remote or "")
        return json(answer)

    async def next_stage(self, request: web.Request) -> web.Response:
        """A step of the change-stage map."""
        machine = self._machine(request, "change its stage")
        return json(outcome_of(await self._registrations.next_stage(machine, principal(request))))

    async def claim(self, request: web.Request) -> web.Response:
        """Claim a job: 201 a new one, 202 the same as before, 204 none now, 409 wait and why."""
        asked = await body(request, ClaimBody)
        if not asked.machine:
            raise Invalid("name the machine that asks for work in `machine`", status=400)
        require_machine(principal(request), asked.machine, "claim jobs")
        order = await self._jobs.claim(asked.machine, asked.boot_id, where(request), principal(request))
        if order is None:
            return web.Response(status=204)
        return json(order, status=202 if order.repeated else 201)

    async def start(self, request: web.Request) -> web.Response:
        """The job begins or goes on."""
        job = self._job(request, "start this job")
        said = await body(request, RunBody)
        return json({"job": await self._jobs.start(job, said.boot_id, said.instance, principal(request))})

    async def log(self, request: web.Request) -> web.Response:
        """Add to the job's log at `offset`."""
        job = self._job(request, "write this log")
        offset = number(request, "offset", 0, 0, 1 << 53)
        return json({"size": await self._jobs.append_log(job, offset, await body_bytes(request))})

    async def report_actions(self, request: web.Request) -> web.Response:
        """What the job's templates were rendered to."""
        job = self._job(request, "report what it rendered")
        files = await body(request, tuple[RenderedFile, ...])
        await self._jobs.report_actions(job, files, principal(request))
        return web.Response(status=204)

    async def heartbeat(self, request: web.Request) -> web.Response:
        """The job is still being run."""
        job_id = self._job(request, "keep this job alive")
        said = await body(request, RunBody)
        job = self._jobs.heartbeat(job_id, said.instance or said.boot_id, said.progress)
        return json({"cancel": job.cancel_requested or job.final, "state": job.state})

    async def result(self, request: web.Request) -> web.Response:
        """How the run ended."""
        job_id = self._job(request, "end this job")
        said = await body(request, ResultBody)
        outcome = Outcome(said.state, said.exit_state, said.exit_code, said.message)
        job, machine = await self._jobs.end(job_id, said.instance or said.boot_id, outcome, principal(request))
        return json({"job": job, "machine": hide(machine)})


def where(request: web.Request) -> Where:
    """The address by which this client reached us, which it can surely reach again."""
    reached = of_request(request)
    return Where(url=reached.url, address=reached.address)
