"""Whose turn it is among the boot loaders of a machine: the next has its turn when one is given in vain.

Firmware that was given a loader and then begins anew, without the loader ever having been heard of, has failed once.
Once is enough when it has fetched the loader whole and begins anew at once: it refused to start it, as firmware with
Secure Boot on does with what is not signed. A machine that was switched off and on again takes longer to come back; a
loader that starts is heard of, or tries for longer to reach the network. Firmware may also go on at once to its other
way, from PXE to HTTP boot: that is a refusal too, and the other way does not begin with what was refused. In memory
only; who has been silent longest is forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

from provisioner.firmware import BootClient, ClientKind
from provisioner.loaders import LOADERS

# One failure is a power cycle at a bad moment; two in a row are a loader that this machine cannot use.
FAILURES_BEFORE_NEXT: Final = 2
# Less than a power cycle takes, and less than iPXE tries before it gives up.
AT_ONCE: Final = timedelta(seconds=20)
MOST_REMEMBERED: Final = 65_536
# Firmware that tries both ways one after the other has other loaders for each.
_BY_HTTP: Final = " by HTTP"
_HTTP: Final = ClientKind.HTTP


class Turn(NamedTuple):
    """The loader whose turn it is, and the one that has just failed before it, if any, after so many times."""

    loader: str
    failed: str = ""
    times: int = 0


class _Attempt:
    """How it went with the loaders of one client: whose turn it is, and whether it was given and not heard of since;
    when it was fetched whole, and whether it was refused for another way.
    """

    __slots__ = ("failures", "fetched_at", "given", "names", "refused", "turn", "xid")

    def __init__(self, names: tuple[str, ...]) -> None:
        self.xid = 0
        self.begin(names)

    def begin(self, names: tuple[str, ...]) -> None:
        """From the first of these loaders on."""
        self.names = names
        self.turn = _first_of(names)
        self.forgive()

    def forgive(self) -> None:
        """Count from none on."""
        self.given = False
        self.failures = 0
        self.fetched_at: datetime | None = None
        self.refused = False

    def leave(self, now: datetime) -> str:
        """The firmware begins another way; returns the loader that it refused for that, '' when it did not."""
        self.refused = self.refused or (self.given and self._is_fetched(now))
        return self.turn.loader if self.refused else ""

    def _is_fetched(self, now: datetime) -> bool:
        return self.fetched_at is not None and timedelta() <= now - self.fetched_at < AT_ONCE

    def fail(self, now: datetime) -> Turn:
        """The loader was given in vain once more; returns whose turn it is now."""
        at_once = self.refused or self._is_fetched(now)
        self.given, self.fetched_at, self.refused = False, None, False
        self.failures += 1
        if len(self.names) < 2 or (self.failures < FAILURES_BEFORE_NEXT and not at_once):
            return self.turn
        return self._pass_on(self.failures)

    def skip(self, refused: str) -> Turn:
        """The other way has refused this loader: unless it was given this way already, it is the next one's turn."""
        if self.given or self.turn.loader != refused or len(self.names) < 2:
            return self.turn
        return self._pass_on(1)

    def _pass_on(self, times: int) -> Turn:
        failed, self.failures = self.turn.loader, 0
        self.turn = Turn(self.names[(self.names.index(failed) + 1) % len(self.names)])
        return Turn(self.turn.loader, failed, times)


class BootAttempts:
    """Counts, for each MAC and way to boot."""

    def __init__(self, most: int = MOST_REMEMBERED) -> None:
        self._most = most
        self._attempts: OrderedDict[str, _Attempt] = OrderedDict()

    def turn(self, client: BootClient, names: tuple[str, ...], now: datetime) -> Turn:
        """Whose turn it is of `names`, for a client that has said something; call it once for each message."""
        key, other = client.mac, client.mac + _BY_HTTP
        if client.kind is _HTTP:
            key, other = other, key
        attempt = self._attempts.get(key)
        if attempt is None:
            attempt = self._remember(key, names)
        else:
            self._attempts.move_to_end(key)
        if attempt.names != names:
            attempt.begin(names)
        left = self._attempts.get(other) if client.begins else None
        turn = attempt.skip(left.leave(now)) if left is not None else attempt.turn
        if not client.begins:
            attempt.given = True
        elif client.xid != attempt.xid and attempt.given:
            turn = attempt.fail(now)
        attempt.xid = client.xid
        return turn

    def fetched(self, mac: str, file: str, now: datetime) -> None:
        """The machine has fetched this file whole."""
        for key in (mac, mac + _BY_HTTP):
            attempt = self._attempts.get(key)
            loader = LOADERS.get(attempt.turn.loader) if attempt is not None and attempt.given else None
            if attempt is not None and loader is not None and file in loader.files.values():
                attempt.fetched_at = now

    def loaded(self, mac: str) -> None:
        """What this machine was given works: its loader was heard of."""
        if not self._attempts:
            return
        for key in (mac, mac + _BY_HTTP):
            attempt = self._attempts.get(key)
            if attempt is not None:
                attempt.forgive()

    def _remember(self, key: str, names: tuple[str, ...]) -> _Attempt:
        if len(self._attempts) >= self._most:
            self._attempts.popitem(last=False)
        attempt = self._attempts[key] = _Attempt(names)
        return attempt


# A site has a handful of orders.
@lru_cache(maxsize=256)
def _first_of(names: tuple[str, ...]) -> Turn:
    return Turn(names[0]) if names else Turn("")
