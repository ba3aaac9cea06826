"""Is there a BMC at all? One sessionless question on its own UDP socket, asked before any login.

pyghmi cannot tell a BMC that is away from one that stops half-way: both end after seconds in an exception without
text. A BMC must answer Get Channel Authentication Capabilities to anybody (IPMI 2.0, 22.13 and 13.14), so silence
here means away. It costs one round trip, no thread, and a dead BMC never reaches the threads that live ones need.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass

# RMCP header (13.1.3): version 6, reserved, sequence 255 = no acknowledge, class 7 = IPMI.
_RMCP = bytes((0x06, 0x00, 0xFF, 0x07))
_RMCP_CLASS_AT, _IPMI_CLASS_MASK, _IPMI_CLASS = 3, 0x1F, 0x07
# Session header (13.6): no authentication, sequence 0, session 0.
_NO_SESSION = bytes(9)
_BMC, _REMOTE_CONSOLE = 0x20, 0x81
_APP_REQUEST, _APP_RESPONSE = 0x06 << 2, 0x07 << 2
_GET_CHANNEL_AUTH = 0x38
_THIS_CHANNEL_WITH_2_0_DATA, _ADMINISTRATOR = 0x8E, 0x04

# Where things are in the answer: 4 RMCP + 9 session + 1 length, then the message.
_MESSAGE_AT = 14
_NETFN_AT, _COMMAND_AT, _CODE_AT, _AUTH_TYPES_AT, _EXTENDED_AT = 1, 5, 6, 8, 10

# How long each question waits for its answer, in seconds: a busy BMC takes over a second, a lossy wire loses one.
WAITS = (0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Presence:
    """What the question brought: `absent` says why there is no answer, and is empty when there is one."""

    absent: str = ""
    speaks_ipmi_2: bool = True


def question() -> bytes:
    """The datagram that every BMC answers."""
    head = bytes((_BMC, _APP_REQUEST))
    body = bytes((_REMOTE_CONSOLE, 0, _GET_CHANNEL_AUTH, _THIS_CHANNEL_WITH_2_0_DATA, _ADMINISTRATOR))
    message = head + _checksum(head) + body + _checksum(body)
    return _RMCP + _NO_SESSION + bytes((len(message),)) + message


def read_answer(datagram: bytes) -> Presence | None:
    """What a datagram says of the BMC; None when it is no answer to the question."""
    message = datagram[_MESSAGE_AT:]
    if len(message) <= _CODE_AT or datagram[_RMCP_CLASS_AT] & _IPMI_CLASS_MASK != _IPMI_CLASS:
        return None
    if message[_NETFN_AT] & 0xFC != _APP_RESPONSE or message[_COMMAND_AT] != _GET_CHANNEL_AUTH:
        return None
    if message[_CODE_AT] != 0 or len(message) <= _EXTENDED_AT:
        # A BMC from before 2.0 may refuse the flag that asks for 2.0 data; it is there all the same.
        return Presence()
    says_extended = bool(message[_AUTH_TYPES_AT] & 0x80)
    return Presence(speaks_ipmi_2=says_extended and bool(message[_EXTENDED_AT] & 0x02))


def _checksum(data: bytes) -> bytes:
    """Two's complement of the sum, so that data and checksum add up to 0 (13.8)."""
    return bytes((-sum(data) & 0xFF,))


class _Listener(asyncio.DatagramProtocol):
    """Keeps the first answer, or the first error that the network gave us instead."""

    def __init__(self, heard: asyncio.Future[Presence]) -> None:
        self._heard = heard

    def datagram_received(self, data: bytes, addr: object) -> None:
        presence = read_answer(data)
        if presence and not self._heard.done():
            self._heard.set_result(presence)

    def error_received(self, exc: Exception) -> None:
        if not self._heard.done():
            self._heard.set_result(Presence(absent=_network_error(exc)))


async def ask_presence(address: str, port: int, waits: Sequence[float] = WAITS) -> Presence:
    """Ask the BMC at `address`, once per entry of `waits`, until something comes back."""
    loop = asyncio.get_running_loop()
    heard: asyncio.Future[Presence] = loop.create_future()
    try:
        transport, _ = await loop.create_datagram_endpoint(lambda: _Listener(heard), remote_addr=(address, port))
    except OSError as error:
        return Presence(absent=_network_error(error))
    try:
        for wait in waits:
            transport.sendto(question())
            await asyncio.wait({heard}, timeout=wait)
            if heard.done():
                return heard.result()
    finally:
        transport.close()
    return Presence(absent=f"{len(waits)} requests in {sum(waits):g} s stayed unanswered")


def _network_error(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "that host is up, but nothing listens on that UDP port"
    if isinstance(error, socket.gaierror):
        return f"its name cannot be resolved: {error.strerror}"
    return f"the network says: {getattr(error, 'strerror', None) or error}"
