"""Settings: one table, read once at start from flags, environment and a file (in this order), then frozen.

A setting `listen.http` is the flag `--listen-http`, the variable `PROVISIONER_LISTEN_HTTP`, and `http:` below `listen:`
in the YAML file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import yaml

from provisioner.errors import SettingError
from provisioner.model.addresses import Probe, Subnet
from provisioner.repositories import parse_upstreams

PREFIX = "PROVISIONER_"
OFF = "off"
AUTO = "auto"
_HIGHEST_PORT = 65535
LONGEST_DAYS = 36_500
# Variables that are no settings: the file of settings, and what the command line's clients read.
_NO_SETTINGS = ("CONFIG", "SERVER", "TOKEN", "PASSWORD", "COMPILED")


@dataclass(frozen=True)
class Listener:
    """Where a service listens; `off` when it does not, `auto` when that follows from where its twin for IPv4 does."""

    host: str
    port: int
    off: bool = False
    auto: bool = False


@dataclass(frozen=True)
class Setting:
    """One row: `parse` turns the text into the value or raises ValueError saying what is wrong."""

    name: str
    default: str
    help: str
    parse: Callable[[str], Any]

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return PREFIX + self.name.upper().replace(".", "_")

    @property
    def flag(self) -> str:
        """Its command line flag."""
        return "--" + self.name.replace(".", "-").replace("_", "-")


def _listener(text: str) -> Listener:
    if text == OFF:
        return Listener("", 0, off=True)
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > _HIGHEST_PORT:
        raise ValueError(f"is not ADDRESS:PORT with a port from 0 to {_HIGHEST_PORT}, or `{OFF}`")
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        raise ValueError(f"{host!r} is not an IP address; 0.0.0.0 is every address of this host") from None
    return Listener(host.strip("[]"), int(port))


def _listener6(text: str) -> Listener:
    if text == AUTO:
        return Listener("::", 0, auto=True)
    try:
        found = _listener(text)
    except ValueError as error:
        raise ValueError(f"{error}; `{AUTO}` is wherever its twin for IPv4 listens") from None
    if not found.off and ":" not in found.host:
        raise ValueError(f"{found.host!r} is not an IPv6 address; `[::]` is every address of this host")
    return found


def _choice(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"is not one of {', '.join(choices)}")
        return text

    return parse


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 18) or not low <= int(text) <= high:
            raise ValueError(f"is not a whole number from {low} to {high}")
        return int(text)

    return parse


def _switch(text: str) -> bool:
    # YAML reads on, yes and true as one, and `off` is how it comes back from a file.
    word = text.lower()
    if word not in ("on", "off", "true", "false", "yes", "no"):
        raise ValueError("is not on or off")
    return word in ("on", "true", "yes")


def _ports(text: str) -> tuple[int, int]:
    if not text:
        return 0, 0
    first, dash, last = text.partition("-")
    if not (dash and all(part.isascii() and part.isdigit() and len(part) <= 5 for part in (first, last))):
        raise ValueError("is not FIRST-LAST, as in 30000-30999")
    if not 1 <= int(first) <= int(last) <= _HIGHEST_PORT:
        raise ValueError(f"is not a range of ports from 1 to {_HIGHEST_PORT}, the lower one first")
    return int(first), int(last)


def _path(text: str) -> Path:
    if not text:
        raise ValueError("is empty; it names a folder")
    return Path(text).absolute()


def _existing_paths(text: str) -> tuple[Path, ...]:
    paths = tuple(Path(part).absolute() for part in _words(text))
    for path in paths:
        if not path.exists():
            raise ValueError(f"{path} does not exist")
    return paths


def _readable_file(text: str) -> str:
    if not text:
        return ""
    try:
        return Path(text).read_text().strip()
    except OSError as error:
        raise ValueError(f"cannot read {text}: {error.strerror}") from None


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _upstreams(text: str) -> dict[str, str]:
    return parse_upstreams(_words(text))


def _subnets(text: str) -> tuple[Subnet, ...]:
    return tuple(_subnet(part) for part in _words(text))


def _subnet(text: str) -> Subnet:
    cidr, _, rest = text.partition(",")
    wanted: dict[str, Any] = {}
    try:
        network = ip_network(cidr)
        for part in filter(None, rest.split(",")):
            name, equals, value = part.partition("=")
            if not equals:
                start, dash, end = part.partition("-")
                if not dash:
                    raise ValueError(f"{part!r} is no pool, which has a first and a last address")
                wanted |= {"pool_start": str(ip_address(start)), "pool_end": str(ip_address(end))}
            elif name == "gateway":
                wanted["gateway"] = str(ip_address(value))
            elif name == "dns":
                wanted["dns_servers"] = tuple(str(ip_address(each)) for each in value.split("+"))
            elif name == "probe":
                wanted["probe"] = Probe(value)
            else:
                raise ValueError(f"unknown part {name!r}")
    except ValueError as error:
        form = "CIDR,FIRST-LAST[,gateway=ADDRESS][,dns=ADDRESS+ADDRESS][,probe=off]"
        raise ValueError(f"{text!r} is not {form}: {error}") from None
    name = str(network).replace("::", "-").replace(":", "-").replace("/", "-")
    return Subnet(name=name, cidr=str(network), **wanted)


SETTINGS: tuple[Setting, ...] = (
    Setting("data_dir", "/var/lib/provisioner", "where the database and the job logs are kept", _path),
    Setting("files_dir", "", "boot files and images to serve; empty: `files` below data_dir", lambda text: text),
    Setting("content", "", "content packs to load as well: folders or files, by blanks", _existing_paths),
    Setting("listen.http", "0.0.0.0:8091", "boot files, agents and the API by token, for machines", _listener),
    Setting("listen.ui", "127.0.0.1:8092", "web UI, login and the whole API, for operators", _listener),
    Setting("listen.dhcp", "0.0.0.0:67", "DHCP; answers only on networks that a subnet covers", _listener),
    Setting("listen.proxy", "0.0.0.0:4011", "where PXE clients ask for boot files; off with `listen.dhcp`", _listener),
    Setting("listen.tftp", "0.0.0.0:69", "TFTP, read-only", _listener),
    Setting("listen.http6", "auto", "the same as `listen.http` for IPv6; auto: beside 0.0.0.0", _listener6),
    Setting("listen.dhcp6", "auto", "DHCPv6; auto: [::]:547 beside 0.0.0.0:67", _listener6),
    Setting("listen.tftp6", "auto", "TFTP for IPv6; auto: beside 0.0.0.0", _listener6),
    Setting("tftp.single_port", "off", "answer TFTP from the port that was asked, for firewalls and NAT", _switch),
    Setting("tftp.max_blksize", "65464", "the largest TFTP block that is agreed to", _whole(512, 65464)),
    Setting("tftp.ports", "", "the ports that TFTP transfers are sent from: FIRST-LAST; empty: any", _ports),
    Setting("dhcp.interfaces", "", "answer DHCP on these interfaces only, by blanks; empty: on all", _words),
    Setting("dhcp.subnets", "", "subnets to make: CIDR,FIRST-LAST[,gateway=A][,dns=A+B], by blanks", _subnets),
    Setting("boot.unknown_bootenv", "discovery", "what machines boot that nobody knows; `local`: their own disk", str),
    Setting("boot.heavy_downloads", "100", "how many machines may download at once; 0: no limit", _whole(0, 100_000)),
    Setting("repos.upstreams", "", "install repositories to pass on: NAME=URL, by blanks", _upstreams),
    Setting("repos.cache_mb", "20000", "MB of copies of repositories' files; 0: no limit", _whole(0, 100_000_000)),
    Setting("machines.default_workflow", "discover", "the workflow of newly registered machines; empty: none", str),
    Setting("jobs.keep_days", "0", "remove jobs that ended so many days ago; 0: never", _whole(0, LONGEST_DAYS)),
    Setting("jobs.keep_per_machine", "0", "keep so many of each machine's newest jobs; 0: all", _whole(0, 1_000_000)),
    Setting("jobs.asset_limit_mb", "100", "MB that the files handed in by one job may have", _whole(1, 1_000_000)),
    Setting("events.keep_days", "0", "remove events older than so many days; 0: never", _whole(0, LONGEST_DAYS)),
    Setting("recorder.size_mb", "64", "MB for the last DHCP packets of clients; 0: keep none", _whole(0, 1_000_000)),
    Setting("secrets.key_file", "", "the key of secure values; empty: `secret.key` below data_dir", lambda text: text),
    Setting("admin.password", "", "the administrator's password; without one it is made up at the first start", str),
    Setting("admin.password_file", "", "a file with the administrator's password", _readable_file),
    Setting("run_as", "", "the user to become once all sockets are bound; empty: stay who we are", str),
    Setting("log.level", "info", "the least important log events shown", _choice("debug", "info", "warning", "error")),
    Setting("log.format", "auto", "json, console, or auto: console on a terminal", _choice("auto", "json", "console")),
)  # fmt: skip
# Secrets come from the environment or a file, never from argv, where everybody on the host reads them.
NOT_ON_THE_COMMAND_LINE = frozenset({"admin.password"})


class Config:
    """All settings by name, checked; `config["listen.http"]`."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    @property
    def files_dir(self) -> Path:
        """Where boot files and images are."""
        given = self._values["files_dir"]
        return Path(given).absolute() if given else self._values["data_dir"] / "files"

    @property
    def key_file(self) -> Path:
        """Where the keys are that secure values are sealed with."""
        given = self._values["secrets.key_file"]
        return Path(given).absolute() if given else self._values["data_dir"] / "secret.key"

    @property
    def admin_password(self) -> str:
        """The administrator's password from file or environment, '' when none was given."""
        return str(self._values["admin.password_file"] or self._values["admin.password"])


