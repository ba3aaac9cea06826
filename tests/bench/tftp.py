"""TFTP beside atftpd, tftpd-hpa and dnsmasq, in turn, on one cable: servers on one processor, the load on another.

The load is a program in C that checks every byte. Every server gets the same requests in every round; what is shown
are the medians over the rounds, and our rate divided by a peer's.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median

from tests.bench.figures import Figure
from tests.bench.tftp_cable import Cable, cable
from tests.journey import PASSWORD_VARIABLE, REPOSITORY

_ROUNDS = 5
_SERVER_CPU, _CLIENT_CPU = 0, 1
_BLOCK_SIZE = 1468
_MEGABYTE = 1_000_000
_START_SECONDS = 30
_TICKS = os.sysconf("SC_CLK_TCK")
_OURS = "provisioner"


@dataclass(frozen=True)
class Load:
    """What is asked for, `transfers` times at once; window 0 is none; `servers` are those that take part."""

    name: str
    file: str
    transfers: int
    window: int
    servers: tuple[str, ...]
    note: str
    rounds: int = _ROUNDS


LOADS = (
    Load("window16", "1mb", 200, 16, (_OURS, "atftpd"), "200 x 1 MB, windowsize 16"),
    Load("window4", "1mb", 200, 4, (_OURS, "atftpd", "dnsmasq"), "200 x 1 MB, windowsize 4; dnsmasq has no windows"),
    Load("nowindow", "1mb", 200, 0, (_OURS, "tftpd-hpa", "atftpd", "dnsmasq"), "200 x 1 MB, no window"),
    Load("single_window16", "30mb", 1, 16, (_OURS, "atftpd"), "one of 30 MB, windowsize 16", 3),
    Load("single_nowindow", "30mb", 1, 0, (_OURS, "tftpd-hpa", "atftpd", "dnsmasq"), "one of 30 MB, no window", 3),
)


@dataclass(frozen=True)
class Result:
    """One load on one server."""

    mb_per_second: float
    cpu_ms_per_mb: float
    failed: int
    repeats: int


@dataclass(frozen=True)
class Running:
    """A server that is up."""

    name: str
    address: str
    pid: int

    def cpu_seconds(self) -> float:
        """User and system time so far, with that of children that have ended (proc(5), stat)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / _TICKS


async def bench(folder: Path) -> list[Figure]:
    """All figures."""
    return await asyncio.to_thread(_bench, folder)


