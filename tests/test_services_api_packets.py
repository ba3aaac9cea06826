"""The flight recorder through HTTP: packets decoded, as a capture, of a machine or of a MAC."""

from __future__ import annotations

import pytest

from provisioner.model.access import TokenPurpose
from provisioner.services.api_packets import PacketRoutes
from provisioner.services.http import App
from provisioner.services.operations import routes
from provisioner.store.recorder import FlightRecorder
from provisioner.wire.capture import read_capture
from provisioner.wire.dhcp import encode
from tests.dhcp_messages import discover
from tests.parts import MAC, OTHER_MAC, START, serving

PATH = "/api/v1/packets"
CLIENT, ALL = ("0.0.0.0", 68), ("255.255.255.255", 67)


@pytest.fixture
def recorder(tmp_path):
    recorder = FlightRecorder(tmp_path / "recorder", 1 << 20)
    yield recorder
    recorder.close()


def note(recorder, mac=MAC, data=None, second=0.0):
    data = encode(discover(1)) if data is None else data
    recorder.keep("dhcp", START.timestamp() + second, mac, False, data, CLIENT, ALL, "eth0")
    recorder.flush()


async def client(parts, recorder, purpose=TokenPurpose.API, subject=None):
    app = App(parts.tokens, cookies=True).build([routes(PacketRoutes(recorder, parts.machines).operations())])
    return serving(app, await parts.secret(purpose, subject) if subject else await parts.secret())


async def items(answer):
    body = await answer.json()
    assert answer.status == 200, body
    return body["items"]


async def test_a_packet_is_shown_decoded(parts, recorder):
    note(recorder)
    async with await client(parts, recorder) as caller:
        (shown,) = await items(await caller.get(PATH, params={"mac": MAC}))
    assert shown["time"] == "2026-01-01T12:00:00Z"
    assert (shown["source"], shown["destination"], shown["interface"]) == ("0.0.0.0:68", "255.255.255.255:67", "eth0")
    assert shown["title"] == "DISCOVER xid 00000001"
    assert f"mac {MAC}" in shown["text"]
    assert bytes.fromhex(shown["hex"]) == encode(discover(1))


async def test_a_packet_that_cannot_be_decoded_says_why(parts, recorder):
    note(recorder, data=b"\1\2")
    async with await client(parts, recorder) as caller:
        (shown,) = await items(await caller.get(PATH, params={"mac": MAC}))
    assert shown["text"].startswith("cannot be decoded: ")


async def test_packets_of_a_machine_are_those_of_its_macs(parts, recorder):
    machine = await parts.ready()
    note(recorder)
    note(recorder, OTHER_MAC)
    async with await client(parts, recorder) as caller:
        found = await items(await caller.get(PATH, params={"machine": machine}))
        everybody = await items(await caller.get(PATH))
    assert [each["mac"] for each in found] == [MAC]
    assert [each["mac"] for each in everybody] == [MAC, OTHER_MAC]


async def test_packets_are_asked_for_since_a_time(parts, recorder):
    note(recorder)
    note(recorder, second=60)
    async with await client(parts, recorder) as caller:
        found = await items(await caller.get(PATH, params={"since": "2026-01-01T12:00:30Z"}))
    assert [each["time"] for each in found] == ["2026-01-01T12:01:00Z"]


async def test_a_capture_is_what_was_recorded(parts, recorder):
    note(recorder)
    async with await client(parts, recorder) as caller:
        answer = await caller.get(f"{PATH}/capture", params={"mac": MAC})
        content = await answer.read()
    assert answer.content_type == "application/x-pcapng"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="52-54-00-00-00-01.pcapng"'
    assert read_capture(content) == recorder.packets(MAC)


async def test_a_mac_that_is_none_is_refused_by_name(parts, recorder):
    async with await client(parts, recorder) as caller:
        answer = await caller.get(PATH, params={"mac": "52:54"})
        body = await answer.json()
    assert answer.status in (400, 422)
    assert body["errors"][0]["path"] == "mac"


async def test_machines_may_not_read_packets(parts, recorder):
    machine = await parts.ready()
    async with await client(parts, recorder, TokenPurpose.MACHINE, machine) as caller:
        answer = await caller.get(PATH)
    assert answer.status == 403


async def test_without_a_recorder_the_setting_is_named(parts):
    async with await client(parts, None) as caller:
        answer = await caller.get(PATH)
        body = await answer.json()
    assert answer.status == 409
    assert "recorder.size_mb" in body["detail"]


async def test_a_packet_of_dhcpv6_is_shown_decoded(parts, recorder):
    solicit = bytes.fromhex("01abcdef0001000a00030001525400000001000800020000")
    recorder.keep(
        "dhcp6", START.timestamp(), MAC, False, solicit, ("fe80::1", 546, 0, 2), ("ff02::1:2", 547, 0, 2), "eth0"
    )
    recorder.flush()
    async with await client(parts, recorder) as caller:
        (shown,) = await items(await caller.get(PATH, params={"mac": MAC}))
    assert "SOLICIT" in shown["title"]
    assert shown["source"] == "[fe80::1]:546"
