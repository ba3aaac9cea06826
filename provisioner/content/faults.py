"""What is wrong with one object, whatever else there is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from provisioner.arch import BOOT_ARCHES, arch_fault
from provisioner.content.references import ENTRIES
from provisioner.errors import FieldError
from provisioner.model.content import NO_STAGE, Bootenv, BootFile, Content, Param, Stage, Task, TaskFile
from provisioner.params import check_schema

# A name is a path in a pack and part of a URL; a colon would make it an entry such as `stage:x`.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_MODE = re.compile(r"0?[0-7]{3}")
# Beyond what makes sense, and within what can be added to a date.
_LONGEST_SECONDS = 366 * 86400
_LONGEST_BACKOFF_SECONDS = 86400


def name_fault(name: str) -> str:
    """Why this cannot be a name; empty when it can."""
    if _NAME.fullmatch(name):
        return ""
    return f"{name!r} is not a name: letters, digits and . _ - (begin with a letter or digit), parts joined by /"


def own_faults(value: Content) -> Iterator[FieldError]:
    """What is wrong with an object whatever else there is."""
    fault = name_fault(value.name)
    if fault:
        yield FieldError("name", fault)
    match value:
        case Param():
            yield from check_schema(value)
        case Task():
            yield from _task_faults(value)
        case Stage():
            if value.name == NO_STAGE:
                yield FieldError("name", f"{NO_STAGE!r} means no stage; give it another name")
            yield from _entry_faults(value.tasks)
        case Bootenv():
            yield from _bootenv_faults(value)


def _task_faults(task: Task) -> Iterator[FieldError]:
    yield from _source_faults(task.files)
    names = [file.name for file in task.files]
    for place, file in enumerate(task.files):
        if file.name in names[:place]:
            yield FieldError(
                f"files[{place}].name", f"{file.name!r} is the name of files[{names.index(file.name)}] too"
            )
        if file.mode and not _MODE.fullmatch(file.mode):
            yield FieldError(f"files[{place}].mode", f"{file.mode!r} is no file mode; write it like '0644'")
    # Silence of no time at all would be the end of every job.
    for path, least in (("timeout_seconds", 0), ("heartbeat_seconds", 1)):
        if getattr(task, path) < least:
            yield FieldError(path, f"{getattr(task, path)} is less than {least}")
        if getattr(task, path) > _LONGEST_SECONDS:
            yield FieldError(path, f"{getattr(task, path)} is more than {_LONGEST_SECONDS}, a year")
    if task.retry.max < 0:
        yield FieldError("retry.max", f"{task.retry.max} is less than 0")
    if not 0 <= task.retry.backoff_seconds <= _LONGEST_BACKOFF_SECONDS:
        message = f"{task.retry.backoff_seconds} is not from 0 to {_LONGEST_BACKOFF_SECONDS}, a day"
        yield FieldError("retry.backoff_seconds", message)
    if not 0 <= task.retry.max_backoff_seconds <= _LONGEST_BACKOFF_SECONDS:
        message = f"{task.retry.max_backoff_seconds} is not from 0 to {_LONGEST_BACKOFF_SECONDS}, a day"
        yield FieldError("retry.max_backoff_seconds", message)
    if task.max_resumes < 0:
        yield FieldError("max_resumes", f"{task.max_resumes} is less than 0; 0 is no limit")


def _source_faults(files: Sequence[TaskFile | BootFile]) -> Iterator[FieldError]:
    for place, file in enumerate(files):
        if bool(file.template) == bool(file.contents):
            has = "both" if file.template else "neither"
            yield FieldError(f"files[{place}]", f"must have either `template` or `contents`, has {has}")


def _entry_faults(tasks: Sequence[str]) -> Iterator[FieldError]:
    for place, entry in enumerate(tasks):
        word, colon, name = entry.partition(":")
        if colon and (word not in (*ENTRIES, "action") or not name):
            message = f"{entry!r} is no entry; there is: a task's name, stage:NAME, bootenv:NAME, action:NAME"
            yield FieldError(f"tasks[{place}]", message)


def _bootenv_faults(bootenv: Bootenv) -> Iterator[FieldError]:
    yield from _source_faults(bootenv.files)
    for name, arch in bootenv.arch.items():
        fault = arch_fault(name, BOOT_ARCHES)
        if fault:
            yield FieldError(f"arch.{name}", fault)
        paths = [("kernel", arch.kernel), *((f"initrds[{place}]", path) for place, path in enumerate(arch.initrds))]
        for path, file in paths:
            if not file or file.startswith("/") or ".." in file.split("/"):
                yield FieldError(f"arch.{name}.{path}", f"{file!r} is not a path below /files/")
