"""A host that is running already becomes a machine: what is asked, written and started, and what goes wrong."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from agent.client import Client
from agent.config import Config, read, write
from agent.errors import AgentError
from agent.join import TRIES, Host, join
from agent.transport import HttpTransport
from tests.fakes.agent_parts import FakeClock, Notes, no_jitter
from tests.fakes.agent_server import MACHINE, TICKET, TOKEN, FakeServer
from tests.fakes.trees import SERVER, plant


class Joining:
    """A host below a folder; `is_live` makes believe that the folder is its own root."""

    def __init__(self, folder: Path, server: FakeServer, *, is_live: bool = False) -> None:
        self.folder = folder
        self.server = server
        self.clock = FakeClock()
        self.notes = Notes()
        self.commands: list[str] = []
        self.fails = ""
        plant(folder / "trees", SERVER)
        (folder / "new.pyz").write_bytes(b"agent")
        kind = LiveHost if is_live else Host
        root, agent = str(folder / "root"), str(folder / "new.pyz")
        self.host = kind(root, agent, "/usr/bin/python3.9", self._run, str(folder / "trees"))

    def _run(self, words: Sequence[str]) -> int:
        self.commands.append(" ".join(words))
        return int(bool(self.fails) and self.fails in words)

    def join(self, token: str = TICKET) -> Config:
        def client_for(url: str) -> Client:
            return Client(HttpTransport(url), self.clock, no_jitter, self.notes)

        return join(self.host, self.server.url, token, client_for, self.notes)

    def path(self, name: str) -> Path:
        return self.folder / "root" / name


class LiveHost(Host):
    """A host whose folder is the one that it runs in."""

    is_live = True  # type: ignore[assignment]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer([], bootenv="local") as server:
        yield server


def test_it_registers_as_what_it_is_and_installs_the_agent(tmp_path: Path, server: FakeServer) -> None:
    joining = Joining(tmp_path, server)
    assert joining.join() == Config(server.url, MACHINE, TOKEN, "local")
    card = server.registered[0]
    assert (card["bootenv"], card["ticket"], card["identity"]["serial"]) == ("local", TICKET, "ABC1234")
    assert card["macs"] == ["52:54:00:aa:bb:cc", "52:54:00:aa:bb:dd"]
    config = joining.path("etc/provisioner/agent.json")
    assert read(str(config)) == Config(server.url, MACHINE, TOKEN, "local")
    assert config.stat().st_mode & 0o777 == 0o600
    assert joining.path("opt/provisioner/agent.pyz").read_bytes() == b"agent"
    unit = joining.path("etc/systemd/system/provisioner-agent.service").read_text()
    assert "ExecStart=/usr/bin/python3.9 -I /opt/provisioner/agent.pyz run" in unit


def test_below_a_folder_nothing_is_started(tmp_path: Path, server: FakeServer) -> None:
    joining = Joining(tmp_path, server)
    joining.join()
    assert joining.commands == []
    assert "there the agent is started by: /usr/bin/python3.9 -I /opt/provisioner/agent.pyz run" in joining.notes


def test_systemd_starts_it(tmp_path: Path, server: FakeServer) -> None:
    joining = Joining(tmp_path, server, is_live=True)
    (tmp_path / "trees/run/systemd/system").mkdir(parents=True)
    joining.join()
    assert joining.commands == [
        "systemctl daemon-reload",
        "systemctl enable provisioner-agent.service",
        "systemctl restart provisioner-agent.service",
    ]


def test_without_systemd_it_says_how_to_start_it(tmp_path: Path, server: FakeServer) -> None:
    joining = Joining(tmp_path, server, is_live=True)
    joining.join()
    assert joining.commands == []
    assert "there is no systemd here; have your init run as root: /usr/bin/python3.9" in joining.notes


def test_a_service_that_does_not_start_is_told_of(tmp_path: Path, server: FakeServer) -> None:
    joining = Joining(tmp_path, server, is_live=True)
    (tmp_path / "trees/run/systemd/system").mkdir(parents=True)
    joining.fails = "restart"
    with pytest.raises(AgentError, match="installed, but not started: systemctl restart"):
        joining.join()


def test_again_it_needs_no_token_and_brings_the_agent_up_to_date(tmp_path: Path, server: FakeServer) -> None:
    joining = Joining(tmp_path, server)
    joining.join()
    (tmp_path / "new.pyz").write_bytes(b"newer")
    assert joining.join(token="").machine == MACHINE
    assert len(server.registered) == 1
    assert joining.path("opt/provisioner/agent.pyz").read_bytes() == b"newer"


@pytest.mark.parametrize(
    "before",
    ['{"url": "http://another:1", "machine": "m", "token": "t"}', '{"url": "URL", "machine": "m", "token": "t"}', "{"],
)
def test_what_another_server_or_a_deleted_machine_left_is_replaced(
    tmp_path: Path, server: FakeServer, before: str
) -> None:
    joining = Joining(tmp_path, server)
    write(str(joining.path("etc/provisioner/agent.json")), Config("x", "x", "x"))
    joining.path("etc/provisioner/agent.json").write_text(before.replace("URL", server.url))
    assert joining.join().machine == MACHINE
    assert json.loads(joining.path("etc/provisioner/agent.json").read_text())["token"] == TOKEN


@pytest.mark.parametrize(
    ("token", "fault", "reason"),
    [
        ("", "", "name a join token"),
        ("wrong", "", "does not take the join token: the ticket is wrong or used"),
        (TICKET, "409", "a fault was ordered; then run this again"),
        (TICKET, "503", "cannot be reached: POST"),
        (TICKET, "422", "a fault was ordered"),
    ],
)
def test_what_goes_wrong_is_told_and_nothing_is_written(
    tmp_path: Path, server: FakeServer, token: str, fault: str, reason: str
) -> None:
    joining = Joining(tmp_path, server)
    server.fault("register", fault, times=99 if fault else 0)
    with pytest.raises(AgentError, match=reason):
        joining.join(token)
    assert not (tmp_path / "root").exists()
    assert len(joining.clock.sleeps) == (TRIES - 1 if fault == "503" else 0)


def test_a_container_has_a_mac_but_not_the_numbers_of_its_host(tmp_path: Path, server: FakeServer) -> None:
    joining = Joining(tmp_path, server)
    trees = {name: text for name, text in SERVER.items() if "sys/class/dmi" in name}
    card = {"sys/class/net/eth0/address": "02:42:AC:11:00:02\n", "sys/class/net/eth0/type": "1\n"}
    loop = {"sys/class/net/lo/address": "00:00:00:00:00:00\n", "sys/class/net/lo/type": "772\n"}
    inside = plant(tmp_path / "container", {**trees, **card, **loop})
    joining.host = Host(str(tmp_path / "root"), joining.host.agent_path, "python3", lambda words: 0, inside)
    joining.join()
    assert server.registered[0]["macs"] == ["02:42:ac:11:00:02"]
    assert server.registered[0]["identity"] == {}


def test_a_host_without_a_network_card_cannot_join(tmp_path: Path, server: FakeServer) -> None:
    joining = Joining(tmp_path, server)
    (tmp_path / "nothing").mkdir()
    joining.host = Host(str(tmp_path / "root"), "agent", "python3", lambda words: 0, str(tmp_path / "nothing"))
    with pytest.raises(AgentError, match="no network card with a MAC"):
        joining.join()


def test_a_place_that_takes_no_file_is_named(tmp_path: Path, server: FakeServer) -> None:
    joining = Joining(tmp_path, server)
    (tmp_path / "root").write_text("a file, not a folder")
    with pytest.raises(AgentError, match=r"cannot write .*/root/etc/provisioner/agent.json: Not a directory"):
        joining.join()
