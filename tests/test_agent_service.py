"""From a boot to a session, in one process, with time that passes at once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.config import Config, read, write
from agent.errors import ConfigError
from agent.interrupt import Interrupt
from agent.loop import Outcome
from agent.service import DENIED_PAUSE_SECONDS, Options, Service
from tests.fakes.agent_parts import FakeClock, no_jitter
from tests.fakes.agent_server import MACHINE, TICKET, TOKEN, FakeServer, script
from tests.fakes.trees import SERVER, plant


class Machine:
    """A machine to serve: its trees, its command line, and what was done to its power."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.outcomes: list[Outcome] = []
        (folder / "work").mkdir()
        plant(folder / "root", SERVER)

    def service(self, *, once: bool = True) -> Service:
        options = Options(once=once, work_dir=str(self.folder / "work"), root=str(self.folder / "root"))
        return Service(options, Interrupt(), self.clock, no_jitter, self.outcomes.append)

    def start(self, server: FakeServer, *, ticket: str = TICKET, once: bool = True) -> int:
        words = f"provisioner.url={server.url} provisioner.bootenv=discovery provisioner.ticket={ticket}"
        (self.folder / "cmdline").write_text(words + " BOOTIF=01-52-54-00-aa-bb-cc\n")
        return self.service(once=once).start(str(self.folder / "cmdline"), str(self.state))

    @property
    def state(self) -> Path:
        return self.folder / "state.json"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer([script("t", "echo hello\n")]) as server:
        yield server


def test_it_registers_says_hello_sends_its_inventory_and_works(machine: Machine, server: FakeServer) -> None:
    assert machine.start(server) == 0
    assert server.registered[0]["identity"]["serial"] == "ABC1234"
    assert server.registered[0]["macs"] == ["52:54:00:aa:bb:cc", "52:54:00:aa:bb:dd"]
    assert server.greetings[0]["boot_id"] == "11111111-aaaa"
    assert server.inventories[0]["dmi"]["product"] == "PowerEdge R640"
    assert server.jobs[0].script_output == b"hello\n"
    assert machine.outcomes == []


def test_hello_comes_before_the_inventory_and_that_before_the_first_claim(machine: Machine, server: FakeServer) -> None:
    machine.start(server)
    asked = [line.rpartition("/")[2] for line in server.requests]
    assert asked[:4] == ["register", "hello", "inventory", "jobs"]


def test_what_registering_brought_is_kept_for_its_owner_only(machine: Machine, server: FakeServer) -> None:
    machine.start(server)
    assert machine.state.stat().st_mode & 0o777 == 0o600
    assert read(str(machine.state)) == Config(server.url, MACHINE, TOKEN, "discovery")


def test_in_the_same_boot_it_does_not_register_again(machine: Machine, server: FakeServer) -> None:
    machine.start(server)
    machine.start(server, ticket="used")
    assert len(server.registered) == 1


def test_what_was_kept_in_another_environment_is_not_used(machine: Machine, server: FakeServer) -> None:
    write(str(machine.state), Config(server.url, MACHINE, "old", "rescue"))
    machine.start(server)
    assert read(str(machine.state)).token == TOKEN


def test_a_refused_ticket_reboots_after_a_pause_to_be_given_another(machine: Machine, server: FakeServer) -> None:
    machine.start(server, ticket="used")
    assert machine.outcomes == [Outcome.REBOOT]
    assert machine.clock.sleeps == [DENIED_PAUSE_SECONDS / 2]


def test_a_refused_token_is_forgotten_and_reboots_after_a_pause(machine: Machine, server: FakeServer) -> None:
    write(str(machine.state), Config(server.url, MACHINE, "of a machine that was deleted", "discovery"))
    machine.start(server)
    assert machine.outcomes == [Outcome.REBOOT]
    assert machine.clock.sleeps == [DENIED_PAUSE_SECONDS / 2]
    assert not machine.state.exists()


def test_an_inventory_that_the_server_does_not_take_does_not_keep_it_from_working(
    machine: Machine, server: FakeServer
) -> None:
    server.fault("inventory", "500", times=99)
    machine.start(server)
    assert server.jobs[0].state == "finished"


def test_a_change_of_boot_environment_reboots(machine: Machine) -> None:
    with FakeServer(["bootenv:local"]) as server:
        machine.start(server)
        assert server.reboots_prepared == 1
    assert machine.outcomes == [Outcome.REBOOT]


def test_a_script_that_powers_off_powers_off(machine: Machine) -> None:
    with FakeServer([script("t", ". provisioner.sh; exit_shutdown\n")]) as server:
        machine.start(server)
    assert machine.outcomes == [Outcome.POWEROFF]


@pytest.mark.parametrize("line", ["quiet", "provisioner.url=http://x"])
def test_a_command_line_without_a_server_is_an_error_that_names_what_is_missing(machine: Machine, line: str) -> None:
    (machine.folder / "cmdline").write_text(line)
    with pytest.raises(ConfigError, match=r"lacks .*provisioner\.bootenv"):
        machine.service().start(str(machine.folder / "cmdline"), str(machine.state))


def test_an_installed_system_whose_token_is_refused_waits_and_asks_again(machine: Machine, server: FakeServer) -> None:
    path = str(machine.folder / "agent.json")
    write(path, Config(server.url, MACHINE, "wrong", "local"))
    machine.clock = FakeClock(stop_after=3)
    assert machine.service().run(path) == 0
    assert machine.clock.sleeps == [DENIED_PAUSE_SECONDS / 2] * 4
    assert machine.outcomes == []


def test_an_installed_system_works_by_its_config(machine: Machine, server: FakeServer) -> None:
    server.bootenv = "local"
    path = str(machine.folder / "agent.json")
    write(path, Config(server.url, MACHINE, TOKEN, "local"))
    machine.service().run(path)
    assert server.jobs[0].state == "finished"
    assert not server.registered


def test_it_leaves_no_file_behind(machine: Machine, server: FakeServer) -> None:
    machine.start(server)
    assert list((machine.folder / "work").iterdir()) == []


def test_told_to_stop_it_stops(machine: Machine, server: FakeServer) -> None:
    machine.clock = FakeClock(stop_after=0)
    server.fault("register", "500", times=99)
    assert machine.start(server) == 0
    assert machine.outcomes == []


def test_a_token_that_was_exchanged_meanwhile_is_read(tmp_path: Path, server: FakeServer) -> None:
    path = tmp_path / "agent.json"

    class Operator(FakeClock):
        """Puts another token into the config while the agent waits."""

        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            write(str(path), Config(server.url, MACHINE, TOKEN, "discovery"))

    write(str(path), Config(server.url, MACHINE, "old"))
    machine = Machine(tmp_path)
    machine.clock = Operator()
    assert machine.service().run(str(path)) == 0
    assert server.jobs[0].script_output == b"hello\n"


def test_where_there_is_no_room_to_work_it_says_so(tmp_path: Path, server: FakeServer) -> None:
    write(str(tmp_path / "agent.json"), Config(server.url, MACHINE, TOKEN))
    machine = Machine(tmp_path)
    (tmp_path / "work").rmdir()
    with pytest.raises(ConfigError, match="cannot work in .*/work: No such file"):
        machine.service().run(str(tmp_path / "agent.json"))
