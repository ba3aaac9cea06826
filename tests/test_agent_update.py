"""The server's agent in the place of ours: whole, tried, at once, or not at all."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from agent.client import Client
from agent.errors import Stopped
from agent.files import sha256_of
from agent.protocol import AgentFile
from agent.service import run_for_output
from agent.transport import HttpTransport
from agent.update import Updater, current_agent
from agent.version import VERSION
from tests.fakes.agent_parts import FakeClock, Notes, no_jitter
from tests.fakes.agent_server import FakeServer

NEW = b"import sys\nprint('9.9') if sys.argv[1:] == ['version'] else None\n"


class Host:
    """An installed agent, and a server that has another one."""

    def __init__(self, folder: Path, server: FakeServer, served: bytes = NEW) -> None:
        self.path = folder / "agent.pyz"
        self.path.write_bytes(b"ours")
        self.path.chmod(0o750)
        server.files["/agent.pyz"] = served
        self.clock = FakeClock()
        self.notes = Notes()
        (folder / "offered").write_bytes(served)
        self.offer = AgentFile("9.9", sha256_of(str(folder / "offered"))[1])
        (folder / "offered").unlink()
        client = Client(HttpTransport(server.url), self.clock, no_jitter, self.notes)
        current = AgentFile(VERSION, "aa")
        self.updater = Updater(client, str(self.path), current, sys.executable, run_for_output)

    def is_as_before(self) -> bool:
        return self.path.read_bytes() == b"ours" and list(self.path.parent.iterdir()) == [self.path]


def test_it_takes_our_place_with_our_mode(tmp_path: Path) -> None:
    with FakeServer([]) as server:
        host = Host(tmp_path, server)
        assert host.updater.replace(host.offer) == ""
    assert host.path.read_bytes() == NEW
    assert host.path.stat().st_mode & 0o777 == 0o750
    assert list(tmp_path.iterdir()) == [host.path]


def test_a_download_that_broke_off_is_begun_anew(tmp_path: Path) -> None:
    with FakeServer([]) as server:
        host = Host(tmp_path, server)
        server.fault("GET /agent.pyz", "cut", times=2)
        assert host.updater.replace(host.offer) == ""
    assert host.path.read_bytes() == NEW
    assert "broke off" in host.notes


def test_another_file_than_the_server_told_of_is_refused(tmp_path: Path) -> None:
    with FakeServer([]) as server:
        host = Host(tmp_path, server)
        assert "another agent than it told of" in host.updater.replace(AgentFile("9.9", "0" * 64))
    assert host.is_as_before()


@pytest.mark.parametrize(
    ("served", "reason"),
    [
        (b"PK\x03\x04 not really", "does not run here"),
        (b"print('9.8')", "instead of 9.9 it says '9.8"),
        (b"import sys\nprint('9.9')\nsys.exit(sys.argv[1:] != ['version'])", "does not start here"),
    ],
)
def test_one_that_does_not_start_is_refused(tmp_path: Path, served: bytes, reason: str) -> None:
    with FakeServer([]) as server:
        host = Host(tmp_path, server, served)
        assert reason in host.updater.replace(host.offer)
    assert host.is_as_before()


def test_a_server_that_has_none_is_told_of(tmp_path: Path) -> None:
    with FakeServer([]) as server:
        host = Host(tmp_path, server)
        server.files.clear()
        assert "there is no file" in host.updater.replace(host.offer)
    assert host.is_as_before()


def test_a_folder_that_takes_no_file_is_told_of(tmp_path: Path) -> None:
    with FakeServer([]) as server:
        host = Host(tmp_path, server)
        (tmp_path / "agent.pyz.new").mkdir()  # root may write into read-only folders, but not over a folder
        assert "Is a directory" in host.updater.replace(host.offer)
    assert host.path.read_bytes() == b"ours"


def test_told_to_stop_while_the_server_is_away_nothing_is_left(tmp_path: Path) -> None:
    with FakeServer([]) as server:
        host = Host(tmp_path, server)
        host.clock._stop_after = 2
        server.fault("GET", "503", times=99)
        with pytest.raises(Stopped):
            host.updater.replace(host.offer)
    assert host.is_as_before()


def test_we_are_the_file_that_we_run_from(tmp_path: Path) -> None:
    (tmp_path / "agent.pyz").write_bytes(b"x")
    assert current_agent(str(tmp_path / "agent.pyz")) == AgentFile(VERSION, sha256_of(str(tmp_path / "agent.pyz"))[1])


@pytest.mark.parametrize("name", ["nothing.pyz", "source.py", "."])
def test_what_is_no_zipapp_is_not_ours_to_replace(tmp_path: Path, name: str) -> None:
    (tmp_path / "source.py").write_bytes(b"x")
    assert current_agent(str(tmp_path / name)) is None


def test_a_program_that_fails_has_no_output(capfd: pytest.CaptureFixture[str]) -> None:
    def run(*words: str) -> str | None:
        wanted: Sequence[str] = words
        return run_for_output(wanted)

    assert run("echo", "hello") == "hello\n"
    assert run("false") is None
    assert run("/nowhere/program") is None
    assert "/nowhere/program" in capfd.readouterr().err
