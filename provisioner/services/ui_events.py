"""Events as sentences. Pure. `_SENTENCES` has a writer for each kind that has something to add to its plain words.

Data of an event is whatever was known when it happened, so every field may be missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from provisioner.events import KINDS, Event
from provisioner.power.driver import ACTIONS
from provisioner.services.ui_words import duration, size

# What the event means for its reader; also the CSS class.
GOOD, BAD, WARN, PLAIN, FAINT = "good", "bad", "warn", "plain", "faint"

_TONES = {
    "machine.complete": GOOD,
    "agent.register": GOOD,
    "agent.hello": GOOD,
    "agent.lost": BAD,
    "access.refused": WARN,
    "dhcp.nak": WARN,
    "dhcp.decline": WARN,
    "boot.held": WARN,
    "boot.loader": WARN,
    "machine.clash": WARN,
    "machine.repair": WARN,
    "machine.stop": WARN,
    "param.reveal": WARN,
    "job.cancel": WARN,
    "job.create": FAINT,
    "dhcp.offer": FAINT,
    "dhcp6.advertise": FAINT,
    "dhcp6.decline": WARN,
    "dhcp.request": FAINT,
    "machine.update": FAINT,
    "power.request": FAINT,
}
_JOB_TONES = {"finished": GOOD, "failed": BAD, "abandoned": BAD, "cancelled": WARN, "incomplete": WARN}
# Within what a float can hold; an agent may send anything.
_HIGHEST = 1e21
# Reasons to wait that belong to the normal course of work.
_EXPECTED = ("boot of ", "reboot", "poweroff", "stop")


class Told(Struct, frozen=True):
    """An event as it is read: `source` is the part of the kind before the dot, `link` where its subject is."""

    event: Event
    text: str
    tone: str
    source: str
    link: str
    by: str


def tell(event: Event) -> Told:
    """The event in words."""
    writer = _SENTENCES.get(event.kind)
    text = writer(event) if writer is not None else _plainly(event)
    source = event.kind.partition(".")[0]
    return Told(event, text[:1].upper() + text[1:], tone(event), source, _link(event), _by(event))


def tone(event: Event) -> str:
    """good, bad, warn, plain or faint."""
    if event.kind.startswith("job.") and _is_marker(event) and event.data.get("state") in (None, "finished"):
        return FAINT
    if event.kind == "job.end":
        return _JOB_TONES.get(str(event.data.get("state")), PLAIN)
    if event.kind == "machine.runnable" and not event.data.get("runnable"):
        return PLAIN if str(event.data.get("waiting_for")).startswith(_EXPECTED) else WARN
    return BAD if event.kind.endswith(".error") else _TONES.get(event.kind, PLAIN)


def _is_marker(event: Event) -> bool:
    """Whether the job only records a change of stage or boot environment, which has an event of its own."""
    return str(event.data.get("task")).startswith(("stage:", "bootenv:"))


def _link(event: Event) -> str:
    if event.kind.startswith("job.") and event.key:
        return f"/jobs/{event.key}"
    kind, slash, name = event.key.partition("/")
    if event.kind == "object.put" and slash and kind in ("subnets", "reservations"):
        return "/leases"
    if event.kind == "object.put" and slash and kind != "users":
        return f"/content/{kind}/{name}"
    return ""


def _by(event: Event) -> str:
    """The user who caused it; what machines and the server do needs no name."""
    who, _, name = event.by.partition(":")
    return name if who == "user" else ""


def _plainly(event: Event) -> str:
    words = KINDS.get(event.kind, event.kind)
    return f"{words}: {event.key}" if event.key else words


def _text(event: Event, name: str) -> str:
    value = event.data.get(name)
    return "" if value is None else str(value)


def _number(value: Any) -> float | None:
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _HIGHEST
    return value if known else None


def _with(words: str, *extras: str) -> str:
    """The words, with what else is known in brackets."""
    known = [extra for extra in extras if extra]
    return f"{words} ({', '.join(known)})" if known else words


# --- addresses and files --------------------------------------------------------------------------------------


def _unanswered(event: Event) -> str:
    """Why the server kept silent, in words to put behind the sentence."""
    reason = _text(event, "ignored")
    detail = _text(event, "detail")
    return f"; not answered: {reason}{f', {detail}' if detail else ''}" if reason else ""


def _discover(event: Event) -> str:
    return _with("asked for an address", _text(event, "firmware"), _text(event, "hostname")) + _unanswered(event)


def _offer(event: Event) -> str:
    file = _text(event, "boot_file")
    who = (_text(event, "firmware"), _text(event, "hostname"))
    return _with(f"was offered {event.key or 'an address'}", *who, f"boot file {file}" if file else "")


def _proxy(event: Event) -> str:
    if not event.key:
        return _with("asked what to boot beside another DHCP server and was told nothing", _text(event, "boot"))
    return f"was told beside another DHCP server to load {event.key}"


def _loader(event: Event) -> str:
    failed, times = _text(event, "failed"), _text(event, "times")
    return f"is given the boot loader {event.key} from now on: {failed} was loaded {times} times and never came up"


def _ack(event: Event) -> str:
    seconds = _number(event.data.get("lease_seconds"))
    lease = f"for {duration(seconds)}" if seconds else ""
    file = _text(event, "boot_file")
    if event.data.get("request") == "INFORM":
        return _with("asked for options only and was told them", f"boot file {file}" if file else "")
    return _with(f"was given {event.key or 'an address'}", lease, f"boot file {file}" if file else "")


def _request(event: Event) -> str:
    return f"asked to use {event.key or 'an address'}" + _unanswered(event)


def _refused(event: Event) -> str:
    reason = ", ".join(filter(None, (_text(event, "reason"), _text(event, "detail"))))
    words = f"was refused {event.key or 'an address'}"
    return f"{words}: {reason}" if reason else words


def _advertise6(event: Event) -> str:
    return _offer(event) if event.data.get("lease_seconds") else _refused(event)


def _silent6(event: Event) -> str:
    return KINDS[event.kind] + _unanswered(event)


def _reply6(event: Event) -> str:
    asked = event.data.get("request")
    if asked == "INFORMATION_REQUEST":
        return "was told options without an address"
    if asked == "CONFIRM" and not event.data.get("reason"):
        return f"has the right address here: {event.key}"
    return _ack(event) if event.data.get("lease_seconds") else _refused(event)


def _fetched(protocol: str) -> Callable[[Event], str]:
    def write(event: Event) -> str:
        if event.data.get("size_only"):
            return f"asked for the size of {event.key} by {protocol}"
        count, seconds = _number(event.data.get("bytes")), _number(event.data.get("seconds"))
        took = f"{size(count)} in {duration(seconds)}" if seconds is not None else size(count)
        return _with(f"fetched {event.key or 'a file'} by {protocol}", took)

    return write


def _not_fetched(protocol: str) -> Callable[[Event], str]:
    def write(event: Event) -> str:
        return f"could not fetch {event.key or 'a file'} by {protocol}: {_text(event, 'message') or 'no reason known'}"

    return write


def _script(event: Event) -> str:
    protocol = _text(event, "protocol").upper()
    return _with(f"was told to boot {event.key}", f"script by {protocol}" if protocol else "")


def _no_script(event: Event) -> str:
    return f"could not be told to boot {event.key}: {_text(event, 'message')}"


# --- agent and machine ----------------------------------------------------------------------------------------


def _registered(event: Event) -> str:
    known = "recognised" if _number(event.data.get("score")) else "new machine"
    return _with("registered", known)


def _hello(event: Event) -> str:
    bootenv, wanted = _text(event, "bootenv"), _text(event, "expected_bootenv")
    where = f"agent came up in {bootenv}" if bootenv else "agent came up"
    surprise = f"should be in {wanted}" if wanted and wanted != bootenv else ""
    version = _text(event, "version")
    return _with(where, _text(event, "hostname"), f"agent {version}" if version else "", surprise)


def _rebooted(event: Event) -> str:
    return _with(f"agent reboots it into {event.key}" if event.key else "agent reboots it")


def _workflow(event: Event) -> str:
    name, before = _text(event, "workflow"), _text(event, "before")
    if not name:
        return f"its workflow {before} was taken away" if before else "its workflow was taken away"
    return _with(f"was given workflow {name}", f"had {before}" if before else "")


def _stage(event: Event) -> str:
    return f"entered stage {_text(event, 'stage') or 'none'}"


def _bootenv(event: Event) -> str:
    before = _text(event, "before")
    return _with(f"is to boot {_text(event, 'bootenv')} from now on", f"was {before}" if before else "")


def _runnable(event: Event) -> str:
    if event.data.get("runnable"):
        return "may run"
    reason = _text(event, "waiting_for")
    return f"must wait: {reason}" if reason else "must wait"


def _completed(event: Event) -> str:
    name = _text(event, "workflow")
    return f"finished workflow {name}" if name else "finished all its work"


def _updated(event: Event) -> str:
    fields = event.data.get("fields")
    names = [str(field) for field in fields] if isinstance(fields, list) else []
    return f"was changed: {', '.join(names)}" if names else "was changed"


def _inventory(event: Event) -> str:
    return "reported its inventory" + ("" if event.data.get("changed", True) else ", unchanged")


def _grant(event: Event) -> str:
    until = _text(event, "expires_at")[:16].replace("T", " ")
    return _with(f"may have {_disk(event)} erased", f"until {until} UTC" if until else "")


def _disk(event: Event) -> str:
    name = _text(event, "disk")
    return "any disk" if name == "any" else f"disk {name}"


def _retry(event: Event) -> str:
    number = _number(event.data.get("retry"))
    return _with(f"tries {_task(event)} again after a pause", f"retry {number:.0f}" if number else "")


def _repair(event: Event) -> str:
    repairs = event.data.get("repairs")
    names = ", ".join(str(name) for name in repairs) if isinstance(repairs, list) else ""
    return f"repairs what made {_task(event)} fail" + (f": {names}" if names else "")


def _restarted(event: Event) -> str:
    return _with("begins its work anew", _text(event, "workflow"), f"at stage {_text(event, 'stage')}")


def _revoked(event: Event) -> str:
    return f"may not have {_disk(event)} erased any more"


def _clashed(event: Event) -> str:
    return f"a newcomer with MAC {event.key} is held: {_text(event, 'reason')}"


def _resolved(event: Event) -> str:
    macs = event.data.get("macs")
    names = ", ".join(str(mac) for mac in macs) if isinstance(macs, list) else ""
    return _with("was said to be the newcomer that was held", names)


def _lost(event: Event) -> str:
    return f"its agent was not heard of: {_text(event, 'reason')}"


# --- jobs and power -------------------------------------------------------------------------------------------


def _task(event: Event) -> str:
    return f"task {_text(event, 'task')}" if event.data.get("task") else "a job"


def _job_created(event: Event) -> str:
    if _is_marker(event):
        return f"came to {_text(event, 'task').replace(':', ' ', 1)} in its list"
    attempt = _number(event.data.get("attempt")) or 1
    return _with(f"{_task(event)} was handed out", f"attempt {attempt:.0f}" if attempt > 1 else "")


def _job_started(event: Event) -> str:
    again = event.data.get("resumed") == "incomplete"
    return f"{_task(event)} {'goes on' if again else 'started'}"


def _job_ended(event: Event) -> str:
    if _is_marker(event) and event.data.get("state") == "finished":
        return f"went on with {_text(event, 'task').replace(':', ' ', 1)}"
    code, message = _number(event.data.get("exit_code")), _text(event, "message")
    state, exit_state = _text(event, "state"), _text(event, "exit_state")
    then = f"then {exit_state}" if exit_state in ("reboot", "poweroff", "stop") else ""
    words = _with(f"{_task(event)} {state}", f"exit code {code:.0f}" if code else "", then)
    return f"{words}: {message}" if message else words


def _asset(event: Event) -> str:
    return _with(f"{_task(event)} handed in {_text(event, 'name')}", size(_number(event.data.get("size"))))


def _job_cancelled(event: Event) -> str:
    reason = _text(event, "reason")
    return f"{_task(event)} was told to stop" + (f": {reason}" if reason else "")


def action_words(action: str) -> str:
    """An action as people name it: `Power cycle`, `Next boot PXE`."""
    text = action.replace("-", " ").replace("pxe", "PXE")
    return text[:1].upper() + text[1:]


def _power_asked(event: Event) -> str:
    known = ACTIONS.get(event.key)
    return f"asked its BMC: {known.description}" if known is not None else f"asked its BMC for {event.key}"


def _power_done(event: Event) -> str:
    return f"{action_words(event.key)}: {_text(event, 'message') or _text(event, 'state') or 'done'}"


def _power_failed(event: Event) -> str:
    return f"{action_words(event.key)} failed: {_text(event, 'message')}"


_SENTENCES: dict[str, Callable[[Event], str]] = {
    "dhcp.discover": _discover,
    "dhcp.offer": _offer,
    "dhcp6.advertise": _advertise6,
    "dhcp6.reply": _reply6,
    **{f"dhcp6.{kind}": _silent6 for kind in ("solicit", "request", "confirm", "renew", "rebind")},
    "dhcp.request": _request,
    "dhcp.ack": _ack,
    "dhcp.nak": _refused,
    "tftp.read": _fetched("TFTP"),
    "tftp.error": _not_fetched("TFTP"),
    "http.read": _fetched("HTTP"),
    "http.error": _not_fetched("HTTP"),
    "boot.render": _script,
    "boot.local": lambda event: "was told to boot its own disk",
    "boot.wait": lambda event: f"waits for its turn to download: place {_text(event, 'place')}",
    "boot.error": _no_script,
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
    "dhcp.proxy": _proxy,
    "boot.loader": _loader,
    "boot.held": lambda event: f"is held at boot: {_text(event, 'reason')}",
    "machine.retry": _retry,
    "machine.repair": _repair,
    "machine.stop": lambda event: f"was stopped before {_text(event, 'entry')}",
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
