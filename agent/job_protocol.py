"""The words of one job: claimed, started, logged, shown, kept alive, ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional
from urllib.parse import quote

from .messages import API, BYTES, Request, json_request, understand

ASSET_TIMEOUT_SECONDS = 120.0  # between two signs of life; the server hashes and syncs the whole before it answers
HEARTBEAT_TIMEOUT_SECONDS = 10.0  # one beat late is better than two beats stuck


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
    return json_request("POST", "/jobs", {"machine": machine, **holder.as_json()}, headers={"Idempotency-Key": key})


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
    return understand(_read_work_order, answer, "work order")


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
    return json_request("POST", f"/jobs/{job}/start", holder.as_json())


def append_log(job: str, offset: int, data: bytes) -> Request:
    """Add to the job's log at a byte offset; sending the same bytes again is harmless."""
    return Request("PUT", f"{API}/jobs/{job}/log?offset={offset}", data, BYTES)


def read_log_size(answer: Any) -> int:
    """Read the answer to `append_log`."""
    return understand(lambda reply: int(reply["size"]), answer, "answer to a piece of log")


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
    return json_request("PUT", f"/jobs/{job}/actions", [file.as_json() for file in files])


def heartbeat(job: str, holder: Holder, progress: Optional[int] = None) -> Request:
    """Say that the job is alive, and how far it is (0 to 100 percent) when its script has told."""
    body = holder.as_json()
    if progress is not None:
        body["progress"] = progress
    return json_request("POST", f"/jobs/{job}/heartbeat", body, timeout_seconds=HEARTBEAT_TIMEOUT_SECONDS)


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
    return json_request("POST", f"/jobs/{job}/result", result)


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
    return understand(
        lambda reply: Asset(str(reply["name"]), int(reply["size"]), str(reply.get("sha256") or "")),
        answer,
        "account of a file",
    )
