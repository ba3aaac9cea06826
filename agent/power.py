"""Rebooting and powering off: the gentle way first, and harder ones when the machine is still there after a while."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Callable

from .loop import Outcome

SYSRQ_PATH = "/proc/sysrq-trigger"


@dataclass(frozen=True)
class Push:
    """One way to do it: a command, or keys for the kernel's SysRq; then so many seconds for it to take effect."""

    command: tuple[str, ...] = ()
    sysrq: str = ""
    seconds: float = 60.0


# SysRq: s writes caches out, u makes file systems read-only, b reboots, o powers off.
_REBOOT = (
    Push(("systemctl", "reboot"), seconds=180.0),
    Push(("systemctl", "--force", "reboot")),
    Push(("reboot", "-f")),
    Push(sysrq="sub"),
)
PUSHES: dict[Outcome, tuple[Push, ...]] = {
    Outcome.REBOOT: _REBOOT,
    # The kernel is loaded. Where it does not start, the firmware does.
    Outcome.KEXEC: (Push(("systemctl", "kexec"), seconds=180.0), Push(("kexec", "--exec")), *_REBOOT),
    Outcome.POWEROFF: (
        Push(("systemctl", "poweroff"), seconds=180.0),
        Push(("systemctl", "--force", "poweroff")),
        Push(("poweroff", "-f")),
        Push(sysrq="suo"),
    ),
}


def perform(
    outcome: Outcome,
    run: Callable[[Sequence[str]], int],
    press: Callable[[str], None],
    sleep: Callable[[float], None],
    note: Callable[[str], None],
) -> None:
    """Push until the machine is gone. `run` gives a command's exit code (not 0: go on at once), `press` a SysRq key."""
    for push in PUSHES[outcome]:
        if push.command:
            note(" ".join(push.command))
            if run(push.command) != 0:
                continue
        for key in push.sysrq:
            note(f"SysRq {key}")
            press(key)
        sleep(push.seconds)
