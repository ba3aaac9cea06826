"""The verb `asset`: keep a file of this machine with the job that is running."""

from __future__ import annotations

import os
import stat
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence

from .client import Client
from .errors import ConfigError, FileTrouble
from .files import sha256_of
from .job_protocol import put_asset, read_asset
from .param import client_from


def main(words: Sequence[str]) -> int:
    """`asset FILE [--name NAME]`."""
    parser = ArgumentParser(prog="agent.pyz asset", description="keep a file with the job that is running")
    parser.add_argument("file")
    parser.add_argument("--name", default="", help="what it is called there, instead of its own name")
    chosen = parser.parse_args(words)
    client, _ = client_from(os.environ)
    print(attach(client, job_from(os.environ), chosen.file, chosen.name or os.path.basename(chosen.file)))
    return 0


def job_from(env: Mapping[str, str]) -> str:
    """The job that a script runs for."""
    if not env.get("PROVISIONER_JOB"):
        raise ConfigError("the environment lacks PROVISIONER_JOB; a task's scripts have it")
    return env["PROVISIONER_JOB"]


def attach(client: Client, job: str, path: str, name: str) -> str:
    """Send a file until the server has it whole; a line on what it keeps. Raises `Refused` and `FileTrouble`."""
    try:
        before = os.stat(path)
    except OSError as error:
        raise FileTrouble(f"cannot read {path}: {error.strerror}") from error
    if not stat.S_ISREG(before.st_mode):
        raise FileTrouble(f"{path} is no plain file; pack a folder into one first")
    kept = read_asset(client.call(put_asset(job, name, path)))
    # What was appended since is no fault, so only the part that was there before has to be kept.
    size, digest = sha256_of(path, kept.size)
    if kept.size < before.st_size or kept.size != size or (kept.sha256 and kept.sha256 != digest):
        raise FileTrouble(f"{path} was changed while it was being sent: the server keeps {kept.size} bytes of it")
    return f"attached {kept.name}: {size} bytes, SHA-256 {digest}"
