"""What the server has acknowledged, kept outside of it: every 2xx answer is a promise that must hold for ever.

Answers come in the order in which they arrive here. Contradictions between two answers are noted at once in `faults`;
the rest is for `audit`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from json import loads
from typing import Any
from urllib.parse import unquote

from agent.messages import API, Reply, Request

FINAL = frozenset({"finished", "failed", "abandoned", "cancelled"})
# What can never be another again once a job is final.
_ENDING = ("machine", "task", "index", "attempt", "previous", "state", "exit_state", "exit_code", "message", "ended_at")


@dataclass
class Journal:
    """Promises by what they are about."""

    machines: dict[str, tuple[str, ...]] = field(default_factory=dict)  # id -> MACs
    boots: dict[str, set[str]] = field(default_factory=dict)  # machine -> boots whose hello was taken
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)  # id -> as first handed out
    started: set[str] = field(default_factory=set)
    logs: dict[str, bytearray] = field(default_factory=dict)  # job -> bytes that are safe
    actions: dict[str, Any] = field(default_factory=dict)  # job -> what it rendered
    ended: dict[str, dict[str, Any]] = field(default_factory=dict)  # job -> its final answer
    params: dict[tuple[str, str], list[Any]] = field(default_factory=dict)  # last promise, then what was sent since
    inventories: dict[str, list[Any]] = field(default_factory=dict)  # the same
    faults: list[str] = field(default_factory=list)
    answers: int = 0

    def sent(self, request: Request) -> None:
        """Note what may come true although nobody has promised it yet."""
        for pattern, table in ((_PARAM, self.params), (_INVENTORY, self.inventories)):
            found = pattern.fullmatch(request.path)
            if found and request.method == "PUT":
                key = _param_key(found) if table is self.params else found[1]
                table.setdefault(key, [None]).append(loads(request.body))  # type: ignore[arg-type, attr-defined]

    def answered(self, request: Request, reply: Reply) -> None:
        """Note a promise."""
        if not 200 <= reply.status < 300:
            return
        self.answers += 1
        for method, pattern, note in _NOTES:
            found = pattern.fullmatch(request.path)
            if found and method == request.method:
                note(self, found, request, reply)
                return

    def fault(self, text: str) -> None:
        """Note a contradiction."""
        self.faults.append(text)

    def _registered(self, found: re.Match[str], request: Request, reply: Reply) -> None:
        macs = tuple(loads(request.body)["macs"])
        machine = reply.json()["machine"]
        for other, known in self.machines.items():
            if set(known) & set(macs) and other != machine:
                self.fault(f"MACs {macs} were machine {other} and are machine {machine} now")
        self.machines[machine] = macs

    def _greeted(self, found: re.Match[str], request: Request, reply: Reply) -> None:
        self.boots.setdefault(found[1], set()).add(loads(request.body)["boot_id"])

    def _claimed(self, found: re.Match[str], request: Request, reply: Reply) -> None:
        if reply.status == 204:
            return
        job = reply.json()["job"]
        if job["id"] in self.ended:
            self.fault(f"job {job['id']} was handed out after it had ended as {self.ended[job['id']]['state']}")
        first = self.jobs.setdefault(job["id"], job)
        for name in ("machine", "task", "index", "previous", "attempt"):
            if first[name] != job[name]:
                self.fault(f"job {job['id']}: {name} was {first[name]!r} and is {job[name]!r}")

    def _was_started(self, found: re.Match[str], request: Request, reply: Reply) -> None:
        self.started.add(found[1])

    def _logged(self, found: re.Match[str], request: Request, reply: Reply) -> None:
        offset, size = int(found[2]), reply.json()["size"]
        kept = self.logs.setdefault(found[1], bytearray())
        if size < len(kept):
            self.fault(f"the log of job {found[1]} had {len(kept)} bytes and has {size}")
        if offset > len(kept):
            self.fault(f"the log of job {found[1]} took bytes at {offset} after {len(kept)}")
            return
        shared = kept[offset : offset + len(request.body)]
        if shared != request.body[: len(shared)]:
            self.fault(f"the log of job {found[1]} took other bytes at {offset} than before")
        kept += request.body[len(kept) - offset :]

    def _rendered(self, found: re.Match[str], request: Request, reply: Reply) -> None:
        self.actions[found[1]] = loads(request.body)

    def _was_ended(self, found: re.Match[str], request: Request, reply: Reply) -> None:
        job = reply.json()["job"]
        if job["state"] in FINAL:
            self.check_ending(job)
            self.ended.setdefault(found[1], job)

    def check_ending(self, job: dict[str, Any]) -> None:
        """Compare a job with how it was said to have ended."""
        first = self.ended.get(job["id"], job)
        for name in _ENDING:
            if first[name] != job[name]:
                self.fault(f"job {job['id']} is final, but {name} was {first[name]!r} and is {job[name]!r}")

    def _param_set(self, found: re.Match[str], request: Request, reply: Reply) -> None:
        self.params[_param_key(found)] = [loads(request.body)]

    def _inventoried(self, found: re.Match[str], request: Request, reply: Reply) -> None:
        self.inventories[found[1]] = [loads(request.body)]

    def __iter__(self) -> Iterator[str]:
        """Everything in numbers, for people."""
        for name in ("machines", "jobs", "started", "actions", "ended", "params", "inventories"):
            yield f"{len(getattr(self, name))} {name}"
        yield f"{sum(map(len, self.logs.values()))} bytes of {len(self.logs)} logs"
        yield f"{sum(map(len, self.boots.values()))} boots"
        yield f"{self.answers} answers"


def _param_key(found: re.Match[str]) -> tuple[str, str]:
    return found[1], unquote(found[2])


_PARAM = re.compile(rf"{API}/machines/([^/]+)/params/(.+)")
_INVENTORY = re.compile(rf"{API}/machines/([^/]+)/inventory")
Note = Callable[[Journal, "re.Match[str]", Request, Reply], None]
_NOTES: tuple[tuple[str, re.Pattern[str], Note], ...] = (
    ("POST", re.compile(rf"{API}/jobs"), Journal._claimed),
    ("POST", re.compile(rf"{API}/jobs/([^/]+)/start"), Journal._was_started),
    ("PUT", re.compile(rf"{API}/jobs/([^/]+)/log\?offset=(\d+)"), Journal._logged),
    ("PUT", re.compile(rf"{API}/jobs/([^/]+)/actions"), Journal._rendered),
    ("POST", re.compile(rf"{API}/jobs/([^/]+)/result"), Journal._was_ended),
    ("POST", re.compile(rf"{API}/register"), Journal._registered),
    ("POST", re.compile(rf"{API}/machines/([^/]+)/hello"), Journal._greeted),
    ("PUT", _PARAM, Journal._param_set),
    ("PUT", _INVENTORY, Journal._inventoried),
)
