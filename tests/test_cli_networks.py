"""`provisioner subnets`, `reservations` and `leases`."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.api import FakeApi, machine
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


def lease(address: str, mac: str) -> dict[str, str]:
    return {
        "address": address,
        "mac": mac,
        "state": "acked",
        "expires_at": "2030-05-01T13:01:00Z",
        "subnet": "rack",
        "hostname": "",
        "via": "",
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


async def test_leases_are_in_the_order_of_addresses_with_names_of_machines(api: FakeApi, cli: CommandLine) -> None:
    api.add(machine("web-1", "aaaa", macs=["52:54:00:00:00:01"]))
    leases = [lease("10.0.0.20", "52:54:00:00:00:09"), lease("10.0.0.3", "52:54:00:00:00:01")]
    api.objects["leases"] = {each["address"]: each for each in leases}
    lines = [line.split() for line in (await cli("leases", "list")).out.splitlines()[1:]]
    assert [line[0] for line in lines] == ["10.0.0.3", "10.0.0.20"]
    assert lines[0][2:7] == ["web-1", "acked", "in", "1", "h"]


async def test_the_leases_of_one_machine_are_those_of_its_macs(api: FakeApi, cli: CommandLine) -> None:
    api.add(machine("web-1", "aaaa", macs=["52:54:00:00:00:01"]))
    leases = [lease("10.0.0.20", "52:54:00:00:00:09"), lease("10.0.0.3", "52:54:00:00:00:01")]
    api.objects["leases"] = {each["address"]: each for each in leases}
    found = json.loads((await cli("leases", "list", "--machine", "web-1", "--json")).out)
    assert [each["address"] for each in found] == ["10.0.0.3"]


async def test_reservations_are_kept_listed_and_removed(api: FakeApi, cli: CommandLine) -> None:
    words = ["10.0.0.9", "52:54:00:00:00:01", "--hostname", "web-1", "--boot-file=-"]
    assert (await cli("reservations", "add", *words)).out == "10.0.0.9 is kept for 52:54:00:00:00:01\n"
    assert api.asked("POST")[0][1]["boot_file"] == "-"
    api.objects["reservations"]["10.0.0.9"] |= {"description": ""}
    assert "52:54:00:00:00:01" in (await cli("reservations", "list")).out
    assert (await cli("reservations", "delete", "10.0.0.9")).code == 0


async def test_subnets_and_reservations_are_deleted_after_a_question(api: FakeApi, cli: CommandLine) -> None:
    api.objects["subnets"] = {"rack": {"name": "rack"}}
    api.objects["reservations"] = {"10.0.0.9": {"address": "10.0.0.9"}}
    for words in (("subnets", "delete", "rack"), ("reservations", "delete", "10.0.0.9")):
        assert (await cli(*words, stdin=Keyboard("n\n", person=True))).code == 1
        assert (await cli(*words, "--yes", stdin=Keyboard("n\n", person=True))).code == 0
    assert len(api.asked("DELETE")) == 2
