"""For task scripts in Python: params, files, progress and exit words. `from provisioner_task import set_params`.

The agent puts this file where a script finds it. It stands alone: standard library only, nothing of the agent's.
A server that is away is asked again until it is back; the task's timeout and a cancellation end that too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any, NoReturn, Optional
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

TIMEOUT_SECONDS = 60.0
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0
FAILURE_FILE = ".failure"
PROGRESS_FILE = ".progress"
_TRY_AGAIN = frozenset({408, 425, 429})
_OFTEN_FOREIGN = frozenset({401, 403, 404, 410})  # as the agent: a proxy says these while it has lost the server
_NO_SUCH_ROUTE = frozenset({404, 405})
_RAISE = object()


class TaskError(Exception):
    """The server said no; the message is its reason, `status` its HTTP status."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


def get_params() -> Any:
    """All params that this machine has from anywhere, by name."""
    return _call("GET", f"{_machine()}/params?aggregate=true")


def get_param(name: str, default: Any = _RAISE) -> Any:
    """One param's value; without a value `default`, and KeyError when none is given."""
    params = get_params()
    if name in params:
        return params[name]
    if default is _RAISE:
        raise KeyError(f"param {name} has no value for this machine and no default")
    return default


def set_param(name: str, value: Any) -> None:
    """Set one param of this machine to anything that JSON can say."""
    _call("PUT", f"{_machine()}/params/{quote(name, safe='')}", value)


def set_params(values: Mapping[str, Any]) -> None:
    """Set several params of this machine in one go; None takes one off."""
    if not values:
        return
    try:
        _call("PATCH", f"{_machine()}/params", dict(values))
    except TaskError as error:
        if error.status not in _NO_SUCH_ROUTE:
            raise
        for name, value in values.items():
            unset_param(name) if value is None else set_param(name, value)


def unset_param(name: str) -> None:
    """Take a param off this machine."""
    _call("DELETE", f"{_machine()}/params/{quote(name, safe='')}")


def attach(path: str, name: str = "") -> None:
    """Keep a file with this job; `name` is what it is called there, else its own name."""
    words = ["provisioner-asset", *([f"--name={name}"] if name else []), "--", os.fspath(path)]
    done = subprocess.run(words, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise TaskError(done.stderr.decode("utf-8", "replace").strip() or f"{path} could not be attached")


def progress(percent: float) -> None:
    """Say how far this job is, 0 to 100."""
    _leave(PROGRESS_FILE, f"{int(min(100, max(0, percent)))}\n")


def exit_stop() -> NoReturn:
    """Done; the agent stops."""
    sys.exit(16)


def exit_shutdown() -> NoReturn:
    """Done; power off."""
    sys.exit(32)


def exit_reboot() -> NoReturn:
    """Done; reboot."""
    sys.exit(64)


def exit_incomplete() -> NoReturn:
    """Not done; the job goes on when the machine is made runnable."""
    sys.exit(128)


def exit_incomplete_stop() -> NoReturn:
    """Not done; the agent stops, the job goes on afterwards."""
    sys.exit(144)


def exit_incomplete_shutdown() -> NoReturn:
    """Not done; power off, the job goes on afterwards."""
    sys.exit(160)


def exit_incomplete_reboot() -> NoReturn:
    """Not done; reboot, the job goes on afterwards."""
    sys.exit(192)


def fail(message: str) -> NoReturn:
    """Failed; the message is shown with the job."""
    print(message, file=sys.stderr, flush=True)
    _leave(FAILURE_FILE, f"{message}\n")
    sys.exit(1)


def _leave(name: str, text: str) -> None:
    """Write a file for the agent, which never sees half of it."""
    path = os.path.join(os.environ["PROVISIONER_TASK_DIR"], name)
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(f"{path}.new", path)


def _machine() -> str:
    return f"/api/v1/machines/{os.environ['PROVISIONER_MACHINE']}"


def _call(method: str, path: str, value: Any = _RAISE) -> Any:
    """The decoded answer; raises TaskError when the server refuses, and waits for one that is away."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        away = ""
        try:
            with _open(method, path, value) as answer:
                body = answer.read()
            return json.loads(body) if body else None
        except HTTPError as error:
            with error:
                problem = _problem(error)
                if error.code < 500 and error.code not in _TRY_AGAIN and (problem or error.code not in _OFTEN_FOREIGN):
                    raise TaskError(problem or f"the server says {error.code} {error.reason}", error.code) from error
                away = f"{error.code} {error.reason}"
        except (OSError, HTTPException, ValueError) as error:
            away = str(error) or type(error).__name__
        print(f"{method} {path}: {away}; trying again", file=sys.stderr, flush=True)
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def _open(method: str, path: str, value: Any) -> Any:
    data: Optional[bytes] = None if value is _RAISE else json.dumps(value).encode()
    request = Request(os.environ["PROVISIONER_URL"].rstrip("/") + path, data, method=method)
    request.add_header("Authorization", f"Bearer {os.environ['PROVISIONER_TOKEN']}")
    request.add_header("Content-Type", "application/json")
    # As the agent itself: straight to the server, whatever proxy the environment names for other things.
    return build_opener(ProxyHandler({})).open(request, timeout=TIMEOUT_SECONDS)


def _problem(error: HTTPError) -> str:
    """What an `application/problem+json` says, "" when it is none."""
    try:
        problem = json.loads(error.read())
        return str(problem["detail"]) if problem["code"] else ""
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return ""
