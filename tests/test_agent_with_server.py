"""The real agent and the real server: what scripts can say arrives where operators look."""

from __future__ import annotations

from pathlib import Path

from provisioner.model import Job, Machine
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
stages:
  words: {tasks: [shell, python]}
workflows:
  words: {stages: [words]}
templates:
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


async def test_all_that_scripts_can_say_arrives(tmp_path: Path) -> None:
    root = tmp_path / "host"
    (tmp_path / "words.yaml").write_text(PACK)
    async with running(tmp_path, content=str(tmp_path / "words.yaml")) as (server, session):
        given = await (await session.post("/api/v1/join-tokens", json={})).json()
        code, said = await sh(given["command"], PROVISIONER_ROOT=str(root))
        assert code == 0, said
        (machine,) = server.parts.ledger.read_all(Machine)
        path = f"/api/v1/machines/{machine.id}"
        assert (await session.patch(path, json={"workflow": "words"})).status == 200
        agent, settings = root / "opt/provisioner/agent.pyz", root / "etc/provisioner/agent.json"
        code, said = await sh(f"python3 -I {agent} run --config {settings} --once --keep-power")
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