def read_config(flags: Mapping[str, str], environment: Mapping[str, str], file: Path | None = None) -> Config:
    """All settings; raises SettingError naming the setting, where it came from, its value and what is valid."""
    from_file = _read_file(file) if file else {}
    values = {}
    for setting in SETTINGS:
        text, source = setting.default, "the default"
        if setting.name in from_file:
            text, source = from_file[setting.name], str(file)
        if setting.variable in environment:
            text, source = environment[setting.variable], setting.variable
        if flags.get(setting.name) is not None:
            text, source = flags[setting.name], setting.flag
        try:
            values[setting.name] = setting.parse(text)
        except ValueError as error:
            shown = "" if setting.name in NOT_ON_THE_COMMAND_LINE else f" {text!r}"
            raise SettingError(
                f"setting {setting.name} ({source}){shown}: {error}\n  {setting.name}: {setting.help}",
                object=setting.name,
            ) from error
    _refuse_unknown(environment)
    return Config(values)


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    known = {setting.variable for setting in SETTINGS} | {*(PREFIX + name for name in _NO_SETTINGS)}
    for name in environment:
        if name.startswith(PREFIX) and name not in known:
            raise SettingError(f"unknown variable {name}; there is: {', '.join(sorted(known))}", object=name)


def _read_file(file: Path) -> dict[str, str]:
    try:
        read = yaml.safe_load(file.read_text()) or {}
    except OSError as error:
        raise SettingError(f"cannot read the configuration {file}: {error.strerror}", object=str(file)) from error
    except yaml.YAMLError as error:
        raise SettingError(f"the configuration {file} is not YAML: {error}", object=str(file)) from error
    if not isinstance(read, dict):
        raise SettingError(f"the configuration {file} is not a map of settings", object=str(file))
    found = dict(_flat(read, ""))
    known = {setting.name for setting in SETTINGS}
    for name in found:
        if name not in known:
            choices = ", ".join(sorted(known))
            raise SettingError(f"{file}: unknown setting {name!r}; there is: {choices}", object=name)
    return found


def _flat(values: Mapping[str, Any], prefix: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            found.append((f"{prefix}{name}", " ".join(map(str, value))))
        else:
            # YAML reads a bare `off` as false.
            text = OFF if value is False else "" if value is None else str(value)
            found.append((f"{prefix}{name}", text))
    return found
