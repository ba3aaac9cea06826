"""`provisioner secrets`, which works on the key file beside the server."""

from pathlib import Path

import pytest

from provisioner.vault import open_vault
from tests.fakes.terminal import CommandLine


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


def test_a_new_key_is_added_and_old_ones_are_removed(cli: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "secret.key"
    sealed = open_vault(file, needed=False).seal("hush")
    result = cli.run("secrets", "rotate", "--key-file", str(file))
    assert (result.code, result.out.startswith(f"{file} has 2 keys now; restart the server")) == (0, True)
    assert open_vault(file, needed=True).open(sealed) == "hush"
    assert cli.run("secrets", "drop-old", "--key-file", str(file)).out == f"removed 1 old key from {file}\n"
    assert not open_vault(file, needed=True).knows(sealed)


def test_the_key_file_is_where_the_settings_say(cli: CommandLine, tmp_path: Path) -> None:
    open_vault(tmp_path / "data" / "secret.key", needed=False)
    config = tmp_path / "config.yaml"
    config.write_text(f"data_dir: {tmp_path / 'data'}\n")
    assert "has 2 keys now" in cli.run("secrets", "rotate", "--config", str(config)).out


def test_a_key_file_that_is_not_there_is_1(cli: CommandLine, tmp_path: Path) -> None:
    result = cli.run("secrets", "rotate", "--key-file", str(tmp_path / "gone"))
    assert result.code == 1 and "cannot read the key file" in result.err
