"""Who may go on, and with what: the checks that routes of the API begin with."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from aiohttp import web

from provisioner.access import Who, require_machine, require_user
from provisioner.conductor.jobs import Jobs
from provisioner.conductor.machines import Machines
from provisioner.errors import FieldError, Invalid, NotFound
from provisioner.model import Job, Machine
from provisioner.services.http import body, decode, principal

T = TypeVar("T")


def require(request: web.Request, verb: str) -> None:
    """Only users who may do `verb`."""
    require_user(principal(request), verb)


def machine_of(request: web.Request, machines: Machines, verb: str, *, itself: bool = False) -> Machine:
    """The machine in the path, for users who may do `verb`, and with `itself` for that machine too."""
    caller = principal(request)
    name = request.match_info["machine"]
    if itself and caller.who is Who.MACHINE:
        require_machine(caller, name, verb)
    else:
        require_user(caller, verb)
    return machines.find(name)


def job_of(request: web.Request, jobs: Jobs, verb: str) -> Job:
    """The job in the path, for users who may do `verb` and for the machine whose job it is."""
    caller = principal(request)
    if caller.who is Who.MACHINE:
        job = jobs.find(request.match_info["job"])
        require_machine(caller, job.machine, verb)
        return job
    require_user(caller, verb)
    return jobs.find(request.match_info["job"])


async def named_body(request: web.Request, cls: type[T], key: str) -> T:
    """The body as a value; with a name in the URL it need not say its name, but must not say another one."""
    named = request.match_info.get(key)
    if named is None:
        return await body(request, cls)
    said = {key: named, **await body(request, dict[str, Any])}
    if said[key] != named:
        message = f"the body says {said[key]!r}, the address of the request says {named!r}"
        raise Invalid(f"{key}: {message}", object=named, fields=(FieldError(key, message),))
    return decode(msgspec.json.encode(said), cls)


def found(value: Any, word: str, name: str) -> Any:
    if value is None:
        raise NotFound(f"there is no {word} {name!r}", object=name)
    return value
