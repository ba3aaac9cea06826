"""One agent at work: performs what the loop decides and hands it what came of it, until the loop is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, Optional, Protocol

from . import job_protocol, protocol
from .client import Client
from .clock import Clock
from .errors import Conflict, Denied, Missing, Nonsense, Refused, ServerAway
from .exits import Ending
from .loop import (
    Action,
    AskNextStage,
    Claim,
    Conflicted,
    Dropped,
    Ended,
    Finish,
    Loaded,
    LoadKernel,
    Look,
    NotAdmitted,
    NothingToDo,
    Ordered,
    Outcome,
    Prepared,
    Rejected,
    Reply,
    Rest,
    Rested,
    RunJob,
    Seen,
    Staged,
    Update,
    Updated,
    begin,
    step,
)

PREPARE_TRIES = 3  # preparing helps a reboot; not being able to must not hinder it


class JobRunner(Protocol):
    """Does work orders."""

    def run(self, order: job_protocol.WorkOrder) -> Optional[Ending]:
        """None: nothing follows from it."""


class Replacer(Protocol):
    """Puts the server's agent in the place of `current`, the file that we run from."""

    @property
    def current(self) -> protocol.AgentFile:
        """What we run from."""

    def replace(self, agent: protocol.AgentFile) -> str:
        """Do it; why it could not be done, or ""."""


class Loader(Protocol):
    """Loads kernels to go on with instead of a reboot."""

    def load(self, kernel: protocol.Kernel) -> str:
        """Do it; why it could not be done, or ""."""


@dataclass(frozen=True)
class Talents:
    """What not every agent can: to replace itself, and to start a kernel without a reboot.

    `came_from` is the SHA-256 of the agent whose place we took: two servers that differ must not send us back and
    forth.
    """

    replacer: Optional[Replacer] = None
    loader: Optional[Loader] = None
    came_from: str = ""


class Session:
    """`machine` and `holder` are whom the agent speaks for; `new_key` makes a fresh word for each claim."""

    def __init__(
        self,
        client: Client,
        runner: JobRunner,
        clock: Clock,
        machine: str,
        holder: job_protocol.Holder,
        new_key: Callable[[], str],
        note: Callable[[str], None],
        jitter: Callable[[], float] = lambda: 0.0,
        talents: Talents = Talents(),
    ) -> None:
        self._client = client
        self._runner = runner
        self._clock = clock
        self._machine = machine
        self._holder = holder
        self._new_key = new_key
        self._note = note
        self._jitter = jitter
        self._talents = talents
        self._offered: Optional[protocol.AgentFile] = None
        self._last_reason = ""

    def greet(self, greeting: Mapping[str, Any]) -> bool:
        """Say hello; False when the server does not know us."""
        try:
            self._offered = protocol.read_agent(self._client.call(protocol.hello(self._machine, greeting)))
        except (Denied, Missing) as refusal:
            self._note(f"the server does not know us: {refusal}")
            return False
        except Refused as refusal:
            self._note(f"the server does not like our hello: {refusal}")
        return True

    def work(self, bootenv: str, once: bool = False) -> Outcome:
        """Work until there is a reason to end; `once`: having nothing to do is one. Raises `Stopped` when told to."""
        talents = self._talents
        current = talents.replacer.current if talents.replacer else None
        standing, action = begin(bootenv, once, current, self._offered, talents.came_from)
        while not isinstance(action, Finish):
            self._clock.sleep(0)  # told to stop while it was busy, it stops here
            standing, action = step(standing, self._perform(action))
        return action.outcome

    def _perform(self, action: Action) -> Reply:
        try:
            return self._ask(action)
        except Conflict as conflict:
            self._tell(f"waiting: {conflict.detail}")
            return Conflicted(conflict.detail)
        except (Denied, Missing) as refusal:
            self._note(f"the server does not know us: {refusal}")
            return NotAdmitted(str(refusal))
        except (Refused, Nonsense) as error:
            self._note(f"cannot go on: {error}")
            return Rejected(str(error))

    def _ask(self, action: Action) -> Reply:
        if isinstance(action, Claim):
            return self._claim()
        if isinstance(action, RunJob):
            ending = self._runner.run(action.order)
            return Dropped() if ending is None else Ended(ending.exit_state)
        if isinstance(action, Look):
            return self._look(action.revision)
        if isinstance(action, AskNextStage):
            follows, reason = protocol.read_stage_action(self._client.call(protocol.next_stage(self._machine)))
            self._tell(f"change-stage map: {follows} {reason}".rstrip())
            return Staged(follows)
        if isinstance(action, Rest):
            self._clock.sleep(action.seconds)
            return Rested()
        if isinstance(action, Update):
            return self._update(action.agent)
        if isinstance(action, LoadKernel):
            return self._load(action.kernel)
        return self._prepare_reboot()

    def _claim(self) -> Reply:
        order = self._client.call(job_protocol.claim(self._machine, self._holder, self._new_key()))
        if not order:
            return NothingToDo()
        self._last_reason = ""
        return Ordered(job_protocol.read_work_order(order))

    def _look(self, revision: Optional[int]) -> Reply:
        work = protocol.read_work(self._client.call(protocol.look(self._machine, revision, self._jitter())))
        if work.reason:
            self._tell(f"waiting: {work.reason}")
        return Seen(work)

    def _prepare_reboot(self) -> Reply:
        request = protocol.prepare_reboot(self._machine, kexec=self._talents.loader is not None)
        try:
            answer = self._client.call(request, tries=PREPARE_TRIES) or {}
            kernel = protocol.read_kernel(answer)
        except (Refused, ServerAway, Nonsense) as error:
            self._note(f"the next boot device was not set: {error}")
            return Prepared()
        self._note(f"next boot: {answer.get('next_boot', 'none')} {answer.get('message', '')}".rstrip())
        return Prepared(kernel)

    def _load(self, kernel: protocol.Kernel) -> Reply:
        reason = self._talents.loader.load(kernel) if self._talents.loader else "there is no program for it"
        if reason:
            self._note(f"reboots by the firmware, the kernel cannot be started from here: {reason}")
        return Loaded(not reason)

    def _update(self, agent: protocol.AgentFile) -> Reply:
        self._note(f"the server has another agent, version {agent.version}; takes it over")
        reason = self._talents.replacer.replace(agent) if self._talents.replacer else "it is not ours to replace"
        if reason:
            self._note(f"goes on with the agent as it is: {reason}")
        return Updated(not reason)

    def _tell(self, text: str) -> None:
        """Note something once, not each time it is found again."""
        if text != self._last_reason:
            self._last_reason = text
            self._note(text)
