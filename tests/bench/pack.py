"""A content pack for benches: one workflow of small tasks, written as an operator would write it."""

from __future__ import annotations

from pathlib import Path

WORKFLOW = "fleet"


def write(folder: Path, tasks: int) -> Path:
    """Make the pack below `folder`; its workflow has so many tasks in one stage of the discovery environment."""
    names = [f"fleet-{number}" for number in range(tasks)]
    files = {
        "pack.yaml": "name: fleet\nversion: '1'\ndescription: What benches run\n",
        "stages/fleet.yaml": f"name: fleet\nbootenv: discovery\ntasks: [{', '.join(names)}]\n",
        f"workflows/{WORKFLOW}.yaml": f"name: {WORKFLOW}\nstages: [fleet]\n",
        "params/fleet-colour.yaml": "name: fleet-colour\nschema: {type: string}\n",
        **{f"tasks/{name}.yaml": _task(name) for name in names},
    }
    pack = folder / "fleet-pack"
    for path, text in files.items():
        (pack / path).parent.mkdir(parents=True, exist_ok=True)
        (pack / path).write_text(text)
    return pack


def _task(name: str) -> str:
    return (
        f"name: {name}\nfiles:\n  - name: run\n    contents: |\n      #!/bin/sh\n"
        "      echo {{ machine.name }} does {{ task.name }} for {{ server.url }}\n"
    )
