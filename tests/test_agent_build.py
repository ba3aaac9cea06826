"""The zipapp's contents."""

import ast
import re
import sys
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import pytest

from agent.build import archive, build, main, sources

SIZE_LIMIT = 300_000
AGENT = Path(__file__).parent.parent / "agent"
MODULES = sorted(AGENT.glob("*.py"))


def imported(path: Path) -> set[str]:
    """The top-level packages a module imports; relative imports are its own."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    assert build(tmp_path / "a.pyz") == build(tmp_path / "deep" / "b.pyz")
    assert (tmp_path / "a.pyz").read_bytes() == (tmp_path / "deep" / "b.pyz").read_bytes()


def test_the_order_of_the_contents_does_not_matter() -> None:
    assert archive({"a": b"1", "b": b"2"}) == archive({"b": b"2", "a": b"1"})


def test_it_is_small() -> None:
    assert len(archive(sources())) < SIZE_LIMIT


def test_it_holds_sources_and_licences_only() -> None:
    names = ZipFile(BytesIO(archive(sources()))).namelist()
    assert {name.rpartition(".")[2] for name in names} == {"py", "txt"}
    assert {"__main__.py", "agent/__main__.py", "jinja2/LICENSE.txt", "markupsafe/LICENSE.txt"} <= set(names)
    assert "agent/build.py" not in names


def test_it_begins_with_a_shebang_and_may_be_executed(tmp_path: Path) -> None:
    build(tmp_path / "agent.pyz")
    assert (tmp_path / "agent.pyz").read_bytes().startswith(b"#!/usr/bin/env python3\n")
    assert (tmp_path / "agent.pyz").stat().st_mode & 0o111


def test_the_verb_prints_digest_and_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(tmp_path / "agent.pyz")])
    digest, path = capsys.readouterr().out.split()
    assert (len(digest), path) == (64, str(tmp_path / "agent.pyz"))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_a_module_uses_the_standard_library_and_jinja2_only(module: Path) -> None:
    extra = {"jinja2", "markupsafe"} if module.stem in ("render", "boot_words", "build") else set()
    assert imported(module) - set(sys.stdlib_module_names) <= extra


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_a_module_is_in_the_grammar_of_python_3_9(module: Path) -> None:
    ast.parse(module.read_text(), feature_version=(3, 9))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_a_module_has_a_twin_that_tests_it(module: Path) -> None:
    name = {"__init__": "build", "__main__": "main"}.get(module.stem, module.stem)
    assert (Path(__file__).parent / f"test_agent_{name}.py").exists()


# --- the map of the package


def mapped() -> list[str]:
    """The modules in the order of the package's map."""
    return re.findall(r"^    (\w+) {2,}", (AGENT / "__init__.py").read_text(), re.MULTILINE)


def test_the_map_names_every_module() -> None:
    assert sorted(mapped()) == sorted({path.stem for path in MODULES} - {"__init__"})


@pytest.mark.parametrize("name", mapped())
def test_a_module_imports_only_from_those_below_it_in_the_map(name: str) -> None:
    tree = ast.parse((AGENT / f"{name}.py").read_text())
    used = {
        each
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for each in ([node.module] if node.module else [alias.name for alias in node.names])
    }
    assert used <= set(mapped()[mapped().index(name) + 1 :])
