"""The verb `join`: make a host that is running already a machine of a server, and install the agent as its service.

Doing it again is harmless: a host that has joined stays the machine that it is, and gets the agent and unit anew.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Callable, Optional
from uuid import uuid4

from . import identity
from .client import Client
from .clock import SystemClock
from .config import Config, read, write
from .errors import AgentError, ConfigError, Conflict, Denied, FileTrouble, Missing, ServerAway
from .host import network_cards, registration_card
from .interrupt import Interrupt
from .protocol import look, read_registration, register
from .transport import HttpTransport
from .unit import AGENT_PATH, CONFIG_PATH, NAME, PATH, unit

TOKEN_VARIABLE = "PROVISIONER_JOIN_TOKEN"  # on the command line everybody could read it
BOOTENV = "local"
TRIES = 5
COMMAND_TIMEOUT_SECONDS = 60.0
_SYSTEMD_RUNS = "run/systemd/system"
_COMMANDS = (
    ("systemctl", "daemon-reload"),
    ("systemctl", "enable", NAME),
    ("systemctl", "restart", NAME),
)


@dataclass(frozen=True)
class Host:
    """The host that joins. `root` is where its files go, `trees` where its /sys and /proc are.

    `run` gives a command's exit code. Only a host whose `root` is its own is started.
    """

    root: str
    agent_path: str
    python: str
    run: Callable[[Sequence[str]], int]
    trees: str = "/"

    def path(self, name: str) -> str:
        """A file of the host."""
        return os.path.join(self.root, name.lstrip("/"))

    @property
    def is_live(self) -> bool:
        """Whether the files go where the host itself looks for them."""
        return os.path.abspath(self.root) == "/"


def main(words: Sequence[str]) -> int:
    """`join --url URL [--root FOLDER]`; the join token is in the environment."""
    parser = ArgumentParser(prog="agent.pyz join", description="make this host a machine of a server")
    parser.add_argument("--url", required=True, help="where the server is, like http://10.0.0.1:8091")
    parser.add_argument("--root", default="/", help="install below this folder and start nothing")
    chosen = parser.parse_args(words)
    host = Host(chosen.root, os.path.abspath(sys.argv[0]), sys.executable, _run)
    clock = SystemClock(Interrupt())

    def client_for(url: str) -> Client:
        return Client(HttpTransport(url), clock, random.SystemRandom().random, _tell)

    join(host, chosen.url, os.environ.get(TOKEN_VARIABLE, ""), client_for, _tell)
    return 0


def join(host: Host, url: str, token: str, client_for: Callable[[str], Client], tell: Callable[[str], None]) -> Config:
    """Register unless that was done, install, start. Raises `AgentError` with what to do."""
    client = client_for(url)
    settings = _joined(host, url, client)
    if settings is not None:
        tell(f"this host is machine {settings.machine} of {url} already")
    else:
        settings = _register(host, url, token, client, tell)
    _install(host)
    _start(host, tell)
    return settings


def _joined(host: Host, url: str, client: Client) -> Optional[Config]:
    """What an earlier joining brought, if the server still knows it."""
    path = host.path(CONFIG_PATH)
    if not os.path.exists(path):
        return None
    try:
        settings = read(path)
        if settings.url.rstrip("/") != url.rstrip("/"):
            return None
        client.with_token(settings.token).call(look(settings.machine), tries=TRIES)
    except (ConfigError, Denied, Missing):
        return None
    except ServerAway as away:
        raise _unreachable(url, away) from away
    return settings


def _register(host: Host, url: str, token: str, client: Client, tell: Callable[[str], None]) -> Config:
    if not token:
        raise ConfigError("this host has not joined yet, so name a join token: sh -s -- TOKEN")
    card = _card(host, url, token)
    try:
        answer = client.call(register(card, uuid4().hex), tries=TRIES)
    except Denied as denial:
        raise ConfigError(f"the server does not take the join token: {denial.detail}") from denial
    except Conflict as conflict:
        raise ConfigError(f"{conflict.detail}; then run this again") from conflict
    except ServerAway as away:
        raise _unreachable(url, away) from away
    known = read_registration(answer, url)
    settings = Config(known.url, known.machine, known.token, BOOTENV)
    with _writing(host.path(CONFIG_PATH)):
        write(host.path(CONFIG_PATH), settings)
    tell(f"joined {url} as {known.name or known.machine}")
    return settings


def _card(host: Host, url: str, token: str) -> Mapping[str, object]:
    # A container sees the serial numbers of the machine that it runs on, and must not be taken for that.
    numbers = identity.read(host.trees) if network_cards(host.trees) else {}
    card = registration_card(token, "", BOOTENV, url, numbers, host.trees)
    if not card["macs"]:
        raise ConfigError("this host has no network card with a MAC, by which the server could know it")
    return card


def _unreachable(url: str, away: ServerAway) -> AgentError:
    return ConfigError(f"the server at {url} cannot be reached: {away}")


def _install(host: Host) -> None:
    """The agent and its unit; each file is replaced at once."""
    with open(host.agent_path, "rb") as file:
        agent = file.read()
    _replace(host.path(AGENT_PATH), agent, 0o755)
    _replace(host.path(PATH), unit(host.python).encode(), 0o644)


@contextmanager
def _writing(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileTrouble(f"cannot write {path}: {error.strerror}") from error


def _replace(path: str, data: bytes, mode: int) -> None:
    with _writing(path):
        _put(path, data, mode)


def _put(path: str, data: bytes, mode: int) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    part = f"{path}.new"
    with open(part, "wb") as file:
        file.write(data)
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    os.replace(part, path)


def _start(host: Host, tell: Callable[[str], None]) -> None:
    by_hand = f"{host.python} -I {AGENT_PATH} run --config {CONFIG_PATH}"
    if not host.is_live:
        tell(f"installed below {host.root}; there the agent is started by: {by_hand}")
        return
    if not os.path.isdir(os.path.join(host.trees, _SYSTEMD_RUNS)):
        tell(f"there is no systemd here; have your init run as root: {by_hand}")
        return
    for command in _COMMANDS:
        if host.run(command) != 0:
            raise ConfigError(f"installed, but not started: {' '.join(command)} failed; see: systemctl status {NAME}")
    tell(f"the agent runs as {NAME}; see it by: journalctl -fu {NAME}")


def _run(words: Sequence[str]) -> int:
    try:
        return subprocess.run(words, stdin=subprocess.DEVNULL, timeout=COMMAND_TIMEOUT_SECONDS, check=False).returncode
    except (OSError, subprocess.TimeoutExpired) as error:
        _tell(f"{shutil.which(words[0]) or words[0]}: {error}")
        return 1


def _tell(text: str) -> None:
    sys.stderr.write(f"join: {text}\n")
