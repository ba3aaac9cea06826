"""Every module has tests of its own name."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
# Module -> why it has no twin.
EXCEPTIONS = {
    "agent/__main__": "its twin is test_agent_main: two underscores more would say nothing",
    "provisioner/__main__": "five lines that test_packaging runs as a program",
}
MODULES = sorted(
    str(path.relative_to(ROOT).with_suffix(""))
    for package in ("provisioner", "agent")
    for path in (ROOT / package).rglob("*.py")
    if path.name != "__init__.py"
)


@pytest.mark.parametrize("module", [module for module in MODULES if module not in EXCEPTIONS])
def test_a_module_has_its_twin(module):
    name = module.removeprefix("provisioner/").replace("/", "_")
    assert (TESTS / f"test_{name}.py").is_file(), f"{module}.py has no tests/test_{name}.py"


def test_exceptions_are_of_modules_that_exist():
    assert sorted(EXCEPTIONS.keys() - set(MODULES)) == []
