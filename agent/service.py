"""The verbs `start` and `run`: from a boot to a session, and from the session's outcome to the machine's."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from tempfile import gettempdir, mkdtemp
from types import FrameType
from typing import Callable, Optional
from uuid import uuid4

from . import identity
from .client import Client
from .clock import Clock, SystemClock
from .cmdline import PREFIX, BootWords, parse
from .config import INSTALLED_PATH, NETBOOTED_PATH, Config, read, write
from .errors import ConfigError, Denied, Refused, ServerAway, Stopped
from .helpers import install
from .host import boot_id, greeting, registration_card
from .interrupt import STOPPED, Interrupt
from .inventory import collect
from .job_protocol import Holder
from .kept import KeptResults
from .kexec import PROGRAM as KEXEC
from .kexec import KernelLoader
from .loop import Outcome
from .power import SYSRQ_PATH, perform
from .protocol import AgentFile, put_inventory
from .registration import join
from .render import Renderer
from .runner import Place, Runner
from .session import Session, Talents
from .spool import LIMIT_BYTES
from .spool import Place as SpoolPlace
from .transport import HttpTransport
from .update import Updater, current_agent

DENIED_PAUSE_SECONDS = 60.0  # before booting again for a new ticket, or asking again: time to read the console
INVENTORY_TRIES = 3  # the inventory task sends it again; work must not wait for it
COMMAND_TIMEOUT_SECONDS = 30.0
PROGRAM_TIMEOUT_SECONDS = 120.0
CAME_FROM = "PROVISIONER_AGENT_BEFORE"  # tells an agent which one it has replaced
STILL_HERE_EXIT = 1  # a failure, so that the agent is started again and tries once more
RESULTS_DIR = os.path.dirname(NETBOOTED_PATH)
MIB = 1024 * 1024


def note(text: str) -> None:
    """A line for the console or the journal."""
    with suppress(OSError):  # a console that went away is no reason to end
        sys.stderr.write(f"[agent] {text}\n")
        sys.stderr.flush()


def run_for_output(words: Sequence[str]) -> Optional[str]:
    """A program's output, None when it fails, is not there or takes too long."""
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=PROGRAM_TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        note(f"{words[0]}: {error}")
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


@dataclass(frozen=True)
class Options:
    """How to serve. `once`: exit when there is nothing to do; `root` is where /sys and /proc are.

    `agent_path` is the file that we run from; `output` gives a program's output, None when it fails, and `which` tells
    where a program is. `results_dir` is where results wait for the next agent, "" nowhere. `came_from` is the SHA-256
    of the agent whose place we took.
    """

    once: bool = False
    work_dir: str = ""
    results_dir: str = ""
    came_from: str = ""
    root: str = "/"
    spool: SpoolPlace = SpoolPlace()
    agent_path: str = field(default_factory=lambda: os.path.abspath(sys.argv[0]))
    output: Callable[[Sequence[str]], Optional[str]] = run_for_output
    which: Callable[[str], Optional[str]] = shutil.which


