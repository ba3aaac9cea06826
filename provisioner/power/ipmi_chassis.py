"""Chassis requests of IPMI 2.0 (chapter 28): what is sent and how the answers read. Blocking, on a thread.

Each looks at the power state first: some BMCs refuse to switch on what is on, or to cycle what is off.
"""

from __future__ import annotations

from dataclasses import dataclass

from provisioner.power.driver import NextBoot, PowerState
from provisioner.power.ipmi_session import UNSUPPORTED, Again, Completed, Lost, Session

_CHASSIS = 0x00
_GET_STATUS, _CONTROL, _SET_BOOT_OPTIONS, _GET_BOOT_OPTIONS = 0x01, 0x02, 0x08, 0x09
_OFF, _ON, _CYCLE, _RESET, _SOFT_OFF = 0, 1, 2, 3, 5
_POWER_IS_ON = 0x01
# BMCs may answer a cycle or reset only when it is done; a packet repeated meanwhile would be a second one.
_SLOW_SECONDS = 5.0

# System boot options (28.12, table 28-14). Parameter 3: what shall not clear the boot flags before they are used:
# bit 0 power button, 1 reset button or soft reset, 2 watchdog, 3 the 60 s after which they lapse. Without bit 1 an
# agent's own reboot would lose them.
_VALID_BIT_CLEARING, _BOOT_FLAGS = 3, 5
_KEEP_FLAGS = 0x0F
_VALID, _PERSISTENT, _UEFI = 0x80, 0x40, 0x20
DEVICES: dict[NextBoot, int] = {"pxe": 1, "disk": 2}
# Boot device selectors that a BMC may show instead of ours.
DEVICE_NAMES = {
    0: "no override",
    1: "pxe",
    2: "disk",
    3: "disk, safe mode",
    5: "cdrom",
    6: "firmware setup",
    15: "usb",
}


def read_power(session: Session) -> PowerState:
    """Whether the machine has power (28.2)."""
    status = session.command(_CHASSIS, _GET_STATUS)
    if not status:
        raise Lost("an empty chassis status")
    return PowerState.ON if status[0] & _POWER_IS_ON else PowerState.OFF


def _control(session: Session, what: int) -> None:
    first_wait = _SLOW_SECONDS if what in (_CYCLE, _RESET) else None
    session.command(_CHASSIS, _CONTROL, (what,), first_wait)


def switch_on(session: Session) -> PowerState:
    """The state before."""
    before = read_power(session)
    if before is PowerState.OFF:
        _control(session, _ON)
    return before


def switch_off(session: Session) -> PowerState:
    """The state before."""
    before = read_power(session)
    if before is PowerState.ON:
        _control(session, _OFF)
    return before


def shut_down(session: Session) -> PowerState:
    """The state before."""
    before = read_power(session)
    if before is PowerState.ON:
        _control(session, _SOFT_OFF)
    return before


def cycle_power(session: Session) -> PowerState | None:
    """The state before, or None when this BMC cannot cycle (the command is optional)."""
    before = read_power(session)
    try:
        _control(session, _ON if before is PowerState.OFF else _CYCLE)
    except Completed as refusal:
        if before is PowerState.ON and refusal.code in UNSUPPORTED:
            return None
        raise
    return before


def press_reset(session: Session) -> PowerState:
    """The state before; nothing is sent to a machine that is off."""
    before = read_power(session)
    if before is PowerState.ON:
        _control(session, _RESET)
    return before


@dataclass(frozen=True)
class BootFlags:
    """What a BMC shows of its boot flags. Some show the device without ever setting the valid bit."""

    valid: bool
    uefi: bool
    device: int


def set_boot(session: Session, device: NextBoot, uefi: bool, persist: bool) -> tuple[PowerState, BootFlags | None]:
    """Set the boot flags; returns the power state, and the flags as read back, None when they cannot be read."""
    flags = _VALID | (_UEFI if uefi else 0) | (_PERSISTENT if persist else 0)
    try:
        session.command(_CHASSIS, _SET_BOOT_OPTIONS, (_VALID_BIT_CLEARING, _KEEP_FLAGS))
    except Completed as refusal:
        # Optional: without it the flags lapse after 60 s or at a reset, as they always did on such a BMC.
        if refusal.again is not Again.NEVER:
            raise
    session.command(_CHASSIS, _SET_BOOT_OPTIONS, (_BOOT_FLAGS, flags, DEVICES[device] << 2, 0, 0, 0))
    return read_power(session), _boot_flags(session)


def _boot_flags(session: Session) -> BootFlags | None:
    """The answer is: version, parameter, then the parameter's own bytes: flags, device, and three more."""
    try:
        shown = session.command(_CHASSIS, _GET_BOOT_OPTIONS, (_BOOT_FLAGS, 0, 0))
    except Completed as refusal:
        if refusal.again is not Again.NEVER:
            raise
        return None
    if len(shown) < 4:
        return None
    return BootFlags(valid=bool(shown[2] & _VALID), uefi=bool(shown[2] & _UEFI), device=shown[3] >> 2 & 0x0F)
