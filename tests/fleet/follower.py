"""Follows the server's event stream over all its lives, as a browser does, and notes what it was told."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

from aiohttp import ClientError, ClientSession, ClientTimeout

from tests.fleet.operator import Operator

_PAUSE_SECONDS = 0.05


class Follower:
    """`told` are (id, kind, machine, key) of the durable events, in the order in which they came."""

    def __init__(self, operator: Operator) -> None:
        self.told: list[tuple[int, str, str, str]] = []
        self._operator = operator
        self._heard = asyncio.Event()

    async def follow(self) -> None:
        """Listen for ever; after each break from after the last event that came."""
        async with ClientSession(timeout=ClientTimeout(total=None, sock_read=60)) as session:
            while True:
                with suppress(ClientError, OSError, TimeoutError):
                    await self._listen(session)
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _listen(self, session: ClientSession) -> None:
        headers = self._operator.headers | {"Last-Event-ID": str(self.told[-1][0] if self.told else 0)}
        async with session.get(self._operator.url + "/api/v1/events/stream", headers=headers) as answer:
            answer.raise_for_status()
            async for line in answer.content:
                if line.startswith(b"data: "):
                    event = json.loads(line[6:])
                    if event["id"]:
                        self.told.append((event["id"], event["kind"], event["machine"], event["key"]))
                        self._heard.set()

    async def reach(self, number: int) -> None:
        """Wait until this event has been told."""
        while not self.told or self.told[-1][0] < number:
            self._heard.clear()
            await self._heard.wait()

    def gaps(self) -> list[str]:
        """Where the numbers do not go up one by one."""
        return [
            f"event {later[0]} was told after {earlier[0]}"
            for earlier, later in zip(self.told, self.told[1:], strict=False)
            if later[0] != earlier[0] + 1
        ]
