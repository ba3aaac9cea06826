"""The version stands in one place."""

from configparser import ConfigParser
from pathlib import Path

from agent.version import VERSION


def test_it_is_the_version_of_the_package() -> None:
    setup = ConfigParser()
    setup.read(Path(__file__).parent.parent / "setup.cfg")
    assert setup["metadata"]["version"] in (VERSION, "attr: agent.version.VERSION")
