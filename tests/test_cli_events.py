"""`provisioner events`."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from provisioner.cli.events import events_in
from tests.fakes.api import FakeApi, event, machine
from tests.fakes.terminal import CommandLine


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
async def cli(api: FakeApi, tmp_path: Path) -> AsyncIterator[CommandLine]:
    async with api.served() as url:
        yield CommandLine(tmp_path, url)


WEB = "aaaa1111-0000-4000-8000-000000000001"


@pytest.fixture(autouse=True)
def three_events(api: FakeApi) -> None:
    api.add(machine("web-1", WEB))
    api.events = [
        event(1, "dhcp.discover", mac="52:54:00:00:00:01"),
        event(2, "agent.register", machine=WEB),
        event(3, "object.put", key="stages/greet", by="user:ada"),
    ]


class Stop(KeyboardInterrupt):
    """Ctrl-C, since a follower never ends by itself."""


def stop_after(cli: CommandLine, turns: int) -> None:
    def step() -> None:
        if len(cli.sleeps) >= turns:
            raise Stop

    cli.on_sleep = step


def test_a_stream_is_taken_apart_into_events() -> None:
    lines = [": hello", "", "id: 7", 'data: {"id": 7}', "", 'data: {"a":', "data: 1}", "", 'data: {"cut off"']
    assert list(events_in(lines)) == [{"id": 7}, {"a": 1}]


async def test_events_are_shown_oldest_first_with_machine_or_mac(cli: CommandLine) -> None:
    header, *rows = [line.split() for line in (await cli("events")).out.splitlines()]
    assert header[:2] == ["DAY", "TIME"]
    assert [row[2:4] for row in rows[:2]] == [["52:54:00:00:00:01", "dhcp.discover"], ["web-1", "agent.register"]]
    assert rows[2][-1] == "ada"


async def test_events_may_be_of_one_machine_and_kind(api: FakeApi, cli: CommandLine) -> None:
    found = json.loads((await cli("events", "--machine", "web-1", "--kind", "agent.register", "--json")).out)
    assert [each["id"] for each in found] == [2]


async def test_following_goes_on_where_the_past_ended(api: FakeApi, cli: CommandLine) -> None:
    def more() -> None:
        if len(cli.sleeps) == 2:
            raise Stop
        api.events.append(event(4, "dhcp.ack", machine=WEB))

    cli.on_sleep = more
    result = await cli("events", "-f", "--json")
    assert result.code == 130
    assert [json.loads(line)["id"] for line in result.out.splitlines()] == [1, 2, 3, 4]


async def test_following_shows_a_line_for_each_event(cli: CommandLine) -> None:
    stop_after(cli, 1)
    lines = (await cli("events", "-f")).out.splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("2030-05-01  12:00:00.000  web-1  agent.register  ")


async def test_a_stream_that_breaks_off_is_taken_up_again(api: FakeApi, cli: CommandLine) -> None:
    stop_after(cli, 3)
    result = await cli("events", "-f", "--json")
    assert len(result.out.splitlines()) == 3
    assert sum("/events/stream" in path for path, _ in api.asked("GET")) == 3


async def test_an_event_of_a_machine_that_is_gone_shows_its_id(api: FakeApi, cli: CommandLine) -> None:
    api.machines.clear()
    assert WEB in (await cli("events")).out
