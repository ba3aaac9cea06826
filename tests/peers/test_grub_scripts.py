"""The shipped scripts for GRUB, as GRUB's own parser reads them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from agent.render import Renderer
from provisioner.conductor.boot_scripts import GRUB, GRUB_START
from tests.peers.programs import program
from tests.shipped_scripts import MACHINE, boot_context, shipped

SOURCES = {name: template.contents for name, template in shipped()["templates"].items()}
WAITING = {"place": 7, "waiting": 12, "limit": 100, "pause_seconds": 3}
HELD = {"machines": ["node-1"], "reason": 'it\'s "odd" $x; reboot'}
NASTY = 'quiet a=$b c="d e" "f" {g} ;h |i <j >k &l #m ${n} || && o'


def rendered(name: str, **more: Any) -> str:
    return Renderer().render(name, SOURCES, {**boot_context(MACHINE), **WAITING, **HELD, **more})


@pytest.mark.parametrize("params", ["console=ttyS0 initrd=initrd.img", NASTY])
@pytest.mark.parametrize("template", [GRUB_START, *(getattr(GRUB, part) for part in GRUB.__struct_fields__)])
def test_grub_can_read_its_scripts(template: str, params: str, tmp_path: Path) -> None:
    script = tmp_path / "grub.cfg"
    script.write_text(rendered(template, boot_params=params))
    checked = subprocess.run(
        [program("grub-script-check", "grub-common"), str(script)], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
