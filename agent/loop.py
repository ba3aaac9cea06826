"""What the agent does next, as a pure table: (standing, reply) -> (standing, action).

A standing is where the loop is: its phase and the little it remembers. An action is something to perform that brings
one reply; performing is `session`'s work. A reply that `TABLE` lacks for the phase raises and changes nothing.

    LOOKING    asked where the machine stands    -> CLAIMING  STAGING  WAITING  UPDATING  PREPARING  OVER
    CLAIMING   asked for a job                   -> RUNNING  LOOKING
    RUNNING    does a job                        -> CLAIMING  LOOKING  PREPARING  OVER
    STAGING    asked for the change-stage step   -> LOOKING  WAITING  PREPARING  OVER
    WAITING    waits for the machine to change   -> as LOOKING
    RESTING    pauses after a refusal            -> LOOKING
    UPDATING   takes over the server's agent     -> LOOKING  OVER
    PREPARING  has the next boot device set      -> LOADING  OVER
    LOADING    loads a kernel to go on with      -> OVER
    OVER       ends; nothing follows
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Callable, Optional, Union

from .exits import COMPLETE_EXIT, POWEROFF_EXIT, REBOOT_EXIT, STOP_EXIT
from .job_protocol import WorkOrder
from .protocol import AgentFile, Kernel, Work

REST_SECONDS = 30.0  # after a refusal that time alone may cure
INSTALL_SUFFIX = "-install"  # in such an environment an installer runs, which does its own reboot


class Phase(Enum):
    """What the loop is waiting for."""

    LOOKING = "looking"
    CLAIMING = "claiming"
    RUNNING = "running"
    STAGING = "staging"
    WAITING = "waiting"
    RESTING = "resting"
    UPDATING = "updating"
    PREPARING = "preparing"
    LOADING = "loading"
    OVER = "over"


class Outcome(Enum):
    """How the loop ends; `__main__` performs it."""

    EXIT = "exit"
    REBOOT = "reboot"
    KEXEC = "kexec"
    UPDATED = "updated"
    POWEROFF = "poweroff"
    DENIED = "denied"


# --- actions --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Look:
    """Ask where the machine stands; with a revision, wait until it is another. Brings `Seen`."""

    revision: Optional[int] = None


@dataclass(frozen=True)
class Claim:
    """Ask for a job. Brings `Ordered`, `NothingToDo` or `Conflicted`."""


@dataclass(frozen=True)
class RunJob:
    """Do a job. Brings `Ended` or `Dropped`."""

    order: WorkOrder


@dataclass(frozen=True)
class AskNextStage:
    """Ask for the step of the change-stage map. Brings `Staged` or `Conflicted`."""


@dataclass(frozen=True)
class PrepareReboot:
    """Have the next boot device set. Brings `Prepared`, always."""


@dataclass(frozen=True)
class LoadKernel:
    """Load a kernel to start instead of a reboot. Brings `Loaded`."""

    kernel: Kernel


@dataclass(frozen=True)
class Update:
    """Put the server's agent in our place. Brings `Updated`."""

    agent: AgentFile


@dataclass(frozen=True)
class Rest:
    """Let time pass. Brings `Rested`."""

    seconds: float


@dataclass(frozen=True)
class Finish:
    """End; brings nothing."""

    outcome: Outcome


Action = Union[Look, Claim, RunJob, AskNextStage, PrepareReboot, LoadKernel, Update, Rest, Finish]


# --- replies --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """Where the machine stands."""

    work: Work


@dataclass(frozen=True)
class Ordered:
    """A job to do."""

    order: WorkOrder


@dataclass(frozen=True)
class NothingToDo:
    """No job: the tasks are done, or the server applied an entry by itself."""


@dataclass(frozen=True)
class Conflicted:
    """The machine's state forbids what was asked."""

    reason: str


@dataclass(frozen=True)
class Ended:
    """A job was done and reported."""

    exit_state: str


@dataclass(frozen=True)
class Dropped:
    """A job was not ours to do, or is not any more."""


@dataclass(frozen=True)
class Staged:
    """The step of the change-stage map: continue, reboot, stop, poweroff or wait."""

    action: str


