"""`machines wait` and `jobs wait`: end when a condition holds, cannot come by itself any more, or the time is up."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from provisioner.cli.client import PAUSE_SECONDS, Client, at
from provisioner.cli.command import MACHINES, Argument, Command, Session, argument
from provisioner.cli.exits import Exit, Failure
from provisioner.cli.naming import find_job, find_machine, short
from provisioner.model.machines import FINAL_STATES, JobState

Json = dict[str, Any]

_FINAL = {state.value for state in FINAL_STATES}
_LOST = _FINAL - {JobState.FINISHED.value}


@dataclass(frozen=True)
class Condition:
    """`path` as in `agent.bootenv` or `params.rack`; `text` is compared with what the API shows there."""

    path: str
    text: str
    negated: bool = False

    def holds(self, shown: Mapping[str, Any]) -> bool:
        """Whether it is so; a field that is not there is the empty text."""
        found = _text(_value(shown, self.path))
        return (found == self.text) is not self.negated

    def __str__(self) -> str:
        return f"{self.path}{'!=' if self.negated else '='}{self.text}"


def condition(word: str) -> Condition:
    """FIELD=VALUE or FIELD!=VALUE; raises Failure for anything else."""
    path, equals, text = word.partition("=")
    negated = path.endswith("!")
    path = path.removesuffix("!").strip()
    if not equals or not path:
        raise Failure(f"{word!r} is no condition", "write FIELD=VALUE or FIELD!=VALUE", Exit.USAGE, code="usage")
    return Condition(path, text, negated)


def _value(shown: Mapping[str, Any], path: str) -> Any:
    # Names of params hold dots and slashes, so that the whole rest may be one key.
    if path in shown:
        return shown[path]
    first, _, rest = path.partition(".")
    inner = shown.get(first)
    return _value(inner, rest) if rest and isinstance(inner, Mapping) else None


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# --- waiting --------------------------------------------------------------------------------------------------


@dataclass
class _Wait:
    """One run: what is waited for, and until when."""

    session: Session
    client: Client
    conditions: Sequence[Condition]
    stuck: Callable[[Json], str]

    def all(self, kind: str, found: list[Json]) -> list[Json]:
        """Wait for each of them; answers them as they are then. Raises Failure when it is in vain."""
        self._refuse_unknown(kind, found)
        began = self.session.terminal.now()
        allowed = self.session.options.timeout
        while True:
            waiting = [each for each in found if not self._fits(each)]
            if not waiting:
                return found
            for each in waiting:
                self._give_up_if_stuck(kind, each)
            if allowed is not None and (self.session.terminal.now() - began).total_seconds() >= allowed:
                raise self._too_late(kind, waiting, allowed)
            self.session.terminal.sleep(PAUSE_SECONDS)
            found = [self._again(kind, each) for each in found]

    def _refuse_unknown(self, kind: str, found: list[Json]) -> None:
        """A field that is misspelt would be waited for in vain."""
        for shown in found:
            for each in self.conditions:
                if each.path not in shown and each.path.partition(".")[0] not in shown:
                    fields = ", ".join(sorted(shown))
                    message = f"{kind} have no field {each.path!r}; there is: {fields}"
                    raise Failure(message, exit=Exit.USAGE, code="usage", object=each.path)

    def _fits(self, shown: Json) -> bool:
        return all(each.holds(shown) for each in self.conditions)

    def _again(self, kind: str, shown: Json) -> Json:
        again: Json = self.session.patiently(partial(self.client.get, at(kind, shown["id"])))
        return again

    def _give_up_if_stuck(self, kind: str, shown: Json) -> None:
        reason = self.stuck(shown)
        if reason:
            raise Failure(
                f"{_called(kind, shown)} {reason}",
                "it was waited for: " + " and ".join(map(str, self.conditions)),
                code="stuck",
                object=shown["id"],
            )

    def _too_late(self, kind: str, waiting: list[Json], allowed: float) -> Failure:
        left = ", ".join(_called(kind, each) for each in waiting[:5]) + (" ..." if len(waiting) > 5 else "")
        wanted = " and ".join(map(str, self.conditions))
        return Failure(f"after {allowed:g} s not yet {wanted}: {left}", exit=Exit.TIMED_OUT, code="timed-out")


def _called(kind: str, shown: Json) -> str:
    return str(shown["name"]) if kind == "machines" else f"job {short(shown['id'])}"


def _wait_machines(session: Session) -> None:
    client, options = session.client(), session.options
    conditions = [condition(word) for word in options.until] or [Condition("done", "true")]
    machines = [find_machine(client, word) for word in options.machines]

    def stuck(machine: Json) -> str:
        if options.patient or machine["runnable"] or not machine["current_job"]:
            return ""
        job = session.patiently(partial(client.get, at("jobs", machine["current_job"])))
        lost = job["state"] in _LOST and job["index"] == machine["current_task"]
        return f"is held: {machine['waiting_for'] or job['state']}" if lost else ""

    found = _Wait(session, client, conditions, stuck).all("machines", machines)
    if session.output.as_json:
        session.output.json(found)
        return
    for each in found:
        session.output.line(f"{each['name']}: {', '.join(map(str, conditions))}")


def _wait_jobs(session: Session) -> Exit | None:
    client, options = session.client(), session.options
    conditions = [condition(word) for word in options.until]
    jobs = [find_job(client, word) for word in options.jobs]

    def stuck(job: Json) -> str:
        return f"is {job['state']}{': ' + job['message'] if job['message'] else ''}" if job["state"] in _FINAL else ""

    if conditions:
        found = _Wait(session, client, conditions, stuck).all("jobs", jobs)
    else:
        found = _Wait(session, client, [_Ended("state", "final")], lambda job: "").all("jobs", jobs)
    if session.output.as_json:
        session.output.json(found)
    else:
        for each in found:
            session.output.line(f"job {short(each['id'])} is {each['state']}")
    bad = not conditions and any(each["state"] in _LOST for each in found)
    return Exit.FAILED if bad else None


class _Ended(Condition):
    """The job has ended, in whatever way."""

    def holds(self, shown: Mapping[str, Any]) -> bool:
        return shown["state"] in _FINAL


def _seconds(text: str) -> float:
    """`90`, `90s`, `15m` or `2h` in seconds."""
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:], 0)
    seconds = float(text[:-1]) * unit if unit else float(text)
    if not 0 <= seconds < float("inf"):
        raise ValueError(text)
    return seconds


_seconds.__name__ = "time"  # argparse names it in its message

_UNTIL: Argument = argument(
    "--until",
    action="append",
    default=[],
    metavar="FIELD=VALUE",
    help="wait for this, or FIELD!=VALUE; may be repeated, then for all of them",
)
_TIMEOUT: Argument = argument("--timeout", type=_seconds, metavar="TIME", help="such as 90, 15m or 2h (default: none)")

MACHINES_WAIT = Command(
    "wait",
    "wait until machines have done all their tasks, or another condition holds",
    _wait_machines,
    (
        MACHINES,
        _UNTIL,
        _TIMEOUT,
        argument("--patient", action="store_true", help="go on waiting although a failed job holds a machine"),
    ),
)
JOBS_WAIT = Command(
    "wait",
    "wait until jobs have ended (exit code 0: all finished), or another condition holds",
    _wait_jobs,
    (
        argument("jobs", metavar="JOB", complete="jobs", nargs="+", help="id of a job, or the first characters of it"),
        _UNTIL,
        _TIMEOUT,
    ),
)
