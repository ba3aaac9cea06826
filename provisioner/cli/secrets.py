"""`provisioner secrets`: look after the key file of secure values, beside the server."""

from __future__ import annotations

from pathlib import Path

from provisioner.cli.command import Command, Session, argument
from provisioner.config import PREFIX, read_config
from provisioner.vault import drop_old, rotate


def _key_file(session: Session) -> Path:
    options, environment = session.options, session.terminal.environment
    if options.key_file:
        return Path(options.key_file)
    config = options.config or environment.get(PREFIX + "CONFIG")
    return read_config({}, environment, Path(config) if config else None).key_file


def _rotate(session: Session) -> None:
    file = _key_file(session)
    count = rotate(file)
    session.output.line(f"{file} has {count} keys now; restart the server, which seals everything with the new one")


def _drop_old(session: Session) -> None:
    file = _key_file(session)
    count = drop_old(file)
    session.output.line(f"removed {count} old key{'' if count == 1 else 's'} from {file}")


_PLACE = (
    argument("--key-file", metavar="FILE", help="the key file (default: what the server's settings say)"),
    argument("--config", metavar="FILE", help=f"the server's YAML file of settings (or {PREFIX}CONFIG)"),
)
COMMANDS = (
    Command(
        "rotate",
        "add a new key",
        _rotate,
        _PLACE,
        "add a new key to the key file; the server's next start seals all secure values anew with it",
    ),
    Command(
        "drop-old",
        "remove all keys but the newest",
        _drop_old,
        _PLACE,
        "remove all keys but the newest, after the server has been restarted since; backups of the database from before"
        " that cannot be opened any more",
    ),
)
