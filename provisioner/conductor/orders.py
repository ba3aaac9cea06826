"""Work orders: what an agent is handed with a job. Nothing is rendered here; the agent does that, all at once."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from agent.errors import RenderError
from agent.render import Renderer
from provisioner.conductor.catalog import Catalog
from provisioner.conductor.ledger import Ledger
from provisioner.expand import Expansion, Given, context_of
from provisioner.model.content import Task, TaskFile
from provisioner.model.machines import Job, Machine
from provisioner.params import ContentView
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

    @property
    def as_context(self) -> dict[str, str]:
        """As templates see it."""
        return {"url": self.url, "address": self.address}


class _Sources(Struct, frozen=True):
    """What a task's files are made of, as one content in force has it."""

    task: Task
    files: list[WorkFile]
    templates: dict[str, str]


class Orders:
    """Puts orders together from the content in force; what a task is made of is worked out once for each content."""

    def __init__(self, ledger: Ledger, catalog: Catalog, logs: JobLogs, renderer: Renderer) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._logs = logs
        self._renderer = renderer
        self._view: ContentView | None = None
        self._sources: dict[str, _Sources] = {}

    async def make(
        self,
        machine: Machine,
        job: Job,
        task: Task,
        where: Where,
        values: Expansion,
        *,
        resumed: bool = False,
        repeated: bool = False,
    ) -> WorkOrder:
        """The order for a job of this task, as things stand now; `values` are the machine's params."""
        sources = self._sources_of(task)
        return WorkOrder(
            job=job,
            task=task,
            files=sources.files,
            templates=sources.templates,
            context=self._context(machine, job, task, values.for_task(task), where),
            # Nobody has written to the log of a job that nobody was given.
            log_size=await self._logs.size(job.id) if repeated else 0,
            resumed=resumed,
            repeated=repeated,
            machine_tasks_left=len(machine.tasks) - job.index - 1,
        )

    def _sources_of(self, task: Task) -> _Sources:
        view = self._catalog.view
        if view is not self._view:
            self._view, self._sources = view, {}
        known = self._sources.get(task.name)
        if known is None or known.task is not task:
            files = [self._work_file(task, file) for file in task.files]
            known = self._sources[task.name] = _Sources(task, files, self._reachable(files))
        return known

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

    def _context(self, machine: Machine, job: Job, task: Task, given: Given, where: Where) -> dict[str, Any]:
        context = context_of(machine, self._catalog.view)
        now = self._ledger.clock()
        context["machine"]["erase_grants"] = [grant for grant in machine.erase_grants if grant.expires_at > now]
        return {
            **context,
            "params": given.params,
            "param_errors": given.errors,
            "task": {"name": task.name, "description": task.description},
            "job": {"id": job.id, "attempt": job.attempt, "index": job.index},
            "server": where.as_context,
        }