@dataclass(frozen=True)
class Prepared:
    """The next boot device is set, as far as it can be; `kernel` is one to go on with instead of a reboot."""

    kernel: Optional[Kernel] = None


@dataclass(frozen=True)
class Loaded:
    """Whether the kernel is loaded."""

    is_loaded: bool


@dataclass(frozen=True)
class Updated:
    """Whether the server's agent has taken our place on disk."""

    is_updated: bool


@dataclass(frozen=True)
class Rested:
    """Time has passed."""


@dataclass(frozen=True)
class Rejected:
    """The server refused for a reason of ours that asking again at once does not cure."""

    reason: str


@dataclass(frozen=True)
class NotAdmitted:
    """The server does not accept our token, or does not know the machine."""

    reason: str


Reply = Union[
    Seen,
    Ordered,
    NothingToDo,
    Conflicted,
    Ended,
    Dropped,
    Staged,
    Prepared,
    Loaded,
    Updated,
    Rested,
    Rejected,
    NotAdmitted,
]


# --- the table ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Standing:
    """Where the loop is. `bootenv` is the environment we run in; `once`: end instead of waiting for work.

    `revision` is the machine's as last seen; `claimed_at` and `staged_at` are revisions at which the server had nothing
    for us, so that we wait for the machine to change instead of asking in a circle.

    `agent` is the file that we run from, None when it is not ours to replace; `declined` is the SHA-256 of the server's
    that we tried to put in its place, or were replaced by ourselves.
    """

    bootenv: str
    once: bool = False
    phase: Phase = Phase.CLAIMING
    revision: Optional[int] = None
    claimed_at: Optional[int] = None
    staged_at: Optional[int] = None
    agent: Optional[AgentFile] = None
    declined: str = ""

    @property
    def in_installer(self) -> bool:
        """Whether an installer runs here, which reboots by itself."""
        return self.bootenv.endswith(INSTALL_SUFFIX)


Step = tuple[Standing, Action]


class UnexpectedReply(Exception):
    """A reply that cannot follow what was asked: an error in the agent itself."""


def begin(
    bootenv: str,
    once: bool = False,
    agent: Optional[AgentFile] = None,
    offered: Optional[AgentFile] = None,
    declined: str = "",
) -> Step:
    """The first standing and action; `offered` is the server's agent as told in its answer to our hello."""
    standing = Standing(bootenv, once, agent=agent, declined=declined)
    return _update(standing, offered) or (standing, Claim())


def step(standing: Standing, reply: Reply) -> Step:
    """What follows from a reply."""
    rule = TABLE.get((standing.phase, type(reply)))
    if rule is None:
        raise UnexpectedReply(f"{type(reply).__name__} while {standing.phase.value}")
    return rule(standing, reply)


def _claim(standing: Standing) -> Step:
    return replace(standing, phase=Phase.CLAIMING), Claim()


def _look(standing: Standing) -> Step:
    return replace(standing, phase=Phase.LOOKING), Look()


def _wait(standing: Standing) -> Step:
    if standing.once:
        return _finish(standing, Outcome.EXIT)
    # Whatever woke us, or the end of the wait, is reason enough to ask anew.
    waiting = replace(standing, phase=Phase.WAITING, claimed_at=None, staged_at=None)
    return waiting, Look(standing.revision)


def _rest(standing: Standing) -> Step:
    return replace(standing, phase=Phase.RESTING), Rest(REST_SECONDS)


def _finish(standing: Standing, outcome: Outcome) -> Step:
    return replace(standing, phase=Phase.OVER), Finish(outcome)


def _reboot(standing: Standing) -> Step:
    if standing.in_installer:
        return _finish(standing, Outcome.EXIT)
    return replace(standing, phase=Phase.PREPARING), PrepareReboot()


