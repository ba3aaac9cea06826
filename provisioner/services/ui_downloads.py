"""The page of downloads: who downloads how fast, who waits for a turn, and what of install repositories is kept."""

from __future__ import annotations

from aiohttp import web

from provisioner.access import require_user
from provisioner.conductor.turns import Turns
from provisioner.services.http import principal
from provisioner.services.repositories import Repositories
from provisioner.services.ui_answers import Answers, posted, redirect
from provisioner.services.ui_pages import Page

_DOWNLOADS = Page("downloads", "/leases", ("body",), "boot,agent")
ROWS_LIMIT = 200


class DownloadPages:
    """The routes of downloads and repositories."""

    def __init__(self, answers: Answers, turns: Turns, repositories: Repositories) -> None:
        self._answers = answers
        self._turns = turns
        self._repositories = repositories

    def routes(self) -> list[web.RouteDef]:
        """The routes of this service."""
        return [web.get("/downloads", self.downloads), web.post("/repositories/{name}/clear", self.clear)]

    async def downloads(self, request: web.Request) -> web.Response:
        """Who downloads, who waits, what is kept."""
        require_user(principal(request), "use the web UI")
        now = self._turns.now()
        values = {
            "downloads": now,
            "running": now.running[:ROWS_LIMIT],
            "waiting": now.waiting[:ROWS_LIMIT],
            "rate": sum(each.bytes_per_second for each in now.running),
            "kept": self._repositories.now(),
        }
        # What is shown is of this moment, older than no event that comes after it.
        return self._answers.live(request, _DOWNLOADS, values, 0)

    async def clear(self, request: web.Request) -> web.Response:
        """Remove the copies of an install repository, after a question."""
        require_user(principal(request), "clear repositories")
        name, form = request.match_info["name"], await posted(request)
        if not form.get("confirmed"):
            question = (
                f"Remove the copies of {name}? What is asked for next is fetched again, if its upstream is there."
            )
            return self._answers.ask(request, question, "Remove them", [], "/downloads")
        await self._repositories.clear(name)
        return redirect("/downloads")
