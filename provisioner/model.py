"""The words of the product as frozen values; they decode and encode themselves as JSON and YAML through msgspec.

A change is a new value (`msgspec.structs.replace`). Times are aware datetimes in UTC.
Which fields may be set from outside is said by the API, what is consistent by the rules on floor 1.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from msgspec import UNSET, Struct, UnsetType, field

NO_STAGE = "none"
LOCAL_BOOTENV = "local"
GLOBAL_PROFILE = "global"


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


class LeaseState(StrEnum):
    """Where a lease stands; `quarantined` addresses were declined or answered a probe."""

    OFFERED = "offered"
    ACKED = "acked"
    EXPIRED = "expired"
    QUARANTINED = "quarantined"


# --- content: what operators define ---------------------------------------------------------------------------


class TaskFile(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One file of a task: a script to run when `path` is empty, else a file to write there.

    Exactly one of `template` (a template's name) and `contents` (inline Jinja2) is set.
    """

    name: str
    path: str = ""
    template: str = ""
    contents: str = ""
    interpreter: str = ""
    mode: str = ""


class Retry(Struct, frozen=True, forbid_unknown_fields=True):
    """How often a failed task is tried again by itself, and the first pause in seconds.

    Each pause is about twice the one before, a little shorter by chance, and never over `max_backoff_seconds`.
    """

    max: int = 0
    backoff_seconds: float = 2.0
    max_backoff_seconds: float = 300.0