def _on_seen(standing: Standing, reply: Seen) -> Step:
    work = reply.work
    standing = replace(standing, revision=work.revision)
    if work.bootenv != standing.bootenv:
        return _reboot(standing)
    update = _update(standing, work.agent)
    if update is not None:
        return update
    if work.claimable and work.revision != standing.claimed_at:
        return _claim(standing)
    at_end = work.runnable and work.is_done and not work.workflow and work.map_leads is not False
    if at_end and work.revision != standing.staged_at:
        return replace(standing, phase=Phase.STAGING, staged_at=work.revision), AskNextStage()
    return _wait(standing)


def _update(standing: Standing, offered: Optional[AgentFile]) -> Optional[Step]:
    """Taking over the server's agent, tried once for each of them; None when ours is to stay. Only between jobs."""
    if standing.once or standing.agent is None or offered is None or offered.sha256 == standing.declined:
        return None
    if not offered.succeeds(standing.agent):
        return None
    return replace(standing, phase=Phase.UPDATING, declined=offered.sha256), Update(offered)


def _on_updated(standing: Standing, reply: Updated) -> Step:
    return _finish(standing, Outcome.UPDATED) if reply.is_updated else _look(standing)


def _on_prepared(standing: Standing, reply: Prepared) -> Step:
    if reply.kernel is None:
        return _finish(standing, Outcome.REBOOT)
    return replace(standing, phase=Phase.LOADING), LoadKernel(reply.kernel)


def _on_ordered(standing: Standing, reply: Ordered) -> Step:
    return replace(standing, phase=Phase.RUNNING), RunJob(reply.order)


def _on_nothing(standing: Standing, reply: Union[NothingToDo, Conflicted, Dropped]) -> Step:
    return _look(replace(standing, claimed_at=standing.revision))


def _on_ended(standing: Standing, reply: Ended) -> Step:
    return EXIT_STATES.get(reply.exit_state, _look)(standing)


def _on_staged(standing: Standing, reply: Staged) -> Step:
    return STAGE_ACTIONS.get(reply.action, _wait)(standing)


# What follows a job, and a step of the change-stage map. Anything else: look, or wait.
EXIT_STATES: dict[str, Callable[[Standing], Step]] = {
    COMPLETE_EXIT: _claim,
    REBOOT_EXIT: _reboot,
    POWEROFF_EXIT: lambda standing: _finish(standing, Outcome.POWEROFF),
    STOP_EXIT: lambda standing: _finish(standing, Outcome.EXIT),
}
STAGE_ACTIONS: dict[str, Callable[[Standing], Step]] = {
    "continue": _look,
    "reboot": _reboot,
    "poweroff": lambda standing: _finish(standing, Outcome.POWEROFF),
    "stop": lambda standing: _finish(standing, Outcome.EXIT),
    "wait": _wait,
}

TABLE: dict[tuple[Phase, type], Callable[[Standing, Any], Step]] = {
    (Phase.LOOKING, Seen): _on_seen,
    (Phase.WAITING, Seen): _on_seen,
    (Phase.CLAIMING, Ordered): _on_ordered,
    (Phase.CLAIMING, NothingToDo): _on_nothing,
    (Phase.CLAIMING, Conflicted): _on_nothing,
    (Phase.RUNNING, Ended): _on_ended,
    (Phase.RUNNING, Dropped): _on_nothing,
    (Phase.STAGING, Staged): _on_staged,
    (Phase.STAGING, Conflicted): lambda standing, reply: _wait(standing),
    (Phase.RESTING, Rested): lambda standing, reply: _look(standing),
    (Phase.UPDATING, Updated): _on_updated,
    (Phase.PREPARING, Prepared): _on_prepared,
    (Phase.LOADING, Loaded): lambda standing, reply: _finish(
        standing, Outcome.KEXEC if reply.is_loaded else Outcome.REBOOT
    ),
    **{
        (phase, Rejected): lambda standing, reply: _rest(standing)
        for phase in (Phase.LOOKING, Phase.WAITING, Phase.CLAIMING, Phase.RUNNING, Phase.STAGING)
    },
    **{
        (phase, NotAdmitted): lambda standing, reply: _finish(standing, Outcome.DENIED)
        for phase in (Phase.LOOKING, Phase.WAITING, Phase.CLAIMING, Phase.RUNNING, Phase.STAGING)
    },
}
