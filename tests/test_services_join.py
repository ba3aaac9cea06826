"""Hosts that run already: tokens for them, the script, and a real host that joins by it."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from agent.render import Renderer
from provisioner.model.access import TokenPurpose
from provisioner.model.machines import Machine
from provisioner.services.http import App
from provisioner.services.join import JoinRoutes, server_url
from provisioner.services.operations import routes
from tests.parts import opened, serving
from tests.real_server import running, sh

TOKENS = "/api/v1/join-tokens"


@pytest.mark.parametrize(
    ("bound", "asked", "url"),
    [
        ("10.0.0.1", "127.0.0.1:8092", "http://10.0.0.1:8091"),
        ("0.0.0.0", "server.example:8092", "http://server.example:8091"),
        ("0.0.0.0", "localhost:8092", "http://SERVER:8091"),
        ("::", "[::1]:8092", "http://SERVER:8091"),
        ("::", "[2001:db8::1]:8092", "http://[2001:db8::1]:8091"),
        ("127.0.0.1", "127.0.0.1:8092", "http://127.0.0.1:8091"),
    ],
)
def test_the_command_names_an_address_that_hosts_can_reach(bound: str, asked: str, url: str) -> None:
    assert server_url(bound, 8091, asked) == url


@asynccontextmanager
async def operator(tmp_path: Path) -> AsyncIterator[Any]:
    async with opened(tmp_path) as parts:
        join = JoinRoutes(parts.tokens, parts.catalog, Renderer(), b"agent", lambda: ("10.0.0.1", 8091))
        app = App(parts.tokens, cookies=False).build([routes([*join.operations(), *join.script_operations()])])
        async with serving(app, await parts.secret()) as client:
            yield parts, client


async def test_a_token_is_given_out_with_the_command_that_uses_it(tmp_path: Path) -> None:
    async with operator(tmp_path) as (parts, client):
        answer = await client.post(TOKENS, json={"hours": 2, "uses": 3, "description": "rack 7"})
        given = await answer.json()
        assert answer.status == 201
        assert given["command"] == f"curl -fsS http://10.0.0.1:8091/join.sh | sh -s -- {given['token']}"
        (shown,) = (await (await client.get(TOKENS)).json())["items"]
        assert (shown["name"], shown["uses"], shown["description"]) == (given["name"], 3, "rack 7")
        assert given["token"] not in json.dumps(shown)
        assert (await parts.events("access.join"))[0][0] == given["name"]


async def test_no_token_looks_like_an_option_to_the_line_that_it_stands_in(tmp_path: Path) -> None:
    # One in 64 random words of base64 begins with a dash, and the script answered it with its usage.
    async with operator(tmp_path) as (_, client):
        given = await (await client.post(TOKENS, json={})).json()
        assert re.fullmatch("[0-9a-f]{64}", given["token"])


async def test_a_token_that_was_taken_back_is_refused(tmp_path: Path) -> None:
    async with operator(tmp_path) as (parts, client):
        given = await (await client.post(TOKENS, json={})).json()
        assert (await client.delete(f"{TOKENS}/{given['name']}")).status == 204
        assert (await (await client.get(TOKENS)).json())["items"] == []
        assert (await client.delete(f"{TOKENS}/{given['name']}")).status == 404
        with pytest.raises(Exception, match="ask an operator for another join token"):
            await parts.register(ticket=given["token"])


@pytest.mark.parametrize("wrong", [{"hours": 0}, {"uses": 0}, {"hours": "x"}, {"uses": 1e9}, {"what": 1}])
async def test_wrong_wishes_are_named(tmp_path: Path, wrong: dict[str, Any]) -> None:
    async with operator(tmp_path) as (_, client):
        answer = await client.post(TOKENS, json=wrong)
        assert (answer.status, (await client.get(TOKENS)).status) == (422, 200)
        assert (await answer.json())["errors"][0]["path"]


async def test_only_operators_give_out_tokens(tmp_path: Path) -> None:
    async with operator(tmp_path) as (parts, client):
        machine = await parts.ready()
        secret = await parts.secret(TokenPurpose.MACHINE, machine)
        answer = await client.post(TOKENS, json={}, headers={"Authorization": f"Bearer {secret}"})
        assert answer.status == 403


# --- a real server, and this very host below a folder of its own


async def test_one_line_makes_a_host_a_machine_that_does_its_work(tmp_path: Path) -> None:
    root = tmp_path / "host"
    async with running(tmp_path) as (server, session):
        given = await (await session.post(TOKENS, json={})).json()
        assert given["command"].startswith(f"curl -fsS http://127.0.0.1:{server.port('http')}/join.sh | sh")
        code, said = await sh(given["command"], PROVISIONER_ROOT=str(root))
        assert code == 0, said
        assert "join: joined http://127.0.0.1:" in said
        assert given["token"] not in said
        (machine,) = server.parts.ledger.read_all(Machine)
        assert (machine.bootenv, machine.workflow) == ("local", "")
        settings = root / "etc/provisioner/agent.json"
        assert settings.stat().st_mode & 0o777 == 0o600
        assert json.loads(settings.read_text())["machine"] == machine.id
        agent = root / "opt/provisioner/agent.pyz"
        unit = (root / "etc/systemd/system/provisioner-agent.service").read_text()
        assert "/opt/provisioner/agent.pyz run --config /etc/provisioner/agent.json" in unit

        change = {"workflow": "hello", "params": {"hello/lines": 2, "hello/pause": 0}}
        assert (await session.patch(f"/api/v1/machines/{machine.id}", json=change)).status == 200
        code, said = await sh(
            f"python3 -I {agent} run --config {settings} --once --keep-power --results-dir {root}/run"
        )
        assert code == 0, said
        jobs = (await (await session.get("/api/v1/jobs")).json())["items"]
        assert [(job["task"], job["state"]) for job in jobs if ":" not in job["task"]] == [("hello", "finished")], said

        code, said = await sh(given["command"].replace(given["token"], ""), PROVISIONER_ROOT=str(root))
        assert (code, f"this host is machine {machine.id}" in said) == (0, True), said
        assert [each.id for each in server.parts.ledger.read_all(Machine)] == [machine.id]


async def test_joining_again_from_nothing_keeps_the_machine(tmp_path: Path) -> None:
    async with running(tmp_path) as (server, session):
        given = await (await session.post(TOKENS, json={"uses": 2})).json()
        for root in ("one", "two"):
            code, said = await sh(given["command"], PROVISIONER_ROOT=str(tmp_path / root))
            assert code == 0, said
        assert len(list(server.parts.ledger.read_all(Machine))) == 1


async def test_a_host_that_cannot_join_is_told_why_and_nothing_is_left(tmp_path: Path) -> None:
    root = tmp_path / "host"
    async with running(tmp_path) as (server, session):
        given = await (await session.post(TOKENS, json={})).json()
        join = f"curl -fsS http://127.0.0.1:{server.port('http')}/join.sh | sh -s --"
        for words, reason in (
            ("wrong", "the server does not take the join token"),
            ("", "has not joined yet, so name a join token"),
            ("two words", "one join token, please"),
            ("--help", "usage: curl"),
        ):
            code, said = await sh(f"{join} {words}", PROVISIONER_ROOT=str(root))
            assert (code, reason in said) == (1, True), said
        assert not root.exists()
        code, said = await sh(given["command"].replace("| sh", "| setpriv --reuid 65534 --clear-groups sh"))
        assert (code, "only root can install a service" in said) == (1, True), said
        old = tmp_path / "old"
        old.mkdir()
        for name in ("python3", "python3.9", "python3.10", "python3.11", "python3.12", "python3.13"):
            (old / name).write_text("#!/bin/sh\nexit 1\n")
            (old / name).chmod(0o755)
        path = f"{old}:{os.environ['PATH']}"
        code, said = await sh(given["command"], PROVISIONER_ROOT=str(root), PATH=path)
        assert (code, "needs Python 3.9 or newer" in said) == (1, True), said
        assert len((await (await session.get(TOKENS)).json())["items"]) == 1


async def test_the_script_checks_the_agent_and_is_whole_or_does_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as (server, session):
        url = f"http://127.0.0.1:{server.port('http')}"
        text = await (await session.get(f"{url}/join.sh")).text()
        agent = await (await session.get(f"{url}/agent.pyz")).read()
        assert f"sha256={sha256(agent).hexdigest()}" in text
        assert f"server={url}\n" in text
        script = tmp_path / "join.sh"
        script.write_text(text.replace(sha256(agent).hexdigest(), "0" * 64))
        code, said = await sh(f"sh {script} token", PROVISIONER_ROOT=str(tmp_path / "host"))
        assert (code, "came with other contents" in said) == (1, True), said
        script.write_text(text.rpartition("main ")[0])
        assert await sh(f"sh {script} token") == (0, "")
        assert (await session.get("/join.sh")).status == 404  # people's listener


async def test_wget_and_python_fetch_where_there_is_no_curl(tmp_path: Path) -> None:
    async with running(tmp_path) as (server, session):
        given = await (await session.post(TOKENS, json={"uses": 2})).json()
        text = await (await session.get(f"http://127.0.0.1:{server.port('http')}/join.sh")).text()
        (tmp_path / "join.sh").write_text(text)
        for fetcher in ("wget", ""):
            tools = tmp_path / f"tools-{fetcher}"
            tools.mkdir()
            (tools / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
            (tools / "python3").chmod(0o755)
            for name in ("sh", "id", "mktemp", "rm", *filter(None, [fetcher])):
                code, place = await sh(f"command -v {name}")
                assert code == 0
                (tools / name).symlink_to(place.strip())
            words = f"sh {tmp_path}/join.sh {given['token']}"
            code, said = await sh(words, PATH=str(tools), PROVISIONER_ROOT=str(tmp_path / "host"))
            assert code == 0, said
