"""What a script's exit code means for its job; all of it is data and one pure function.

A script says how it went by its exit code. `CODES` lists those with a meaning, anything else, or death by a signal,
is failure. In a task of several scripts:

    failed                                          ends the task as failed
    stop, power off, reboot   before the last       the job is incomplete and goes on afterwards
                              at the last           the job is finished
    incomplete                before the last       ends the task early, as finished
                              at the last           the job is incomplete
    incomplete with stop, power off or reboot       the job is incomplete, wherever it comes
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

FINISHED = "finished"
FAILED = "failed"
INCOMPLETE = "incomplete"

COMPLETE_EXIT = "complete"
FAILED_EXIT = "failed"
REBOOT_EXIT = "reboot"
POWEROFF_EXIT = "poweroff"
STOP_EXIT = "stop"
INCOMPLETE_EXIT = "incomplete"
RESTART_EXIT = "restart"  # the agent was told to end while the job ran; the job goes on with the next agent


@dataclass(frozen=True)
class Meaning:
    """What one exit code says: what to do next ("" is nothing) and whether the task has more to do."""

    leave: str
    incomplete: bool


CODES: dict[int, Meaning] = {
    0: Meaning("", False),
    16: Meaning(STOP_EXIT, False),
    32: Meaning(POWEROFF_EXIT, False),
    64: Meaning(REBOOT_EXIT, False),
    128: Meaning("", True),
    144: Meaning(STOP_EXIT, True),
    160: Meaning(POWEROFF_EXIT, True),
    192: Meaning(REBOOT_EXIT, True),
}


@dataclass(frozen=True)
class Ending:
    """How a job's run ended, in the words of the result report."""

    state: str
    exit_state: str
    exit_code: Optional[int] = None
    message: str = ""

    @property
    def runnable(self) -> bool:
        """Whether the machine may be given more work at once."""
        return self.exit_state == COMPLETE_EXIT


def after_script(code: int, is_last: bool) -> Optional[Ending]:
    """How the job ends after a script exited with `code` (negative: the signal that killed it); None: go on.

    `is_last` says that no script follows.
    """
    if code < 0:
        return Ending(FAILED, FAILED_EXIT, code, f"killed by signal {-code}")
    meaning = CODES.get(code)
    if meaning is None:
        return Ending(FAILED, FAILED_EXIT, code, f"exit code {code}")
    if meaning.leave:
        more_to_do = meaning.incomplete or not is_last
        return Ending(INCOMPLETE if more_to_do else FINISHED, meaning.leave, code)
    if not meaning.incomplete:
        return Ending(FINISHED, COMPLETE_EXIT, code) if is_last else None
    if is_last:
        return Ending(INCOMPLETE, INCOMPLETE_EXIT, code, "the script says there is more to do")
    return Ending(FINISHED, COMPLETE_EXIT, code, "the scripts that follow were skipped")
