"""Where logins are kept."""

import stat
from os import getpid
from pathlib import Path

import pytest

from provisioner.cli.exits import Failure
from provisioner.cli.tokens import TokenFile, token_file, token_for

SERVER = "http://127.0.0.1:8092"


def test_without_a_file_there_is_no_token(tmp_path: Path) -> None:
    assert TokenFile(tmp_path / "token").find(SERVER) == ""


def test_a_token_is_kept_for_its_server_only(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "provisioner" / "token")
    file.save(SERVER, "secret")
    assert file.find(SERVER + "/") == "secret"
    assert file.find("http://elsewhere:8092") == ""


def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "provisioner" / "token")
    file.save(SERVER, "secret")
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
    assert [each.name for each in file.path.parent.iterdir()] == ["token"]


def test_a_newer_token_takes_the_place_of_the_older(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "token")
    file.save(SERVER, "old")
    file.save("http://elsewhere", "other")
    file.save(SERVER, "new")
    assert (file.find(SERVER), file.find("http://elsewhere")) == ("new", "other")


def test_a_token_alone_on_its_line_counts_for_every_server(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    assert TokenFile(tmp_path / "token").find("http://anywhere") == "secret"


def test_dropping_forgets_only_what_was_sent_to_that_server(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"everywhere\n{SERVER} here\nhttp://elsewhere there\n")
    file = TokenFile(tmp_path / "token")
    file.drop(SERVER)
    assert file.path.read_text() == "http://elsewhere there\n"


def test_the_environment_comes_before_the_file(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "PROVISIONER_TOKEN": "from-environment"}
    token_file(environment).save(SERVER, "from-file")
    assert token_for(SERVER, environment) == "from-environment"
    assert token_for(SERVER, {"HOME": str(tmp_path)}) == "from-file"


def test_the_file_is_below_the_configuration_directory(tmp_path: Path) -> None:
    assert token_file({"HOME": "/home/op"}).path == Path("/home/op/.config/provisioner/token")
    assert token_file({"XDG_CONFIG_HOME": str(tmp_path)}).path == tmp_path / "provisioner" / "token"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "token").mkdir()
    with pytest.raises(Failure, match=f"cannot read {tmp_path}/token"):
        TokenFile(tmp_path / "token").find(SERVER)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / f"token.{getpid()}").mkdir()
    with pytest.raises(Failure, match=f"cannot write {tmp_path}/token: Is a directory"):
        TokenFile(tmp_path / "token").save(SERVER, "secret")
