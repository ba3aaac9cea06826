"""What each page of the web UI shows, gathered from durable state only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from provisioner.conductor.actions import Actions
from provisioner.conductor.catalog import Catalog
from provisioner.conductor.jobs import Jobs
from provisioner.conductor.ledger import Ledger
from provisioner.errors import Invalid, NotFound, unknown
from provisioner.model.addresses import Lease, Subnet
from provisioner.model.content import CONTENT_KINDS
from provisioner.model.machines import LIVE_STATES, Clash, Job, Machine
from provisioner.model.operations import Operation
from provisioner.params import redact
from provisioner.power.driver import ACTIONS
from provisioner.services import ui_content as content_words
from provisioner.services.ui_boots import boots
from provisioner.services.ui_events import FAINT, tell
from provisioner.services.ui_inventory import inventory
from provisioner.services.ui_jobs import JOBS_LIMIT, JobViews
from provisioner.services.ui_machines import STATE_WORDS, Row, State, can_resume, fits, last_seen, row, standing, tally
from provisioner.services.ui_params import param_rows
from provisioner.services.ui_work import jobs_of_run, legs, progress
from provisioner.store.database import Database
from provisioner.store.event_search import EventQuery

ROWS_LIMIT = 200
# About what two busy boots leave behind; earlier events are one click away.
EVENTS_LIMIT = 500
RECENT_LIMIT = 8
OPERATIONS_LIMIT = 5
TABS = ("overview", "timeline", "jobs", "inventory", "params", "raw")
# From what operators assign down to what it is made of.
_KINDS = ("workflows", "stages", "tasks", "bootenvs", "params", "profiles", "templates")


class Views:
    """Gathers the values that the templates show."""

    def __init__(
        self,
        ledger: Ledger,
        catalog: Catalog,
        jobs: Jobs,
        actions: Actions,
        database: Database,
        of_jobs: JobViews,
    ) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._jobs = jobs
        self._actions = actions
        self._database = database
        self._of_jobs = of_jobs

    async def last_event(self) -> int:
        """The number of the newest event; what is read afterwards is at least as new."""
        newest = await self._database.events(EventQuery(limit=1, newest_first=True))
        return newest[0].id if newest else 0

    def _job(self, job_id: str) -> Job | None:
        return self._ledger.read(Job, job_id) if job_id else None

    # --- machines ---------------------------------------------------------------------------------------------

    def machines(self, query: Mapping[str, str]) -> dict[str, Any]:
        """The list, narrowed by `q` (words) and `state`."""
        rows = self._rows_with(query.get("q", ""))
        counts, total = tally(rows), len(rows)
        wanted = query.get("state", "")
        rows = _in_state(rows, wanted)
        rows.sort(key=_by_name)
        return {
            "rows": rows[:ROWS_LIMIT],
            "hidden": max(0, len(rows) - ROWS_LIMIT),
            "fitting": len(rows),
            "total": total,
            "counts": [(state.value, STATE_WORDS[state], counts[state]) for state in State],
            "wanted": wanted,
            "filter": query.get("q", ""),
            "known": sum(1 for _ in self._ledger.read_all(Machine)),
            "answering": any(each.enabled for each in self._ledger.read_all(Subnet)),
            "clashes": sum(1 for _ in self._ledger.read_all(Clash)),
            "workflows": content_words.choices(self._catalog.view),
            "power_actions": tuple(ACTIONS.values()),
        }

    def _rows_with(self, text: str) -> list[Row]:
        now, words = self._ledger.clock(), text.lower().split()
        fitting = [machine for machine in self._ledger.read_all(Machine) if fits(machine, words)]
        return [row(machine, self._job(machine.current_job), now) for machine in fitting]

    def chosen(self, query: Mapping[str, str]) -> list[str]:
        """The ids of all machines that the list has when narrowed so, by name."""
        rows = _in_state(self._rows_with(query.get("q", "")), query.get("state", ""))
        return [each.machine.id for each in sorted(rows, key=_by_name)]

    async def machine(self, machine: Machine, tab: str, query: Mapping[str, str]) -> dict[str, Any]:
        """One machine: what its header shows, and its tab."""
        if tab not in TABS:
            raise NotFound(unknown("page of a machine", tab, TABS), object=tab)
        now = self._ledger.clock()
        job = self._job(machine.current_job)
        shown: dict[str, Any] = {
            "machine": machine,
            "job": job,
            "standing": standing(machine, job, now),
            "progress": progress(machine, job),
            "last_seen": last_seen(machine, job, now),
            "live": job is not None and job.state in LIVE_STATES,
            "resumable": can_resume(machine),
            "stages": self._stages_of(machine),
            "actions": self._actions.choices(machine.id),
            "workflows": content_words.choices(self._catalog.view),
            "inventory": inventory(machine.inventory),
            "grants": [grant for grant in machine.erase_grants if grant.expires_at > now],
            "tab": tab,
            "tabs": TABS,
        }
        return shown | await self._tab(machine, job, tab, query)

    def _stages_of(self, machine: Machine) -> tuple[str, ...]:
        """The stages that its work can begin anew from."""
        workflow = self._catalog.view["workflows"].get(machine.workflow)
        if workflow is not None:
            return tuple(workflow.stages)
        return (machine.stage,) if machine.stage in self._catalog.view["stages"] else ()

    async def _tab(self, machine: Machine, job: Job | None, tab: str, query: Mapping[str, str]) -> dict[str, Any]:
        match tab:
            case "overview":
                return await self._overview(machine, job)
            case "timeline":
                return await self._timeline(machine, query)
            case "jobs":
                return {"jobs": self._of_jobs.rows(self._of_jobs.of_machine(machine.id)[:JOBS_LIMIT])}
            case "params":
                declared = self._catalog.view["params"]
                return {
                    "params": param_rows(self._catalog.values.why(machine), declared, machine.params),
                    "declared": declared,
                }
            case "raw":
                return {"raw": self._raw(machine)}
        return {}

    async def _overview(self, machine: Machine, job: Job | None) -> dict[str, Any]:
        recent = await self._database.events(
            EventQuery(machine=machine.id, macs=machine.macs, limit=40, newest_first=True)
        )
        return {
            "legs": legs(machine, job, jobs_of_run(machine, job, self._job)),
            "log": await self._of_jobs.log(job) if job is not None else None,
            "job_progress": self._jobs.progress(job.id) if job is not None else None,
            "recent": [told for told in map(tell, recent) if told.tone != FAINT][:RECENT_LIMIT],
        }

    async def _timeline(self, machine: Machine, query: Mapping[str, str]) -> dict[str, Any]:
        text = query.get("before", "0")
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise Invalid(f"before: {text[:40]!r} is not the number of an event", status=400)
        asked = EventQuery(
            machine=machine.id, macs=machine.macs, before=int(text), limit=EVENTS_LIMIT, newest_first=True
        )
        found = (await self._database.events(asked))[::-1]
        more = len(found) == EVENTS_LIMIT
        return {"boots": boots(found), "earlier": found[0].id if more else 0, "before": int(text)}

    def _raw(self, machine: Machine) -> dict[str, Any]:
        shown: dict[str, Any] = msgspec.to_builtins(machine)
        shown["params"] = redact(machine.params, self._catalog.view)
        return shown

    # --- content ----------------------------------------------------------------------------------------------

    def content(self, kind: str) -> dict[str, Any]:
        """All objects of a kind, or the workflows."""
        view = self._catalog.view
        kind = kind or "workflows"
        if kind not in CONTENT_KINDS:
            raise NotFound(unknown("kind of content", kind, CONTENT_KINDS), object=kind)
        objects = sorted(view[kind].values(), key=lambda value: value.name)
        return {
            "kind": kind,
            "kinds": [(each, len(view[each])) for each in _KINDS],
            "objects": [(each, self._catalog.errors(each)) for each in objects],
        }

    def content_object(self, kind: str, name: str) -> dict[str, Any]:
        """One object, what it refers to, and what uses it."""
        view = self._catalog.view
        if kind not in CONTENT_KINDS:
            raise NotFound(unknown("kind of content", kind, CONTENT_KINDS), object=kind)
        value = self._catalog.find(kind, name)
        source = content_words.source_of(value)
        # The page shows these two apart.
        described = content_words.plain(replace(value, documentation=""), view)
        described.pop("contents", None)
        return self.content(kind) | {
            "value": value,
            "errors": self._catalog.errors(value),
            "lines": list(content_words.marked(content_words.as_yaml(described))),
            "source": source,
            "uses": content_words.links_from(value, view),
            "used_by": content_words.links_to(kind, name, view),
            "machines": content_words.machines_with(kind, name, self._ledger.read_all(Machine)),
        }

    # --- server -----------------------------------------------------------------------------------------------

    async def health(self) -> dict[str, Any]:
        """How the server is: what it holds, since when it runs, which packs are in force."""
        started = await self._database.events(EventQuery(kinds=("server.start",), limit=1, newest_first=True))
        view = self._catalog.view
        counted = {
            "machine": sum(1 for _ in self._ledger.read_all(Machine)),
            "job": sum(1 for _ in self._ledger.read_all(Job)),
            "lease": sum(1 for _ in self._ledger.read_all(Lease)),
        }
        return {
            "started_at": started[0].time if started else None,
            "counted": counted,
            "clashes": sum(1 for _ in self._ledger.read_all(Clash)),
            "operations": self._operations(),
            "running": sum(1 for job in self._ledger.read_all(Job) if job.state in LIVE_STATES),
            "packs": getattr(view, "packs", ()),
            "warnings": getattr(view, "warnings", ()),
        }

    def _operations(self) -> list[Operation]:
        """The newest long actions."""
        return sorted(self._ledger.read_all(Operation), key=lambda each: each.started_at)[: -OPERATIONS_LIMIT - 1 : -1]


def _in_state(rows: list[Row], state: str) -> list[Row]:
    return [each for each in rows if each.standing.state.value == state] if state else rows


def _by_name(each: Row) -> tuple[tuple[int, int, str], ...]:
    """Names with numbers in the order of the numbers: n2 before n10."""
    parts = re.split(r"(\d+)", each.machine.name.lower())
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part)
