"""The verb `inventory`."""

import json
from pathlib import Path

import pytest

from agent.report import main, summary
from tests.fakes.agent_server import MACHINE, TOKEN, FakeServer
from tests.fakes.trees import SERVER, plant


def test_it_prints_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", plant(tmp_path, SERVER)]) == 0
    assert json.loads(capsys.readouterr().out)["dmi"]["serial"] == "ABC1234"


def test_it_sends_it_to_the_server_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeServer([]) as server:
        monkeypatch.setenv("PROVISIONER_URL", server.url)
        monkeypatch.setenv("PROVISIONER_TOKEN", TOKEN)
        monkeypatch.setenv("PROVISIONER_MACHINE", MACHINE)
        assert main(["--upload", "--root", plant(tmp_path, SERVER)]) == 0
        assert server.inventories[0]["dmi"]["serial"] == "ABC1234"
    assert capsys.readouterr().out == "inventory sent: 4 disks, 2 nics, 1 pci\n"


def test_the_summary_counts() -> None:
    assert summary({"disks": [1], "nics": [], "pci": [1, 2]}) == "inventory sent: 1 disks, 0 nics, 2 pci"
