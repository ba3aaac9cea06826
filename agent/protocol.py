"""What agent and server say to each other, as values: requests to send, and replies read into named fields.

Pure: nothing here touches a socket, so a simulated fleet can speak the same words over its own transport.
Fields that the agent does not know are ignored, so that a newer server can serve an older agent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from json import dumps, loads
from typing import Any, Callable, Optional, TypeVar, Union
from urllib.parse import quote

from .errors import Nonsense

API = "/api/v1"
# A thousand idle agents cost little, and do not come back in step. The server waits for 110 s at most.
LONG_POLL_SECONDS = (80, 105)
USUAL_TIMEOUT_SECONDS = 30.0
BMC_TIMEOUT_SECONDS = 90.0  # the server asks a BMC before it answers, and those are slow
ASSET_TIMEOUT_SECONDS = 120.0  # between two signs of life; the server hashes and syncs the whole before it answers
DOWNLOAD_TIMEOUT_SECONDS = 60.0  # between two pieces
BYTES = "application/octet-stream"
HEARTBEAT_TIMEOUT_SECONDS = 10.0  # one beat late is better than two beats stuck


@dataclass(frozen=True)
class Request:
    """One HTTP request. `interruptible`: it may be cut off at any moment without loss.

    `body_file` is the path of a file that is sent as the body, from its beginning with each try.
    """

    method: str
    path: str
    body: bytes = b""
    content_type: str = "application/json"
    timeout_seconds: float = USUAL_TIMEOUT_SECONDS
    interruptible: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    body_file: str = ""


@dataclass(frozen=True)
class Reply:
    """One HTTP reply; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The decoded body; None when there is none. Raises ValueError when it is not JSON."""
        try:
            return loads(self.body) if self.body else None
        except RecursionError as error:
            raise ValueError("JSON too deep to be read") from error


def _json_request(method: str, path: str, value: Any, **more: Any) -> Request:
    return Request(method, API + path, dumps(value).encode(), **more)


_Value = TypeVar("_Value")


def _understand(read: Callable[[Any], _Value], answer: Any, what: str) -> _Value:
    try:
        return read(answer)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise Nonsense(f"cannot understand the server's {what}: {type(error).__name__} {error}") from error


# --- registering and coming up --------------------------------------------------------------------------------


def register(card: Mapping[str, Any], key: str) -> Request:
    """Make the machine known. `key` is the same for every try, so that a lost reply does not cost the ticket."""
    return _json_request("POST", "/register", card, headers={"Idempotency-Key": key})


@dataclass(frozen=True)
class Registration:
    """What a machine is told when it registers."""

    machine: str
    name: str
    token: str = field(repr=False)
    url: str


def read_registration(answer: Any, url: str) -> Registration:
    """`url` is where we registered; it holds when the server names no other."""
    return _understand(
        lambda reply: Registration(reply["machine"], reply.get("name") or "", reply["token"], reply.get("url") or url),
        answer,
        "answer to our registration",
    )


def hello(machine: str, greeting: Mapping[str, Any]) -> Request:
    """Say which boot and which boot environment the agent is in."""
    return _json_request("POST", f"/machines/{machine}/hello", greeting)


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
    return _understand(_read_work, answer, "account of the machine")


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


@dataclass(frozen=True)
class Holder:
    """Who holds a job: which boot of the machine, and which agent process in it."""

    boot_id: str
    instance: str

    def as_json(self) -> dict[str, Any]:
        """What goes with every request about a job."""
        return {"boot_id": self.boot_id, "instance": self.instance}


def claim(machine: str, holder: Holder, key: str) -> Request:
    """Ask for a job. `key` is the same for every try, so that a lost reply does not leave a job without an agent."""
    return _json_request("POST", "/jobs", {"machine": machine, **holder.as_json()}, headers={"Idempotency-Key": key})


def read_stage_action(answer: Any) -> tuple[str, str]:
    """Read the answer to `next_stage`: what to do, and why in words."""
    return _understand(
        lambda reply: (str(reply["action"]), str(reply.get("reason") or reply.get("stage") or "")),
        answer,
        "step of the change-stage map",
    )


def read_log_size(answer: Any) -> int:
    """Read the answer to `append_log`."""
    return _understand(lambda reply: int(reply["size"]), answer, "answer to a piece of log")


def next_stage(machine: str) -> Request:
    """Ask for the step of the change-stage map that follows the current stage."""
    return _json_request("POST", f"/machines/{machine}/next-stage", {})


def prepare_reboot(machine: str, kexec: bool = False) -> Request:
    """Have the server set the BMC's next boot device; `kexec` says that we can start a kernel ourselves."""
    body = {"kexec": True} if kexec else {}
    return _json_request("POST", f"/machines/{machine}/prepare-reboot", body, timeout_seconds=BMC_TIMEOUT_SECONDS)


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
    return _understand(
        lambda reply: Kernel(str(reply["kernel"]), tuple(map(str, reply["initrds"])), str(reply["cmdline"])),
        told,
        "kernel to go on with",
    )


# --- doing a job ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TaskFile:
    """One file of a task: a script when `path` is empty. `template` is the name of its source in errors."""

    name: str
    path: str
    source: str
    interpreter: str = ""
    mode: str = ""
    template: str = ""

    @property
    def is_script(self) -> bool:
        """Whether it is run, not only written."""
        return not self.path


