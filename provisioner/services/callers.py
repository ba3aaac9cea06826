"""Who may go on, and with what: the checks that routes of the API begin with."""

from __future__ import annotations

from aiohttp import web

from provisioner.access import Who, require_machine, require_user
from provisioner.conductor.jobs import Jobs
from provisioner.conductor.machines import Machines
from provisioner.model.machines import Job, Machine
from provisioner.services.http import principal


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
