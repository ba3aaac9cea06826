"""A server for agents to talk to: the protocol in memory, in a thread, with faults to order.

It hands out scripted tasks to one machine and keeps what it is told. `fault` makes the next requests go wrong from
outside, as networks and restarts do; `wait_for` waits for a fact without polling.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

MACHINE = "11111111-2222-3333-4444-555555555555"
TOKEN = "token-of-the-machine"
TICKET = "one-time-ticket"
WAIT_LIMIT_SECONDS = 20.0


@dataclass
class FakeJob:
    """A job as the server sees it."""

    id: str
    task: dict[str, Any]
    index: int
    state: str = "created"
    exit_state: str = ""
    exit_code: int | None = None
    message: str = ""
    log: bytes = b""
    actions: list[dict[str, Any]] = field(default_factory=list)
    beats: list[dict[str, Any]] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)
    cancel: bool = False

    @property
    def is_final(self) -> bool:
        return self.state in ("finished", "failed", "abandoned", "cancelled")

    @property
    def script_output(self) -> bytes:
        """The log without the agent's own lines."""
        lines = self.log.splitlines(keepends=True)
        return b"".join(line for line in lines if not line.startswith(b"[agent] "))

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "task": self.task["name"],
            "stage": "stage-1",
            "workflow": "",
            "index": self.index,
            "state": self.state,
            "exit_state": self.exit_state,
            "attempt": 1,
            "log_size": len(self.log),
        }


@dataclass
class Fault:
    """What is to go wrong with the next `times` requests whose "METHOD path" matches."""

    pattern: str
    # status code; foreign (another server's 404); drop (before it is handled); lose (the reply); cut (it short); twice
    kind: str
    times: int = 1


def script(name: str, source: str, **more: Any) -> dict[str, Any]:
    """A task of one script."""
    return task(name, [{"name": name, "path": "", "source": source}], **more)


