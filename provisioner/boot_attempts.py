"""Whose turn it is among the boot loaders of a machine: the next has its turn when one is given in vain.

Firmware that was given a loader and then begins anew, without the loader ever having been heard of, has failed once. In
memory only; who has been silent for longest is forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from provisioner.firmware import BootClient, ClientKind

# One failure is a power cycle at a bad moment; two in a row are a loader that this machine cannot use.
FAILURES_BEFORE_NEXT = 2
MOST_REMEMBERED = 65_536
# Firmware that tries both ways one after the other has other loaders for each.
_BY_HTTP = " by HTTP"
_HTTP = ClientKind.HTTP


class Turn(NamedTuple):
    """The loader whose turn it is, and the one that has just failed before it, if any."""

    loader: str
    failed: str = ""


class _Attempt:
    """How it went with the loaders of one client: whose turn it is, and whether it was given and not heard of since."""

    __slots__ = ("failures", "given", "names", "turn", "xid")

    def __init__(self) -> None:
        self.xid = 0
        self.begin(())

    def begin(self, names: tuple[str, ...]) -> None:
        """From the first of these loaders on."""
        self.names = names
        self.turn = Turn(names[0]) if names else Turn("")
        self.given = False
        self.failures = 0

    def fail(self) -> Turn:
        """The loader was given in vain once more; returns whose turn it is now."""
        self.given = False
        self.failures += 1
        if self.failures < FAILURES_BEFORE_NEXT or len(self.names) < 2:
            return self.turn
        failed, self.failures = self.turn.loader, 0
        self.turn = Turn(self.names[(self.names.index(failed) + 1) % len(self.names)])
        return Turn(self.turn.loader, failed)


class BootAttempts:
    """Counts, for each MAC and way to boot."""

    def __init__(self, most: int = MOST_REMEMBERED) -> None:
        self._most = most
        self._attempts: OrderedDict[str, _Attempt] = OrderedDict()

    def turn(self, client: BootClient, names: tuple[str, ...]) -> Turn:
        """Whose turn it is of `names`, for a client that has said something; call it once for each message."""
        key = client.mac + _BY_HTTP if client.kind is _HTTP else client.mac
        attempt = self._attempts.get(key)
        if attempt is None:
            attempt = self._remember(key)
        else:
            self._attempts.move_to_end(key)
        if attempt.names != names:
            attempt.begin(names)
        turn = attempt.turn
        if not client.begins:
            attempt.given = True
        elif client.xid != attempt.xid and attempt.given:
            turn = attempt.fail()
        attempt.xid = client.xid
        return turn

    def loaded(self, mac: str) -> None:
        """What this machine was given works: its loader was heard of."""
        if not self._attempts:
            return
        for key in (mac, mac + _BY_HTTP):
            attempt = self._attempts.get(key)
            if attempt is not None:
                attempt.given = False
                attempt.failures = 0

    def _remember(self, key: str) -> _Attempt:
        if len(self._attempts) >= self._most:
            self._attempts.popitem(last=False)
        attempt = self._attempts[key] = _Attempt()
        return attempt
