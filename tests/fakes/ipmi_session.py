"""A BMC behind an IPMI session, in memory: chassis requests of IPMI 2.0 chapter 28, with faults on order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from provisioner.power.ipmi_session import Completed, Fault, Lost

STATUS, CONTROL, SET_BOOT, GET_BOOT = 0x01, 0x02, 0x08, 0x09


@dataclass
class FakeBmc:
    """One machine and its BMC.

    `takes_polls`: how many status answers a change of power takes. `refuses`: completion code by (command, first data
    byte). `faults`: raised by the next requests, in order, before they are done. `lost_after`: requests that are
    done, but whose answer is lost. `silent_after_control`: how many requests stay unanswered after power was switched.
    """

    powered: bool = False
    takes_polls: int = 0
    refuses: dict[tuple[int, int], int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    lost_after: list[tuple[int, int]] = field(default_factory=list)
    silent_after_control: int = 0
    obeys_shutdown: bool = True
    forgets_boot: bool = False
    boot_flags: bytes = bytes(5)
    keep_flags: int = 0
    controls: list[int] = field(default_factory=list)
    patient_controls: list[int] = field(default_factory=list)
    logins: int = 0
    logouts: int = 0
    abandoned: int = 0
    _coming: list[bool] = field(default_factory=list)

    def log_in(self, _: object) -> FakeBmc:
        """A session with it: itself."""
        self.logins += 1
        return self

    def logout(self) -> None:
        """Counted."""
        self.logouts += 1

    def abandon(self) -> None:
        """Counted."""
        self.abandoned += 1

    def command(self, netfn: int, command: int, data: Sequence[int] = (), first_wait: float | None = None) -> bytes:
        """Answer one chassis request."""
        if first_wait:
            self.patient_controls.append(data[0])
        if self.faults:
            raise self.faults.pop(0)
        if self.controls and self.silent_after_control:
            self.silent_after_control -= 1
            raise Lost("silent on order")
        key = (command, data[0] if data else 0)
        if key in self.refuses:
            raise Completed(self.refuses[key], "refused on order")
        answer = {STATUS: self._status, CONTROL: self._control, SET_BOOT: self._set_boot, GET_BOOT: self._get_boot}[
            command
        ](data)
        if key in self.lost_after:
            self.lost_after.remove(key)
            raise Lost("the answer was lost on order")
        return answer

    def _status(self, data: Sequence[int]) -> bytes:
        shown = self.powered
        if self._coming:
            self.powered = self._coming.pop(0)
        return bytes((0x60 | shown, 0, 0))

    def _control(self, data: Sequence[int]) -> bytes:
        self.controls.append(data[0])
        after = {0: [False], 1: [True], 2: [False, True], 3: [True], 5: [not self.obeys_shutdown]}[data[0]]
        self._coming = [self.powered] * self.takes_polls + after
        self.powered = self._coming.pop(0)
        return b""

    def _set_boot(self, data: Sequence[int]) -> bytes:
        if data[0] == 3:
            self.keep_flags = data[1]
        elif not self.forgets_boot:
            self.boot_flags = bytes(data[1:])
        return b""

    def _get_boot(self, data: Sequence[int]) -> bytes:
        return bytes((1, data[0])) + self.boot_flags
