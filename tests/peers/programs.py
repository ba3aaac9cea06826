"""Finding the programs that peers are: a missing one is an error in CI and a skip with the reason elsewhere."""

from __future__ import annotations

import os
import shutil

import pytest


def program(name: str, package: str) -> str:
    """The path of a program; `package` is the Debian package that has it."""
    found = shutil.which(name)
    if found is not None:
        return found
    return missing(f"{name} is not installed (apt-get install {package})")


def root() -> None:
    """Network namespaces and low ports need it."""
    if os.geteuid() != 0:
        missing("this needs root")


def missing(reason: str) -> str:
    """Fail in CI, skip elsewhere."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
