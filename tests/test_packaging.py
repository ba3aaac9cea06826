"""The wheel: it lists every package and works where nothing else of the checkout is."""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

from tests.interpreter import run

ROOT = Path(__file__).resolve().parent.parent
TREES = ("content", "bootenvs", "templates")
SETTINGS = ConfigParser()
SETTINGS.read(ROOT / "setup.cfg")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Where the wheel of a copy of the checkout was installed."""
    folder = tmp_path_factory.mktemp("packaging")
    source = folder / "source"
    for name in (*TREES, "provisioner", "agent"):
        copytree(ROOT / name, source / name, ignore=ignore_patterns("__pycache__"))
    for path in (*ROOT.glob("setup.*"), *ROOT.glob("pyproject.toml"), *ROOT.glob("README*")):
        (source / path.name).write_bytes(path.read_bytes())
    if not (source / "README.md").exists():
        (source / "README.md").write_text("")
    offline = ("--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check", "-q")
    run("-m", "pip", "wheel", *offline, "-w", str(folder), str(source), cwd=folder)
    (wheel,) = folder.glob("*.whl")
    run("-m", "pip", "install", *offline, "--no-compile", "--target", str(folder / "there"), str(wheel), cwd=folder)
    return folder / "there"


def test_the_packages_listed_are_those_of_the_tree():
    packages = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in ("provisioner", "agent")
        for path in (ROOT / top).rglob("__init__.py")
    }
    listed = SETTINGS["options"]["packages"].split()
    assert sorted(listed) == sorted(packages | {f"provisioner.shipped_files.{name}" for name in TREES})


@pytest.mark.parametrize("name", TREES)
def test_an_installation_finds_its_own_shipped_files(installed, name):
    program = f"from provisioner.shipped import tree; print(tree({name!r}))"
    found = Path(run("-c", program, cwd=installed, PYTHONPATH=str(installed)))
    assert found.is_relative_to(installed)
    shipped = {str(path.relative_to(found)) for path in found.rglob("*") if path.suffix not in ("", ".pyc")}
    kept = {str(path.relative_to(ROOT / name)) for path in (ROOT / name).rglob("*") if path.suffix not in ("", ".pyc")}
    assert shipped == kept


def test_an_installation_tells_its_version(installed):
    said = run("-m", "provisioner", "version", cwd=installed, PYTHONPATH=str(installed))
    assert said == f"provisioner {SETTINGS['metadata']['version']}"
