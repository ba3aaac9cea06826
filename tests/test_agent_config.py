"""agent.json."""

import json
from pathlib import Path

import pytest

from agent.config import Config, read, write
from agent.errors import ConfigError

GOOD = {"url": "http://x", "machine": "m", "token": "geheim"}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = str(tmp_path / "deep" / "agent.json")
    config = Config("http://x", "m", "t", "discovery")
    write(path, config)
    assert read(path) == config


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "agent.json"
    path.write_text("")
    path.chmod(0o666)
    write(str(path), Config("u", "m", "t"))
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["agent.json"]


def test_an_installed_system_is_in_local_unless_it_says_otherwise(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(json.dumps(GOOD))
    assert read(str(tmp_path / "a")).bootenv == "local"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "does not hold a JSON object"),
        ("{}", "lacks url, machine, token"),
        (json.dumps({**GOOD, "machine": ""}), "lacks machine"),
        (json.dumps({**GOOD, "token": 5}), "lacks token"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "agent.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read(str(tmp_path / "agent.json"))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="agent.json: No such file"):
        read(str(tmp_path / "agent.json"))


def test_the_token_is_in_no_representation() -> None:
    assert "geheim" not in repr(Config("u", "m", "geheim"))
