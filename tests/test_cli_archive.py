"""What jobs left behind, on the command line: files, words in logs, histories; and removing it."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.fakes.api import FakeApi, Problem, job, machine
from tests.fakes.terminal import CommandLine, Keyboard

WEB = "aaaa1111-0000-4000-8000-000000000001"
JOB = "cccc3333-0000-4000-8000-000000000003"
REPORT = b"line\n" * 500_000


class Archive(FakeApi):
    """The API with what jobs left behind."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, Any] = {"items": [], "searched": 3, "truncated": False}
        self.prunable = 2

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard()])
        app.router.add_routes(
            [
                web.get("/api/v1/jobs/{job}/assets", self._assets),
                web.get("/api/v1/jobs/{job}/assets/{name}", self._asset),
                web.delete("/api/v1/jobs/{job}", self._nothing),
                web.post("/api/v1/jobs/prune", self._prune),
                web.get("/api/v1/logs", self._search),
                web.get("/api/v1/machines/{machine}/export", self._tar),
                web.get("/api/v1/machines", self._list_machines),
                web.get("/api/v1/machines/{machine}", self._get_machine),
                web.get("/api/v1/jobs/{job}", self._get_job),
                web.get("/api/v1/jobs", self._list_jobs),
            ]
        )
        return app

    async def _assets(self, request: web.Request) -> web.Response:
        return web.json_response({"items": [{"name": "report.txt", "size": len(REPORT), "sha256": "ab" * 32}]})

    async def _asset(self, request: web.Request) -> web.Response:
        if request.match_info["name"] != "report.txt":
            raise Problem(404, "not-found", "there is no file 'x' of this job; there is: report.txt")
        return web.Response(body=REPORT)

    async def _tar(self, request: web.Request) -> web.Response:
        return web.Response(body=b"tar")

    async def _search(self, request: web.Request) -> web.Response:
        return web.json_response(self.found)

    async def _prune(self, request: web.Request) -> web.Response:
        return web.json_response({"jobs": ["x"] * self.prunable, "count": self.prunable, "bytes": 1000})


@pytest.fixture
def api() -> Archive:
    return Archive()


@pytest.fixture
async def cli(api: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[CommandLine]:
    monkeypatch.chdir(tmp_path)
    api.add(machine("web-1", WEB))
    api.add_jobs(job(JOB, WEB))
    async with api.served() as url:
        yield CommandLine(tmp_path, url)


async def test_the_files_of_a_job_are_listed(cli: CommandLine) -> None:
    out = (await cli("jobs", "assets", "cccc")).out
    assert out.splitlines()[1].split() == ["report.txt", str(len(REPORT)), "ab" * 32]


async def test_a_file_is_fetched_whole(cli: CommandLine, tmp_path: Path) -> None:
    assert (await cli("jobs", "download", "cccc", "report.txt")).out == f"report.txt has {len(REPORT)} bytes\n"
    assert (tmp_path / "report.txt").read_bytes() == REPORT


async def test_a_file_may_go_to_standard_output(cli: CommandLine, tmp_path: Path) -> None:
    assert (await cli("jobs", "download", "cccc", "report.txt", "-o", "-")).out == REPORT.decode()


async def test_a_file_that_does_not_come_leaves_nothing(cli: CommandLine, tmp_path: Path) -> None:
    assert (await cli("jobs", "download", "cccc", "x")).code == 3
    assert sorted(os.listdir(tmp_path)) == []


async def test_a_place_that_cannot_be_written_is_named(cli: CommandLine) -> None:
    result = await cli("jobs", "download", "cccc", "report.txt", "-o", "no/such/folder")
    assert (result.code, "cannot write no/such/folder" in result.err) == (1, True)


async def test_a_history_is_named_after_its_machine(cli: CommandLine, tmp_path: Path) -> None:
    assert (await cli("machines", "export", "web-1")).out == "web-1.tar has 3 bytes\n"
    assert (tmp_path / "web-1.tar").read_bytes() == b"tar"


async def test_logs_are_searched_with_what_was_chosen(api: Archive, cli: CommandLine) -> None:
    hit = {"job": JOB, "machine": WEB, "task": "hello", "line": 7, "offset": 99, "text": "it failed"}
    api.found = {"items": [hit], "searched": 3, "truncated": True}
    result = await cli("jobs", "search", "failed", "--machine", "web-1", "--state", "failed", "--case")
    assert result.out == "web-1 cccc3333 hello:7: it failed\n"
    assert result.err.startswith("there may be more")
    wanted = f"/api/v1/logs?q=failed&limit=100&machine={WEB}&state=failed&case=true"
    assert wanted in [what for what, _ in api.asked("GET")]


async def test_a_search_without_hits_says_so(cli: CommandLine) -> None:
    assert (await cli("jobs", "search", "nothing")).err == "no log says 'nothing'\n"


async def test_pruning_says_what_would_go_and_asks(api: Archive, cli: CommandLine) -> None:
    words = ("jobs", "prune", "--older-than", "30", "--keep", "5")
    assert (await cli(*words, "--dry-run")).out == "2 jobs with 1000 bytes of logs and files would go\n"
    assert (await cli(*words, stdin=Keyboard("n\n", person=True))).code == 1
    assert {body["dry_run"] for _, body in api.asked("POST")} == {True}
    assert (await cli(*words, "--yes")).out == "2 jobs with 1000 bytes of logs and files removed\n"
    assert api.asked("POST")[-1][1] == {"older_than_days": 30.0, "keep_per_machine": 5, "dry_run": False}


async def test_pruning_needs_a_limit(api: Archive, cli: CommandLine) -> None:
    result = await cli("jobs", "prune", "--yes")
    assert (result.code, api.requests) == (2, [])


async def test_one_job_is_deleted_after_a_question(api: Archive, cli: CommandLine) -> None:
    assert (await cli("jobs", "delete", "cccc", stdin=Keyboard("n\n", person=True))).code == 1
    assert (await cli("jobs", "delete", "cccc", "--yes")).out == "job cccc3333 is deleted\n"
    assert len(api.asked("DELETE")) == 1