class BootFile(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A file rendered for each machine in a boot environment; `path` is a template itself."""

    path: str
    template: str = ""
    contents: str = ""


class BootArch(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one architecture boots; paths are below `/files/`, `boot_params` is a template."""

    kernel: str
    initrds: tuple[str, ...] = ()
    boot_params: str = ""


class OperatingSystem(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which operating system a boot environment is or installs."""

    family: str = ""
    version: str = ""


class Content(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all objects of content packs share. `pack` is empty for objects made through the API."""

    name: str
    description: str = ""
    documentation: str = ""
    meta: dict[str, str] = field(default_factory=dict)
    pack: str = ""


class Param(Content, frozen=True, kw_only=True):
    """A named, typed value: `schema` is JSON Schema; `default` must satisfy it; `secure` values are never shown.

    With `compose` the layers are put together (maps merged, lists joined) instead of the nearest one winning. With
    `expand` texts in the value are templates, rendered for the machine when somebody asks for it.
    """

    kind: ClassVar[str] = "params"
    schema: dict[str, Any] = field(default_factory=dict)
    default: Any | UnsetType = UNSET
    secure: bool = False
    compose: bool = False
    expand: bool = False


class Profile(Content, frozen=True, kw_only=True):
    """A named set of params; it may include other profiles."""

    kind: ClassVar[str] = "profiles"
    params: dict[str, Any] = field(default_factory=dict)
    profiles: tuple[str, ...] = ()


class Template(Content, frozen=True, kw_only=True):
    """Jinja2 source, addressed by name (`group/name`, without the `.j2`)."""

    kind: ClassVar[str] = "templates"
    contents: str = ""


class Task(Content, frozen=True, kw_only=True):
    """The unit of work. `timeout_seconds` 0 is no limit; `destructive` tasks need an erase grant.

    `on_error` names tasks that are done once after the first failure, before the task is tried again. A job that
    went on `max_resumes` times after being incomplete holds its machine; 0 is no limit.
    """

    kind: ClassVar[str] = "tasks"
    files: tuple[TaskFile, ...] = ()
    required_params: tuple[str, ...] = ()
    optional_params: tuple[str, ...] = ()
    timeout_seconds: float = 0
    heartbeat_seconds: float = 60
    retry: Retry = Retry()
    on_error: tuple[str, ...] = ()
    max_resumes: int = 100
    idempotent: bool = False
    destructive: bool = False


class Stage(Content, frozen=True, kw_only=True):
    """Ordered tasks plus the boot environment they need (empty: leave it as it is)."""

    kind: ClassVar[str] = "stages"
    bootenv: str = ""
    tasks: tuple[str, ...] = ()
    params: dict[str, Any] = field(default_factory=dict)
    profiles: tuple[str, ...] = ()
    required_params: tuple[str, ...] = ()
    reboot: bool = False


class Workflow(Content, frozen=True, kw_only=True):
    """Ordered stages."""

    kind: ClassVar[str] = "workflows"
    stages: tuple[str, ...] = ()


class Bootenv(Content, frozen=True, kw_only=True):
    """What a machine boots; without any `arch` entry, its own disk. Its `files` are rendered on request."""

    kind: ClassVar[str] = "bootenvs"
    os: OperatingSystem = OperatingSystem()
    arch: dict[str, BootArch] = field(default_factory=dict)
    files: tuple[BootFile, ...] = ()
    only_unknown: bool = False

    @property
    def netboots(self) -> bool:
        """Whether a machine in it boots from the network."""
        return bool(self.arch)

    @property
    def installs(self) -> bool:
        """Whether an installer runs in it, which does its own reboot."""
        return self.name.endswith("-install")


CONTENT_KINDS: dict[str, type[Content]] = {
    cls.kind: cls for cls in (Param, Profile, Template, Task, Stage, Workflow, Bootenv)
}


# --- machines and jobs ----------------------------------------------------------------------------------------


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


class OperationState(StrEnum):
    """Where a long action stands; the last two are final."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"


class ItemResult(Struct, frozen=True, forbid_unknown_fields=True):
    """What came of an action for one machine; `status` and `code` are those of a request for it alone."""

    machine: str
    name: str
    status: int
    code: str = "ok"
    detail: str = ""


class Operation(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A long action that goes on after its request was answered, on `total` machines. `error` is why it failed."""

    kind: ClassVar[str] = "operations"
    id: str
    action: str
    machines: tuple[str, ...]
    state: OperationState = OperationState.RUNNING
    total: int = 0
    results: tuple[ItemResult, ...] = ()
    error: str = ""
    started_by: str = ""
    started_at: datetime
    ended_at: datetime | None = None

    @property
    def final(self) -> bool:
        """Whether it can never change again."""
        return self.state is not OperationState.RUNNING


# --- addresses ------------------------------------------------------------------------------------------------


class Picker(StrEnum):
    """A way to find a pool address for a client that has none: the one it asks for, the next that nobody ever had,
    the one whose lease ended longest ago; or `none`, which ends the search.
    """

    HINT = "hint"
    NEXT_FREE = "next-free"
    MOST_EXPIRED = "most-expired"
    NONE = "none"


class Probe(StrEnum):
    """Whether a pool address is tried before it is offered: by ARP on the link and ICMP behind relays, or never."""

    AUTO = "auto"
    OFF = "off"


class Subnet(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A network we answer DHCP on. `pool_start` to `pool_end` are handed out; `options` maps code to text value.

    Subnets with the same `shared_network` are on one link: a client there may get an address of any of them. `pickers`
    are tried in this order. With `only_reservations` the pool is for nobody. In a `proxy` subnet another server gives
    the addresses, and we say only what to boot. A lease is renewed after `renew_seconds` and with any server after
    `rebind_seconds`; 0 is half of its time and seven eighths of it (four
    fifths in IPv6). A subnet is of IPv4 or of IPv6, by its `cidr`, and so is all that stands in it. With
    `router_advertisements` we tell the link of an IPv6 subnet that addresses come by DHCPv6; without, a router there
    has to.
    """

    kind: ClassVar[str] = "subnets"
    name: str
    cidr: str
    pool_start: str = ""
    pool_end: str = ""
    enabled: bool = True
    gateway: str = ""
    dns_servers: tuple[str, ...] = ()
    domain: str = ""
    next_server: str = ""
    lease_seconds: int = 3600
    reserved_lease_seconds: int = 7200
    renew_seconds: int = 0
    rebind_seconds: int = 0
    shared_network: str = ""
    pickers: tuple[Picker, ...] = (Picker.HINT, Picker.NEXT_FREE, Picker.MOST_EXPIRED)
    only_reservations: bool = False
    proxy: bool = False
    probe: Probe = Probe.AUTO
    router_advertisements: bool = False
    options: dict[str, str] = field(default_factory=dict)
    description: str = ""


class Reservation(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An address kept for one MAC. `boot_file` (file, URL or loader) empty: by firmware; `-`: never.

    What else it says holds on the address' own link, or wherever the MAC appears when it is not `scoped`. There may be
    one scoped reservation of a MAC in each subnet, and one that is not.
    """

    kind: ClassVar[str] = "reservations"
    address: str
    mac: str
    hostname: str = ""
    next_server: str = ""
    boot_file: str = ""
    scoped: bool = True
    options: dict[str, str] = field(default_factory=dict)
    description: str = ""


class Lease(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An address given to a MAC for `seconds`, until `expires_at`. `via` is the relay's address, empty when local."""

    kind: ClassVar[str] = "leases"
    address: str
    mac: str
    state: LeaseState
    expires_at: datetime
    seconds: int = 0
    subnet: str = ""
    hostname: str = ""
    via: str = ""
    client_id: str = ""


# --- access ---------------------------------------------------------------------------------------------------


class User(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who may log in. The role `admin` may do everything; others come with the access issue."""

    kind: ClassVar[str] = "users"
    name: str
    password_hash: str
    role: str = "admin"
    created_at: datetime


class TokenPurpose(StrEnum):
    """What a token is good for: a browser session, the API, one machine, one registration (`ticket`), or some (`join`).

    A ticket comes with the boot from the network; a join token is given out by an operator, for hosts that run already.
    """

    SESSION = "session"
    API = "api"
    MACHINE = "machine"
    TICKET = "ticket"
    JOIN = "join"


class Token(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A secret we gave out, kept only as SHA-256 `digest`. `subject` is a user's name, a machine's id or a MAC.

    A join token's `subject` is its own name; it is good for so many more `uses`, and `last_user` is the MAC that it was
    used by last.
    """

    kind: ClassVar[str] = "tokens"
    digest: str
    purpose: TokenPurpose
    subject: str
    created_at: datetime
    expires_at: datetime | None = None
    description: str = ""
    uses: int = 0
    last_user: str = ""


class Reply(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What was answered to a request that carried an Idempotency-Key; `status` 0 while it is being carried out.

    `key` is a digest of caller and key, `fingerprint` one of the request; `body` is sealed.
    """

    kind: ClassVar[str] = "replies"
    key: str
    fingerprint: str
    begun_at: datetime
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
