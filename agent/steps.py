"""The files of a task: rendered, all of them before any is used, and written."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass

from .errors import TaskError
from .job_protocol import TaskFile, WorkOrder
from .render import Renderer


@dataclass(frozen=True)
class Step:
    """One file of a task, rendered."""

    file: TaskFile
    path: str
    content: str
    is_last_script: bool


def render_steps(order: WorkOrder, renderer: Renderer, folder: str) -> list[Step]:
    """All files of a task rendered, before any of them is used. Raises `RenderError` and `TaskError`."""
    scripts = [number for number, file in enumerate(order.files) if file.is_script]
    last_script = scripts[-1] if scripts else -1
    steps = []
    for number, file in enumerate(order.files):
        content = _render(renderer, order, file.template, file.source)
        path = _render(renderer, order, f"path of {file.name}", file.path) if file.path else ""
        steps.append(Step(file, _absolute(path, folder), content, number == last_script))
    return steps


def _render(renderer: Renderer, order: WorkOrder, name: str, source: str) -> str:
    """Render one source that may include the order's templates, one of which may have the same name."""
    if order.templates.get(name, source) != source:
        name = f"file:{name}"
    return renderer.render(name, {**order.templates, name: source}, order.context)


def _absolute(path: str, folder: str) -> str:
    if not path:
        return ""
    whole = os.path.normpath(os.path.join(folder, path))
    if not os.path.isabs(path) and not whole.startswith(folder + os.sep):
        raise TaskError(f"the path {path!r} leads out of the task's folder; write it from / if that is meant")
    return whole


def write_file(path: str, content: str, mode: int) -> None:
    """Write a file with exactly this mode, making its folders; it is never readable by more than the mode allows.

    What is there already and is no plain file (a device, a file of the kernel) takes the contents and keeps its mode.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode & 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content.encode("utf-8", "surrogateescape"))
        file.flush()
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            with suppress(PermissionError):  # files of the kernel take contents but no modes
                os.fchmod(descriptor, mode)


def mode_of(file: TaskFile, usual: int) -> int:
    """The mode that a file is to have. Raises `TaskError` when it is not octal."""
    if not file.mode:
        return usual
    try:
        return int(file.mode, 8)
    except ValueError as error:
        raise TaskError(f"the mode {file.mode!r} of {file.name} is not octal, like 0755") from error


def script_name(name: str) -> str:
    """A file name that tells in `ps` what runs."""
    return "".join(letter if letter.isalnum() or letter in "-._" else "-" for letter in name) or "script"
