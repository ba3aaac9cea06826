"""Work orders: what an agent is handed with a job. Nothing is rendered here; the agent does that, all at once."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from agent.errors import RenderError
from agent.render import Renderer
from provisioner.conductor.catalog import Catalog
from provisioner.conductor.ledger import Ledger
from provisioner.model import Job, Machine, Task, TaskFile
from provisioner.params import for_task, resolve
from provisioner.store.logs import JobLogs


class WorkFile(Struct, frozen=True):
    """A file of a task as the agent gets it, still unrendered; a script when `path` is empty.

    `template` is the name that errors in the source are reported under.
    """

    name: str
    path: str
    template: str
    source: str
    interpreter: str
    mode: str


class WorkOrder(Struct, frozen=True):
    """All an agent needs to run a job: unrendered files, every template they reach, and the template context.

    `repeated`: the same job was given before; `resumed`: it has run before and goes on.
    """

    job: Job
    task: Task
    files: list[WorkFile]
    templates: dict[str, str]
    context: dict[str, Any]
    log_size: int = 0
    resumed: bool = False
    repeated: bool = False
    machine_tasks_left: int = 0


class Where(Struct, frozen=True):
    """The address by which an agent reached the server; templates make their URLs with it."""

    url: str
    address: str


class Orders:
    """Puts orders together from the content in force."""

    def __init__(self, ledger: Ledger, catalog: Catalog, logs: JobLogs, renderer: Renderer) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._logs = logs
        self._renderer = renderer

    async def make(
        self, machine: Machine, job: Job, task: Task, where: Where, *, resumed: bool = False, repeated: bool = False
    ) -> WorkOrder:
        """The order for a job of this task, as things stand now."""
        view = self._catalog.view
        values = for_task(task, resolve(machine, view), view)
        files = [self._work_file(task, file) for file in task.files]
        return WorkOrder(
            job=job,
            task=task,
            files=files,
            templates=self._reachable(files),
            context=self._context(machine, job, task, values, where),
            log_size=await self._logs.size(job.id),
            resumed=resumed,
            repeated=repeated,
            machine_tasks_left=len(machine.tasks) - job.index - 1,
        )

    def _work_file(self, task: Task, file: TaskFile) -> WorkFile:
        found = self._catalog.view["templates"].get(file.template)
        name = found.name if found is not None else f"{task.name}/{file.name}"
        source = found.contents if found is not None else file.contents
        return WorkFile(file.name, file.path, name, source, file.interpreter, file.mode)

    def _reachable(self, files: list[WorkFile]) -> dict[str, str]:
        known = {name: template.contents for name, template in self._catalog.view["templates"].items()}
        needed: dict[str, str] = {}
        for file in files:
            try:
                needed |= self._renderer.reachable(file.template, {**known, file.template: file.source})
            except RenderError:
                # The agent meets the same error and fails the job with it, where the operator looks for it.
                needed[file.template] = file.source
        return needed

    def _context(self, machine: Machine, job: Job, task: Task, params: dict[str, Any], where: Where) -> dict[str, Any]:
        view = self._catalog.view
        now = self._ledger.clock()
        grants = [grant for grant in machine.erase_grants if grant.expires_at > now]
        return {
            "machine": {
                "id": machine.id,
                "name": machine.name,
                "macs": machine.macs,
                "address": machine.address,
                "arch": machine.arch,
                "firmware": machine.firmware,
                "profiles": machine.profiles,
                "meta": machine.meta,
                "inventory": machine.inventory,
                "erase_grants": grants,
            },
            "params": params,
            "stage": {"name": machine.stage},
            "workflow": {"name": machine.workflow},
            "bootenv": _named(view["bootenvs"].get(machine.bootenv), machine.bootenv),
            "task": {"name": task.name, "description": task.description},
            "job": {"id": job.id, "attempt": job.attempt, "index": job.index},
            "server": {"url": where.url, "address": where.address},
        }


def _named(bootenv: Any, name: str) -> dict[str, Any]:
    os = bootenv.os if bootenv is not None else None
    return {"name": name, "os": {"family": os.family, "version": os.version} if os else {"family": "", "version": ""}}
