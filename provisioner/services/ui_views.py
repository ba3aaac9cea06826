"""What each page of the web UI shows, gathered from durable state only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from provisioner.conductor.actions import Actions
from provisioner.conductor.catalog import Catalog
from provisioner.conductor.jobs import Jobs
from provisioner.conductor.ledger import Ledger
from provisioner.errors import Invalid, NotFound, unknown
from provisioner.model import (
    CONTENT_KINDS,
    LIVE_STATES,
    Job,
    JobState,
    Lease,
    LeaseState,
    Machine,
    RenderedFile,
    Reservation,
    Subnet,
)
from provisioner.params import redact
from provisioner.services import ui_content as content_words
from provisioner.services.ui_boots import boots
from provisioner.services.ui_events import FAINT, tell
from provisioner.services.ui_inventory import inventory
from provisioner.services.ui_machines import (
    STATE_WORDS,
    Row,
    State,
    fits,
    is_work,
    jobs_of_run,
    last_seen,
    legs,
    progress,
    row,
    standing,
    tally,
)
from provisioner.store.database import Database, EventQuery

ROWS_LIMIT = 200
JOBS_LIMIT = 200
# A filter looks through so many of the newest jobs; a list of all would hold up everything else for too long.
JOBS_LOOKED_AT = 5000
LEASES_LIMIT = 500
# About what two busy boots leave behind; earlier events are one click away.
EVENTS_LIMIT = 500
RECENT_LIMIT = 8
TABS = ("overview", "timeline", "jobs", "inventory", "params", "raw")
# What a page brings of a log without JavaScript.
TAIL_BYTES = 64 << 10
# From what operators assign down to what it is made of.
_KINDS = ("workflows", "stages", "tasks", "bootenvs", "params", "profiles", "templates")
# Colours and the like, which only a script can show.
_CONTROLS = re.compile(r"\x1b\[[0-9;:?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|[\x00-\x08\x0b-\x1f\x7f]")


class JobRow(Struct, frozen=True):
    """A job as a line of a list; `machine` is the machine's name, empty when it is no more.

    `work` is false for the jobs that only record a change of stage or boot environment.
    """

    job: Job
    machine: str
    seconds: float | None
    work: bool


class ParamRow(Struct, frozen=True):
    """A param with its value as text and where that came from."""

    name: str
    value: str
    source: str
    secure: bool
    description: str
    origin: str = ""
    error: str = ""


class SubnetRow(Struct, frozen=True):
    """A subnet with how many of its pool's addresses are taken."""

    subnet: Subnet
    taken: int
    total: int


class LeaseRow(Struct, frozen=True):
    """A lease, and the machine that has its MAC."""

    lease: Lease
    machine: str
    state: str


class Log(Struct, frozen=True):
    """The end of a log; `start` is the offset it begins at, `size` the whole log's."""

    text: str
    start: int
    size: int


