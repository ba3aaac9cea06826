"""`provisioner version`: which version this is, from the installed package or, in a raw checkout, from setup.cfg."""

from __future__ import annotations

from configparser import ConfigParser
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from provisioner.cli.command import Command, Session

PACKAGE = "provisioner"
_CHECKOUT = Path(__file__).resolve().parents[2]


def own_version(checkout: Path = _CHECKOUT) -> str:
    """The checkout's version when we run from one, since an older installation may be beside it."""
    settings = ConfigParser()
    settings.read(checkout / "setup.cfg")
    if settings.get("metadata", "name", fallback="") == PACKAGE:
        return settings["metadata"]["version"]
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return "unknown"


def _show(session: Session) -> None:
    if session.output.as_json:
        session.output.json({"version": own_version()})
    else:
        session.output.line(f"{PACKAGE} {own_version()}")


COMMAND = Command("version", "print the version", _show)
