"""Modules that were compiled (`tools/compile.py`): they take the place of their sources, or none of them does.

They know each other's insides, hence all or nothing: when one source that they were made from has changed since, when
they are for another Python, or when one of them is missing, every module runs from its source, which does the same and
takes longer. So a source that somebody edits is what runs. PROVISIONER_COMPILED=no chooses the sources, to debug.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from hashlib import sha256
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

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
        self._files: dict[str, str] | None = None
        self.reason = ""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where the module is, None for one that is not ours."""
        if self._files is None:
            self._files = self._usable()
        file = self._files.get(fullname)
        if file is None:
            return None
        place = str(self._folder / file)
        return spec_from_file_location(fullname, place, loader=ExtensionFileLoader(fullname, place))

    def count(self) -> int:
        """How many modules are compiled and used."""
        self.find_spec("")
        # The code that they share has a module of its own, at the top.
        return sum("." in name for name in self._files or ())

    def _usable(self) -> dict[str, str]:
        """The files of the modules by their names; none, with a reason, unless all can be used."""
        if os.environ.get(VARIABLE) == "no":
            self.reason = f"{VARIABLE} is no"
            return {}
        files, digests = self._manifest()
        if not files:
            self.reason = "nothing was compiled"
        for name, file in files.items():
            if not file.endswith(EXTENSION_SUFFIXES[0]):
                self.reason = f"{name} was compiled for another Python"
            elif not (self._folder / file).is_file():
                self.reason = f"{file} is missing"
        for source, digest in digests.items():
            if digest_of(self._sources / source) != digest:
                self.reason = f"{source} has changed since"
        return {} if self.reason else files

    def _manifest(self) -> tuple[dict[str, str], dict[str, str]]:
        """The files of modules and the digests of sources; none when there is no manifest, or not a whole one."""
        try:
            manifest = json.loads((self._folder / MANIFEST).read_bytes())
            return dict(manifest["modules"]), dict(manifest["sources"])
        except (OSError, ValueError, KeyError, TypeError):
            return {}, {}


def digest_of(path: Path) -> str:
    """What tells one text of a source from another; empty when there is none."""
    try:
        return sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


MODULES = CompiledModules(FOLDER, FOLDER.parent.parent)


def prefer() -> None:
    """Let the compiled modules be found before their sources."""
    if MODULES not in sys.meta_path:
        sys.meta_path.insert(0, MODULES)
