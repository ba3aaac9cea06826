"""The whole server in one process: built from settings, serving on its sockets, ending cleanly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession
from aiohttp.web import Application

from provisioner.config import read_config
from provisioner.errors import SettingError
from provisioner.power.registry import PowerDrivers
from provisioner.server import Server, build, web_runner
from provisioner.store.event_search import EventQuery
from provisioner.wire.tftp import Error, OptionAck
from tests.tftp_client import TftpClient


def settings(folder: Path, **more: str) -> dict[str, str]:
    ports = {f"listen.{name}": "127.0.0.1:0" for name in ("http", "ui", "dhcp", "tftp")}
    return {"data_dir": str(folder), **ports, **{name.replace("__", "."): value for name, value in more.items()}}


@asynccontextmanager
async def running(folder: Path, **more: str) -> AsyncIterator[tuple[Server, list[str]]]:
    config = read_config(settings(folder, **more), {})
    server, said = build(config, {}, version="test", drivers=PowerDrivers({})), list[str]()
    task = asyncio.create_task(server.run(said.append, {}))
    async with ClientSession(f"http://127.0.0.1:{server.port('ui')}") as session:
        while True:
            async with session.get("/readyz") as answer:
                if answer.status == 200:
                    break
    yield server, said
    server.stop()
    await task


async def test_the_first_start_makes_an_administrator_and_says_the_password_once(tmp_path: Path) -> None:
    async with running(tmp_path) as (server, said):
        password = said[0].split("password ")[1].split("\n")[0]
        async with ClientSession(f"http://127.0.0.1:{server.port('ui')}") as session:
            right = await session.post("/api/v1/login", json={"username": "admin", "password": password})
            wrong = await session.post("/api/v1/login", json={"username": "admin", "password": "guess"})
            assert (right.status, wrong.status) == (200, 401)
    async with running(tmp_path) as (_, said_again):
        assert said_again == []


async def test_passwords_and_the_ui_are_not_on_the_provisioning_network(tmp_path: Path) -> None:
    async with (
        running(tmp_path) as (server, _),
        ClientSession(f"http://127.0.0.1:{server.port('http')}") as session,
    ):
        login = await session.post("/api/v1/login", json={"username": "admin", "password": "x"})
        page = await session.get("/")
        assert (login.status, page.status) == (404, 404)


async def test_a_port_in_use_stops_the_start_before_anything_is_served(tmp_path: Path) -> None:
    async with running(tmp_path / "one") as (server, _):
        flags = settings(tmp_path / "two", listen__http=f"127.0.0.1:{server.port('http')}")
        with pytest.raises(SettingError, match="is in use"):
            build(read_config(flags, {}), {}, version="test")


async def test_tftp_is_served_as_its_settings_say_and_told_with_the_options_agreed(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "f").write_bytes(bytes(5000))
    async with running(tmp_path, tftp__single_port="on", tftp__max_blksize="1024") as (server, _):
        with TftpClient(("127.0.0.1", server.port("tftp"))) as client:
            client.request("/files/f", blksize="1468", tsize="0")
            assert await client.receive() == OptionAck({"blksize": "1024", "tsize": "5000"})
            assert await client.get("f", blksize="1468", windowsize="4") == bytes(5000)
            assert client.peer == client.service
            # Once this is answered, the transfer before it has been told.
            assert isinstance(await client.get("nothing"), Error)
        await server.parts.notes.settled()
        told = await server.parts.database.events(EventQuery(kinds=("tftp.read",), limit=10))
    assert told[-1].key == "f"
    assert told[-1].data["options"] == {"blksize": "1024", "windowsize": "4"}
    assert (told[-1].data["bytes"], told[-1].data["blksize"], told[-1].data["resent"]) == (5000, 1024, 0)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("boot__unknown_bootenv", "unknown bootenv 'nothing'"),
        ("machines__default_workflow", "unknown workflow 'nothing'"),
    ],
)
async def test_a_setting_that_names_nothing_stops_the_start(tmp_path: Path, setting: str, says: str) -> None:
    with pytest.raises(SettingError, match=says):
        build(read_config(settings(tmp_path, **{setting: "nothing"}), {}), {}, version="test")


async def test_a_subnet_that_does_not_fit_stops_the_start_before_the_password_is_told(tmp_path: Path) -> None:
    config = read_config(settings(tmp_path, dhcp__subnets="10.5.0.0/24,10.6.0.1-10.6.0.9"), {})
    said: list[str] = []
    server = build(config, {}, version="test", drivers=PowerDrivers({}))
    with pytest.raises(SettingError, match=r"setting dhcp.subnets, 10.5.0.0/24: pool_start: 10.6.0.1 is not a host"):
        await server.run(said.append, {})
    assert said == []
    for each in server.sockets.values():
        each.close()


async def test_services_that_are_off_have_no_socket(tmp_path: Path) -> None:
    async with running(tmp_path, listen__dhcp="off", listen__tftp="off") as (server, _):
        assert sorted(server.sockets) == ["http", "ui"]


async def test_machines_are_served_on_ipv6_beside_ipv4(tmp_path: Path) -> None:
    async with running(tmp_path, listen__http="0.0.0.0:0", listen__tftp="0.0.0.0:0") as (server, _):
        assert server.port("http6") == server.port("http")
        assert server.port("tftp6") == server.port("tftp")
        assert "dhcp6" not in server.sockets
        async with ClientSession(f"http://[::1]:{server.port('http6')}") as session:
            script = await (await session.get("/boot/52-54-00-00-00-01.ipxe")).text()
        assert f"provisioner.url=http://[::1]:{server.port('http6')} " in script


async def test_dhcpv6_is_served_where_the_setting_says(tmp_path: Path) -> None:
    async with running(tmp_path, listen__dhcp6="[::1]:0") as (server, _):
        assert server.sockets["dhcp6"].getsockname()[0] == "::1"


async def test_ipv6_is_left_alone_beside_a_single_address(tmp_path: Path) -> None:
    async with running(tmp_path) as (server, _):
        assert not {"http6", "tftp6", "dhcp6"} & server.sockets.keys()


async def test_whoever_says_nothing_is_not_kept_for_an_hour() -> None:
    runner = web_runner(Application())
    await runner.setup()
    try:
        assert runner.server is not None and runner.server().keepalive_timeout <= 75
    finally:
        await runner.cleanup()
