"""Compiled modules take the place of their sources, or none of them does."""

from __future__ import annotations

import json
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader
from pathlib import Path

import pytest

from provisioner.compiled import MANIFEST, MODULES, VARIABLE, CompiledModules, Manifest, digest_of
from tests.interpreter import run

ROOT = Path(__file__).resolve().parent.parent
# What tells how packets are answered: pure rules, codecs, and whole conversations.
TELLING = (
    "test_leases.py",
    "test_dhcp_case.py",
    "test_wire_dhcp.py",
    "test_conductor_dhcp_replies.py",
    "conversations",
)


@pytest.fixture
def built(tmp_path, monkeypatch):
    """A folder with two modules, made from two sources beside it."""
    monkeypatch.delenv(VARIABLE, raising=False)
    modules = {f"house.{name}": f"{name}{EXTENSION_SUFFIXES[0]}" for name in ("door", "roof")}
    for name in ("door", "roof"):
        (tmp_path / f"{name}.py").write_text(f"colour = '{name}'\n")
    folder = tmp_path / "built"
    folder.mkdir()
    for file in modules.values():
        (folder / file).write_bytes(b"")
    write(folder, modules)
    return folder


def write(folder, files):
    sources = {f"{name}.py": digest_of(folder.parent / f"{name}.py") for name in ("door", "roof")}
    digests = {name: digest_of(folder / file) for name, file in files.items()}
    (folder / MANIFEST).write_text(json.dumps(Manifest(files, digests, sources)._asdict()))


def looked(folder):
    return CompiledModules(folder, folder.parent)


def test_a_compiled_module_is_found_in_the_folder(built):
    spec = looked(built).find_spec("house.door")
    assert isinstance(spec.loader, ExtensionFileLoader)
    assert spec.origin == str(built / f"door{EXTENSION_SUFFIXES[0]}")


def test_other_modules_are_left_to_others(built):
    assert looked(built).find_spec("house.window") is None


def test_they_are_counted(built):
    modules = looked(built)
    assert (modules.count(), modules.reason) == (2, "")


def test_a_source_that_was_edited_is_what_runs_and_so_are_all_others(built):
    (built.parent / "roof.py").write_text("colour = 'red'\n")
    modules = looked(built)
    assert modules.find_spec("house.door") is None
    assert (modules.count(), modules.reason) == (0, "roof.py has changed since")


def test_a_source_that_is_gone_has_changed(built):
    (built.parent / "roof.py").unlink()
    modules = looked(built)
    assert (modules.count(), modules.reason) == (0, "roof.py has changed since")


def test_a_file_that_is_missing_leaves_all_to_the_sources(built):
    (built / f"roof{EXTENSION_SUFFIXES[0]}").unlink()
    modules = looked(built)
    assert (modules.count(), modules.reason) == (0, f"roof{EXTENSION_SUFFIXES[0]} is not whole")


def test_a_file_that_a_full_disk_cut_off_leaves_all_to_the_sources(built):
    (built / f"roof{EXTENSION_SUFFIXES[0]}").write_bytes(b"\x7fEL")
    modules = looked(built)
    assert (modules.count(), modules.reason) == (0, f"roof{EXTENSION_SUFFIXES[0]} is not whole")


def test_code_that_this_system_cannot_load_leaves_all_to_the_sources(built):
    files = {"house.door": f"door{EXTENSION_SUFFIXES[0]}", "shared": f"shared{EXTENSION_SUFFIXES[0]}"}
    (built / files["shared"]).write_bytes(b"made for another system")
    write(built, files)
    modules = looked(built)
    assert modules.count() == 0
    assert "shared" in modules.reason


def test_what_another_python_compiled_is_not_used(built):
    write(built, {"house.door": "door.cpython-27-x86_64-linux-gnu.so"})
    modules = looked(built)
    assert (modules.count(), modules.reason) == (0, "house.door was compiled for another Python")


def test_a_file_that_came_back_from_a_power_cut_as_zeros_leaves_all_to_the_sources(built):
    files = {"house.roof": f"roof{EXTENSION_SUFFIXES[0]}"}
    (built / files["house.roof"]).write_bytes(b"\x7fELF")
    write(built, files)
    (built / files["house.roof"]).write_bytes(bytes(4))
    modules = looked(built)
    assert (modules.count(), modules.reason) == (0, f"roof{EXTENSION_SUFFIXES[0]} is not whole")


@pytest.mark.parametrize("content", ["", "[1", "{}", "[]", '{"files": 1, "digests": {}, "sources": {}, "made_by": ""}'])
def test_a_manifest_that_cannot_be_read_is_none(built, content):
    (built / MANIFEST).write_text(content)
    modules = looked(built)
    assert (modules.count(), modules.reason) == (0, "nothing was compiled")


def test_without_a_folder_nothing_was_compiled(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    modules = looked(tmp_path / "none")
    assert (modules.count(), modules.reason) == (0, "nothing was compiled")


def test_the_sources_can_be_chosen(built, monkeypatch):
    monkeypatch.setenv(VARIABLE, "no")
    modules = looked(built)
    assert (modules.count(), modules.reason) == (0, "PROVISIONER_COMPILED is no")


# --- the real ones --------------------------------------------------------------------------------------------


@pytest.mark.compiled
def test_what_was_compiled_is_what_these_tests_run_on():
    assert MODULES.count() > 20, MODULES.reason
    assert run("-c", "import provisioner.leases as it; print(it.__file__)", cwd=ROOT).endswith(EXTENSION_SUFFIXES[0])


@pytest.mark.compiled
def test_the_sources_run_where_they_are_chosen():
    found = run("-c", "import provisioner.leases as it; print(it.__file__)", cwd=ROOT, **{VARIABLE: "no"})
    assert found == str(ROOT / "provisioner" / "leases.py")


@pytest.mark.compiled
def test_the_sources_do_the_same():
    told = run(
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        *(f"tests/{each}" for each in TELLING),
        cwd=ROOT,
        **{VARIABLE: "no"},
    )
    assert " passed" in told
