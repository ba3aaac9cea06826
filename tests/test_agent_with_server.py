"""The real agent and the real server: what scripts can say arrives where operators look."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import ClientSession

from provisioner.model.machines import Job, Machine
from provisioner.server import Server
from tests.real_server import running, sh

PACK = """\
name: words
params:
  words/one: {schema: {type: integer}}
  words/two: {schema: {type: string}}
  words/three: {schema: {type: object}}
tasks:
  shell:
    files:
      - {name: shell, template: words/shell}
  python:
    files:
      - {name: python, template: words/python}
  twice:
    files:
      - {name: twice, template: words/twice}
stages:
  words: {tasks: [shell, python]}
  twice: {tasks: [twice]}
workflows:
  words: {stages: [words]}
  twice: {stages: [twice]}
templates:
  words/twice: |
    #!/bin/sh
    marker="${0%/*}/../../once"
    if [ -e "$marker" ]; then echo again; exit 0; fi
    touch "$marker"
    echo begun
    exec tail -f /dev/null
  words/shell: |
    #!/bin/sh
    set -eu
    . provisioner.sh
    set_param words/one 1 words/two "a b"
    [ "$(get_param words/two)" = "a b" ]
    echo "from the shell" > report.txt
    attach report.txt
    attach report.txt again.txt
    progress 50
    if attach nothing.txt; then exit 3; fi
    if set_param words/one text words/two lost; then exit 4; fi
  words/python: |
    #!/usr/bin/env python3
    from provisioner_task import TaskError, attach, fail, get_param, set_params
    set_params({"words/one": 2, "words/three": {"x": [1]}})
    open("big.bin", "wb").write(bytes(3_000_000))
    attach("big.bin")
    try:
        set_params({"words/one": 3, "words/ghost": 1})
    except TaskError as error:
        print("refused:", error)
    fail(f"as it should: {get_param('words/one')}")
"""


@asynccontextmanager
async def joined(tmp_path: Path) -> AsyncIterator[tuple[Server, ClientSession, str, str]]:
    """A server, an operator, the machine's path in the API, and the command that runs its agent."""
    root = tmp_path / "host"
    (tmp_path / "words.yaml").write_text(PACK)
    async with running(tmp_path, content=str(tmp_path / "words.yaml")) as (server, session):
        given = await (await session.post("/api/v1/join-tokens", json={})).json()
        code, said = await sh(given["command"], PROVISIONER_ROOT=str(root))
        assert code == 0, said
        (machine,) = server.parts.ledger.read_all(Machine)
        agent, settings = root / "opt/provisioner/agent.pyz", root / "etc/provisioner/agent.json"
        work = tmp_path / "work"
        work.mkdir()
        command = f"exec python3 -I {agent} run --config {settings} --keep-power --work-dir {work} --results-dir {work}"
        yield server, session, f"/api/v1/machines/{machine.id}", command


async def test_all_that_scripts_can_say_arrives(tmp_path: Path) -> None:
    async with joined(tmp_path) as (server, session, path, command):
        assert (await session.patch(path, json={"workflow": "words"})).status == 200
        code, said = await sh(f"{command} --once")
        assert code == 0, said
        jobs = {job.task: job for job in server.parts.ledger.read_all(Job)}
        log = await (await session.get(f"/api/v1/jobs/{jobs['python'].id}/log")).text()
        assert (jobs["shell"].state, jobs["shell"].message) == ("finished", "")
        assert (jobs["python"].state, jobs["python"].message) == ("failed", "as it should: 2"), log
        assert "refused: " in log and "words/ghost" in log
        params = await (await session.get(f"{path}/params")).json()
        assert params == {"words/one": 2, "words/two": "a b", "words/three": {"x": [1]}}
        kept = await (await session.get(f"/api/v1/jobs/{jobs['shell'].id}/assets")).json()
        assert {asset["name"]: asset["size"] for asset in kept["items"]} == {"report.txt": 15, "again.txt": 15}
        big = await session.get(f"/api/v1/jobs/{jobs['python'].id}/assets/big.bin")
        assert await big.read() == bytes(3_000_000)


async def test_an_agent_that_is_ended_leaves_its_job_to_the_next_one(tmp_path: Path) -> None:
    async with joined(tmp_path) as (server, session, path, command):
        assert (await session.patch(path, json={"workflow": "twice"})).status == 200
        process = await asyncio.create_subprocess_exec("sh", "-c", command)
        job = await begun(server)
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 60) == 0
        left = server.parts.ledger.read(Job, job)
        assert left is not None
        assert (left.state, left.exit_state) == ("incomplete", "restart")
        code, said = await sh(f"{command} --once")
        assert code == 0, said
        done = server.parts.ledger.read(Job, job)
        assert done is not None
        log = await (await session.get(f"/api/v1/jobs/{job}/log")).text()
        assert done.state == "finished", f"{said}\n{log}"
        lines = [line for line in log.splitlines() if not line.startswith("[")]
        assert lines == ["begun", "again"]


async def begun(server: Server) -> str:
    """The job whose script has said that it began."""
    while True:
        for job in list(server.parts.ledger.read_all(Job)):
            if job.task == "twice" and job.state == "running":
                data, _ = await server.parts.logs.read(job.id, 0, 10_000)
                if b"begun" in data:
                    return job.id
                await server.parts.ledger.changed(Job, job.id, 5.0)
        await asyncio.sleep(0)
