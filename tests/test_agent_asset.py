"""Files that a job keeps: sent whole from disk, or a clear reason why not."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from agent.asset import attach, job_from, main
from agent.errors import ConfigError, FileTrouble, Refused, ServerAway
from agent.messages import Reply, Request
from tests.fakes.agent_parts import client, reply
from tests.fakes.agent_server import MACHINE, TOKEN, FakeServer, script


class Keeper:
    """Reads the file as the real transport does, and keeps it; `first` are answers before that."""

    def __init__(self, *first: Reply | Exception, lose: int = 0) -> None:
        self.kept: dict[str, bytes] = {}
        self._first = list(first)
        self._lose = lose

    def send(self, request: Request) -> Reply:
        if self._first:
            answer = self._first.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        name = request.path.rpartition("/")[2]
        data = Path(request.body_file).read_bytes()
        data = data[: len(data) - self._lose]
        self.kept[name] = data
        return reply(200, {"name": name, "size": len(data), "sha256": sha256(data).hexdigest()})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "report.txt"
    path.write_bytes(b"found three faults\n")
    return path


def test_a_file_is_kept_under_its_name(file: Path) -> None:
    keeper = Keeper()
    line = attach(client(keeper), "j", str(file), "report.txt")
    assert keeper.kept == {"report.txt": b"found three faults\n"}
    assert line == f"attached report.txt: 19 bytes, SHA-256 {sha256(file.read_bytes()).hexdigest()}"


def test_a_server_that_is_away_is_sent_the_whole_again(file: Path) -> None:
    keeper = Keeper(ServerAway("refused"), reply(503))
    attach(client(keeper), "j", str(file), "r")
    assert keeper.kept == {"r": b"found three faults\n"}


def test_what_the_server_refuses_is_told(file: Path) -> None:
    with pytest.raises(Refused, match="larger than 100 MB"):
        attach(client(Keeper(reply(413, {"detail": "larger than 100 MB"}))), "j", str(file), "r")


def test_less_than_the_whole_is_no_success(file: Path) -> None:
    with pytest.raises(FileTrouble, match="the server keeps 16 bytes of it"):
        attach(client(Keeper(lose=3)), "j", str(file), "r")


def test_other_contents_are_no_success(file: Path) -> None:
    answer = reply(200, {"name": "r", "size": 19, "sha256": "0" * 64})
    with pytest.raises(FileTrouble, match="was changed while it was being sent"):
        attach(client(Keeper(answer)), "j", str(file), "r")


@pytest.mark.parametrize(("name", "words"), [("", "is no plain file"), ("nothing", "No such file")])
def test_what_is_no_file_is_named_before_anything_is_sent(file: Path, name: str, words: str) -> None:
    with pytest.raises(FileTrouble, match=words):
        attach(client(Keeper(ServerAway("must not be asked"))), "j", str(file.parent / name), "r")


def test_outside_a_job_there_is_nothing_to_keep_it_with() -> None:
    with pytest.raises(ConfigError, match="lacks PROVISIONER_JOB"):
        job_from({})


@pytest.mark.parametrize(("more", "name"), [([], "report.txt"), (["--name", "other"], "other")])
def test_the_verb_sends_the_file(file: Path, monkeypatch: Any, capsys: Any, more: list[str], name: str) -> None:
    with FakeServer([script("t", "")]) as server:
        env = {"URL": server.url, "TOKEN": TOKEN, "MACHINE": MACHINE, "JOB": "job-1"}
        for word, value in env.items():
            monkeypatch.setenv(f"PROVISIONER_{word}", value)
        assert main([str(file), *more]) == 0
        assert server.assets == {("job-1", name): b"found three faults\n"}
    assert capsys.readouterr().out.startswith(f"attached {name}: 19 bytes")
