"""The people: they log in, make content, give machines work, and press on where a machine waits for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

from aiohttp import ClientSession, ClientTimeout, TCPConnector


class Refusal(Exception):
    """The server said no."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"HTTP {status}: {text}")
        self.status = status
        self.text = text


class Operator:
    """Talks to the `ui` listener at `url`, which may change. Use it as a context; then `log_in`."""

    def __init__(self, url: str, password: str) -> None:
        self.url = url
        self._password = password
        self._session: ClientSession | None = None
        self._token = ""

    async def __aenter__(self) -> Operator:
        self._session = ClientSession(connector=TCPConnector(limit=0), timeout=ClientTimeout(30))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    @property
    def headers(self) -> dict[str, str]:
        """What tells the server who we are."""
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    async def log_in(self) -> None:
        """Get a token, which outlives the server."""
        answer = await self.ask("POST", "/api/v1/login", {"username": "admin", "password": self._password})
        self._token = answer["token"]

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The answer: JSON as a value, anything else as bytes; raises `Refusal`."""
        assert self._session is not None
        async with self._session.request(method, self.url + path, json=body, headers=self.headers) as answer:
            if answer.status >= 400:
                raise Refusal(answer.status, await answer.text())
            if answer.content_type == "application/json":
                return await answer.json()
            return await answer.read()

    async def every(self, path: str) -> list[Any]:
        """All items of a list, page by page."""
        items: list[Any] = []
        cursor = ""
        while True:
            join = "&" if "?" in path else "?"
            part = await self.ask("GET", f"{path}{join}limit=1000" + (f"&cursor={cursor}" if cursor else ""))
            items += part["items"]
            cursor = part.get("next") or ""
            if not cursor:
                return items

    async def make_workflow(
        self, name: str, tasks: Mapping[str, Mapping[str, Any]], stages: Iterable[tuple[str, str, tuple[str, ...]]]
    ) -> None:
        """Tasks by name with their fields (one script `run` unless they say otherwise); (stage, bootenv, tasks)."""
        script = {"name": "run", "contents": "echo {{ machine.name }} {{ task.name }}\n"}
        for task, fields in tasks.items():
            await self.ask("POST", "/api/v1/tasks", {"name": task, "files": [script], **fields})
        made = []
        for stage, bootenv, names in stages:
            await self.ask("POST", "/api/v1/stages", {"name": stage, "bootenv": bootenv, "tasks": names})
            made.append(stage)
        await self.ask("POST", "/api/v1/workflows", {"name": name, "stages": made})

    async def assign(self, machine: str, workflow: str) -> Any:
        """Give a machine work."""
        return await self.ask("PATCH", f"/api/v1/machines/{machine}", {"workflow": workflow})
