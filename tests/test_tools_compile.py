"""What `make compiled` compiles, and what a module must keep to so that the compiler changes nothing about it."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
_spec = importlib.util.spec_from_file_location("tools_compile", ROOT / "tools" / "compile.py")
tools = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tools)

LISTED = tools.listed()


def classes(module):
    tree = ast.parse(ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text())
    return [node for node in tree.body if isinstance(node, ast.ClassDef)]


def test_those_listed_are_in_order_and_once():
    assert sorted(set(LISTED)) == LISTED


def test_what_a_module_imports_is_one_of_its_sources():
    sources = {str(path.relative_to(ROOT)) for path in tools.sources_of(["provisioner.leases"])}
    assert {"provisioner/leases.py", "provisioner/dhcp_case.py", "provisioner/model/addresses.py"} <= sources
    assert "provisioner/services/dhcp.py" not in sources


@pytest.mark.compiled
def test_what_is_listed_is_what_was_compiled():
    assert tools.is_current(LISTED)
    assert not tools.is_current(LISTED[1:])
    assert not tools.is_current([*LISTED, "provisioner.packs"])


@pytest.mark.parametrize("module", LISTED)
def test_keywords_of_a_class_are_such_as_may_get_lost(module):
    """The compiler passes over them: `frozen` comes from the base as well, and `kw_only` is for those who write."""
    for each in classes(module):
        bases = {base.id for base in each.bases if isinstance(base, ast.Name)}
        keywords = {keyword.arg for keyword in each.keywords}
        assert keywords <= {"frozen", "kw_only"}, each.name
        assert "frozen" not in keywords or "Frozen" in bases, each.name


@pytest.mark.parametrize("module", LISTED)
def test_a_struct_names_no_class_that_comes_after_it(module):
    """The compiler looks at the annotations when the struct is made, and there is nothing yet."""
    all_classes = classes(module)
    for place, each in enumerate(all_classes):
        if not any(isinstance(base, ast.Name) and base.id in ("Struct", "Frozen") for base in each.bases):
            continue
        later = {other.name for other in all_classes[place + 1 :]}
        named = {
            node.id
            for field in each.body
            if isinstance(field, ast.AnnAssign)
            for node in ast.walk(field.annotation)
            if isinstance(node, ast.Name)
        }
        assert not named & later, each.name


@pytest.mark.parametrize("module", LISTED)
def test_defaults_of_a_struct_are_values_of_their_type(module):
    """`field(default_factory=...)` is none, and the compiler looks."""
    for each in classes(module):
        calls = [field.value for field in each.body if isinstance(field, ast.AnnAssign)]
        assert not any(
            isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "field"
            for value in calls
        ), each.name
