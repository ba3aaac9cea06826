"""Programs run by the interpreter of the tests, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_SECONDS = 100


def run(*words: str, cwd: Path, **env: str) -> str:
    """What `python WORDS` printed; it must end well."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()