class Service:
    """One agent process. `stop` tells it to end; `act` does to the machine what a session ended with."""

    def __init__(
        self,
        options: Options,
        stop: Interrupt,
        clock: Clock,
        jitter: Callable[[], float],
        act: Callable[[Outcome], None],
    ) -> None:
        self._options = options
        self._stop = stop
        self._clock = clock
        self._jitter = jitter
        self._act = act
        self._instance = _new_key()
        self._on_stop: tuple[Callable[[], None], ...] = ()

    def start(self, cmdline_path: str, state_path: str) -> int:
        """A netbooted machine: register unless that was done in this boot, then work."""
        words = _boot_words(cmdline_path)
        try:
            try:
                settings = _known(state_path, words) or self._register(state_path, words)
                outcome = self._serve(settings, updates=False)  # each boot fetches the server's
            except Denied as denial:
                note(f"the server does not accept our ticket: {denial}")
                outcome = Outcome.DENIED
            if outcome is Outcome.DENIED:
                self._pause_before_new_ticket(state_path)
                outcome = Outcome.REBOOT
            return self._leave(outcome)
        except Stopped as stopped:
            return _stopped(stopped)

    def run(self, config_path: str) -> int:
        """An installed operating system: work as the config says."""
        try:
            while True:
                outcome = self._serve(read(config_path), updates=True)  # read anew: a token may have been exchanged
                if outcome is not Outcome.DENIED:
                    return self._leave(outcome)
                self._clock.sleep(DENIED_PAUSE_SECONDS * (0.5 + self._jitter()))
        except Stopped as stopped:
            return _stopped(stopped)

    def _register(self, state_path: str, words: BootWords) -> Config:
        client = self._client_for(words.url)
        root = self._options.root
        card = registration_card(words.ticket, words.mac, words.bootenv, words.url, identity.read(root), root)
        known = join(client, self._clock, card, words.url, _new_key(), note)
        settings = Config(known.url, known.machine, known.token, words.bootenv)
        write(state_path, settings)
        return settings

    def _serve(self, settings: Config, updates: bool) -> Outcome:
        """One session, in a folder of its own that holds the helper commands."""
        folder = _make_folder(self._options.work_dir)
        try:
            return self._work(settings, folder, updates)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _work(self, settings: Config, folder: str, updates: bool) -> Outcome:
        root = self._options.root
        transport = HttpTransport(settings.url)
        client = Client(transport, self._clock, self._jitter, note, settings.token)
        place = Place(
            machine=settings.machine,
            url=settings.url,
            token=settings.token,
            holder=Holder(boot_id(root), self._instance),
            agent_path=self._options.agent_path,
            helper_dir=os.path.join(folder, "bin"),
            work_dir=folder,
            spool=self._options.spool,
            results_dir=self._options.results_dir,
        )
        runner = Runner(client, place, self._clock, Renderer(), self._jitter, note, lambda: bool(self._stop.reason))
        talents = self._talents(client, folder, updates)
        session = Session(
            client, runner, self._clock, settings.machine, place.holder, _new_key, note, self._jitter, talents
        )
        self._on_stop = (lambda: runner.interrupt(self._stop.detail), transport.interrupt)
        # Before the hello: that is what lets a job that was cut off go on, once it is known to be.
        KeptResults(place.results_dir, place.machine).tell(client, place.holder.boot_id, note)
        if not session.greet(greeting(place.holder, settings.bootenv, settings.url, root)):
            return Outcome.DENIED
        self._send_inventory(client, settings.machine)
        return session.work(settings.bootenv, self._options.once)

    def _talents(self, client: Client, folder: str, updates: bool) -> Talents:
        options = self._options
        current = current_agent(options.agent_path) if updates else None
        updater = Updater(client, options.agent_path, current, sys.executable, options.output) if current else None
        loader = KernelLoader(self._client_for, options.output, folder) if options.which(KEXEC) else None
        return Talents(updater, loader, options.came_from)

    def _client_for(self, url: str) -> Client:
        return Client(HttpTransport(url), self._clock, self._jitter, note)

    def _send_inventory(self, client: Client, machine: str) -> None:
        try:
            client.call(put_inventory(machine, collect(self._options.root)), tries=INVENTORY_TRIES)
        except (Refused, ServerAway) as error:
            note(f"the inventory was not taken: {error}")

    def _pause_before_new_ticket(self, state_path: str) -> None:
        seconds = DENIED_PAUSE_SECONDS * (0.5 + self._jitter())
        note(f"boots again in {seconds:.0f} s to be given a new ticket")
        with suppress(FileNotFoundError):
            os.unlink(state_path)
        self._clock.sleep(seconds)

    def _leave(self, outcome: Outcome) -> int:
        note(f"ends: {outcome.value}")
        if outcome is not Outcome.EXIT:
            self._act(outcome)
        return 0

    def obey_signals(self) -> None:
        """Stop on SIGTERM and SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: Optional[FrameType]) -> None:
        self.stop(signal.Signals(number).name)

    def stop(self, reason: str) -> None:
        """End soon: a running job becomes incomplete. Safe in a signal handler."""
        self._stop.give(STOPPED, reason)
        for act in self._on_stop:
            act()


def _make_folder(work_dir: str) -> str:
    """A folder with the helper commands in `bin`. Raises `ConfigError` when there is no room for it."""
    folder = ""
    try:
        folder = mkdtemp(prefix="provisioner-", dir=work_dir or None)
        install(os.path.join(folder, "bin"))
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ConfigError(f"cannot work in {work_dir or gettempdir()}: {error.strerror or error}") from error
    return folder


def _new_key() -> str:
    return uuid4().hex


def _boot_words(cmdline_path: str) -> BootWords:
    with open(cmdline_path, encoding="utf-8") as file:
        words = parse(file.read())
    missing = [name for name in ("url", "bootenv") if not getattr(words, name)]
    if missing:
        raise ConfigError(f"{cmdline_path} lacks {' and '.join(PREFIX + name for name in missing)}")
    return words


def _known(state_path: str, words: BootWords) -> Optional[Config]:
    """What an earlier process registered in this boot."""
    if not os.path.exists(state_path):
        return None
    settings = read(state_path)
    return settings if settings.bootenv == words.bootenv else None


def _stopped(stopped: Stopped) -> int:
    note(f"stops: {stopped}")
    return 0


def _run_command(words: Sequence[str]) -> int:
    try:
        return subprocess.run(words, stdin=subprocess.DEVNULL, timeout=COMMAND_TIMEOUT_SECONDS, check=False).returncode
    except (OSError, subprocess.TimeoutExpired) as error:
        note(f"{words[0]}: {error}")
        return 1


def _become_new(current: Optional[AgentFile]) -> None:
    """Run the file that has taken the place of `current`, which is us, as the same process."""
    os.environ[CAME_FROM] = current.sha256 if current else ""
    isolated = ["-I"] if sys.flags.isolated else []  # Python 3.9 does not keep its own options
    os.execv(sys.executable, getattr(sys, "orig_argv", [sys.executable, *isolated, *sys.argv]))


def _press_sysrq(key: str) -> None:
    with open(SYSRQ_PATH, "w", encoding="ascii") as file:
        file.write(key)


def start(words: Sequence[str]) -> int:
    """`start`: serve a netbooted machine."""
    parser = _parser("start", "serve a machine that was booted from the network")
    parser.add_argument("--cmdline", default="/proc/cmdline", help="where the kernel's command line is")
    parser.add_argument("--state", default=NETBOOTED_PATH, help="where to keep what registering brought")
    chosen = parser.parse_args(words)
    return _service(chosen).start(chosen.cmdline, chosen.state)


def run(words: Sequence[str]) -> int:
    """`run`: serve an installed operating system."""
    parser = _parser("run", "serve an installed operating system")
    parser.add_argument("--config", default=INSTALLED_PATH, help="url, machine, token and bootenv, as JSON")
    chosen = parser.parse_args(words)
    return _service(chosen).run(chosen.config)


def _parser(verb: str, text: str) -> ArgumentParser:
    parser = ArgumentParser(prog=f"agent.pyz {verb}", description=text)
    parser.add_argument("--once", action="store_true", help="exit when there is nothing to do, instead of waiting")
    parser.add_argument("--keep-power", action="store_true", help="exit instead of rebooting or powering off")
    parser.add_argument("--work-dir", default="", help="where tasks get their folders")
    text = f"where results wait for the next agent when this one has to end (usually {RESULTS_DIR})"
    parser.add_argument("--results-dir", default=RESULTS_DIR, help=text)
    text = "keep output that waits for the server in this folder instead of in memory while it is little"
    parser.add_argument("--spool-dir", default="", help=text)
    text = f"how much output waits for the server at most, for one job (usually {LIMIT_BYTES // MIB})"
    parser.add_argument("--spool-mb", type=_megabytes, default=LIMIT_BYTES // MIB, help=text)
    return parser


def _megabytes(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a number of MiB from 1 on")
    return int(text)


def _spool(folder: str, megabytes: int) -> SpoolPlace:
    if not folder:
        return SpoolPlace(limit_bytes=megabytes * MIB)
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot keep output in {folder}: {error.strerror}") from error
    return SpoolPlace(folder, megabytes * MIB, memory_bytes=0)


def _service(chosen: Namespace) -> Service:
    stop = Interrupt()
    clock = SystemClock(stop)
    came_from = os.environ.pop(CAME_FROM, "")
    current = current_agent(os.path.abspath(sys.argv[0]))

    def act(outcome: Outcome) -> None:
        if outcome is Outcome.UPDATED:
            _become_new(current)
        elif not chosen.keep_power:
            perform(outcome, _run_command, _press_sysrq, clock.sleep, note)
            raise SystemExit(STILL_HERE_EXIT)

    # Scripts run in other folders than we do.
    work_dir = os.path.abspath(chosen.work_dir) if chosen.work_dir else ""
    results_dir = os.path.abspath(chosen.results_dir) if chosen.results_dir else ""
    options = Options(chosen.once, work_dir, results_dir, came_from, spool=_spool(chosen.spool_dir, chosen.spool_mb))
    service = Service(options, stop, clock, random.SystemRandom().random, act)
    service.obey_signals()
    return service