def task(name: str, files: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A task of several files; `templates` and `env` join the work order, the rest the task."""
    order = {key: more.pop(key) for key in ("templates", "env") if key in more}
    return {"name": name, "files": files, "order": order, "timeout_seconds": 0, "heartbeat_seconds": 60, **more}


class FakeServer:
    """One machine and its tasks. An entry of `entries` is a task or "bootenv:NAME"."""

    def __init__(self, entries: list[dict[str, Any] | str], bootenv: str = "discovery", workflow: str = "w") -> None:
        self.entries = entries
        self.bootenv = bootenv
        self.workflow = workflow
        self.stage = "stage-1"
        self.runnable = False
        self.revision = 1
        self.current_task = -1
        self.params: dict[str, Any] = {}
        self.assets: dict[tuple[str, str], bytes] = {}
        self.files: dict[str, bytes] = {}
        self.offer: dict[str, str] = {}
        self.kexec: dict[str, Any] = {}
        self.jobs: list[FakeJob] = []
        self.claims: dict[str, FakeJob] = {}
        self.registered: list[dict[str, Any]] = []
        self.greetings: list[dict[str, Any]] = []
        self.inventories: list[dict[str, Any]] = []
        self.requests: list[str] = []
        self.next_stages: list[dict[str, Any]] = []
        self.register_status = 201
        self.reboots_prepared = 0
        self.faults: list[Fault] = []
        self.changed = Condition()
        self.port = 0
        self._server: ThreadingHTTPServer | None = None
        self._thread: Thread | None = None

    # --- running it

    def start(self) -> FakeServer:
        """Listen on a free port, or again on the one of before."""
        handler = type("Handler", (_Handler,), {"fake": self})
        self._server = _Server(("127.0.0.1", self.port), handler)
        self.port = self._server.server_address[1]
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Refuse connections from now on; what was told stays."""
        if self._server and self._thread:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None

    def __enter__(self) -> FakeServer:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        with self.changed:
            self.revision += 1
            self.changed.notify_all()
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def fault(self, pattern: str, kind: str, times: int = 1) -> None:
        """Order a fault."""
        self.faults.append(Fault(pattern, kind, times))

    def wait_for(self, fact: Callable[[], Any]) -> Any:
        """Wait until a fact holds; it is looked at after each request."""
        with self.changed:
            assert self.changed.wait_for(fact, WAIT_LIMIT_SECONDS), f"did not happen; requests: {self.requests[-20:]}"
            return fact()

    def change(self, **fields: Any) -> None:
        """An operator changes the machine."""
        with self.changed:
            for name, value in fields.items():
                setattr(self, name, value)
            self.touch()

    def touch(self) -> None:
        self.revision += 1
        self.changed.notify_all()

    # --- the protocol; called with `changed` held

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes, headers: Any) -> tuple[int, Any]:
        for pattern, name in _ROUTES:
            match = re.fullmatch(pattern, f"{method} {path}")
            if match:
                if name not in ("register", "file") and headers.get("Authorization") != f"Bearer {TOKEN}":
                    return 401, _problem(401, "denied", "no valid token")
                value = json.loads(body) if body and headers.get("Content-Type") == "application/json" else body
                return getattr(self, f"_{name}")(value, query, headers, *match.groups())
        return 404, _problem(404, "not-found", f"no {method} {path}")

    def job(self, ident: str) -> FakeJob:
        return next(job for job in self.jobs if job.id == ident)

    def _register(self, card: Any, query: Any, headers: Any) -> tuple[int, Any]:
        self.registered.append(card)
        if self.register_status >= 400:
            return self.register_status, _problem(self.register_status, "clash", "two machines have this serial")
        if card["ticket"] != TICKET:
            return 403, _problem(403, "denied", "the ticket is wrong or used")
        return self.register_status, {"machine": MACHINE, "name": "m1", "token": TOKEN, "url": ""}

    def _hello(self, greeting: Any, query: Any, headers: Any) -> tuple[int, Any]:
        self.greetings.append(greeting)
        self.runnable = greeting["bootenv"] == self.bootenv
        self.touch()
        return 200, {"machine": {"id": MACHINE}}

    def _work(self, value: Any, query: dict[str, str], headers: Any) -> tuple[int, Any]:
        if "revision" in query:
            seen = int(query["revision"])
            self.changed.wait_for(lambda: self.revision != seen, min(float(query["wait"]), WAIT_LIMIT_SECONDS))
        return 200, {
            "revision": self.revision,
            "runnable": self.runnable,
            "available": True,
            "workflow": self.workflow,
            "stage": self.stage,
            "bootenv": self.bootenv,
            "tasks": [entry if isinstance(entry, str) else entry["name"] for entry in self.entries],
            "current_task": self.current_task,
            "current_job": self.jobs[-1].id if self.jobs else "",
            "errors": [],
            **({"agent": self.offer} if self.offer else {}),
            "claimable": self.runnable and self.current_task < len(self.entries),
            "reason": "" if self.runnable else "not runnable",
        }

    def _claim(self, value: Any, query: Any, headers: Any) -> tuple[int, Any]:
        key = headers.get("Idempotency-Key", "")
        current = self.jobs[-1] if self.jobs else None
        if key in self.claims and not self.claims[key].is_final:
            return 201, self._order(self.claims[key])
        if not self.runnable:
            return 409, _problem(409, "refused", "the machine is not runnable")
        if current and current.index == self.current_task and current.state == "incomplete":
            self.claims[key] = current
            return 202, self._order(current)
        if current and current.state in ("created", "running"):
            return 409, _problem(409, "busy", "another agent is at work")
        if self.current_task < 0 or (current and current.state == "finished" and current.index == self.current_task):
            self.current_task += 1
        self.touch()
        if self.current_task >= len(self.entries):
            return 204, None
        entry = self.entries[self.current_task]
        if isinstance(entry, str):
            self.bootenv, self.runnable = entry.partition(":")[2], False
            self.current_task += 1
            return 204, None
        job = FakeJob(f"job-{len(self.jobs) + 1}", entry, self.current_task)
        self.jobs.append(job)
        self.claims[key] = job
        return 201, self._order(job)

    def _order(self, job: FakeJob) -> dict[str, Any]:
        return {
            "job": job.as_json(),
            "task": {key: value for key, value in job.task.items() if key not in ("files", "order")},
            "files": job.task["files"],
            "templates": {},
            "context": {
                "machine": {"id": MACHINE, "name": "m1"},
                "params": self.params,
                "stage": {"name": self.stage},
                "task": {"name": job.task["name"]},
                "job": {"id": job.id},
                "workflow": self.workflow,
                "bootenv": {"name": self.bootenv},
                "server": {"url": self.url, "address": "127.0.0.1"},
            },
            "env": {},
            "machine_tasks_left": len(self.entries) - self.current_task,
            **job.task["order"],
        }

    def _start(self, value: Any, query: Any, headers: Any, ident: str) -> tuple[int, Any]:
        job = self.job(ident)
        if job.is_final:
            return 409, _problem(409, "conflict", f"the job is {job.state}")
        job.state = "running"
        return 200, {"job": job.as_json()}

    def _log(self, data: bytes, query: dict[str, str], headers: Any, ident: str) -> tuple[int, Any]:
        job, offset = self.job(ident), int(query["offset"])
        if offset > len(job.log):
            return 409, {**_problem(409, "gap", "beyond the end"), "size": len(job.log)}
        job.log += data[len(job.log) - offset :]
        return 200, {"size": len(job.log)}

    def _actions(self, actions: Any, query: Any, headers: Any, ident: str) -> tuple[int, Any]:
        self.job(ident).actions = actions
        return 204, None

    def _heartbeat(self, beat: Any, query: Any, headers: Any, ident: str) -> tuple[int, Any]:
        job = self.job(ident)
        job.beats.append(beat)
        return 200, {"cancel": job.cancel, "state": job.state}

    def _result(self, result: Any, query: Any, headers: Any, ident: str) -> tuple[int, Any]:
        job = self.job(ident)
        job.results.append(result)
        if not job.is_final:
            job.state = "cancelled" if job.cancel else result["state"]
            job.exit_state, job.exit_code, job.message = (result[n] for n in ("exit_state", "exit_code", "message"))
            self.runnable = self.runnable and result["runnable"]
            self.touch()
        return 200, {"job": job.as_json(), "machine": {"id": MACHINE}}

    def _inventory(self, value: Any, query: Any, headers: Any) -> tuple[int, Any]:
        self.inventories.append(value)
        return 204, None

    def _params(self, value: Any, query: Any, headers: Any) -> tuple[int, Any]:
        return 200, self.params

    def _put_param(self, value: Any, query: Any, headers: Any, name: str) -> tuple[int, Any]:
        self.params[unquote(name)] = value
        return 200, value

    def _delete_param(self, value: Any, query: Any, headers: Any, name: str) -> tuple[int, Any]:
        self.params.pop(unquote(name), None)
        return 204, None

    def _patch_params(self, value: Any, query: Any, headers: Any) -> tuple[int, Any]:
        changes = json.loads(value) if isinstance(value, bytes) else value
        self.params = {k: v for k, v in {**self.params, **changes}.items() if v is not None}
        return 200, self.params

    def _asset(self, data: bytes, query: Any, headers: Any, ident: str, name: str) -> tuple[int, Any]:
        self.assets[ident, unquote(name)] = data
        return 200, {"name": unquote(name), "size": len(data), "sha256": sha256(data).hexdigest()}

    def _file(self, value: Any, query: Any, headers: Any, path: str) -> tuple[int, Any]:
        if path not in self.files:
            return 404, _problem(404, "not-found", f"there is no file {path!r}")
        return 200, self.files[path]

    def _prepare_reboot(self, value: Any, query: Any, headers: Any) -> tuple[int, Any]:
        self.reboots_prepared += 1
        return 200, {"next_boot": "none", "message": "no BMC", **({"kexec": self.kexec} if self.kexec else {})}

    def _next_stage(self, value: Any, query: Any, headers: Any) -> tuple[int, Any]:
        if not self.next_stages:
            return 200, {"stage": self.stage, "action": "wait", "reason": "the map has no step"}
        following = self.next_stages.pop(0)
        for name, field_value in following.pop("set", {}).items():
            setattr(self, name, field_value)
        self.touch()
        return 200, following


