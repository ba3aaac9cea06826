"""Makes the zipapp: the agent, Jinja2 and MarkupSafe (its pure-Python half) in one file that any Python 3.9+ runs.

The same sources give the same bytes, so that a digest tells whether a machine's agent is the server's.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import files
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import jinja2
import markupsafe

SHEBANG = b"#!/usr/bin/env python3\n"
START = b"from agent.__main__ import main\nimport sys\nraise SystemExit(main(sys.argv[1:]))\n"
# Not needed on a machine: making zipapps, and the parts of Jinja2 that only other programs ask for.
LEFT_OUT = frozenset({"agent/build.py", "jinja2/nativetypes.py", "jinja2/constants.py"})
_OLDEST_DATE = (1980, 1, 1, 0, 0, 0)  # the oldest that the format can say
_MODE = 0o644 << 16


def sources() -> dict[str, bytes]:
    """Name in the zipapp -> contents, of everything that goes in."""
    packages = {
        "agent": Path(__file__).parent,
        "jinja2": Path(jinja2.__file__).parent,
        "markupsafe": Path(markupsafe.__file__).parent,
    }
    found = {
        f"{package}/{path.name}": path.read_bytes()
        for package, folder in packages.items()
        for path in folder.glob("*.py")
        if f"{package}/{path.name}" not in LEFT_OUT
    }
    return {"__main__.py": START, **found, **dict(_licences("jinja2")), **dict(_licences("markupsafe"))}


def _licences(distribution: str) -> Iterator[tuple[str, bytes]]:
    """The licence goes where the code goes."""
    for path in files(distribution) or ():
        if path.name.upper().startswith("LICENSE"):
            yield f"{distribution}/LICENSE.txt", Path(str(path.locate())).read_bytes()


def archive(contents: dict[str, bytes]) -> bytes:
    """A runnable zip of the contents."""
    out = BytesIO()
    out.write(SHEBANG)
    with ZipFile(out, "a", ZIP_DEFLATED, compresslevel=9) as target:
        for name in sorted(contents):
            info = ZipInfo(name, _OLDEST_DATE)
            info.compress_type = ZIP_DEFLATED
            info.external_attr = _MODE
            target.writestr(info, contents[name], compresslevel=9)
    return out.getvalue()


@lru_cache(maxsize=None)
def zipapp() -> bytes:
    """The agent with all that it needs, made once: its sources do not change while a program runs."""
    return archive(sources())


def build(path: Path) -> str:
    """Write the zipapp; its SHA-256 in hexadecimal."""
    data = archive(sources())
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(data)
    part.chmod(0o755)
    part.replace(path)
    return sha256(data).hexdigest()


def main(words: Sequence[str]) -> int:
    """`python -m agent.build OUT`."""
    parser = ArgumentParser(prog="python -m agent.build", description="make the agent's zipapp")
    parser.add_argument("path", type=Path)
    chosen = parser.parse_args(words)
    print(build(chosen.path), chosen.path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
