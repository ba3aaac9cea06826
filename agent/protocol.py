"""What agent and server say to each other of a machine, as values: requests to send, replies read into named fields.

Pure: nothing here touches a socket, so a simulated fleet can speak the same words over its own transport. What is said
of one job is in `job_protocol`. Fields that the agent does not know are ignored, so that a newer server can serve an
older agent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional, Union
from urllib.parse import quote

from .messages import API, USUAL_TIMEOUT_SECONDS, Request, json_request, understand

# A thousand idle agents cost little, and do not come back in step. The server waits for 110 s at most.
LONG_POLL_SECONDS = (80, 105)
BMC_TIMEOUT_SECONDS = 90.0  # the server asks a BMC before it answers, and those are slow
DOWNLOAD_TIMEOUT_SECONDS = 60.0  # between two pieces


# --- registering and coming up --------------------------------------------------------------------------------


def register(card: Mapping[str, Any], key: str) -> Request:
    """Make the machine known. `key` is the same for every try, so that a lost reply does not cost the ticket."""
    return json_request("POST", "/register", card, headers={"Idempotency-Key": key})


@dataclass(frozen=True)
class Registration:
    """What a machine is told when it registers."""

    machine: str
    name: str
    token: str = field(repr=False)
    url: str


def read_registration(answer: Any, url: str) -> Registration:
    """`url` is where we registered; it holds when the server names no other."""
    return understand(
        lambda reply: Registration(reply["machine"], reply.get("name") or "", reply["token"], reply.get("url") or url),
        answer,
        "answer to our registration",
    )


def hello(machine: str, greeting: Mapping[str, Any]) -> Request:
    """Say which boot and which boot environment the agent is in."""
    return json_request("POST", f"/machines/{machine}/hello", greeting)


@dataclass(frozen=True)
class AgentFile:
    """An agent as one file: its version, and its SHA-256 in hexadecimal."""

    version: str
    sha256: str

    def succeeds(self, other: AgentFile) -> bool:
        """Whether this is another agent and not an older one. Versions that are no numbers count as new."""
        return self.sha256 != other.sha256 and not _numbers(self.version) < _numbers(other.version)


def _numbers(version: str) -> tuple[float, ...]:
    """A version to compare with others."""
    parts = version.split(".")
    return tuple(float(part) if part.isdecimal() else float("inf") for part in parts)


def read_agent(answer: Any) -> Optional[AgentFile]:
    """The server's agent as told in its answer to `hello` or `look`; None when it does not tell."""
    told = answer.get("agent") if isinstance(answer, Mapping) else None
    if not isinstance(told, Mapping) or not told.get("sha256"):
        return None
    return AgentFile(str(told.get("version") or ""), str(told["sha256"]))


def fetch_agent() -> Request:
    """The server's agent."""
    return Request("GET", "/agent.pyz", timeout_seconds=DOWNLOAD_TIMEOUT_SECONDS)


# --- looking for work -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """Where the machine stands. `task_count` entries, `current_task` is the index of the one being or last done.

    `map_leads` says whether the change-stage map has a step for it, None when the server does not say; `agent` is the
    server's agent.
    """

    revision: int
    runnable: bool
    workflow: str
    stage: str
    bootenv: str
    task_count: int
    current_task: int
    claimable: bool
    reason: str = ""
    map_leads: Optional[bool] = None
    agent: Optional[AgentFile] = None

    @property
    def is_done(self) -> bool:
        """Whether no task is left."""
        return self.task_count == 0 or self.current_task >= self.task_count


def look(machine: str, revision: Optional[int] = None, jitter: float = 0.0) -> Request:
    """Ask where the machine stands; with a revision, wait until it is another one. `jitter` is in [0, 1)."""
    path = f"{API}/machines/{machine}/work"
    if revision is None:
        return Request("GET", path)
    shortest, longest = LONG_POLL_SECONDS
    wait = shortest + int((longest - shortest + 1) * jitter)
    timeout = wait + USUAL_TIMEOUT_SECONDS
    return Request("GET", f"{path}?revision={revision}&wait={wait}", timeout_seconds=timeout, interruptible=True)


def read_work(answer: Any) -> Work:
    """Read the answer to `look`."""
    return understand(_read_work, answer, "account of the machine")


def _read_work(reply: Mapping[str, Any]) -> Work:
    """`tasks` may be the list or its length."""
    tasks: Union[int, Sequence[Any]] = reply.get("tasks") or 0
    return Work(
        revision=reply["revision"],
        runnable=reply["runnable"],
        workflow=reply.get("workflow") or "",
        stage=reply.get("stage") or "",
        bootenv=reply["bootenv"],
        task_count=tasks if isinstance(tasks, int) else len(tasks),
        current_task=reply.get("current_task", -1),
        claimable=reply.get("claimable", reply["runnable"]),
        reason=reply.get("reason") or "",
        map_leads=reply.get("map_leads"),
        agent=read_agent(reply),
    )


def read_stage_action(answer: Any) -> tuple[str, str]:
    """Read the answer to `next_stage`: what to do, and why in words."""
    return understand(
        lambda reply: (str(reply["action"]), str(reply.get("reason") or reply.get("stage") or "")),
        answer,
        "step of the change-stage map",
    )


def next_stage(machine: str) -> Request:
    """Ask for the step of the change-stage map that follows the current stage."""
    return json_request("POST", f"/machines/{machine}/next-stage", {})


def prepare_reboot(machine: str, kexec: bool = False) -> Request:
    """Have the server set the BMC's next boot device; `kexec` says that we can start a kernel ourselves."""
    body = {"kexec": True} if kexec else {}
    return json_request("POST", f"/machines/{machine}/prepare-reboot", body, timeout_seconds=BMC_TIMEOUT_SECONDS)


@dataclass(frozen=True)
class Kernel:
    """A kernel to go on with instead of a reboot: URLs of it and its initrds, and its command line."""

    kernel: str
    initrds: tuple[str, ...]
    cmdline: str = field(repr=False)  # it carries a ticket


def read_kernel(answer: Any) -> Optional[Kernel]:
    """The kernel in the answer to `prepare_reboot`; None when the machine is to reboot."""
    told = answer.get("kexec") if isinstance(answer, Mapping) else None
    if not told:
        return None
    return understand(
        lambda reply: Kernel(str(reply["kernel"]), tuple(map(str, reply["initrds"])), str(reply["cmdline"])),
        told,
        "kernel to go on with",
    )


# --- what a machine tells and asks of itself ------------------------------------------------------------------


def put_inventory(machine: str, inventory: Mapping[str, Any]) -> Request:
    """Replace the machine's inventory."""
    return json_request("PUT", f"/machines/{machine}/inventory", inventory)


def get_params(machine: str) -> Request:
    """All params as resolved for the machine."""
    return Request("GET", f"{API}/machines/{machine}/params?aggregate=true")


def set_params(machine: str, values: Mapping[str, Any]) -> Request:
    """Set several params on the machine itself, all or none; a value of None takes the param off."""
    return json_request("PATCH", f"/machines/{machine}/params", dict(values))


def set_param(machine: str, name: str, value: Any) -> Request:
    """Set a param on the machine itself."""
    return json_request("PUT", f"/machines/{machine}/params/{quote(name, safe='')}", value)


def delete_param(machine: str, name: str) -> Request:
    """Take a param off the machine itself."""
    return Request("DELETE", f"{API}/machines/{machine}/params/{quote(name, safe='')}")
