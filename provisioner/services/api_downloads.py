"""Who downloads what, who waits for its turn, and which install repositories are passed on."""

from __future__ import annotations

from aiohttp import web

from provisioner.conductor.turns import DownloadsNow, Turns
from provisioner.services.callers import require
from provisioner.services.http import json
from provisioner.services.operations import Operation
from provisioner.services.repositories import Cleared, Repositories, RepositoriesNow


class DownloadRoutes:
    """The routes of downloads and repositories."""

    def __init__(self, turns: Turns, repositories: Repositories) -> None:
        self._turns = turns
        self._repositories = repositories

    def operations(self) -> list[Operation]:
        """What can be asked."""
        return [
            Operation("GET", "/api/v1/downloads", self.downloads, "downloads", {200: DownloadsNow}),
            Operation("GET", "/api/v1/repositories", self.repositories, "downloads", {200: RepositoriesNow}),
            Operation("DELETE", "/api/v1/repositories/{name}/copies", self.clear, "downloads", {200: Cleared}),
        ]

    async def downloads(self, request: web.Request) -> web.Response:
        """Show which machines download what, how far they are and how fast, and who waits in the queue."""
        require(request, "read downloads")
        return json(self._turns.now())

    async def repositories(self, request: web.Request) -> web.Response:
        """List the install repositories that are passed on, what their copies take, and what became of requests."""
        require(request, "read repositories")
        return json(self._repositories.now())

    async def clear(self, request: web.Request) -> web.Response:
        """Remove the copies of an install repository; what is asked for next is fetched again."""
        require(request, "clear repositories")
        return json(await self._repositories.clear(request.match_info["name"]))