def missing() -> str:
    """Why this cannot be measured here, '' if it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in ("ip", "taskset", "gcc", "atftpd", "dnsmasq"):
        if shutil.which(program) is None:
            return f"{program} is not installed (make peers)"
    return "" if _hpa().is_file() else f"there is no {_hpa()} (make peers)"


def _hpa() -> Path:
    return REPOSITORY / "build" / "peers" / "tftpd-hpa" / "usr" / "sbin" / "in.tftpd"


def _bench(folder: Path) -> list[Figure]:
    files = _files(folder / "files")
    load = folder / "tftp_load"
    subprocess.run(["gcc", "-O2", "-o", str(load), str(Path(__file__).with_name("tftp_load.c"))], check=True)
    with ExitStack() as stack:
        wire = stack.enter_context(cable(4))
        servers = {
            name: stack.enter_context(_serving(wire, name, address, argv, folder / f"{name}.log"))
            for (name, argv), address in zip(_commands(folder, files, wire).items(), wire.servers, strict=True)
        }
        for server in servers.values():
            _until_it_answers(wire, load, server, files)
        return [figure for each in LOADS for figure in _compare(wire, load, servers, files, each)]


def _files(root: Path) -> Path:
    root.mkdir(mode=0o755)
    random = Random(1)
    (root / "1mb").write_bytes(random.randbytes(_MEGABYTE))
    (root / "30mb").write_bytes(random.randbytes(30 * _MEGABYTE))
    (root / "tiny").write_bytes(b"up\n")
    return root


def _commands(folder: Path, files: Path, wire: Cable) -> dict[str, list[str]]:
    """How each server is started; all listen on port 69 of an address of their own."""
    ours, atftpd, hpa, dnsmasq = wire.servers
    argv = [str(REPOSITORY / ".venv/bin/python"), "-m", "provisioner", "serve", "--data-dir", str(folder / "data")]
    argv += ["--files-dir", str(files), "--listen-dhcp", "off", "--listen-tftp", f"{ours}:69", "--log-format", "json"]
    argv += ["--listen-http", f"{ours}:8091", "--listen-ui", f"{ours}:8092"]
    return {
        _OURS: argv,
        "atftpd": [
            "atftpd", "--daemon", "--no-fork", "--user", "root", "--group", "root", "--maxthread", "1000",
            "--logfile", str(folder / "atftpd.own.log"), "--bind-address", atftpd, str(files),
        ],
        "tftpd-hpa": [str(_hpa()), "-L", "--user", "root", "-a", f"{hpa}:69", "-s", str(files)],
        "dnsmasq": [
            "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--port=0", "--enable-tftp",
            "--tftp-max=1000", f"--tftp-root={files}", "--bind-interfaces", f"--listen-address={dnsmasq}",
            "--pid-file=", "--except-interface=lo",
        ],
    }  # fmt: skip


@contextmanager
def _serving(wire: Cable, name: str, address: str, argv: Sequence[str], log: Path) -> Iterator[Running]:
    environment = {"PATH": os.environ.get("PATH", os.defpath), PASSWORD_VARIABLE: "only for this bench"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            wire.at_servers(argv, _SERVER_CPU), cwd=REPOSITORY, env=environment, stdout=output, stderr=output
        )
    try:
        yield Running(name, address, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until_it_answers(wire: Cable, load: Path, server: Running, files: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        tiny = [str(load), server.address, "tiny", str(files / "tiny"), "1", "0", "0"]
        done = subprocess.run(wire.at_load(tiny, _CLIENT_CPU), capture_output=True, check=False)
        if done.returncode == 0:
            return
        time.sleep(0.2)
    raise RuntimeError(f"{server.name} serves no file on {server.address}: {done.stdout!r} {done.stderr!r}")


def _run(wire: Cable, load: Path, server: Running, files: Path, each: Load) -> Result:
    argv = [str(load), server.address, each.file, str(files / each.file)]
    argv += [str(each.transfers), str(_BLOCK_SIZE), str(each.window)]
    before = server.cpu_seconds()
    done = subprocess.run(wire.at_load(argv, _CLIENT_CPU), capture_output=True, check=False, timeout=300)
    said = json.loads(done.stdout)
    if said["wrong"]:
        raise RuntimeError(f"{server.name} sent wrong bytes for {each.name}")
    megabytes = max(said["bytes"] / _MEGABYTE, 0.001)
    used = (server.cpu_seconds() - before) * 1000 / megabytes
    return Result(megabytes / said["seconds"], used, said["failed"], said["repeats"])


def _compare(wire: Cable, load: Path, servers: dict[str, Running], files: Path, each: Load) -> list[Figure]:
    results: dict[str, list[Result]] = {name: [] for name in each.servers}
    for round_number in range(each.rounds):
        # Whoever comes first in a round finds the processors as the last left them.
        turn = round_number % len(each.servers)
        for name in each.servers[turn:] + each.servers[:turn]:
            results[name].append(_run(wire, load, servers[name], files, each))
    return figures(each, results)


def figures(each: Load, results: dict[str, list[Result]]) -> list[Figure]:
    """The rate, processor time and failures of every server, and our rate by each peer's."""
    found = []
    rates = {name: median(result.mb_per_second for result in rounds) for name, rounds in results.items()}
    for name, rounds in results.items():
        cpu = median(result.cpu_ms_per_mb for result in rounds)
        failed, repeats = (sum(getattr(result, field) for result in rounds) for field in ("failed", "repeats"))
        note = f"{each.note}; {cpu:.2f} ms of CPU a MB; {failed} failed, {repeats} repeats in {each.rounds} rounds"
        found.append(Figure(f"tftp_{each.name}_{_word(name)}", rates[name], "MB/s", note))
    for name in each.servers[1:]:
        ratio = rates[_OURS] / rates[name]
        found.append(Figure(f"tftp_{each.name}_times_{_word(name)}", ratio, "times", each.note))
    return found


def _word(name: str) -> str:
    return name.replace("-", "_")
