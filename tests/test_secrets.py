"""Secure values through the whole server: wherever they come in, they come out nowhere but where they are needed."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from msgspec.structs import replace
from structlog.testing import capture_logs

from agent.render import Renderer
from provisioner.config import read_config
from provisioner.errors import SettingError
from provisioner.events import KINDS
from provisioner.model.access import TokenPurpose
from provisioner.model.content import CONTENT_KINDS, Param, Profile
from provisioner.model.machines import Machine
from provisioner.power.registry import PowerDrivers
from provisioner.server import Server, build
from provisioner.vault import drop_old, open_vault, rotate
from tests.fakes.power import FakePower

PASSWORD = "correct horse battery"
WORD = "SESAME"
PACK = f"""
name: site
params:
  site/secret: {{secure: true, schema: {{type: string}}}}
  site/default: {{secure: true, default: {WORD}-default}}
  site/map: {{secure: true, compose: true, schema: {{type: object}}}}
  site/url: {{expand: true, default: 'http://{{{{ param("site/secret") }}}}@host'}}
  site/later: {{schema: {{type: string}}}}
profiles:
  site: {{params: {{site/secret: {WORD}-pack, site/map: {{a: {WORD}-pack-map}}}}}}
tasks:
  leak:
    optional_params: [site/secret, site/default, site/map, site/url]
    files:
      - name: run
        path: "{{{{ param('site/secret') }}}}.txt"
        contents: |
          {{{{ params | tojson }}}} {{{{ param("site/secret") | quote }}}} {{{{ param("site/secret") | b64encode }}}}
  careful:
    files:
      - name: run
        contents: '{{{{ params | tojson }}}}'
stages:
  site: {{tasks: [careful, leak], params: {{site/default: {WORD}-stage}}}}
workflows:
  site: {{stages: [site]}}
"""


def settings(folder: Path, **more: str) -> dict[str, str]:
    pack = folder.parent / "site.yaml"
    pack.write_text(PACK)
    password = folder.parent / "password"
    password.write_text(PASSWORD)
    return {
        "data_dir": str(folder),
        "content": str(pack),
        "admin.password_file": str(password),
        "listen.http": "127.0.0.1:0",
        "listen.ui": "127.0.0.1:0",
        "listen.dhcp": "off",
        "listen.tftp": "off",
        **more,
    }


def made(folder: Path, **more: str) -> Server:
    drivers = PowerDrivers({}, {"fake": FakePower()})
    return build(read_config(settings(folder, **more), {}), {}, version="test", drivers=drivers)


@asynccontextmanager
async def running(folder: Path, **more: str) -> AsyncIterator[tuple[Server, ClientSession]]:
    """A server that serves, and an operator who is logged in."""
    server = made(folder, **more)
    task = asyncio.create_task(server.run(lambda line: None, {}))
    async with ClientSession(f"http://127.0.0.1:{server.port('ui')}") as session:
        while (await session.get("/readyz")).status != 200:
            pass
        login = await session.post("/api/v1/login", json={"username": "admin", "password": PASSWORD})
        session.headers["Authorization"] = f"Bearer {(await login.json())['token']}"
        try:
            yield server, session
        finally:
            server.stop()
            await task


async def token_of(server: Server, machine: str) -> str:
    tx = server.parts.ledger.transaction()
    secret = server.parts.tokens.issue(tx, TokenPurpose.MACHINE, machine)
    await tx.commit()
    return secret


async def call(session: ClientSession, method: str, path: str, value: Any = None, **how: Any) -> Any:
    async with session.request(method, f"/api/v1{path}", json=value, **how) as answer:
        text = await answer.text()
        assert answer.status < 300, (method, path, answer.status, text)
        return json.loads(text) if text else None


async def work(server: Server, session: ClientSession, machine: str) -> dict[str, Any]:
    """The machine's agent comes up and does all its work; answers the contexts it was given by task."""
    headers = {"Authorization": f"Bearer {await token_of(server, machine)}"}
    given: dict[str, Any] = {}
    hello = {"boot_id": "b1", "bootenv": "local", "instance": "i1"}
    answers = [await call(session, "POST", f"/machines/{machine}/hello", hello, headers=headers)]
    for _ in range(6):
        claim = {"machine": machine, "boot_id": "b1", "instance": "i1"}
        order = await call(session, "POST", "/jobs", claim, headers=headers)
        if order is None:
            continue
        name, job = order["task"]["name"], order["job"]["id"]
        given[name] = order["context"]
        sources = order["templates"]
        run = {"boot_id": "b1", "instance": "i1"}
        answers.append(await call(session, "POST", f"/jobs/{job}/start", run, headers=headers))
        files = []
        for file in order["files"]:
            content = Renderer().render(file["template"], sources, order["context"])
            path = Renderer().render("path", {"path": file["path"]}, order["context"])
            files.append({"name": file["name"], "content": content, "path": path})
        await call(session, "PUT", f"/jobs/{job}/actions", files, headers=headers)
        result = run | {"state": "finished", "exit_state": "complete", "exit_code": 0, "message": files[0]["content"]}
        answers.append(await call(session, "POST", f"/jobs/{job}/result", result, headers=headers))
    assert WORD not in json.dumps(answers) and "$sealed" not in json.dumps(answers)
    return given


