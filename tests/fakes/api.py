"""The operators' API in memory, as a client sees it: lists in pages, problems, logs that grow, an event stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

TOKEN = "good-token"
PASSWORD = "correct-horse"
NOW = "2030-05-01T12:00:00Z"

Json = dict[str, Any]


def machine(name: str, identity: str, **fields: Any) -> Json:
    """A machine as the API shows it."""
    return {
        "id": identity,
        "name": name,
        "revision": 1,
        "created_at": NOW,
        "updated_at": NOW,
        "description": "",
        "macs": ["52:54:00:00:00:01"],
        "address": "10.0.0.7",
        "arch": "amd64",
        "firmware": "uefi",
        "identity": {},
        "inventory": {},
        "profiles": [],
        "params": {},
        "meta": {},
        "workflow": "",
        "stage": "none",
        "bootenv": "local",
        "tasks": [],
        "current_task": -1,
        "current_job": "",
        "runnable": True,
        "waiting_for": "",
        "not_before": None,
        "errors": [],
        "locked": False,
        "erase_grants": [],
        "agent": {},
        "power": "on",
        "available": True,
        "done": False,
    } | fields


def job(identity: str, machine_id: str, **fields: Any) -> Json:
    """A job as the API shows it."""
    return {
        "id": identity,
        "machine": machine_id,
        "task": "hello",
        "stage": "greet",
        "workflow": "",
        "bootenv": "discovery",
        "index": 0,
        "attempt": 1,
        "previous": "",
        "state": "finished",
        "exit_state": "complete",
        "exit_code": 0,
        "message": "",
        "boot_id": "",
        "instance": "",
        "cancel_requested": False,
        "created_at": NOW,
        "started_at": NOW,
        "ended_at": NOW,
        "progress": None,
    } | fields


def event(number: int, kind: str, **fields: Any) -> Json:
    """An event as the API shows it."""
    return {"id": number, "time": NOW, "kind": kind, "machine": "", "mac": "", "key": "", "by": "", "data": {}} | fields


class Problem(Exception):
    """Answered as an RFC 9457 problem."""

    def __init__(self, status: int, code: str, detail: str, **fields: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.body = {"status": status, "code": code, "detail": detail, "title": code, "object": "", **fields}


@dataclass
class FakeApi:
    """State that tests set and read directly; `requests` are METHOD and path with query, and the JSON body, if any.

    `before` is called with each request before it is answered: it may change the state, or raise a Problem.
    """

    machines: dict[str, Json] = field(default_factory=dict)
    jobs: dict[str, Json] = field(default_factory=dict)
    logs: dict[str, bytes] = field(default_factory=dict)
    rendered: dict[str, list[Json]] = field(default_factory=dict)
    events: list[Json] = field(default_factory=list)
    objects: dict[str, dict[str, Json]] = field(default_factory=dict)
    power_problems: dict[str, Problem] = field(default_factory=dict)
    requests: list[tuple[str, Any]] = field(default_factory=list)
    before: Callable[[web.Request], None] = lambda request: None
    log_piece: int = 1 << 20
    page_size: int = 1000

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        """The URL of a server on loopback that answers from this state."""
        async with TestServer(self.app()) as server:
            yield str(server.make_url(""))

    def add(self, *machines: Json) -> None:
        """Machines that are known."""
        self.machines |= {each["id"]: each for each in machines}

    def add_jobs(self, *jobs: Json) -> None:
        """Jobs, oldest first."""
        self.jobs |= {each["id"]: each for each in jobs}

    def asked(self, method: str) -> list[tuple[str, Any]]:
        """Path and body of the requests with this method."""
        return [(what.partition(" ")[2], body) for what, body in self.requests if what.startswith(f"{method} ")]

    def app(self) -> web.Application:
        """The server."""
        app = web.Application(middlewares=[self._guard()])
        one, base = "/api/v1/machines/{machine}", "/api/v1"
        app.router.add_routes(
            [
                web.post(f"{base}/login", self._log_in),
                web.post(f"{base}/logout", self._nothing),
                web.get(f"{base}/machines", self._list_machines),
                web.post(f"{base}/machines", self._create),
                web.get(one, self._get_machine),
                web.patch(one, self._patch),
                web.delete(one, self._delete),
                web.post(f"{one}/grants", self._grant),
                web.delete(one + "/grants/{disk:.+}", self._grant),
                web.post(f"{one}/restart", self._grant),
                web.get(f"{one}/params", self._params),
                web.put(one + "/params/{name:.+}", self._put_param),
                web.delete(one + "/params/{name:.+}", self._nothing),
                web.post(one + "/actions/{action}", self._act),
                web.get(f"{base}/jobs", self._list_jobs),
                web.get(base + "/jobs/{job}", self._get_job),
                web.get(base + "/jobs/{job}/log", self._log),
                web.get(base + "/jobs/{job}/actions", self._rendered),
                web.post(base + "/jobs/{job}/cancel", self._cancel),
                web.get(f"{base}/events", self._events),
                web.get(f"{base}/events/stream", self._stream),
                web.get(base + "/{kind}", self._list_objects),
                web.post(base + "/{kind}", self._add_object),
                web.get(base + "/{kind}/{name:.+}", self._get_object),
                web.put(base + "/{kind}/{name:.+}", self._put_object),
                web.patch(base + "/{kind}/{name:.+}", self._patch_object),
                web.delete(base + "/{kind}/{name:.+}", self._delete_object),
            ]
        )
        return app

    def _guard(self) -> Any:
        @web.middleware
        async def guard(request: web.Request, handler: Any) -> web.StreamResponse:
            try:
                text = await request.text()
                self.requests.append((f"{request.method} {request.path_qs}", json.loads(text) if text else None))
                self.before(request)
                if not request.path.endswith("/login") and request.headers.get("Authorization") != f"Bearer {TOKEN}":
                    raise Problem(401, "token-refused", "the token is wrong or has ended; log in again")
                answer: web.StreamResponse = await handler(request)
                return answer
            except Problem as problem:
                return web.json_response(problem.body, status=problem.status, content_type="application/problem+json")

        return guard

    async def _nothing(self, request: web.Request) -> web.Response:
        return web.Response(status=204)

    async def _log_in(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body["password"] != PASSWORD:
            raise Problem(401, "login-refused", "the user name or the password is wrong")
        return web.json_response({"token": TOKEN})

    # --- machines

    async def _page(self, request: web.Request, items: Any) -> web.Response:
        paging = {"limit", "cursor", "sort"}
        wanted = {name: value for name, value in request.query.items() if name not in paging}
        found = [each for each in items if all(str(each.get(name)) == value for name, value in wanted.items())]
        start = int(request.query.get("cursor", 0))
        size = min(int(request.query.get("limit", 100)), self.page_size)
        following = start + size
        return web.json_response(
            {
                "items": found[start:following],
                "total": len(found),
                "next": str(following) if following < len(found) else None,
            }
        )

    async def _list_machines(self, request: web.Request) -> web.Response:
        return await self._page(request, self.machines.values())

    def _machine(self, request: web.Request) -> Json:
        word = request.match_info["machine"]
        for each in self.machines.values():
            if word in (each["id"], each["name"]):
                return each
        raise Problem(404, "not-found", f"there is no machine {word!r}", object=word)

    async def _get_machine(self, request: web.Request) -> web.Response:
        return web.json_response(self._machine(request))

    async def _create(self, request: web.Request) -> web.Response:
        made = machine(identity="f" * 8 + "-0000", **await request.json())
        self.add(made)
        return web.json_response(made, status=201)

    async def _patch(self, request: web.Request) -> web.Response:
        shown = self._machine(request)
        body = await request.json()
        if body.get("workflow") == "unknown":
            raise Problem(
                422,
                "invalid",
                "unknown workflow 'unknown'; there is: deploy, discover",
                errors=[{"path": "workflow", "message": "unknown workflow 'unknown'; there is: deploy, discover"}],
            )
        shown.update(body)
        return web.json_response(shown)

    async def _delete(self, request: web.Request) -> web.Response:
        return web.json_response(self.machines.pop(self._machine(request)["id"]))

    async def _grant(self, request: web.Request) -> web.Response:
        return web.json_response(self._machine(request), status=201)

    async def _params(self, request: web.Request) -> web.Response:
        own = self._machine(request)["params"]
        return web.json_response(own | {"from/profile": [1, 2]} if "aggregate" in request.query else own)

    async def _put_param(self, request: web.Request) -> web.Response:
        self._machine(request)["params"][request.match_info["name"]] = await request.json()
        return web.Response(status=204)

    async def _act(self, request: web.Request) -> web.Response:
        shown, action = self._machine(request), request.match_info["action"]
        if shown["name"] in self.power_problems:
            raise self.power_problems[shown["name"]]
        return web.json_response({"action": action, "state": "on", "message": f"did {action}"})

    # --- jobs

    async def _list_jobs(self, request: web.Request) -> web.Response:
        newest_first = request.query.get("sort", "").startswith("-created_at")
        return await self._page(request, list(self.jobs.values())[:: -1 if newest_first else 1])

    def _job(self, request: web.Request) -> Json:
        identity = request.match_info["job"]
        if identity not in self.jobs:
            raise Problem(404, "not-found", f"there is no job {identity!r}", object=identity)
        return self.jobs[identity]

    async def _get_job(self, request: web.Request) -> web.Response:
        return web.json_response(self._job(request))

    async def _log(self, request: web.Request) -> web.Response:
        shown = self._job(request)
        data, offset = self.logs.get(shown["id"], b""), int(request.query["offset"])
        headers = {"X-Log-Size": str(len(data)), "X-Job-State": shown["state"]}
        return web.Response(body=data[offset : offset + self.log_piece], headers=headers)

    async def _rendered(self, request: web.Request) -> web.Response:
        return web.json_response(self.rendered.get(self._job(request)["id"], []))

    async def _cancel(self, request: web.Request) -> web.Response:
        shown = self._job(request)
        shown["cancel_requested"] = True
        return web.json_response(shown)

    # --- events

    def _wanted_events(self, request: web.Request) -> list[Json]:
        wanted = request.query.get("machine")
        kinds = request.query.get("kind", "").split(",")
        return [
            each
            for each in self.events
            if (not wanted or each["machine"] == wanted) and (kinds == [""] or each["kind"] in kinds)
        ]

    async def _events(self, request: web.Request) -> web.Response:
        found = self._wanted_events(request)[:: -1 if request.query.get("order") == "newest" else 1]
        items = found[: int(request.query["limit"])]
        return web.json_response({"items": items, "total": len(items), "next": None})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """Everything after Last-Event-ID, then the connection ends as when a server stops."""
        after = int(request.headers.get("Last-Event-ID", 0))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b": listening\n\n")
        for each in self._wanted_events(request):
            if each["id"] > after:
                await response.write(f"id: {each['id']}\ndata: {json.dumps(each)}\n\n".encode())
        await response.write(b": still here\n\n")
        await asyncio.sleep(0)
        return response

    # --- objects with a name

    async def _list_objects(self, request: web.Request) -> web.Response:
        return await self._page(request, self.objects.get(request.match_info["kind"], {}).values())

    async def _add_object(self, request: web.Request) -> web.Response:
        body, kind = await request.json(), request.match_info["kind"]
        self.objects.setdefault(kind, {})[body.get("name") or body["address"]] = body
        return web.json_response(body, status=201)

    def _object(self, request: web.Request) -> Json:
        kind, name = request.match_info["kind"], request.match_info["name"]
        if name not in self.objects.get(kind, {}):
            raise Problem(404, "not-found", f"there is no {kind[:-1]} {name!r}", object=name)
        return self.objects[kind][name]

    async def _get_object(self, request: web.Request) -> web.Response:
        return web.json_response(self._object(request), headers={"ETag": '"7"'})

    async def _put_object(self, request: web.Request) -> web.Response:
        if request.headers.get("If-Match", '"7"') != '"7"':
            raise Problem(412, "precondition-failed", "it was changed meanwhile")
        body = await request.json()
        if body.get("tasks") == ["unknown"]:
            raise Problem(422, "content-invalid", "unknown task 'unknown'; there is: hello")
        self.objects.setdefault(request.match_info["kind"], {})[request.match_info["name"]] = body
        return web.json_response(body)

    async def _patch_object(self, request: web.Request) -> web.Response:
        changed = self._object(request) | await request.json()
        self.objects[request.match_info["kind"]][request.match_info["name"]] = changed
        return web.json_response(changed)

    async def _delete_object(self, request: web.Request) -> web.Response:
        return web.json_response(self._object(request))
