"""`provisioner subnets`."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.api import FakeApi
from tests.fakes.terminal import CommandLine, Keyboard


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
async def cli(api: FakeApi, tmp_path: Path) -> AsyncIterator[CommandLine]:
    async with api.served() as url:
        yield CommandLine(tmp_path, url)


SUBNET = {
    "name": "rack",
    "cidr": "10.0.0.0/24",
    "pool_start": "10.0.0.100",
    "pool_end": "10.0.0.200",
    "gateway": "10.0.0.1",
    "dns_servers": ["10.0.0.1", "10.0.0.2"],
    "lease_seconds": 3600,
    "enabled": True,
}


async def test_subnets_are_listed(api: FakeApi, cli: CommandLine) -> None:
    api.objects["subnets"] = {"rack": SUBNET}
    (line,) = (await cli("subnets", "list")).out.splitlines()[1:]
    assert line.split("  ")[0] == "rack"
    assert "10.0.0.100 - 10.0.0.200" in line
    assert "10.0.0.1, 10.0.0.2" in line


async def test_without_subnets_the_remark_says_what_that_means(cli: CommandLine) -> None:
    assert "DHCP answers nobody" in (await cli("subnets", "list")).err


async def test_only_what_was_said_of_a_subnet_is_sent(api: FakeApi, cli: CommandLine) -> None:
    words = ["--pool", "10.0.0.100-10.0.0.200", "--dns", "10.0.0.1", "--dns", "10.0.0.2", "--option", "42=10.0.0.3"]
    result = await cli("subnets", "add", "rack", "10.0.0.0/24", *words)
    assert result.out == "DHCP answers on 10.0.0.0/24 as subnet rack\n"
    assert api.asked("POST") == [
        (
            "/api/v1/subnets",
            {
                "name": "rack",
                "cidr": "10.0.0.0/24",
                "pool_start": "10.0.0.100",
                "pool_end": "10.0.0.200",
                "dns_servers": ["10.0.0.1", "10.0.0.2"],
                "options": {"42": "10.0.0.3"},
            },
        )
    ]


@pytest.mark.parametrize("words", [["--pool", "10.0.0.100"], ["--pool", "-"], ["--option", "42"], ["--option", "=x"]])
async def test_a_pool_or_option_written_wrong_shows_how(api: FakeApi, cli: CommandLine, words: list[str]) -> None:
    result = await cli("subnets", "add", "rack", "10.0.0.0/24", f"{words[0]}={words[1]}")
    assert result.code == 2
    assert "write it as " in result.err
    assert api.requests == []


async def test_a_subnet_is_deleted_by_name(api: FakeApi, cli: CommandLine) -> None:
    api.objects["subnets"] = {"rack": SUBNET}
    assert (await cli("subnets", "delete", "rack")).code == 0
    assert api.asked("DELETE") == [("/api/v1/subnets/rack", None)]


async def test_a_subnet_is_deleted_after_a_question(api: FakeApi, cli: CommandLine) -> None:
    api.objects["subnets"] = {"rack": SUBNET}
    assert (await cli("subnets", "delete", "rack", stdin=Keyboard("n\n", person=True))).code == 1
    assert (await cli("subnets", "delete", "rack", "--yes", stdin=Keyboard("n\n", person=True))).code == 0
    assert len(api.asked("DELETE")) == 1


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "yes"),
        ({"enabled": False}, "no"),
        ({"proxy": True}, "boot information only"),
        ({"only_reservations": True}, "reservations only"),
        ({"pool_start": ""}, "reservations only"),
        ({"shared_network": "floor"}, "floor"),
    ],
)
async def test_the_list_says_what_is_answered(api: FakeApi, cli: CommandLine, more: dict, words: str) -> None:
    api.objects["subnets"] = {"rack": SUBNET | more}
    assert words in (await cli("subnets", "list")).out.splitlines()[1]


async def test_a_subnet_is_shown_whole(api: FakeApi, cli: CommandLine) -> None:
    api.objects["subnets"] = {"rack": SUBNET}
    assert "pool_end: 10.0.0.200" in (await cli("subnets", "show", "rack")).out
    assert json.loads((await cli("subnets", "show", "rack", "--json")).out) == SUBNET


async def test_only_what_was_said_of_a_subnet_is_changed(api: FakeApi, cli: CommandLine) -> None:
    api.objects["subnets"] = {"rack": SUBNET}
    words = ["--pool", "", "--dns", "", "--pickers", "hint, most-expired", "--only-reservations", "yes"]
    words += ["--proxy", "no", "--renew-seconds", "0", "--probe", "off", "--option", "42="]
    result = await cli("subnets", "set", "rack", *words)
    changed = {
        "pool_start": "",
        "pool_end": "",
        "dns_servers": [],
        "pickers": ["hint", "most-expired"],
        "only_reservations": True,
        "proxy": False,
        "renew_seconds": 0,
        "probe": "off",
        "options": {"42": None},
    }
    assert api.asked("PATCH") == [("/api/v1/subnets/rack", changed)]
    assert result.out.startswith("subnet rack is changed: ")


async def test_a_change_of_nothing_is_a_wrong_command_line(api: FakeApi, cli: CommandLine) -> None:
    result = await cli("subnets", "set", "rack")
    assert (result.code, api.requests) == (2, [])
