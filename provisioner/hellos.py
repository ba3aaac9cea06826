"""What the hello of an agent does to its machine, as data: UP_TABLE, row by row; the first row that holds decides.

The first hello of a boot is also where the work of an earlier boot is lost. Pure: `now` and `jitter` are arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from provisioner.endings import after_job, hold_for_step
from provisioner.errors import Conflict
from provisioner.lifecycle import SERVER_BOOT_ID, lose_job
from provisioner.model.content import Task
from provisioner.model.machines import LIVE_STATES, AgentInfo, Hold, Job, JobState, Machine
from provisioner.plan import hold, release

NEW_BOOT = "the machine came back from another boot"

# What a boot does not cure: an operator says when to go on.
STAYING_HOLDS = frozenset(
    {Hold.PAUSED, Hold.STEP, Hold.STOP_BEFORE, Hold.LOST, Hold.CANCELLED, Hold.RESUMES, Hold.ERRORS}
)
_PAST_BOOTS = 8


class CameUp(Struct, frozen=True):
    """A machine, as after the loss of what an earlier boot did, whose agent says hello; `agent` is what it says."""

    machine: Machine
    job: Job | None
    agent: AgentInfo

    @property
    def same_boot(self) -> bool:
        """Whether this boot has said hello before."""
        return self.agent.boot_id == self.machine.agent.boot_id

    @property
    def going_on(self) -> bool:
        """Whether the machine's job is to go on rather than the next one to begin."""
        return self.job is not None and self.job.state is JobState.INCOMPLETE


class UpRow(Struct, frozen=True):
    """One row: when `condition` holds, `decide` gives the machine; `when` and `then` say the same for people."""

    name: str
    when: str
    then: str
    condition: Callable[[CameUp], bool]
    decide: Callable[[CameUp], Machine]


UP_TABLE: tuple[UpRow, ...] = (
    UpRow(
        "its agent is back",
        "the machine waits for its agent to come back, and this is another process, in the right bootenv",
        "it goes on",
        lambda up: (
            up.machine.hold is Hold.AGENT
            and up.agent.bootenv == up.machine.bootenv
            and (not up.same_boot or up.agent.instance != up.machine.agent.instance)
        ),
        lambda up: release(up.machine),
    ),
    UpRow("said before", "this boot has said hello before", "nothing", lambda up: up.same_boot, lambda up: up.machine),
    UpRow(
        "in another bootenv",
        "the agent runs in another bootenv than the machine's",
        "held until that comes up",
        lambda up: up.agent.bootenv != up.machine.bootenv,
        lambda up: hold(up.machine, Hold.BOOT, f"boot of {up.machine.bootenv}"),
    ),
    UpRow(
        "held over the boot",
        "the machine was paused, stopped, cancelled, lost, or went on too often",
        "it goes on waiting for an operator",
        lambda up: not up.machine.runnable and up.machine.hold in STAYING_HOLDS,
        lambda up: up.machine,
    ),
    UpRow(
        "in single-step",
        "the machine is in single-step and had to boot after a job",
        "held for the next job",
        lambda up: up.machine.step and not up.machine.runnable and up.job is not None and not up.going_on,
        lambda up: hold_for_step(up.machine, up.job) if up.job is not None else up.machine,
    ),
    UpRow("up", "the machine is up where it should be", "it goes on", lambda up: True, lambda up: release(up.machine)),
)


def up_row(up: CameUp) -> UpRow:
    """The row of UP_TABLE that decides."""
    return next(row for row in UP_TABLE if row.condition(up))


class Up(Struct, frozen=True):
    """What a hello led to: the machine, and the job of an earlier boot that was lost (None: none was)."""

    machine: Machine
    lost: Job | None


def came_up(
    machine: Machine, job: Job | None, task: Task | None, agent: AgentInfo, now: datetime, jitter: float = 0.0
) -> Up:
    """An agent says hello. `job` is the machine's current one and `task` its task.

    Raises Conflict for a boot that another one has followed: what it has to say is late.
    """
    past = machine.agent.past_boots
    if agent.boot_id in past:
        raise Conflict(
            f"boot {agent.boot_id} of machine {machine.name} is over: another one has said hello since",
            object=machine.id,
            code="boot-over",
        )
    same = agent.boot_id == machine.agent.boot_id
    if not same and machine.agent.boot_id:
        past = (*past, machine.agent.boot_id)[-_PAST_BOOTS:]
    lost = None
    # A power action of the server may well be what caused this boot; it ends by itself.
    if not same and job is not None and job.state in LIVE_STATES and job.boot_id not in (SERVER_BOOT_ID, agent.boot_id):
        job = lost = lose_job(job, NEW_BOOT, now)
        machine = after_job(machine, lost, task, now, jitter)
    up = CameUp(machine, job, agent)
    return Up(replace(up_row(up).decide(up), agent=replace(agent, past_boots=past)), lost)
