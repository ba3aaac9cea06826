"""Results on disk until the server has them, so that the end of the agent is not the end of what it knows.

An agent that is stopped, or killed, while the server is away leaves the result of its last job here; the next agent of
the same boot tells the server before it says hello. Telling it twice is harmless: the first report counts.
"""

from __future__ import annotations

import os
from contextlib import suppress
from json import dumps, loads
from typing import Any, Callable, Optional

from .client import FOREVER, Client
from .errors import Denied, Refused
from .messages import Request

_END = ".result"


class KeptResults:
    """Those of one machine, in a folder that should not outlive the boot; without a folder nothing is kept."""

    def __init__(self, folder: str, machine: str) -> None:
        self._folder = folder
        self._machine = machine

    def keep(self, job: str, report: Request) -> str:
        """Keep the report of a job; why that could not be done, or ""."""
        if not self._folder:
            return ""
        path = self._path(job)
        try:
            os.makedirs(self._folder, 0o700, exist_ok=True)
            descriptor = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(dumps({"path": report.path, "body": loads(report.body)}))
            os.replace(f"{path}.new", path)
        except OSError as error:
            with suppress(OSError):
                os.unlink(f"{path}.new")
            return f"cannot keep it in {self._folder}: {error.strerror or error}"
        return ""

    def drop(self, job: str) -> None:
        """The server knows."""
        if self._folder:
            with suppress(OSError):
                os.unlink(self._path(job))

    def tell(self, client: Client, boot_id: str, note: Callable[[str], None]) -> None:
        """Tell the server what earlier agents of this boot could not. Raises `Stopped`, and keeps what is untold."""
        for name in self._names():
            path = os.path.join(self._folder, name)
            report = _read(path, boot_id)
            if report is not None:
                try:
                    client.call(report, tries=FOREVER)
                    note(f"told the server what an earlier agent could not: {report.path}")
                except Denied as denial:
                    note(f"{report.path} is still kept: {denial}")
                    return
                except Refused as refusal:
                    note(f"the server does not take what an earlier agent kept: {report.path}: {refusal}")
            with suppress(OSError):
                os.unlink(path)

    def _names(self) -> list[str]:
        if not self._folder:
            return []
        with suppress(OSError):
            return sorted(
                name
                for name in os.listdir(self._folder)
                if name.startswith(f"{self._machine}.") and name.endswith(_END)
            )
        return []

    def _path(self, job: str) -> str:
        return os.path.join(self._folder, f"{self._machine}.{job}{_END}")


def _read(path: str, boot_id: str) -> Optional[Request]:
    """The report in a file; None when it is of another boot, in which the job's end has been settled, or is none."""
    try:
        with open(path, encoding="utf-8") as file:
            kept: dict[str, Any] = loads(file.read())
        if kept["body"]["boot_id"] != boot_id:
            return None
        return Request("POST", str(kept["path"]), dumps(kept["body"]).encode())
    except (OSError, ValueError, KeyError, TypeError):
        return None
