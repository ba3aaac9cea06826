"""Loading a kernel to go on with, by a stand-in for the program `kexec`."""

from pathlib import Path

import pytest

from agent.client import Client
from agent.kexec import FETCH_TRIES, KernelLoader
from agent.protocol import Kernel
from agent.service import run_for_output
from agent.transport import HttpTransport
from tests.fakes.agent_parts import FakeClock, Notes, no_jitter
from tests.fakes.agent_server import FakeServer

CMDLINE = "quiet provisioner.ticket=geheim BOOTIF=01-52-54-00-aa-bb-cc"


class Host:
    """A host whose `kexec` writes down what it is given; it fails when given a word of `refuses`."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, refuses: str = "none") -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        (folder / "work").mkdir()
        program = folder / "bin/kexec"
        program.write_text(
            f'#!/bin/sh\nprintf "%s\\n" "$@" >> {folder}/words\n'
            f'for word; do [ "$word" != {refuses} ] || exit 1; done\n'
            f'cat "$2" > {folder}/kernel\ncat "${{4#--initrd=}}" > {folder}/initrd\n'
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}/bin:/usr/bin:/bin")
        self.clock = FakeClock()

    def load(self, server: FakeServer, *initrds: str) -> str:
        loader = KernelLoader(self._client, run_for_output, str(self.folder / "work"))
        urls = tuple(f"{server.url}/files/{name}" for name in initrds)
        reason = loader.load(Kernel(f"{server.url}/files/vmlinuz", urls, CMDLINE))
        assert list((self.folder / "work").iterdir()) == []
        return reason

    def _client(self, url: str) -> Client:
        return Client(HttpTransport(url), self.clock, no_jitter, Notes())


@pytest.fixture
def server() -> FakeServer:
    server = FakeServer([])
    server.files = {"/files/vmlinuz": b"kernel", "/files/one": b"first", "/files/two": b"second"}
    return server


def test_the_kernel_is_loaded_with_its_initrds_and_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: FakeServer
) -> None:
    host = Host(tmp_path, monkeypatch)
    with server:
        assert host.load(server, "one", "two") == ""
    assert (tmp_path / "kernel").read_bytes() == b"kernel"
    assert (tmp_path / "initrd").read_bytes() == b"first\0\0\0second"
    words = (tmp_path / "words").read_text().splitlines()
    assert words[0] == "--load"
    assert words[2] == f"--command-line={CMDLINE}"
    assert words[4] == "--kexec-syscall-auto"


def test_a_program_that_does_not_know_the_newer_call_is_asked_for_the_older(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: FakeServer
) -> None:
    host = Host(tmp_path, monkeypatch, refuses="--kexec-syscall-auto")
    with server:
        assert host.load(server, "one") == ""
    assert (tmp_path / "kernel").read_bytes() == b"kernel"


def test_a_kernel_that_cannot_be_loaded_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: FakeServer
) -> None:
    with server:
        assert Host(tmp_path, monkeypatch, refuses="--load").load(server, "one") == "kexec cannot load it"


def test_a_file_that_is_not_there_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: FakeServer
) -> None:
    with server:
        assert "there is no file '/files/three'" in Host(tmp_path, monkeypatch).load(server, "three")
    assert not (tmp_path / "words").exists()


def test_a_server_that_is_away_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: FakeServer
) -> None:
    host = Host(tmp_path, monkeypatch)
    with server:
        server.fault("vmlinuz", "503", times=99)
        assert "503" in host.load(server, "one")
    assert len(host.clock.sleeps) == FETCH_TRIES - 1


def test_a_url_that_is_none_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(tmp_path, monkeypatch)
    loader = KernelLoader(host._client, run_for_output, str(tmp_path / "work"))
    assert "not a http" in loader.load(Kernel("ftp://x/k", (), ""))


def test_the_ticket_is_in_no_representation_of_it() -> None:
    assert "geheim" not in repr(Kernel("http://s/k", (), CMDLINE))
