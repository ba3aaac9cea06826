"""Asks on the network who uses an address, for `provisioner.conductor.conflicts`: by ARP, or by ICMP behind relays.

Each address is asked for twice, and counts as free after a time of silence: a tenth of a second on our own networks,
where hosts answer within milliseconds, a fifth behind relays. ROMs wait some seconds for an offer.

What somebody waits for is asked for at once, what is asked for in advance by a few addresses at a time: everybody on a
network hears each ARP request, and a thousand in one instant are what a worm does.

Clients that come by way of a relay may be on a network of ours all the same. They are asked for by ARP then as well:
an echo would have the kernel ask by ARP, with room for few hundred such questions, and what does not fit is not asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from ipaddress import IPv4Network
from typing import Protocol

import structlog

from provisioner.conductor.conflicts import Message, Question, interface_on
from provisioner.raw_sockets import RawSockets, connected_networks, drain, hardware_address
from provisioner.wire.address_probes import (
    arp_probe,
    arp_template,
    echo_request,
    echo_template,
    read_arp,
    read_echo_reply,
)

log = structlog.get_logger(__name__)

# When the second question is asked and how long answers are waited for: on our own networks, and behind relays.
HERE_SECONDS, FAR_SECONDS = (0.04, 0.1), (0.1, 0.2)
# How often stocks are looked after; less than the time for which an address counts as free.
ROUND_SECONDS = 20.0
# In advance so many addresses at a time: with the second question 640 packets a second while stocks are filled.
PORTION, PACE_SECONDS = 32, 0.1

_ETH_P_ARP = 0x0806
_EVERYBODY = b"\xff" * 6
# At once, so that a flood of ARP does not keep the loop from its work.
_READ_LIMIT = 64
_RESUMED_AT_ONCE = 256
_PACKET_BYTES = 2048


def build_templates() -> None:
    """Load what packets are made from, which takes 0.2 s the first time."""
    arp_template()
    echo_template()


class Asking(Protocol):
    """Who wants to know (`provisioner.conductor.conflicts.Conflicts`)."""

    def begin(self, wake: Callable[[], None]) -> None:
        """Somebody can ask now."""

    def needed(self) -> bool:
        """Whether anything will ever be asked for."""

    def wanted(self) -> list[Question]:
        """What somebody waits for."""

    def due(self, count: int) -> list[Question]:
        """What to ask for in advance now, at most so much."""

    def rest(self, networks: Sequence[tuple[str, IPv4Network]]) -> None:
        """Called once a round, with the networks that this host is on and the interface of each."""

    def free(self, addresses: Sequence[str]) -> list[Message]:
        """Nobody answered for these; returns the messages that waited."""

    def in_use(self, address: str, mac: str) -> list[Message]:
        """Somebody answered; returns the message that waited."""


class Prober:
    """Asks and listens. `resume` takes the messages that have waited; `identifier` marks our echo requests.

    On `interfaces` clients are served; when there are none, on all. `follow_clock` puts leases right when the clock was
    set: whoever has an address would be asked for it, and put into quarantine when it answers.
    """

    def __init__(
        self,
        asking: Asking,
        sockets: RawSockets,
        resume: Callable[[list[Message]], None],
        identifier: int,
        connected: Callable[[], list[tuple[str, IPv4Network]]] = connected_networks,
        interfaces: Collection[str] = (),
        follow_clock: Callable[[], object] = lambda: None,
        build: Callable[[], None] = build_templates,
    ) -> None:
        self._asking = asking
        self._sockets = sockets
        self._resume = resume
        self._identifier = identifier
        self._connected = connected
        self._interfaces = interfaces
        self._follow_clock = follow_clock
        self._build = build
        self._open: dict[str, Question] = {}
        self._woken = self._ready = self._listening = self._pacing = self._ended = False
        self._sees = True

    async def run(self) -> None:
        """Ask until cancelled. Whoever waits then gets no answer from us and asks again."""
        self._loop = asyncio.get_running_loop()
        self._asking.begin(self._wake)
        try:
            while True:
                if self._ready or self._asking.needed():
                    networks = self._networks()
                    if networks is not None:
                        self._follow_clock()
                        self._asking.rest(self._served(networks))
                    self._wake()
                await asyncio.sleep(ROUND_SECONDS)
        finally:
            self._ended = True
            self._open.clear()
            self._listen(False)

    def _networks(self) -> list[tuple[str, IPv4Network]] | None:
        """The networks that this host is on; None when that cannot be told at the moment."""
        try:
            networks = self._connected()
        except (OSError, ValueError) as error:
            if self._sees:
                log.warning("dhcp.probe-networks-unknown", error=str(error))
            self._sees = False
            return None
        self._sees = True
        return networks

    def _served(self, networks: list[tuple[str, IPv4Network]]) -> list[tuple[str, IPv4Network]]:
        return [each for each in networks if not self._interfaces or each[0] in self._interfaces]

    def _wake(self) -> None:
        if self._woken:
            return
        self._woken = True
        if self._ready:
            self._loop.call_soon(self._ask)
        else:
            # Nothing to be done between two packets, nor without need.
            self._loop.run_in_executor(None, self._build).add_done_callback(self._built)

    def _built(self, built: asyncio.Future[None]) -> None:
        if built.cancelled():
            return
        error = built.exception()
        if error is None:
            self._ready = True
            self._ask()
            return
        # Out of memory or file descriptors: nothing can be asked for, and nobody shall wait for it.
        log.error("dhcp.probe-impossible", error=str(error))
        self._woken = False
        self._go_on(self._asking.free([each.address for each in self._asking.wanted()]))

    def _ask(self) -> None:
        self._woken = False
        if self._ended:
            return
        questions = self._asking.wanted()
        self._put(questions if self._pacing else questions + self._portion())

    def _portion(self) -> list[Question]:
        self._follow_clock()
        questions = self._asking.due(PORTION)
        self._pacing = bool(questions)
        if questions:
            self._loop.call_later(PACE_SECONDS, self._go_on_asking)
        return questions

    def _go_on_asking(self) -> None:
        if not self._ended:
            self._put(self._portion())

    def _put(self, questions: list[Question]) -> None:
        if not questions:
            return
        questions = self._by_arp_where_possible(questions)
        self._open.update((each.address, each) for each in questions)
        # First of all: whatever happens then, each question has an end.
        for seconds, asked in (
            (HERE_SECONDS, [each for each in questions if each.interface]),
            (FAR_SECONDS, [each for each in questions if not each.interface]),
        ):
            if asked:
                self._loop.call_later(seconds[0], self._ask_again, asked)
                self._loop.call_later(seconds[1], self._end, asked)
        self._listen(True)
        self._send(questions)

    def _by_arp_where_possible(self, questions: list[Question]) -> list[Question]:
        if all(each.interface for each in questions):
            return questions
        # When they are unknown, by echo: that finds most of them too, and whoever waits gets an answer.
        networks = self._networks() or []
        return [
            each if each.interface else Question(each.address, interface_on(networks, each.address))
            for each in questions
        ]

    def _ask_again(self, questions: list[Question]) -> None:
        self._send([each for each in questions if self._open.get(each.address) is each])

    def _end(self, questions: list[Question]) -> None:
        if self._listening:
            # Answers may have come already and wait for their turn.
            self._read_arp()
            self._read_echo()
        silent = [each.address for each in questions if self._open.get(each.address) is each]
        for address in silent:
            del self._open[address]
        if not self._open:
            self._listen(False)
        if silent:
            self._go_on(self._asking.free(silent))

    def _go_on(self, messages: list[Message]) -> None:
        """A storm's in portions, between which its requests are heard."""
        if messages and not self._ended:
            self._resume(messages[:_RESUMED_AT_ONCE])
            if len(messages) > _RESUMED_AT_ONCE:
                self._loop.call_soon(self._go_on, messages[_RESUMED_AT_ONCE:])

    # --- asking -----------------------------------------------------------------------------------------------

    def _send(self, questions: Sequence[Question]) -> None:
        macs: dict[str, str] = {}
        for number, each in enumerate(questions):
            try:
                if each.interface:
                    if each.interface not in macs:
                        macs[each.interface] = hardware_address(self._sockets.frames, each.interface)
                    probe = arp_probe(macs[each.interface], each.address)
                    self._sockets.frames.sendto(probe, (each.interface, _ETH_P_ARP, 0, 0, _EVERYBODY))
                else:
                    self._sockets.echo.sendto(echo_request(self._identifier, number & 0xFFFF), (each.address, 0))
            except OSError as error:
                # Unreachable, or too much at once: then it was not asked for, and the client itself may do that.
                log.debug("dhcp.probe-not-sent", address=each.address, interface=each.interface, error=str(error))

    # --- listening --------------------------------------------------------------------------------------------

    def _listen(self, on: bool) -> None:
        """Read only while a question is open: other hosts' ARP is none of our business, and there is much of it."""
        if on is self._listening:
            return
        self._listening = on
        for sock, reader in ((self._sockets.arp, self._read_arp), (self._sockets.echo, self._read_echo)):
            if on:
                drain(sock)
                self._loop.add_reader(sock, reader)
            else:
                self._loop.remove_reader(sock)

    def _read_arp(self) -> None:
        for _ in range(_READ_LIMIT):
            try:
                packet, (interface, *_) = self._sockets.arp.recvfrom(_PACKET_BYTES)
            except OSError:
                # Nothing more, or the interface went down.
                return
            mac, address = read_arp(packet)
            asked = self._open.get(address)
            if asked is not None and asked.interface == interface:
                self._answered(address, mac)

    def _read_echo(self) -> None:
        for _ in range(_READ_LIMIT):
            try:
                packet = self._sockets.echo.recv(_PACKET_BYTES)
            except OSError:
                return
            address = read_echo_reply(packet, self._identifier)
            asked = self._open.get(address)
            if asked is not None and not asked.interface:
                self._answered(address, "")

    def _answered(self, address: str, mac: str) -> None:
        del self._open[address]
        self._follow_clock()
        self._go_on(self._asking.in_use(address, mac))
