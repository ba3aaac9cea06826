"""The command line against the real API: what both sides think of each other is the same."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from provisioner.cli.parser import GROUPS
from tests.browser.demo_state import PASSWORD, Demo, discovered, fill, serving
from tests.fakes.terminal import CommandLine

# Offline, or an end of its own.
NO_LIST = {
    "serve",
    "login",
    "logout",
    "power",
    "events",
    "content",
    "secrets",
    "completion",
    "version",
    "packets",
    "doctor",
}
# Nobody makes these unless something special happens.
MAY_BE_EMPTY = {"clashes", "operations", "join-tokens"}


@pytest.fixture
async def real(tmp_path: Path) -> AsyncIterator[tuple[Demo, CommandLine]]:
    async with serving(tmp_path / "server") as (demo, url):
        cli = CommandLine(tmp_path, url, token="", environment={"PROVISIONER_PASSWORD": PASSWORD})
        assert (await cli("login")).code == 0
        yield demo, cli


async def test_every_list_can_be_shown_whole_and_every_machine_and_job_alone(real: tuple[Demo, CommandLine]) -> None:
    demo, cli = real
    await fill(demo)
    for group in sorted(set(GROUPS) - NO_LIST):
        shown, asked = await cli(group, "list"), await cli(group, "list", "--json")
        items = json.loads(asked.out)
        assert (shown.code, asked.code) == (0, 0), group
        assert len(shown.out.splitlines()) == (len(items) + 1 if items else 0), group
        assert items or group in MAY_BE_EMPTY, group
        for each in items[:8] if group in ("machines", "jobs") else ():
            result = await cli(group, "show", each["id"])
            assert (result.code, result.err) == (0, "")
            assert each["id"] in result.out


async def test_the_timeline_of_a_machine_begins_with_its_first_offer(real: tuple[Demo, CommandLine]) -> None:
    demo, cli = real
    await discovered(demo, 1, "web-1", 5)
    kinds = [line.split()[2] for line in (await cli("machines", "timeline", "web-1")).out.splitlines()[1:]]
    assert kinds[0] == "dhcp.offer"
    assert kinds[-1] == "machine.complete"


async def test_a_machine_is_driven_from_the_command_line(real: tuple[Demo, CommandLine]) -> None:
    demo, cli = real
    await discovered(demo, 1, "web-1", 5)
    for words in (
        ["machines", "set-param", "web-1", "os/hostname", "web-1.example.org"],
        ["machines", "set-workflow", "web-1", "deploy", "--erase", "any", "--hours", "2"],
        ["machines", "pause", "web-1"],
        ["machines", "rename", "web-1", "web-2"],
        ["power", "next-boot", "pxe", "web-2"],
        ["power", "cycle", "web-2"],
    ):
        result = await cli(*words)
        assert (result.code, result.err) == (0, ""), words
    shown = json.loads((await cli("machines", "show", "web-2", "--json")).out)
    assert (shown["workflow"], shown["runnable"], shown["params"]["os/hostname"]) == (
        "deploy",
        False,
        "web-1.example.org",
    )
    assert [grant["disk"] for grant in shown["erase_grants"]] == ["any"]
    assert [call for call, _ in demo.power.calls] == ["next-boot-pxe", "power-cycle"]
    assert (await cli("machines", "delete", "web-2")).code == 0
    assert (await cli("machines", "show", "web-2")).code == 3


async def test_a_refused_change_names_the_choices_and_changes_nothing(real: tuple[Demo, CommandLine]) -> None:
    demo, cli = real
    await discovered(demo, 1, "web-1", 5)
    before = json.loads((await cli("machines", "show", "web-1", "--json")).out)
    result = await cli("machines", "set-workflow", "web-1", "nonsense")
    assert (result.code, result.err) == (
        1,
        "provisioner: unknown workflow 'nonsense'; there is: deploy, discover, hello\n",
    )
    assert json.loads((await cli("machines", "show", "web-1", "--json")).out) == before


async def test_secure_params_are_not_shown(real: tuple[Demo, CommandLine]) -> None:
    demo, cli = real
    await discovered(demo, 1, "web-1", 5)
    for words in (["show", "web-1", "--json"], ["params", "web-1"], ["params", "web-1", "--all", "--json"]):
        assert '"secret"' not in (await cli("machines", *words)).out


async def test_a_subnet_is_added_and_deleted(real: tuple[Demo, CommandLine]) -> None:
    _, cli = real
    assert (await cli("subnets", "add", "lab", "10.1.0.0/24", "--pool", "10.1.0.10-10.1.0.20")).code == 0
    refused = await cli("subnets", "add", "lab2", "10.1.0.0/16")
    assert (refused.code, refused.out) == (1, "")
    assert "overlaps subnet 'lab'" in refused.err
    assert (await cli("subnets", "delete", "lab")).code == 0


async def test_a_log_is_followed_to_the_end_as_it_grows(real: tuple[Demo, CommandLine]) -> None:
    demo, cli = real
    story = await discovered(demo, 1, "web-1", 5)
    await story.assign("hello")
    await story.begin()
    following = asyncio.ensure_future(cli("jobs", "log", "-f", story.job.id))
    written = [f"line {number}\n" for number in range(40)]
    for line in written:
        await story.write(line, 0)
        await asyncio.sleep(0)
    await story.end(seconds=1)
    result = await following
    assert (result.code, result.out) == (0, "".join(written))


async def test_events_are_followed_as_they_happen(real: tuple[Demo, CommandLine]) -> None:
    demo, cli = real
    await discovered(demo, 1, "web-1", 5)

    def stop(text: str) -> None:
        if '"machine.runnable"' in text:
            raise KeyboardInterrupt

    follower = replace(cli, on_output=stop)
    following = asyncio.ensure_future(follower("events", "-f", "--json", "--limit", "1"))
    assert (await cli("machines", "pause", "web-1")).code == 0
    result = await following
    assert result.code == 130
    numbers = [json.loads(line)["id"] for line in result.out.splitlines()]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))


async def test_logging_out_ends_the_token(real: tuple[Demo, CommandLine]) -> None:
    _, cli = real
    file = cli.home / ".config/provisioner/token"
    kept = file.read_text()
    assert (await cli("logout")).code == 0
    file.write_text(kept)
    result = await cli("machines", "list")
    assert result.code == 4
    assert "log in with `provisioner --server " in result.err
