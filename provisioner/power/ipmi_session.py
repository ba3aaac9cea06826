"""One IPMI session through pyghmi: blocking, to be used from a thread, and everything that can go wrong as `Fault`s.

Commands are sent raw, because pyghmi's helpers drop the completion code, and the code decides what may be repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from enum import Enum
from math import ceil
from select import POLLIN, poll
from typing import Any, Protocol

from pyghmi.exceptions import IpmiException  # type: ignore[import-untyped]
from pyghmi.ipmi.command import Command  # type: ignore[import-untyped]
from pyghmi.ipmi.private import session as pyghmi_session  # type: ignore[import-untyped]

from provisioner.power.driver import Bmc

# Lengths of the fields in RAKP message 1 and of the key (IPMI 2.0, 13.20 and 22.30), in bytes.
LONGEST_USERNAME = 16
LONGEST_PASSWORD = 20


class Again(Enum):
    """Whether a failed request may be sent again."""

    NEVER = "never"
    ALWAYS = "nothing was done"
    IF_HARMLESS = "it is not known whether it was done"


class Fault(Exception):
    """Base of all: what went wrong between us and a BMC, before a driver makes a sentence of it."""

    again = Again.NEVER


class Absent(Fault):
    """No BMC answered; the text says how we know."""


class LoginRefused(Fault):
    """The BMC refused the user or the password."""


class Unsuitable(Fault):
    """There is a BMC, but no session can be had with it."""


class OutOfSessions(Fault):
    """All of the BMC's sessions are taken at the moment."""

    again = Again.ALWAYS


class Lost(Fault):
    """The BMC stopped answering; the session is dead and its last request may or may not have been done."""

    again = Again.IF_HARMLESS


class Completed(Fault):
    """The BMC answered with a completion code other than 0."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} (completion code 0x{code:02x})")
        self.code = code
        self.again = _AGAIN_BY_CODE.get(code, Again.NEVER)


# IPMI 2.0, table 5-2. Codes from 0xD1 on say that the BMC itself is coming up or being updated.
_AGAIN_BY_CODE: Mapping[int, Again] = {
    0xC0: Again.ALWAYS,  # node busy
    0xC3: Again.IF_HARMLESS,  # timeout while processing
    0xC4: Again.ALWAYS,  # out of space
    0xCE: Again.IF_HARMLESS,  # response could not be provided
    0xD0: Again.ALWAYS,  # repository in update mode
    0xD1: Again.ALWAYS,  # firmware in update mode
    0xD2: Again.ALWAYS,  # initialization in progress
}
# Codes that mean "this BMC has no such command or choice", not "not now".
UNSUPPORTED = frozenset({0x80, 0xC1, 0xC7, 0xC9, 0xCC, 0xD6})

# pyghmi says why a login failed only in English; its words are in ipmi/private/constants.py (rmcp_codes, the
# completion codes of Get Session Challenge and Activate Session) and session.py. First match decides.
_LOGIN_FAULTS: Sequence[tuple[str, type[Fault]]] = (
    ("insufficient resources", OutOfSessions),
    ("slot", OutOfSessions),
    ("incorrect password", LoginRefused),
    ("integrity check value", LoginRefused),
    ("rakp4 integrity", LoginRefused),
    ("unauthorized name", LoginRefused),
    ("unauthorized role", LoginRefused),
    ("invalid role", LoginRefused),
    ("username", LoginRefused),
    ("user name", LoginRefused),
    ("privelege", LoginRefused),
    ("privilege", LoginRefused),
    ("timeout", Lost),
    ("no longer connected", Lost),
    ("failed to initialize", Lost),
)


class Session(Protocol):
    """A logged-in session with one BMC."""

    def command(self, netfn: int, command: int, data: Sequence[int] = (), first_wait: float | None = None) -> bytes:
        """Send one request and return the data of its answer; raises `Completed` or `Lost`.

        A packet that stays unanswered is sent again after half a second or more, or after `first_wait` seconds.
        """

    def logout(self) -> None:
        """Give the session back to the BMC; never raises, never waits."""

    def abandon(self) -> None:
        """From any thread, without waiting: make a `command` that hangs come back soon with `Lost`."""


class PyghmiSession:
    """A pyghmi Command and nothing of its state: a dead one is thrown away and made anew by the caller."""

    def __init__(self, link: Any) -> None:
        self._link = link

    def command(self, netfn: int, command: int, data: Sequence[int] = (), first_wait: float | None = None) -> bytes:
        """Send one request and return the data of its answer, without the completion code."""
        try:
            answer = self._link.raw_command(netfn=netfn, command=command, data=tuple(data), timeout=first_wait)
        except Exception as error:
            # pyghmi's queues are shared by all threads: a race there, or another BMC's malformed packet, comes out
            # here as any error at all. The session cannot be trusted after any of them.
            self._discard()
            raise Lost(_text_of(error)) from error
        code = answer.get("code", 0)
        if code > 0xFF or "data" not in answer:
            self._discard()
            raise Lost(str(answer.get("error", "no answer")))
        if code:
            raise Completed(code, str(answer.get("error", "refused")))
        return bytes(answer["data"])

    def logout(self) -> None:
        """Tell the BMC that the session is over, without waiting for its answer."""
        # Whatever goes wrong here, the BMC ends the session by itself after 60 s (IPMI 2.0, 6.12.15).
        with suppress(Exception):
            self._link.ipmi_session.logout()

    def abandon(self) -> None:
        """Let a hanging thread go, which pyghmi would hold for 27 s: its loop ends at the next timer, within 4 s.

        Only flags are set: pyghmi's locks may be held, and the event loop must not wait for them.
        """
        session = self._link.ipmi_session
        session.lastpayload = None
        session.onlogpayload = None
        session.logging = False
        session.logged = 0

    def _discard(self) -> None:
        """Take a dead session out of pyghmi's tables. With `logged` cleared, logout neither sends nor waits."""
        with suppress(Exception):
            self._link.ipmi_session.logged = 0
            self._link.ipmi_session.logout(False)


