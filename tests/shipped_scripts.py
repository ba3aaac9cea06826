"""Render the shipped tasks as the agent does, and run or import what comes out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from msgspec import UNSET

from agent.render import Renderer
from provisioner.content.whole import ContentSet, build
from provisioner.model.content import Task
from provisioner.packs import load_shipped
from tests.fakes.file_server import MACHINE_ID, TOKEN

MACHINE: dict[str, Any] = {
    "id": MACHINE_ID,
    "name": "rack_1",
    "macs": ["52:54:00:aa:bb:cc"],
    "address": "192.0.2.10",
    "arch": "amd64",
    "firmware": "uefi",
    "profiles": [],
    "meta": {},
    "inventory": {},
    "erase_grants": [],
}


def shipped() -> ContentSet:
    """The content that ships."""
    return build(load_shipped())


def task_context(content: ContentSet, params: Mapping[str, Any], url: str = "http://192.0.2.1:8091") -> dict[str, Any]:
    """What a task's templates see on a sample machine with these params."""
    defaults = {name: param.default for name, param in content["params"].items() if param.default is not UNSET}
    return {
        "machine": MACHINE,
        "params": {**defaults, **params},
        "stage": {"name": "stage"},
        "workflow": {"name": "workflow"},
        "bootenv": {"name": "discovery", "os": {"family": "debian", "version": "12"}},
        "task": {"name": "task", "description": ""},
        "job": {"id": "job", "attempt": 1, "index": 0},
        "server": {"url": url, "address": "192.0.2.1"},
    }


def boot_context(machine: Mapping[str, Any] | None, **more: Any) -> dict[str, Any]:
    """What boot templates see."""
    return {
        "server": {"url": "http://192.0.2.1:8091", "address": "192.0.2.1"},
        "bootenv": {"name": "discovery", "os": {"family": "debian", "version": "12"}},
        "machine": machine,
        "params": {},
        "mac": "52:54:00:aa:bb:cc",
        "mac_dashed": "52-54-00-aa-bb-cc",
        "ticket": "T1cket",
        "kernel_url": "http://192.0.2.1:8091/files/discovery/vmlinuz",
        "initrd_urls": ["http://192.0.2.1:8091/files/discovery/initrd.img"],
        "boot_params": "initrd=initrd.img console=ttyS0",
        **more,
    }


def write_task(content: ContentSet, name: str, context: Mapping[str, Any], folder: Path) -> Path:
    """Render a task's files into a folder; the last script is returned."""
    task: Task = content["tasks"][name]
    sources = {each: template.contents for each, template in content["templates"].items()}
    script = folder
    for file in task.files:
        path = folder / (file.path or file.name)
        path.write_text(Renderer().render(file.template, sources, context), encoding="utf-8")
        script = script if file.path else path
    return script


def run_script(script: Path, url: str, path_dir: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a rendered script with the agent's environment."""
    env = {
        **os.environ,
        "PROVISIONER_URL": url,
        "PROVISIONER_TOKEN": TOKEN,
        "PROVISIONER_MACHINE": MACHINE_ID,
        "PROVISIONER_TASK_DIR": str(script.parent),
        "PROVISIONER_AGENT": "/opt/provisioner/agent.pyz",
        "PATH": f"{path_dir}:{os.environ['PATH']}" if path_dir else os.environ["PATH"],
    }
    is_python = script.read_text().startswith("#!/usr/bin/env python3")
    command = [sys.executable, str(script)] if is_python else ["bash", str(script)]
    return subprocess.run(command, env=env, cwd=script.parent, capture_output=True, text=True, timeout=60, check=False)


def load_module(path: Path) -> ModuleType:
    """Import a rendered file under its own name."""
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