@dataclass(frozen=True)
class WorkOrder:
    """A job as handed out: everything that is needed to do it without asking again."""

    job: str
    task: str
    stage: str
    workflow: str
    attempt: int
    log_size: int
    timeout_seconds: float
    heartbeat_seconds: float
    files: tuple[TaskFile, ...]
    templates: Mapping[str, str]
    context: Mapping[str, Any]
    env: Mapping[str, str]


def read_work_order(answer: Any) -> WorkOrder:
    """Read the answer to `claim`."""
    return _understand(_read_work_order, answer, "work order")


def _read_work_order(reply: Mapping[str, Any]) -> WorkOrder:
    job, task = reply["job"], reply["task"]
    return WorkOrder(
        job=job["id"],
        task=task.get("name") or job.get("task", ""),
        stage=job.get("stage") or "",
        workflow=job.get("workflow") or "",
        attempt=job.get("attempt", 1),
        log_size=reply.get("log_size") or job.get("log_size") or 0,
        timeout_seconds=task.get("timeout_seconds") or 0,
        heartbeat_seconds=task.get("heartbeat_seconds") or 0,
        files=tuple(_read_task_file(file) for file in reply.get("files") or ()),
        templates=reply.get("templates") or {},
        context=reply.get("context") or {},
        env=reply.get("env") or {},
    )


def _read_task_file(file: Mapping[str, Any]) -> TaskFile:
    return TaskFile(
        name=file["name"],
        path=file.get("path") or "",
        source=file["source"],
        interpreter=file.get("interpreter") or "",
        mode=file.get("mode") or "",
        template=file.get("template") or file["name"],
    )


def start_job(job: str, holder: Holder) -> Request:
    """Say that the job's work begins."""
    return _json_request("POST", f"/jobs/{job}/start", holder.as_json())


def append_log(job: str, offset: int, data: bytes) -> Request:
    """Add to the job's log at a byte offset; sending the same bytes again is harmless."""
    return Request("PUT", f"{API}/jobs/{job}/log?offset={offset}", data, BYTES)


@dataclass(frozen=True)
class RenderedFile:
    """A file of a task as rendered for this machine."""

    name: str
    path: str
    content: str
    mode: str

    def as_json(self) -> dict[str, str]:
        """The value uploaded with the job."""
        return {"name": self.name, "path": self.path, "content": self.content, "mode": self.mode}


def upload_actions(job: str, files: Sequence[RenderedFile]) -> Request:
    """Show the server what is about to run."""
    return _json_request("PUT", f"/jobs/{job}/actions", [file.as_json() for file in files])


def heartbeat(job: str, holder: Holder, progress: Optional[int] = None) -> Request:
    """Say that the job is alive, and how far it is (0 to 100 percent) when its script has told."""
    body = holder.as_json()
    if progress is not None:
        body["progress"] = progress
    return _json_request("POST", f"/jobs/{job}/heartbeat", body, timeout_seconds=HEARTBEAT_TIMEOUT_SECONDS)


def report_result(
    job: str, holder: Holder, state: str, exit_state: str, exit_code: Optional[int], message: str, runnable: bool
) -> Request:
    """Say how the job ended; the first report counts, so repeating it is harmless."""
    result = {
        **holder.as_json(),
        "state": state,
        "exit_state": exit_state,
        "exit_code": exit_code,
        "message": message,
        "runnable": runnable,
    }
    return _json_request("POST", f"/jobs/{job}/result", result)


def put_asset(job: str, name: str, path: str) -> Request:
    """Keep a file with the job; sending it again replaces it."""
    where = f"{API}/jobs/{job}/assets/{quote(name, safe='')}"
    return Request("PUT", where, body_file=path, content_type=BYTES, timeout_seconds=ASSET_TIMEOUT_SECONDS)


@dataclass(frozen=True)
class Asset:
    """What the server says of a file that it keeps; `sha256` is "" where it does not tell."""

    name: str
    size: int
    sha256: str


def read_asset(answer: Any) -> Asset:
    """Read the answer to `put_asset`."""
    return _understand(
        lambda reply: Asset(str(reply["name"]), int(reply["size"]), str(reply.get("sha256") or "")),
        answer,
        "account of a file",
    )


# --- what a machine tells and asks of itself ------------------------------------------------------------------


def put_inventory(machine: str, inventory: Mapping[str, Any]) -> Request:
    """Replace the machine's inventory."""
    return _json_request("PUT", f"/machines/{machine}/inventory", inventory)


def get_params(machine: str) -> Request:
    """All params as resolved for the machine."""
    return Request("GET", f"{API}/machines/{machine}/params?aggregate=true")


def set_params(machine: str, values: Mapping[str, Any]) -> Request:
    """Set several params on the machine itself, all or none; a value of None takes the param off."""
    return _json_request("PATCH", f"/machines/{machine}/params", dict(values))


def set_param(machine: str, name: str, value: Any) -> Request:
    """Set a param on the machine itself."""
    return _json_request("PUT", f"/machines/{machine}/params/{quote(name, safe='')}", value)


def delete_param(machine: str, name: str) -> Request:
    """Take a param off the machine itself."""
    return Request("DELETE", f"{API}/machines/{machine}/params/{quote(name, safe='')}")
