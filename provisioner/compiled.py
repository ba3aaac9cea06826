"""Modules that were compiled (`tools/compile.py`): they take the place of their sources, or none of them does.

They know each other's insides, hence all or nothing: when one source that they were made from has changed since, when
they are for another Python or system, or when one of them is not whole, every module runs from its source, which does
the same and takes longer. So a source that somebody edits is what runs. PROVISIONER_COMPILED=no chooses the sources, to
debug.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from hashlib import sha256
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

VARIABLE = "PROVISIONER_COMPILED"
FOLDER = Path(__file__).resolve().parent / "built"
# What is in the folder: the modules with their files, and from which sources they were made.
MANIFEST = "manifest.json"


class CompiledModules(MetaPathFinder):
    """Finds the compiled modules of a folder; `sources` is what the names of sources are relative to.

    `reason` says why none is used; it is known once one of them has been asked for.
    """

    def __init__(self, folder: Path, sources: Path) -> None:
        self._folder = folder
        self._sources = sources
        self._manifest: Manifest | None = None
        self._files: dict[str, str] | None = None
        self.reason = ""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where the module is, None for one that is not ours."""
        if self._manifest is None:
            self._manifest = read_manifest(self._folder)
        # The command line needs none of them, and does not wait until all sources are compared.
        file = self._usable().get(fullname) if fullname in self._manifest.files else None
        if file is None:
            return None
        place = str(self._folder / file)
        return spec_from_file_location(fullname, place, loader=ExtensionFileLoader(fullname, place))

    def count(self) -> int:
        """How many modules are compiled and used."""
        # The code that they share has a module of its own, at the top.
        return sum("." in name for name in self._usable())

    def _usable(self) -> dict[str, str]:
        """The files of the modules by their names; none, with a reason, unless all can be used."""
        if self._files is None:
            self._files = {}
            self._files = self._looked_at(self._manifest or read_manifest(self._folder))
        return self._files

    def _looked_at(self, manifest: Manifest) -> dict[str, str]:
        if os.environ.get(VARIABLE) == "no":
            self.reason = f"{VARIABLE} is no"
            return {}
        if not manifest.files:
            self.reason = "nothing was compiled"
        for name, file in manifest.files.items():
            if not file.endswith(EXTENSION_SUFFIXES[0]):
                self.reason = f"{name} was compiled for another Python"
            elif digest_of(self._folder / file) != manifest.digests.get(name):
                self.reason = f"{file} is not whole"
        for source, digest in manifest.sources.items():
            if digest_of(self._sources / source) != digest:
                self.reason = f"{source} has changed since"
        shared = next((name for name in manifest.files if "." not in name), "")
        if not self.reason and shared:
            self.reason = self._load(shared, manifest.files[shared])
        return {} if self.reason else manifest.files

    def _load(self, name: str, file: str) -> str:
        """Load the code that the modules share; returns why this system cannot, or ''."""
        place = str(self._folder / file)
        spec = spec_from_file_location(name, place, loader=ExtensionFileLoader(name, place))
        assert spec is not None and spec.loader is not None
        try:
            module = module_from_spec(spec)
            spec.loader.exec_module(module)
        except ImportError as error:
            return str(error)
        sys.modules[name] = module
        return ""


class Manifest(NamedTuple):
    """What was compiled: the files of the modules by their names, and what these and all sources were then."""

    files: dict[str, str]
    digests: dict[str, str]
    sources: dict[str, str]
    made_by: str = ""


def read_manifest(folder: Path) -> Manifest:
    """What the folder holds; nothing when there is no manifest, or none that can be read."""
    try:
        written = json.loads((folder / MANIFEST).read_bytes())
        return Manifest(
            dict(written["files"]), dict(written["digests"]), dict(written["sources"]), str(written["made_by"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return Manifest({}, {}, {})


def digest_of(path: Path) -> str:
    """What tells one content of a file from another; empty when there is none."""
    try:
        return sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


MODULES = CompiledModules(FOLDER, FOLDER.parent.parent)


def prefer() -> None:
    """Let the compiled modules be found before their sources."""
    if MODULES not in sys.meta_path:
        sys.meta_path.insert(0, MODULES)
