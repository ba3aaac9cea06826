"""`provisioner reservations` and `leases`."""

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


async def test_leases_are_in_the_order_of_addresses_with_names_of_machines(api: FakeApi, cli: CommandLine) -> None:
    api.add(machine("web-1", "aaaa", macs=["52:54:00:00:00:01"]))
    leases = [lease("10.0.0.20", "52:54:00:00:00:09"), lease("10.0.0.3", "52:54:00:00:00:01")]
    api.objects["leases"] = {each["address"]: each for each in leases}
    lines = [line.split() for line in (await cli("leases", "list")).out.splitlines()[1:]]
    assert [line[0] for line in lines] == ["10.0.0.3", "10.0.0.20"]
    assert lines[0][2:7] == ["web-1", "acked", "in", "1", "h"]


async def test_a_lease_that_has_no_end_ends_never(api: FakeApi, cli: CommandLine) -> None:
    api.objects["leases"] = {"10.0.0.20": lease("10.0.0.20", "") | {"expires_at": "2166-06-07T19:28:15Z"}}
    assert " never " in (await cli("leases", "list")).out


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


async def test_reservations_are_deleted_and_leases_freed_after_a_question(api: FakeApi, cli: CommandLine) -> None:
    api.objects["leases"] = {"10.0.0.9": lease("10.0.0.9", "")}
    api.objects["reservations"] = {"10.0.0.9": {"address": "10.0.0.9"}}
    for words in (("leases", "release", "10.0.0.9"), ("reservations", "delete", "10.0.0.9")):
        assert (await cli(*words, stdin=Keyboard("n\n", person=True))).code == 1
        assert (await cli(*words, "--yes", stdin=Keyboard("n\n", person=True))).code == 0
    assert len(api.asked("DELETE")) == 2


async def test_a_lease_is_freed(api: FakeApi, cli: CommandLine) -> None:
    api.objects["leases"] = {"10.0.0.20": lease("10.0.0.20", "52:54:00:00:00:09")}
    result = await cli("leases", "release", "10.0.0.20", "--yes")
    assert result.out == "10.0.0.20 is free; 52:54:00:00:00:09 had it\n"
    assert api.asked("DELETE") == [("/api/v1/leases/10.0.0.20", None)]


async def test_leases_of_one_state_are_listed(api: FakeApi, cli: CommandLine) -> None:
    api.objects["leases"] = {
        "10.0.0.20": lease("10.0.0.20", "52:54:00:00:00:09"),
        "10.0.0.21": lease("10.0.0.21", "") | {"state": "quarantined"},
    }
    found = json.loads((await cli("leases", "list", "--state", "quarantined", "--json")).out)
    assert [each["address"] for each in found] == ["10.0.0.21"]


async def test_a_reservation_is_made_from_a_lease_with_its_host_name(api: FakeApi, cli: CommandLine) -> None:
    held = lease("10.0.0.20", "52:54:00:00:00:09") | {"hostname": "web-1"}
    api.objects["leases"] = {"10.0.0.20": held}
    result = await cli("reservations", "from-lease", "10.0.0.20", "--description", "the first")
    assert result.out == "10.0.0.20 is kept for 52:54:00:00:00:09\n"
    assert [body for _, body in api.asked("POST")] == [
        {
            "address": "10.0.0.20",
            "mac": "52:54:00:00:00:09",
            "hostname": "web-1",
            "description": "the first",
        }
    ]


async def test_nothing_is_kept_for_nobody(api: FakeApi, cli: CommandLine) -> None:
    api.objects["leases"] = {"10.0.0.20": lease("10.0.0.20", "") | {"state": "quarantined"}}
    result = await cli("reservations", "from-lease", "10.0.0.20")
    assert (result.code, "nobody has 10.0.0.20: it is quarantined" in result.err) == (1, True)


async def test_a_reservation_is_shown_and_changed(api: FakeApi, cli: CommandLine) -> None:
    api.objects["reservations"] = {"10.0.0.9": {"address": "10.0.0.9", "hostname": "a"}}
    words = ["--scoped", "no", "--hostname", "", "--option", "42=10.0.0.1", "--option", "43="]
    result = await cli("reservations", "set", "10.0.0.9", *words)
    assert result.out == "the reservation of 10.0.0.9 is changed: hostname, scoped, options\n"
    assert "scoped: false" in (await cli("reservations", "show", "10.0.0.9")).out
    assert json.loads((await cli("reservations", "show", "10.0.0.9", "--json")).out)["options"] == {
        "42": "10.0.0.1",
        "43": None,
    }
    assert (await cli("reservations", "set", "10.0.0.9")).code == 2


async def test_a_reservation_passes_to_another_mac(api: FakeApi, cli: CommandLine) -> None:
    api.objects["reservations"] = {"10.0.0.9": {"address": "10.0.0.9", "mac": "52:54:00:00:00:01"}}
    result = await cli("reservations", "set", "10.0.0.9", "--mac", "5254.00aa.bb01", "--hostname", "b")
    assert result.out == "the reservation of 10.0.0.9 is changed: mac, hostname\n"
    assert api.asked("PATCH")[0][1] == {"mac": "5254.00aa.bb01", "hostname": "b"}
