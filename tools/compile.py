"""Compiles the modules that pyproject.toml lists, for this Python and into provisioner/built, unless that was done.

The compiler is mypyc, which comes with mypy and lives from the types that this checks anyway. What is compiled is used
as long as the sources stay as they are (provisioner/compiled.py).
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fcntl import LOCK_EX, flock
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mypyc.build import mypycify
from setuptools import Distribution
from setuptools.command.build_ext import build_ext

from provisioner.compiled import MANIFEST, VARIABLE, CompiledModules, Manifest, digest_of, read_manifest

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "provisioner" / "built"
_BUILD = ROOT / "build"
_C_FOLDER, _NEW, _LOG, _LOCK = _BUILD / "c", _BUILD / "built", _BUILD / "compile.log", _BUILD / "compile.lock"
# Of what the compiler said, so many letters of its end are shown when it failed.
_SHOWN = 3000


def listed() -> list[str]:
    """The modules to be compiled, by their names."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        return list(tomllib.load(file)["tool"]["provisioner"]["compiled"])


def sources_of(modules: Iterable[str]) -> list[Path]:
    """The sources of these modules and of all of ours that they import: their types are built in."""
    found: set[Path] = set()
    waiting = [path for module in modules for path in _files(module)]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += [each for module in _imported(path) for each in _files(module)]
    return sorted(found)


def _files(module: str) -> list[Path]:
    place = ROOT.joinpath(*module.split("."))
    return [each for each in (place.with_suffix(".py"), place / "__init__.py") if each.is_file()]


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


class _Build(build_ext):
    """Compiles as many sources at a time as there are processors."""

    def build_extensions(self) -> None:
        compile_all = self.compiler.compile

        def compile_each(sources: list[str], *args: Any, **options: Any) -> list[str]:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                made = pool.map(lambda source: compile_all([source], *args, **options), sources)
                return [object_file for object_files in made for object_file in object_files]

        self.compiler.compile = compile_each
        super().build_extensions()


def compile_into(there: Path, modules: list[str]) -> None:
    """Compile, and say in a manifest which file is which module, and from which sources they were made."""
    os.chdir(ROOT)
    sources = {str(path.relative_to(ROOT)): digest_of(path) for path in sources_of(modules)}
    # They stand in tracebacks.
    paths = [str(path.relative_to(ROOT)) for module in modules for path in _files(module)]
    extensions = mypycify(paths, opt_level="2", debug_level="0", multi_file=True, target_dir=str(_C_FOLDER))
    command = _Build(Distribution({"name": "provisioner", "ext_modules": extensions}))
    command.build_lib, command.build_temp = str(there), str(_C_FOLDER / "objects")
    command.ensure_finalized()
    command.run()
    # One of them holds the code of all, the others lead there.
    files = {extension.name: command.get_ext_filename(extension.name) for extension in extensions}
    digests = {name: digest_of(there / file) for name, file in files.items()}
    written = Manifest(files, digests, sources, made_by())
    (there / MANIFEST).write_text(json.dumps(written._asdict(), indent=1) + "\n")


def made_by() -> str:
    """What tells one way of compiling from another: this program, the settings of types, and the compiler."""
    ways = [digest_of(ROOT / name) for name in ("tools/compile.py", "setup.cfg")]
    return sha256(" ".join([*ways, version("mypy")]).encode()).hexdigest()


def is_current(modules: list[str]) -> bool:
    """Whether these modules and no others are compiled as they would be now."""
    found = read_manifest(FOLDER)
    compiled = {name for name in found.files if "." in name}
    return compiled == set(modules) and found.made_by == made_by() and CompiledModules(FOLDER, ROOT).count() > 0


def main(words: list[str]) -> int:
    """Compile unless that was done, whole or not at all; with a folder as a word, into that. Returns the exit code."""
    modules = listed()
    if os.environ.get(VARIABLE) == "no":
        return 0
    if words:
        compile_into(Path(words[0]), modules)
        return 0
    _BUILD.mkdir(exist_ok=True)
    with _LOCK.open("w") as lock:
        # Another may be at it; then there is nothing left to do.
        flock(lock, LOCK_EX)
        return 0 if is_current(modules) else _compile(modules)


def _compile(modules: list[str]) -> int:
    print(f"compiling {len(modules)} modules: this takes a minute", flush=True)
    shutil.rmtree(_NEW, ignore_errors=True)
    with _LOG.open("w") as log:
        done = subprocess.run([sys.executable, __file__, str(_NEW)], stdout=log, stderr=log, check=False)
    if done.returncode == 0:
        shutil.rmtree(FOLDER, ignore_errors=True)
        _NEW.rename(FOLDER)
        if is_current(modules):
            return 0
    print(_LOG.read_text()[-_SHOWN:], file=sys.stderr)
    print(f"could not compile; {_LOG} has all that was said. {VARIABLE}=no goes on with the sources", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