def log_in(bmc: Bmc) -> PyghmiSession:
    """A session with that BMC, which is known to be present.

    Credentials go in as bytes: pyghmi keys its sessions by what it is given but keeps bytes, so that with text a
    second login to the same BMC waits for ever.
    """
    _join_locks()
    pyghmi_session.select = Poll
    username, password = bmc.username.encode(), bmc.password.encode()
    try:
        return PyghmiSession(Command(bmc.address, username, password, port=bmc.port))
    except IpmiException as error:
        raise login_fault(error) from error
    except Exception as error:
        raise Lost(_text_of(error)) from error


class Poll:
    """In the place of the module `select` inside pyghmi: its `select` ends at descriptor 1023, and with it all BMCs.

    A server with a thousand agents waiting gets higher ones for everything that it opens after them.
    """

    @staticmethod
    def select(
        reading: Sequence[Any], writing: Sequence[Any], failing: Sequence[Any], seconds: float | None = None
    ) -> tuple[list[Any], list[Any], list[Any]]:
        """Those that have something to read, waiting so long for it; pyghmi asks for nothing else."""
        waiting, sources = poll(), {source.fileno(): source for source in reading}
        for descriptor in sources:
            waiting.register(descriptor, POLLIN)
        found = waiting.poll(None if seconds is None else ceil(max(0.0, seconds) * 1000))
        return [sources[descriptor] for descriptor, _ in found], [], []


def _join_locks() -> None:
    """Make pyghmi's two global locks one.

    It sends with the first held and takes the second, and repeats lost packets with the second held and takes the
    first: with several threads, one silent BMC is enough for all of them to wait for each other for ever (1.6.19).
    Both are re-entrant and guard short work, so one lock does for both. Nobody can hold one before the first login.
    """
    if pyghmi_session.WAITING_SESSIONS is not pyghmi_session.KEEPALIVE_SESSIONS:
        pyghmi_session.WAITING_SESSIONS = pyghmi_session.KEEPALIVE_SESSIONS


def login_fault(error: Exception) -> Fault:
    """Which fault pyghmi's words for a failed login mean. Without words it waited in vain."""
    text = _text_of(error)
    if str(error) in ("", "None"):
        return Lost("no answer during the login")
    lowered = text.lower()
    for words, fault in _LOGIN_FAULTS:
        if words in lowered:
            return fault(text)
    return Unsuitable(text)


def _text_of(error: Exception) -> str:
    return str(error) or type(error).__name__
