"""What happens to machines, their agents, jobs and power, as sentences."""

from __future__ import annotations

from collections.abc import Callable

from provisioner.events import Event
from provisioner.power.driver import ACTIONS
from provisioner.services.ui_event_data import bracketed, is_marker, number, text
from provisioner.services.ui_words import size


def _registered(event: Event) -> str:
    known = "recognised" if number(event.data.get("score")) else "new machine"
    return bracketed("registered", known)


def _hello(event: Event) -> str:
    bootenv, wanted = text(event, "bootenv"), text(event, "expected_bootenv")
    where = f"agent came up in {bootenv}" if bootenv else "agent came up"
    surprise = f"should be in {wanted}" if wanted and wanted != bootenv else ""
    version = text(event, "version")
    return bracketed(where, text(event, "hostname"), f"agent {version}" if version else "", surprise)


def _rebooted(event: Event) -> str:
    return bracketed(f"agent reboots it into {event.key}" if event.key else "agent reboots it")


def _workflow(event: Event) -> str:
    name, before = text(event, "workflow"), text(event, "before")
    if not name:
        return f"its workflow {before} was taken away" if before else "its workflow was taken away"
    return bracketed(f"was given workflow {name}", f"had {before}" if before else "")


def _stage(event: Event) -> str:
    return f"entered stage {text(event, 'stage') or 'none'}"


def _bootenv(event: Event) -> str:
    before = text(event, "before")
    return bracketed(f"is to boot {text(event, 'bootenv')} from now on", f"was {before}" if before else "")


def _runnable(event: Event) -> str:
    if event.data.get("runnable"):
        return "may run"
    reason = text(event, "waiting_for")
    return f"must wait: {reason}" if reason else "must wait"


def _completed(event: Event) -> str:
    name = text(event, "workflow")
    return f"finished workflow {name}" if name else "finished all its work"


def _updated(event: Event) -> str:
    fields = event.data.get("fields")
    names = [str(field) for field in fields] if isinstance(fields, list) else []
    return f"was changed: {', '.join(names)}" if names else "was changed"


def _inventory(event: Event) -> str:
    return "reported its inventory" + ("" if event.data.get("changed", True) else ", unchanged")


def _grant(event: Event) -> str:
    until = text(event, "expires_at")[:16].replace("T", " ")
    return bracketed(f"may have {_disk(event)} erased", f"until {until} UTC" if until else "")


def _disk(event: Event) -> str:
    name = text(event, "disk")
    return "any disk" if name == "any" else f"disk {name}"


def _retry(event: Event) -> str:
    retry = number(event.data.get("retry"))
    return bracketed(f"tries {_task(event)} again after a pause", f"retry {retry:.0f}" if retry else "")


def _repair(event: Event) -> str:
    repairs = event.data.get("repairs")
    names = ", ".join(str(name) for name in repairs) if isinstance(repairs, list) else ""
    return f"repairs what made {_task(event)} fail" + (f": {names}" if names else "")


def _restarted(event: Event) -> str:
    return bracketed("begins its work anew", text(event, "workflow"), f"at stage {text(event, 'stage')}")


def _revoked(event: Event) -> str:
    return f"may not have {_disk(event)} erased any more"


def _clashed(event: Event) -> str:
    return f"a newcomer with MAC {event.key} is held: {text(event, 'reason')}"


def _resolved(event: Event) -> str:
    macs = event.data.get("macs")
    names = ", ".join(str(mac) for mac in macs) if isinstance(macs, list) else ""
    return bracketed("was said to be the newcomer that was held", names)


def _lost(event: Event) -> str:
    return f"its agent was not heard of: {text(event, 'reason')}"


def _task(event: Event) -> str:
    return f"task {text(event, 'task')}" if event.data.get("task") else "a job"


def _job_created(event: Event) -> str:
    if is_marker(event):
        return f"came to {text(event, 'task').replace(':', ' ', 1)} in its list"
    attempt = number(event.data.get("attempt")) or 1
    return bracketed(f"{_task(event)} was handed out", f"attempt {attempt:.0f}" if attempt > 1 else "")


def _job_started(event: Event) -> str:
    again = event.data.get("resumed") == "incomplete"
    return f"{_task(event)} {'goes on' if again else 'started'}"


def _job_ended(event: Event) -> str:
    if is_marker(event) and event.data.get("state") == "finished":
        return f"went on with {text(event, 'task').replace(':', ' ', 1)}"
    code, message = number(event.data.get("exit_code")), text(event, "message")
    state, exit_state = text(event, "state"), text(event, "exit_state")
    then = f"then {exit_state}" if exit_state in ("reboot", "poweroff", "stop") else ""
    words = bracketed(f"{_task(event)} {state}", f"exit code {code:.0f}" if code else "", then)
    return f"{words}: {message}" if message else words


def _asset(event: Event) -> str:
    return bracketed(f"{_task(event)} handed in {text(event, 'name')}", size(number(event.data.get("size"))))


def _job_cancelled(event: Event) -> str:
    reason = text(event, "reason")
    return f"{_task(event)} was told to stop" + (f": {reason}" if reason else "")


def action_words(action: str) -> str:
    """An action as people name it: `Power cycle`, `Next boot PXE`."""
    text = action.replace("-", " ").replace("pxe", "PXE")
    return text[:1].upper() + text[1:]


def _power_asked(event: Event) -> str:
    known = ACTIONS.get(event.key)
    return f"asked its BMC: {known.description}" if known is not None else f"asked its BMC for {event.key}"


def _power_done(event: Event) -> str:
    return f"{action_words(event.key)}: {text(event, 'message') or text(event, 'state') or 'done'}"


def _power_failed(event: Event) -> str:
    return f"{action_words(event.key)} failed: {text(event, 'message')}"


SENTENCES: dict[str, Callable[[Event], str]] = {
    "agent.register": _registered,
    "agent.hello": _hello,
    "agent.lost": _lost,
    "agent.reboot": _rebooted,
    "machine.create": lambda event: f"was created as {event.key}" if event.key else "was created",
    "machine.update": _updated,
    "machine.workflow": _workflow,
    "machine.stage": _stage,
    "machine.bootenv": _bootenv,
    "machine.runnable": _runnable,
    "machine.complete": _completed,
    "machine.inventory": _inventory,
    "machine.grant": _grant,
    "boot.held": lambda event: f"is held at boot: {text(event, 'reason')}",
    "machine.retry": _retry,
    "machine.repair": _repair,
    "machine.stop": lambda event: f"was stopped before {text(event, 'entry')}",
    "machine.restart": _restarted,
    "machine.resume": lambda event: "goes on at its task",
    "machine.revoke": _revoked,
    "machine.clash": _clashed,
    "machine.resolve": _resolved,
    "param.reveal": lambda event: f"the secret value of {event.key} was shown",
    "job.asset": _asset,
    "job.create": _job_created,
    "job.start": _job_started,
    "job.end": _job_ended,
    "job.cancel": _job_cancelled,
    "power.request": _power_asked,
    "power.done": _power_done,
    "power.error": _power_failed,
}