class Views:
    """Gathers the values that the templates show."""

    def __init__(self, ledger: Ledger, catalog: Catalog, jobs: Jobs, actions: Actions, database: Database) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._jobs = jobs
        self._actions = actions
        self._database = database

    async def last_event(self) -> int:
        """The number of the newest event; what is read afterwards is at least as new."""
        newest = await self._database.events(EventQuery(limit=1, newest_first=True))
        return newest[0].id if newest else 0

    def _job(self, job_id: str) -> Job | None:
        return self._ledger.read(Job, job_id) if job_id else None

    def _jobs_of(self, machine_id: str) -> list[Job]:
        """The machine's jobs on disk, newest first."""
        found = (self._ledger.read(Job, job.id) for job in self._ledger.jobs_of(machine_id))
        return [job for job in found if job is not None][::-1]

    # --- machines ---------------------------------------------------------------------------------------------

    def machines(self, query: Mapping[str, str]) -> dict[str, Any]:
        """The list, narrowed by `q` (words) and `state`."""
        now = self._ledger.clock()
        words = query.get("q", "").lower().split()
        fitting = [machine for machine in self._ledger.read_all(Machine) if fits(machine, words)]
        rows = [row(machine, self._job(machine.current_job), now) for machine in fitting]
        counts = tally(rows)
        wanted = query.get("state", "")
        if wanted:
            rows = [each for each in rows if each.standing.state.value == wanted]
        rows.sort(key=_by_name)
        return {
            "rows": rows[:ROWS_LIMIT],
            "hidden": max(0, len(rows) - ROWS_LIMIT),
            "total": len(fitting),
            "counts": [(state.value, STATE_WORDS[state], counts[state]) for state in State],
            "wanted": wanted,
            "filter": query.get("q", ""),
            "known": sum(1 for _ in self._ledger.read_all(Machine)),
        }

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
            "actions": self._actions.choices(machine.id),
            "workflows": content_words.choices(self._catalog.view),
            "inventory": inventory(machine.inventory),
            "grants": [grant for grant in machine.erase_grants if grant.expires_at > now],
            "tab": tab,
            "tabs": TABS,
        }
        return shown | await self._tab(machine, job, tab, query)

    async def _tab(self, machine: Machine, job: Job | None, tab: str, query: Mapping[str, str]) -> dict[str, Any]:
        match tab:
            case "overview":
                return await self._overview(machine, job)
            case "timeline":
                return await self._timeline(machine, query)
            case "jobs":
                return {"jobs": self._job_rows(self._jobs_of(machine.id)[:JOBS_LIMIT])}
            case "params":
                return {"params": self._params(machine), "declared": self._catalog.view["params"]}
            case "raw":
                return {"raw": self._raw(machine)}
        return {}

    async def _overview(self, machine: Machine, job: Job | None) -> dict[str, Any]:
        recent = await self._database.events(
            EventQuery(machine=machine.id, macs=machine.macs, limit=40, newest_first=True)
        )
        return {
            "legs": legs(machine, job, jobs_of_run(machine, job, self._job)),
            "log": await self.log(job) if job is not None else None,
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

    def _params(self, machine: Machine) -> list[ParamRow]:
        declared = self._catalog.view["params"]
        rows = []
        for name, why in self._catalog.values.why(machine).items():
            value = why.value
            text = value if isinstance(value, str) else content_words.as_yaml(value).removesuffix("...\n").strip()
            description = declared[name].description if name in declared else ""
            rows.append(ParamRow(name, text, why.source, why.secure, description, why.origin, why.error))
        return rows

    def _raw(self, machine: Machine) -> dict[str, Any]:
        shown: dict[str, Any] = msgspec.to_builtins(machine)
        shown["params"] = redact(machine.params, self._catalog.view)
        return shown

    # --- jobs -------------------------------------------------------------------------------------------------

    def _job_rows(self, jobs: Iterable[Job]) -> list[JobRow]:
        return [self._job_row(job) for job in jobs]

    def _job_row(self, job: Job) -> JobRow:
        machine = self._ledger.read(Machine, job.machine)
        return JobRow(job, machine.name if machine is not None else "", self._seconds(job), is_work(job.task))

    def _seconds(self, job: Job) -> float | None:
        if job.started_at is None:
            return None
        end = job.ended_at or (self._ledger.clock() if job.state is JobState.RUNNING else None)
        return (end - job.started_at).total_seconds() if end is not None else None

    def jobs(self, query: Mapping[str, str]) -> dict[str, Any]:
        """The newest jobs of all machines, narrowed by `state` and `q` (words in task, machine, workflow, stage)."""
        wanted, words = query.get("state", ""), query.get("q", "").lower().split()
        # The ledger has them about in the order in which they were created.
        newest = sorted(list(self._ledger.read_all(Job))[-JOBS_LOOKED_AT:], key=lambda job: job.created_at)[::-1]
        rows = [each for each in self._job_rows(newest) if each.work and _job_fits(each, words)]
        counts = {state: sum(each.job.state is state for each in rows) for state in JobState}
        if wanted:
            rows = [each for each in rows if each.job.state.value == wanted]
        return {
            "jobs": rows[:JOBS_LIMIT],
            "hidden": max(0, len(rows) - JOBS_LIMIT),
            "counts": [(state.value, state.value, counts[state]) for state in JobState],
            "total": sum(counts.values()),
            "wanted": wanted,
            "filter": query.get("q", ""),
        }

    async def job(self, job: Job) -> dict[str, Any]:
        """One job with what it rendered, its log's end and its other attempts."""
        doc = await self._database.actions(job.id)
        return {
            "job": job,
            "machine": self._ledger.read(Machine, job.machine),
            "seconds": self._seconds(job),
            "live": job.state in LIVE_STATES,
            "job_progress": self._jobs.progress(job.id),
            "files": msgspec.json.decode(doc, type=list[RenderedFile]) if doc else [],
            "attempts": self._job_rows(self._attempts(job)),
            "known_task": job.task in self._catalog.view["tasks"],
            "log": await self.log(job),
        }

    def _attempts(self, job: Job) -> list[Job]:
        """The other jobs of the same task at the same place of the same work, newest first."""
        same = (job.index, job.task, job.workflow)
        return [
            other
            for other in self._jobs_of(job.machine)
            if (other.index, other.task, other.workflow) == same and other.id != job.id
        ]

    async def log(self, job: Job) -> Log:
        """The end of the job's log."""
        _, size = await self._jobs.read_log(job.id, 0, 0, 0)
        start = max(0, size - TAIL_BYTES)
        data, size = await self._jobs.read_log(job.id, start, TAIL_BYTES, 0)
        if start:
            cut = data.find(b"\n") + 1
            data, start = data[cut:], start + cut
        return Log(_CONTROLS.sub("", data.decode("utf-8", "replace")), start, size)

    # --- addresses --------------------------------------------------------------------------------------------

    def leases(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Subnets, leases and reservations, the leases narrowed by `q` (words)."""
        now = self._ledger.clock()
        found = sorted(self._ledger.read_all(Lease), key=lambda lease: IPv4Address(lease.address))
        rows = [LeaseRow(lease, self._machine_with(lease.mac), _lease_state(lease, now)) for lease in found]
        reservations = sorted(self._ledger.read_all(Reservation), key=lambda each: IPv4Address(each.address))
        words = query.get("q", "").lower().split()
        fitting = [each for each in rows if _lease_fits(each, words)]
        return {
            "subnets": [_subnet_row(subnet, rows) for subnet in self._ledger.read_all(Subnet)],
            "leases": fitting[:LEASES_LIMIT],
            "total": len(fitting),
            "filter": query.get("q", ""),
            "reservations": [(each, self._machine_with(each.mac)) for each in reservations],
        }

    def _machine_with(self, mac: str) -> str:
        found = self._ledger.machine_by_mac(mac)
        return found.name if found is not None else ""

    # --- content ----------------------------------------------------------------------------------------------

    def content(self, kind: str) -> dict[str, Any]:
        """All objects of a kind, or the workflows."""
        view = self._catalog.view
        kind = kind or "workflows"
        if kind not in CONTENT_KINDS:
            raise NotFound(unknown("kind of content", kind, CONTENT_KINDS), object=kind)
        objects = sorted(view[kind].values(), key=lambda value: value.name)
        return {"kind": kind, "kinds": [(each, len(view[each])) for each in _KINDS], "objects": objects}

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
            "lines": list(content_words.marked(content_words.as_yaml(described))),
            "source": source,
            "uses": content_words.links_from(value),
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
            "running": sum(1 for job in self._ledger.read_all(Job) if job.state in LIVE_STATES),
            "packs": getattr(view, "packs", ()),
            "warnings": getattr(view, "warnings", ()),
        }


def _by_name(each: Row) -> tuple[tuple[int, int, str], ...]:
    """Names with numbers in the order of the numbers: n2 before n10."""
    parts = re.split(r"(\d+)", each.machine.name.lower())
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part)


def _job_fits(each: JobRow, words: Iterable[str]) -> bool:
    job = each.job
    text = f"{job.task} {each.machine} {job.workflow} {job.stage} {job.id} {job.message}".lower()
    return all(word in text for word in words)


def _lease_fits(each: LeaseRow, words: Iterable[str]) -> bool:
    lease = each.lease
    text = f"{lease.address} {lease.mac} {lease.hostname} {lease.subnet} {each.machine} {each.state}".lower()
    return all(word in text for word in words)


def _lease_state(lease: Lease, now: Any) -> str:
    """The state as it is by now: an offer or lease whose time is over has expired, whoever has yet to write it down."""
    over = lease.expires_at <= now and lease.state is not LeaseState.EXPIRED
    return LeaseState.EXPIRED.value if over else lease.state.value


def _subnet_row(subnet: Subnet, leases: Iterable[LeaseRow]) -> SubnetRow:
    if not subnet.pool_start:
        return SubnetRow(subnet, 0, 0)
    first, last = IPv4Address(subnet.pool_start), IPv4Address(subnet.pool_end)
    taken = sum(
        first <= IPv4Address(each.lease.address) <= last and each.state != LeaseState.EXPIRED.value for each in leases
    )
    return SubnetRow(subnet, taken, int(last) - int(first) + 1)
