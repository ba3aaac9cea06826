"""Machines, the jobs on them, and the newcomers that could not be told from them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from msgspec import Struct, field

from provisioner.model.content import LOCAL_BOOTENV, NO_STAGE


class JobState(StrEnum):
    """Where a job stands; the last four of these are final."""

    CREATED = "created"
    RUNNING = "running"
    INCOMPLETE = "incomplete"
    FINISHED = "finished"
    FAILED = "failed"
    ABANDONED = "abandoned"
    CANCELLED = "cancelled"


FINAL_STATES = frozenset({JobState.FINISHED, JobState.FAILED, JobState.ABANDONED, JobState.CANCELLED})

LIVE_STATES = frozenset({JobState.CREATED, JobState.RUNNING})


class ExitState(StrEnum):
    """How a job's last run ended, in terms of what the agent does next."""

    NONE = ""
    COMPLETE = "complete"
    FAILED = "failed"
    REBOOT = "reboot"
    POWEROFF = "poweroff"
    STOP = "stop"
    INCOMPLETE = "incomplete"
    RESTART = "restart"


class Hold(StrEnum):
    """Why a machine is not runnable, in one word; `Machine.waiting_for` has the sentence.

    `boot`: it is to come up (again); `agent`: its agent restarts; `incomplete`: its task has more to do; `failed`,
    `lost` and `cancelled`: its task was; `resumes`: its task went on too often; `paused`: an operator said so; `step`
    and `stop-before`: it is being debugged; `errors`: it cannot be used as it stands.
    """

    NONE = ""
    BOOT = "boot"
    AGENT = "agent"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    LOST = "lost"
    CANCELLED = "cancelled"
    RESUMES = "resumes"
    PAUSED = "paused"
    STEP = "step"
    STOP_BEFORE = "stop-before"
    ERRORS = "errors"


class Identity(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What stays the same when network cards change: SMBIOS numbers and markers on disks."""

    dmi_uuid: str = ""
    serial: str = ""
    board_serial: str = ""
    chassis_serial: str = ""
    disk_markers: tuple[str, ...] = ()


class EraseGrant(Struct, frozen=True, forbid_unknown_fields=True):
    """Leave to destroy what is on `disk` (WWN, serial, path, or `any`) until `expires_at`."""

    disk: str
    expires_at: datetime
    granted_by: str = ""


class AgentInfo(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the machine's agent said of itself when it last said hello.

    `instance` is its process; `past_boots` are the last boots before this one.
    """

    boot_id: str = ""
    instance: str = ""
    version: str = ""
    bootenv: str = ""
    hostname: str = ""
    addresses: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    hello_at: datetime | None = None
    past_boots: tuple[str, ...] = ()


class Machine(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A server: what it is, and where it stands in its work.

    `current_task` is -1 before the first entry of `tasks` and len(tasks) after the last. `hold` and `waiting_for` say
    why it is not runnable; before `not_before` a task is not tried again. Of the current task: `attempts` are its jobs
    so far, `retries` those that followed a failure by themselves; `repairs_left` are the tasks of its `on_error` still
    to be done, `repaired` tells that they were begun. For debugging: with `step` it is held after each job, and before
    each entry that `stop_before` names; `stopped_at` is the place where it was stopped last.
    """

    kind: ClassVar[str] = "machines"
    id: str
    name: str
    revision: int = 0
    created_at: datetime
    updated_at: datetime
    registered_at: datetime | None = None
    description: str = ""
    macs: tuple[str, ...] = ()
    address: str = ""
    arch: str = "amd64"
    firmware: str = ""
    identity: Identity = Identity()
    inventory: dict[str, Any] = field(default_factory=dict)
    profiles: tuple[str, ...] = ()
    params: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, str] = field(default_factory=dict)
    workflow: str = ""
    stage: str = NO_STAGE
    bootenv: str = LOCAL_BOOTENV
    tasks: tuple[str, ...] = ()
    current_task: int = -1
    current_job: str = ""
    runnable: bool = False
    hold: Hold = Hold.NONE
    waiting_for: str = ""
    not_before: datetime | None = None
    attempts: int = 0
    retries: int = 0
    repairs_left: tuple[str, ...] = ()
    repaired: bool = False
    step: bool = False
    stop_before: tuple[str, ...] = ()
    stopped_at: int = -1
    errors: tuple[str, ...] = ()
    locked: bool = False
    erase_grants: tuple[EraseGrant, ...] = ()
    agent: AgentInfo = AgentInfo()
    power: str = ""

    @property
    def available(self) -> bool:
        """Whether it can be used as it stands; `errors` has the reasons why not."""
        return not self.errors

    @property
    def done(self) -> bool:
        """Whether all its tasks have been done."""
        return not self.tasks or self.current_task >= len(self.tasks)


class Job(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One attempt at one task on one machine. `index` is its place in the machine's tasks.

    `boot_id` and `instance` tell which boot of the machine and which agent process on it hold the job. A `repair` is
    for the failed task at the same place. `resumes` counts how often it went on after being incomplete.
    """

    kind: ClassVar[str] = "jobs"
    id: str
    machine: str
    task: str
    stage: str = NO_STAGE
    workflow: str = ""
    bootenv: str = ""
    index: int = 0
    attempt: int = 1
    repair: bool = False
    resumes: int = 0
    previous: str = ""
    state: JobState = JobState.CREATED
    exit_state: ExitState = ExitState.NONE
    exit_code: int | None = None
    message: str = ""
    boot_id: str = ""
    instance: str = ""
    cancel_requested: bool = False
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def final(self) -> bool:
        """Whether it can never change again."""
        return self.state in FINAL_STATES


class RenderedFile(Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a task as it was rendered and run on the machine."""

    name: str
    content: str
    path: str = ""
    mode: str = ""


class Clash(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A newcomer that looks like known machines and cannot be one of them: held until an operator says who it is.

    `mac` is the one it booted from when it was first seen; `machines` are the ids of those that it looks like.
    """

    kind: ClassVar[str] = "clashes"
    mac: str
    macs: tuple[str, ...]
    identity: Identity = Identity()
    machines: tuple[str, ...] = ()
    reason: str = ""
    address: str = ""
    arch: str = "amd64"
    firmware: str = ""
    bootenv: str = ""
    first_seen_at: datetime
    last_seen_at: datetime
