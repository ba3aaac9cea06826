"""Which version this is."""

import json
from configparser import ConfigParser
from pathlib import Path

from provisioner.cli.version import own_version
from tests.fakes.terminal import CommandLine

ROOT = Path(__file__).resolve().parents[1]


def version_in(checkout: Path) -> str:
    settings = ConfigParser()
    settings.read(checkout / "setup.cfg")
    return settings["metadata"]["version"]


def test_a_checkout_says_what_its_setup_cfg_says() -> None:
    assert own_version() == version_in(ROOT)


def test_another_projects_setup_cfg_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "setup.cfg").write_text("[metadata]\nname = other\nversion = 99\n")
    assert own_version(tmp_path) != "99"


def test_the_version_is_printed_for_people_and_programs(tmp_path: Path) -> None:
    cli = CommandLine(tmp_path)
    assert cli.run("version").out == f"provisioner {own_version()}\n"
    assert json.loads(cli.run("version", "--json").out) == {"version": own_version()}
