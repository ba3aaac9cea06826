"""argv to verb, verb to exit code."""

from importlib import import_module

import pytest

from agent.__main__ import USAGE_EXIT, VERBS, main
from agent.version import VERSION


def test_version_prints_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out == f"{VERSION}\n"


@pytest.mark.parametrize("words", [["--help"], ["-h"], []])
def test_help_names_every_verb(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == (0 if words else USAGE_EXIT)
    out = capsys.readouterr().out
    assert all(verb in out for verb in VERBS)


def test_an_unknown_verb_names_the_choices(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["strat"]) == USAGE_EXIT
    assert (
        capsys.readouterr().err
        == "unknown verb 'strat'; there is: start, run, join, inventory, param, asset, version\n"
    )


@pytest.mark.parametrize("place", [place for place, _ in VERBS.values()])
def test_every_verb_leads_to_a_function(place: str) -> None:
    module, _, function = place.partition(":")
    assert callable(getattr(import_module(f"agent.{module}"), function))


def test_an_error_on_purpose_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--config", "/nowhere/agent.json"]) == 1
    assert capsys.readouterr().err == "agent: cannot read /nowhere/agent.json: No such file or directory\n"