async def everything_shown(session: ClientSession, machine: str) -> dict[str, str]:
    """Every answer of the API that takes no argument, everything of the machine, and every page that links lead to."""
    base = f"/api/v1/machines/{machine}"
    paths = [f"/api/v1/{kind}?limit=1000" for kind in (*CONTENT_KINDS, "machines", "jobs", "events", "leases")]
    paths += [base, f"{base}/params", f"{base}/params?aggregate=true", f"{base}/params?why=true", f"{base}/actions"]
    paths += [f"/api/v1/machines?params.site/secret={WORD}-machine&aggregate=true", f"/api/v1/logs?q={WORD}"]
    paths += [f"{base}/params/site/{name}" for name in ("secret", "default", "map", "url")]
    jobs = (await call(session, "GET", "/jobs"))["items"]
    paths += [f"/api/v1/jobs/{job['id']}{what}" for job in jobs for what in ("", "/actions", "/log")]
    shown, waiting = {}, [*paths, "/", "/content", "/jobs", f"/machines/{machine}", f"/machines/{machine}/params"]
    while waiting and len(shown) < 500:
        path = waiting.pop(0)
        async with session.get(path) as answer:
            shown[path] = await answer.text(errors="replace")
        if not path.startswith(("/api", "/static")):
            links = re.findall(r'href="(/[^"]*)"', shown[path].replace("&amp;", "&"))
            waiting += [link for link in dict.fromkeys(links) if link not in shown and link not in waiting]
    return shown


