"""Carries the agents' requests to the server over kept connections, and plays tricks on them if it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from types import TracebackType

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from agent.errors import ServerAway
from agent.messages import Reply, Request
from tests.fleet.journal import Journal
from tests.fleet.strand import wait_for

# Hears of every answer: the request, its status and how many seconds it took.
Watch = Callable[[Request, int, float], None]


@dataclass(frozen=True)
class Mishaps:
    """How likely each mishap is, for requests that change something.

    A message may arrive twice, its answer may be lost, and a copy may arrive up to `late_seconds` after it.
    """

    twice: float = 0.0
    lost: float = 0.0
    late: float = 0.0
    late_seconds: float = 0.5


class Network:
    """`url` may change: it is where the server is at the moment. Use it as a context."""

    def __init__(
        self, url: str, journal: Journal, random: Random, mishaps: Mishaps = Mishaps(), watch: Watch | None = None
    ) -> None:
        self.url = url
        self.journal = journal
        self._random = random
        self._mishaps = mishaps
        self._watch = watch
        self._late: set[asyncio.Task[None]] = set()
        self._session: ClientSession | None = None

    async def __aenter__(self) -> Network:
        # Without cookies and content decoding, which the agent does not know either.
        self._session = ClientSession(connector=TCPConnector(limit=0), auto_decompress=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._late:
            task.cancel()
        await asyncio.gather(*self._late, return_exceptions=True)
        assert self._session is not None
        await self._session.close()

    def send(self, request: Request) -> Reply:
        """`agent.client.Transport`, on a strand."""
        return wait_for(self.carry(request))

    async def carry(self, request: Request) -> Reply:
        """Send and wait; raises `ServerAway` as the agent's own transport does."""
        if request.method == "GET":
            return await self._deliver(request)
        self.journal.sent(request)
        mishaps = self._mishaps
        if self._random.random() < mishaps.late:
            self._send_late(request)
        if self._random.random() < mishaps.twice:
            first, _ = await asyncio.gather(self._deliver(request), self._deliver(request))
            return first
        reply = await self._deliver(request)
        if self._random.random() < mishaps.lost:
            raise ServerAway(f"{request.method} {request.path}: its answer was lost")
        return reply

    def _send_late(self, request: Request) -> None:
        async def late() -> None:
            await asyncio.sleep(self._random.random() * self._mishaps.late_seconds)
            try:
                await self._deliver(request)
            except ServerAway:
                return

        task = asyncio.create_task(late())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _deliver(self, request: Request) -> Reply:
        assert self._session is not None
        begun = asyncio.get_running_loop().time()
        headers = {"Content-Type": request.content_type, **request.headers}
        try:
            async with self._session.request(
                request.method,
                self.url + request.path,
                data=request.body or None,
                headers=headers,
                timeout=ClientTimeout(request.timeout_seconds),
            ) as answer:
                body = await answer.read()
                reply = Reply(answer.status, {"retry-after": answer.headers.get("Retry-After", "")}, body)
        except (ClientError, OSError, TimeoutError) as error:
            raise ServerAway(f"{request.method} {request.path}: {error or type(error).__name__}") from error
        self.journal.answered(request, reply)
        if self._watch is not None:
            self._watch(request, reply.status, asyncio.get_running_loop().time() - begun)
        return reply