_JOB = r" /api/v1/jobs/([^/]+)"
_THIS = f" /api/v1/machines/{MACHINE}"
_ROUTES = [
    ("POST /api/v1/register", "register"),
    (f"POST{_THIS}/hello", "hello"),
    (f"GET{_THIS}/work", "work"),
    ("POST /api/v1/jobs", "claim"),
    (f"POST{_JOB}/start", "start"),
    (f"PUT{_JOB}/log", "log"),
    (f"PUT{_JOB}/actions", "actions"),
    (f"POST{_JOB}/heartbeat", "heartbeat"),
    (f"POST{_JOB}/result", "result"),
    (f"PUT{_THIS}/inventory", "inventory"),
    (f"GET{_THIS}/params", "params"),
    (f"PATCH{_THIS}/params", "patch_params"),
    (f"PUT{_JOB}/assets/(.+)", "asset"),
    ("GET (/agent.pyz|/files/.+)", "file"),
    (f"PUT{_THIS}/params/(.+)", "put_param"),
    (f"DELETE{_THIS}/params/(.+)", "delete_param"),
    (f"POST{_THIS}/prepare-reboot", "prepare_reboot"),
    (f"POST{_THIS}/next-stage", "next_stage"),
]


def _problem(status: int, code: str, detail: str) -> dict[str, Any]:
    return {"type": "about:blank", "title": code, "status": status, "code": code, "detail": detail}


class _Server(ThreadingHTTPServer):
    allow_reuse_address = True
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away in the middle is no news here."""


class _Handler(BaseHTTPRequestHandler):
    fake: FakeServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PATCH(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def log_message(self, *words: Any) -> None:
        """Tests look at `requests` instead."""

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        line = f"{self.command} {parts.path}"
        fake = self.fake
        with fake.changed:
            fake.requests.append(line)
            fake.changed.notify_all()
            kind = self._take_fault(line)
            if kind.isdigit():
                status, answer = int(kind), _problem(int(kind), "ordered", "a fault was ordered")
            elif kind == "foreign":
                status, answer = 404, b"<html>there is no server behind this proxy</html>"
            elif kind == "drop":
                status, answer = 0, None
            else:
                status, answer = fake.answer(self.command, parts.path, query, body, self.headers)
                if kind == "twice":
                    status, answer = fake.answer(self.command, parts.path, query, body, self.headers)
            fake.changed.notify_all()
        self.close_connection = True
        if kind not in ("drop", "lose"):
            self._reply(status, answer, cut=kind == "cut")

    def _take_fault(self, line: str) -> str:
        for fault in self.fake.faults:
            if fault.times > 0 and re.search(fault.pattern, line):
                fault.times -= 1
                return fault.kind
        return ""

    def _reply(self, status: int, answer: Any, cut: bool) -> None:
        data = answer if isinstance(answer, bytes) else b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        if status >= 400:
            self.send_header("Content-Type", "application/problem+json")
        self.send_header("Connection", "close")
        if status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if cut else data)