def holding(folder: Path) -> list[str]:
    """Which files below a folder hold the word."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.name for path in files if WORD.encode() in path.read_bytes())


async def test_a_secret_set_anywhere_is_shown_and_kept_nowhere(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with capture_logs() as logs:
        async with running(data) as (server, session):
            new = {"name": "n1", "profiles": ["site"], "params": {"site/secret": f"{WORD}-made"}}
            machine = (await call(session, "POST", "/machines", new))["id"]
            params = {"site/secret": f"{WORD}-machine", "power/password": f"{WORD}-bmc", "power/driver": "fake"}
            params |= {"power/address": "10.0.0.9", "power/username": "u", "site/map": {"b": f"{WORD}-map"}}
            await call(session, "PATCH", f"/machines/{machine}", {"params": params})
            await call(session, "PUT", f"/machines/{machine}/params/site/default", f"{WORD}-put")
            await call(session, "POST", "/profiles", {"name": "mine", "params": {"site/secret": f"{WORD}-profile"}})
            await call(session, "POST", "/stages", {"name": "mine", "params": {"site/secret": f"{WORD}-of-stage"}})
            await call(session, "POST", "/params", {"name": "mine", "secure": True, "default": f"{WORD}-own-default"})
            # What is refused is not told either.
            wrong = {"site/secret": [f"{WORD}-wrong"]}
            for method, path, body in (
                ("PATCH", f"/machines/{machine}", {"params": wrong}),
                ("PUT", f"/machines/{machine}/params/site/secret", [f"{WORD}-wrong"]),
                ("POST", "/profiles", {"name": "bad", "params": wrong}),
                ("POST", "/params", {"name": "bad", "secure": True, "default": WORD, "schema": {"type": "integer"}}),
            ):
                async with session.request(method, f"/api/v1{path}", json=body) as answer:
                    assert answer.status == 422 and WORD not in await answer.text()
            # Answers to changes hide what is in them.
            answers = [
                await call(session, "PATCH", f"/machines/{machine}", {"params": {"site/secret": f"{WORD}-machine"}}),
                await call(session, "PUT", "/profiles/mine", {"params": {"site/secret": f"{WORD}-profile"}}),
                await call(session, "PATCH", f"/machines/{machine}/params", {"site/secret": f"{WORD}-machine"}),
                await call(session, "POST", "/profiles", {"name": "gone", "params": {"site/secret": f"{WORD}-gone"}}),
                await call(session, "DELETE", "/profiles/gone"),
                await call(session, "DELETE", "/params/mine"),
            ]
            assert WORD not in json.dumps(answers) and "$sealed" not in json.dumps(answers)
            await call(session, "POST", f"/machines/{machine}/actions/power-on")
            await call(session, "PATCH", f"/machines/{machine}", {"workflow": "site"})
            given = await work(server, session, machine)

            assert given["leak"]["params"]["site/secret"] == f"{WORD}-machine"
            assert given["leak"]["params"]["site/map"] == {"a": f"{WORD}-pack-map", "b": f"{WORD}-map"}
            assert given["leak"]["params"]["site/url"] == f"http://{WORD}-machine@host"
            assert WORD not in json.dumps(given["careful"])

            shown = await everything_shown(session, machine)
            assert len(shown) > 60
            assert [path for path, text in shown.items() if WORD in text and f"q={WORD}" not in path] == []
            assert [path for path, text in shown.items() if "$sealed" in text] == []
            assert any("********" in text for path, text in shown.items() if path.endswith("/actions"))
            in_memory = [repr(value) for kind in server.parts.catalog.view.values() for value in kind.values()]
            assert [text for text in in_memory if WORD in text] == []

            revealed = await call(session, "GET", f"/machines/{machine}/params/site/secret?reveal=true")
            assert revealed == f"{WORD}-machine"
            seen = await call(session, "GET", "/events?kind=param.reveal")
            assert [event["key"] for event in seen["items"]] == ["site/secret"] and "param.reveal" in KINDS
    assert holding(data) == []
    assert WORD not in repr(logs)


async def test_secrets_are_open_again_after_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as (_, session):
        await call(session, "POST", "/machines", {"name": "n1", "params": {"site/secret": f"{WORD}-machine"}})
    async with running(tmp_path / "data") as (_, session):
        assert await call(session, "GET", "/machines/n1/params/site/secret?reveal=true") == f"{WORD}-machine"


async def plain_database(folder: Path, **params: Any) -> None:
    """A database as an older version left it: with secure values in clear."""
    async with running(folder) as (server, session):
        await call(session, "POST", "/machines", {"name": "n1"})
        (machine,) = server.parts.ledger.all(Machine)
        tx = server.parts.ledger.transaction()
        tx.put(replace(machine, params=params))
        tx.put(Profile(name="mine", params=params))
        tx.put(Param(name="own", secure=True, default=f"{WORD}-default"))
        await tx.commit()
    assert holding(folder) != []


async def test_values_that_were_saved_plain_are_sealed_at_start_and_leave_no_trace(tmp_path: Path) -> None:
    data = tmp_path / "data"
    await plain_database(data, **{"site/secret": f"{WORD}-old"})
    async with running(data) as (_, session):
        assert await call(session, "GET", "/machines/n1/params/site/secret?reveal=true") == f"{WORD}-old"
        assert await call(session, "GET", "/machines/n1/params/own?reveal=true") == f"{WORD}-default"
        assert holding(data) == []
    assert holding(data) == []


async def test_a_param_that_becomes_secure_seals_what_was_set_before(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with running(data) as (_, session):
        await call(session, "POST", "/params", {"name": "own"})
        await call(session, "POST", "/machines", {"name": "n1", "params": {"own": f"{WORD}-machine"}})
        await call(session, "POST", "/profiles", {"name": "mine", "params": {"own": f"{WORD}-profile"}})
        assert holding(data) != []
        await call(session, "PUT", "/params/own", {"secure": True})
        assert holding(data) == []
        assert (await call(session, "GET", "/machines/n1/params")) == {"own": "********"}
        assert (await call(session, "GET", "/profiles/mine"))["params"] == {"own": "********"}
        assert await call(session, "GET", "/machines/n1/params/own?reveal=true") == f"{WORD}-machine"
        # Once secret, it stays so until it is set anew.
        await call(session, "PUT", "/params/own", {"secure": False})
        assert (await call(session, "GET", "/machines/n1/params/own")) == "********"
        await call(session, "PUT", "/machines/n1/params/own", "public")
        assert (await call(session, "GET", "/machines/n1/params/own")) == "public"


async def test_without_its_key_file_the_server_does_not_start(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with running(data) as (_, session):
        await call(session, "POST", "/machines", {"name": "n1", "params": {"site/secret": f"{WORD}-machine"}})
    key = (data / "secret.key").read_bytes()
    (data / "secret.key").unlink()
    with pytest.raises(SettingError, match=r"there is no key file .*secret.key, but the database holds secure values"):
        made(data)
    other = tmp_path / "other.key"
    open_vault(other, needed=False)
    with pytest.raises(SettingError, match="lacks the key of secure values in machines/n1; put back the key file"):
        made(data, **{"secrets.key_file": str(other)})
    (data / "secret.key").write_bytes(key)
    (data / "secret.key").chmod(0o600)
    async with running(data) as (_, session):
        assert await call(session, "GET", "/machines/n1/params/site/secret?reveal=true") == f"{WORD}-machine"


async def test_after_a_rotation_everything_is_sealed_with_the_new_key(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with running(data) as (_, session):
        await call(session, "POST", "/machines", {"name": "n1", "params": {"site/secret": f"{WORD}-machine"}})
        await call(session, "POST", "/profiles", {"name": "mine", "params": {"site/secret": f"{WORD}-profile"}})
    rotate(data / "secret.key")
    async with running(data):
        pass
    assert drop_old(data / "secret.key") == 1
    async with running(data) as (_, session):
        assert await call(session, "GET", "/machines/n1/params/site/secret?reveal=true") == f"{WORD}-machine"
