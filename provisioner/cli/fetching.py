"""Answers that become files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from provisioner.cli.changing import done
from provisioner.cli.client import Client
from provisioner.cli.command import Session
from provisioner.cli.exits import Failure


def to_file(session: Session, client: Client, path: str, name: str, query: Mapping[str, object] | None = None) -> None:
    """Write an answer to a new file, or to standard output for `-`; a file that is not whole is removed."""
    if name == "-":
        client.copy(path, session.terminal.stdout.buffer, query)
        return
    partial = Path(f"{name}.part")
    try:
        with partial.open("wb") as file:
            size = client.copy(path, file, query)
        os.replace(partial, name)
    except OSError as error:
        raise Failure(f"cannot write {name}: {error.strerror}", object=name) from error
    finally:
        partial.unlink(missing_ok=True)
    done(session, {"file": name, "bytes": size}, f"{name} has {size} bytes")
