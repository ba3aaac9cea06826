"""`provisioner packets`: what a client said and was told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.fakes.api import FakeApi, machine
from tests.fakes.terminal import CommandLine

WEB = "aaaa1111-0000-4000-8000-000000000001"
MAC = "52:54:00:00:00:01"
PACKET = {
    "time": "2030-05-01T12:00:00.25Z",
    "protocol": "dhcp",
    "mac": MAC,
    "outgoing": False,
    "interface": "eth0",
    "source": "0.0.0.0:68",
    "destination": "255.255.255.255:67",
    "title": "DISCOVER xid 00000001",
    "text": "DISCOVER xid 00000001\nmac 52:54:00:00:00:01",
    "hex": "01",
}


class Recording(FakeApi):
    """The API with a flight recorder."""

    def __init__(self) -> None:
        super().__init__()
        self.items = [PACKET]
        self.asked: dict[str, str] = {}

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard()])
        app.router.add_routes(
            [
                web.get("/api/v1/packets", self._packets),
                web.get("/api/v1/packets/capture", self._capture),
                web.get("/api/v1/machines", self._list_machines),
                web.get("/api/v1/machines/{machine}", self._get_machine),
            ]
        )
        return app

    async def _packets(self, request: web.Request) -> web.Response:
        self.asked = dict(request.query)
        return web.json_response({"items": self.items})

    async def _capture(self, request: web.Request) -> web.Response:
        self.asked = dict(request.query)
        return web.Response(body=b"pcapng")


@pytest.fixture
def api() -> Recording:
    return Recording()


@pytest.fixture
async def cli(api: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[CommandLine]:
    monkeypatch.chdir(tmp_path)
    api.add(machine("web-1", WEB))
    async with api.served() as url:
        yield CommandLine(tmp_path, url)


async def test_packets_are_a_line_each(cli: CommandLine) -> None:
    out = (await cli("packets", MAC)).out
    assert out.splitlines()[1].split()[:5] == ["2030-05-01", "12:00:00.250", MAC, "in", "0.0.0.0:68"]
    assert out.splitlines()[1].endswith("DISCOVER xid 00000001")


async def test_a_mac_is_asked_for_as_such(cli: CommandLine, api: Recording) -> None:
    await cli("packets", MAC, "--since", "2030-05-01T12:00:00Z")
    assert api.asked == {"mac": MAC, "since": "2030-05-01T12:00:00Z"}


@pytest.mark.parametrize("written", ["5254.0000.0001", "525400000001", "52-54-00-00-00-01"])
async def test_a_mac_may_be_written_as_switches_show_it(cli: CommandLine, api: Recording, written: str) -> None:
    await cli("packets", written)
    assert api.asked == {"mac": MAC}


async def test_a_machine_whose_name_looks_like_a_mac_is_found_by_it(cli: CommandLine, api: Recording) -> None:
    api.add(machine("525400000001", WEB.replace("a", "b")))
    await cli("packets", "525400000001")
    assert api.asked == {"machine": WEB.replace("a", "b")}


async def test_a_machine_is_asked_for_by_its_id(cli: CommandLine, api: Recording) -> None:
    await cli("packets", "web-1")
    assert api.asked == {"machine": WEB}


async def test_a_packet_is_shown_in_full(cli: CommandLine) -> None:
    out = (await cli("packets", "web-1", "--full")).out
    assert "dhcp came for 52:54:00:00:00:01  0.0.0.0:68 > 255.255.255.255:67 on eth0" in out
    assert "    mac 52:54:00:00:00:01" in out.splitlines()


async def test_a_capture_is_written_to_a_file(cli: CommandLine, tmp_path: Path) -> None:
    await cli("packets", "web-1", "-o", "web.pcapng")
    assert (tmp_path / "web.pcapng").read_bytes() == b"pcapng"


async def test_a_client_without_packets_is_said_so(cli: CommandLine, api: Recording) -> None:
    api.items = []
    said = await cli("packets", MAC)
    assert f"nothing is recorded of {MAC}" in said.err
