"""agent.json: whom the agent speaks for and where its server is. It holds the token, so only root may read it."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from json import dumps, loads

from .errors import ConfigError

INSTALLED_PATH = "/etc/provisioner/agent.json"
NETBOOTED_PATH = "/run/provisioner/agent.json"  # gone with the next boot, as is what it is good for


@dataclass(frozen=True)
class Config:
    """`bootenv` is the boot environment that the agent runs in."""

    url: str
    machine: str
    token: str = field(repr=False)
    bootenv: str = "local"


def read(path: str) -> Config:
    """Raises `ConfigError` that names what is wrong."""
    try:
        with open(path, encoding="utf-8") as file:
            values = loads(file.read())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} does not hold a JSON object")
    missing = [
        name for name in ("url", "machine", "token") if not isinstance(values.get(name), str) or not values[name]
    ]
    if missing:
        raise ConfigError(f"{path} lacks {', '.join(missing)}")
    return Config(values["url"], values["machine"], values["token"], str(values.get("bootenv") or "local"))


def write(path: str, config: Config) -> None:
    """Keep a config, readable by its owner only; the file is never seen half written."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    part = f"{path}.{os.getpid()}"
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(dumps(asdict(config)) + "\n")
    os.replace(part, path)
