"""`provisioner machines`."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.api import FakeApi, event, job, machine
from tests.fakes.terminal import CommandLine, Keyboard


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
async def cli(api: FakeApi, tmp_path: Path) -> AsyncIterator[CommandLine]:
    async with api.served() as url:
        yield CommandLine(tmp_path, url)


WEB, DB = "aaaa1111-0000-4000-8000-000000000001", "bbbb2222-0000-4000-8000-000000000002"
AT = f"/api/v1/machines/{WEB}"


@pytest.fixture(autouse=True)
def two_machines(api: FakeApi) -> None:
    api.add(machine("web-1", WEB), machine("db-1", DB, runnable=False, waiting_for="an operator", power=""))


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


# --- seeing ---------------------------------------------------------------------------------------------------


async def test_a_list_has_a_line_for_each_machine_by_name(cli: CommandLine) -> None:
    header, *rows = lines((await cli("machines", "list")).out)
    assert header[:4] == ["NAME", "ID", "STATE", "POWER"]
    assert [row[:2] for row in rows] == [["db-1", "bbbb2222"], ["web-1", "aaaa1111"]]


async def test_a_list_tells_how_far_each_machine_is(api: FakeApi, cli: CommandLine) -> None:
    tasks = ["stage:greet", "hello", "bye"]
    api.machines[WEB] |= {"tasks": tasks, "current_task": 1, "current_job": "j1", "stage": "greet"}
    api.add_jobs(job("j0", DB), job("j1", WEB, index=1, state="running", ended_at=None))
    row = next(row for row in lines((await cli("machines", "list")).out) if row[0] == "web-1")
    assert "working" in row
    assert "0/2" in row


async def test_a_list_may_be_filtered_by_any_field(api: FakeApi, cli: CommandLine) -> None:
    found = json.loads((await cli("machines", "list", "--filter", "name=db-1", "--json")).out)
    assert [each["name"] for each in found] == ["db-1"]
    assert api.asked("GET") == [("/api/v1/machines?limit=1000&name=db-1", None)]


async def test_without_machines_the_remark_says_how_to_get_one(api: FakeApi, cli: CommandLine) -> None:
    api.machines.clear()
    result = await cli("machines", "list")
    assert (result.code, result.out) == (0, "")
    assert "boot one from the network" in result.err


async def test_show_says_where_a_machine_stands_and_why(api: FakeApi, cli: CommandLine) -> None:
    api.machines[WEB] |= {"errors": ["no such workflow"], "available": False}
    out = (await cli("machines", "show", "web-1")).out
    fields = {line[0]: line[1:] for line in lines(out)}
    assert fields["name"] == ["web-1"]
    assert fields["id"] == [WEB]
    assert fields["errors"] == ["no", "such", "workflow"]
    assert "state" in fields


async def test_show_tells_the_current_job_and_running_grants_only(api: FakeApi, cli: CommandLine) -> None:
    grants = [
        {"disk": "any", "expires_at": "2030-05-01T13:00:00Z", "granted_by": ""},
        {"disk": "/dev/sdb", "expires_at": "2030-05-01T11:00:00Z", "granted_by": ""},
    ]
    api.machines[WEB] |= {"current_job": "j1", "erase_grants": grants}
    api.add_jobs(job("j1", WEB, state="running"))
    out = (await cli("machines", "show", "web-1")).out
    assert "j1 hello (running)" in out
    assert "any until 2030-05-01 13:00:00 UTC" in out
    assert "/dev/sdb" not in out


async def test_show_for_programs_is_the_whole_machine(api: FakeApi, cli: CommandLine) -> None:
    assert json.loads((await cli("machines", "show", "web-1", "--json")).out) == api.machines[WEB]


async def test_a_timeline_is_the_newest_events_oldest_first(api: FakeApi, cli: CommandLine) -> None:
    kinds = ["dhcp.discover", "dhcp.ack", "agent.register"]
    api.events = [event(number, kind, machine=WEB) for number, kind in enumerate(kinds, 1)]
    api.events.append(event(9, "dhcp.ack", machine=DB))
    out = (await cli("machines", "timeline", "web-1", "--limit", "2")).out
    assert [row[2] for row in lines(out)[1:]] == ["dhcp.ack", "agent.register"]


async def test_a_timeline_may_be_of_some_kinds_only(api: FakeApi, cli: CommandLine) -> None:
    api.events = [event(1, "dhcp.ack", machine=WEB), event(2, "agent.hello", machine=WEB)]
    found = await cli("machines", "timeline", "web-1", "--kind", "agent.hello", "--kind", "job.end", "--json")
    assert [each["id"] for each in json.loads(found.out)] == [2]


async def test_params_are_shown_as_json_values(api: FakeApi, cli: CommandLine) -> None:
    api.machines[WEB]["params"] = {"ntp/servers": ["a", "b"], "dns/domain": "example.org"}
    assert lines((await cli("machines", "params", "web-1")).out)[1:] == [
        ["dns/domain", '"example.org"'],
        ["ntp/servers", '["a",', '"b"]'],
    ]


async def test_all_params_include_those_from_elsewhere(cli: CommandLine) -> None:
    assert json.loads((await cli("machines", "params", "web-1", "--all", "--json")).out) == {"from/profile": [1, 2]}


# --- changing -------------------------------------------------------------------------------------------------


async def test_a_workflow_is_set_by_a_merge_patch(api: FakeApi, cli: CommandLine) -> None:
    result = await cli("machines", "set-workflow", "web-1", "discover")
    assert api.asked("PATCH") == [(AT, {"workflow": "discover"})]
    assert result.out == "web-1 has workflow discover and is in stage none\n"


async def test_a_machine_that_waits_says_why_when_it_is_given_work(cli: CommandLine) -> None:
    result = await cli("machines", "set-workflow", "db-1", "discover")
    assert result.out.endswith("; it is not runnable yet (an operator)\n")


async def test_leave_to_erase_is_given_before_the_workflow(api: FakeApi, cli: CommandLine) -> None:
    await cli("machines", "set-workflow", "web-1", "deploy", "--erase", "any", "--hours", "2")
    assert [what for what, _ in api.requests[1:]] == [f"POST {AT}/grants", f"PATCH {AT}"]
    assert api.asked("POST")[0][1] == {"disk": "any", "hours": 2.0}


async def test_an_empty_workflow_takes_the_work_away(cli: CommandLine) -> None:
    assert (await cli("machines", "set-workflow", "web-1", "")).out == "web-1 has no workflow any more\n"


async def test_a_refused_workflow_says_which_there_are_once(cli: CommandLine) -> None:
    result = await cli("machines", "set-workflow", "web-1", "unknown")
    assert (result.code, result.out) == (1, "")
    assert result.err.splitlines()[0] == "provisioner: unknown workflow 'unknown'; there is: deploy, discover"


@pytest.mark.parametrize(("verb", "runnable", "word"), [("run", True, "runnable"), ("pause", False, "paused")])
async def test_machines_are_let_run_and_held(
    api: FakeApi, cli: CommandLine, verb: str, runnable: bool, word: str
) -> None:
    result = await cli("machines", verb, "web-1", "db-1")
    assert [body for _, body in api.asked("PATCH")] == [{"runnable": runnable}] * 2
    assert result.out == f"web-1 is {word}\ndb-1 is {word}\n"


async def test_of_several_machines_none_is_changed_when_one_is_unknown(api: FakeApi, cli: CommandLine) -> None:
    assert (await cli("machines", "pause", "web-1", "web-9")).code == 3
    assert api.asked("PATCH") == []


async def test_erasure_is_allowed_for_some_hours(api: FakeApi, cli: CommandLine) -> None:
    result = await cli("machines", "grant-erase", "web-1", "/dev/sda", "--hours", "0.5")
    assert api.asked("POST") == [(f"{AT}/grants", {"disk": "/dev/sda", "hours": 0.5})]
    assert result.out == "what is on disk /dev/sda of web-1 may be erased for 0.5 h\n"


async def test_a_machine_is_renamed(api: FakeApi, cli: CommandLine) -> None:
    await cli("machines", "rename", "aaaa", "web-2")
    assert api.asked("PATCH") == [(AT, {"name": "web-2"})]


async def test_a_machine_is_made_before_it_is_seen(api: FakeApi, cli: CommandLine) -> None:
    result = await cli("machines", "create", "web-3", "--mac", "52:54:00:00:00:03")
    assert api.asked("POST")[0][1] == {"name": "web-3", "macs": ["52:54:00:00:00:03"], "description": ""}
    assert result.out == "web-3 is known as ffffffff-0000\n"


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["7"], 7),
        (["[1, 2]"], [1, 2]),
        (["true"], True),
        (["example.org"], "example.org"),
        (["7", "--text"], "7"),
        (["--", "-3"], -3),
        ([""], ""),
    ],
)
async def test_a_params_value_is_json_or_else_text(api: FakeApi, cli: CommandLine, words: list[str], value) -> None:
    await cli("machines", "set-param", "web-1", "some/param", *words)
    assert api.asked("PUT") == [(f"{AT}/params/some/param", value)]


async def test_a_params_value_may_come_from_standard_input(api: FakeApi, cli: CommandLine) -> None:
    words = ["set-param", "web-1", "power/password", "--file", "-", "--text"]
    result = await cli("machines", *words, stdin=Keyboard("12345\n"))
    assert api.asked("PUT")[0][1] == "12345"
    assert "12345" not in result.out


async def test_a_params_value_may_come_from_a_file(api: FakeApi, cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "value").write_text('{"a": 1}\n')
    await cli("machines", "set-param", "web-1", "some/param", "--file", str(tmp_path / "value"))
    assert api.asked("PUT")[0][1] == {"a": 1}


@pytest.mark.parametrize("words", [[], ["7", "--file", "-"]])
async def test_a_param_needs_exactly_one_value(api: FakeApi, cli: CommandLine, words: list[str]) -> None:
    result = await cli("machines", "set-param", "web-1", "some/param", *words)
    assert (result.code, result.err) == (2, "provisioner: give either a value or --file\n")
    assert api.requests == []


async def test_a_value_file_that_is_missing_is_named(cli: CommandLine) -> None:
    result = await cli("machines", "set-param", "web-1", "some/param", "--file", "/nowhere")
    assert (result.code, result.err) == (1, "provisioner: cannot read /nowhere: No such file or directory\n")


async def test_a_param_is_removed(api: FakeApi, cli: CommandLine) -> None:
    assert (await cli("machines", "unset-param", "web-1", "some/param")).code == 0
    assert api.asked("DELETE") == [(f"{AT}/params/some/param", None)]


async def test_a_script_deletes_without_being_asked(api: FakeApi, cli: CommandLine) -> None:
    assert (await cli("machines", "delete", "web-1")).out == "web-1 is forgotten\n"
    assert WEB not in api.machines


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("yes\n", 0), ("\n", 1), ("n\n", 1), ("", 1)])
async def test_a_person_is_asked_before_a_machine_is_deleted(
    api: FakeApi, cli: CommandLine, answer: str, code: int
) -> None:
    result = await cli("machines", "delete", "web-1", stdin=Keyboard(answer, person=True))
    assert result.code == code
    assert (WEB in api.machines) is bool(code)
    assert result.err.startswith(f"forget machine web-1 ({WEB})? [y/N] ")


async def test_a_person_may_say_yes_beforehand(api: FakeApi, cli: CommandLine) -> None:
    assert (await cli("machines", "delete", "web-1", "--yes", stdin=Keyboard(person=True))).code == 0
