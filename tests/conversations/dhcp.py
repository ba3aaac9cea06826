"""Plays the conversations in `dhcp/` with `Addresses` on a real ledger."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from provisioner.conductor.addresses import Addresses
from provisioner.conductor.ledger import Ledger
from provisioner.events import Event
from provisioner.links import Arrival
from provisioner.wire.dhcp import DhcpMessage, decode, encode
from provisioner.wire.dhcp_options import describe
from tests.conversations.scenes import set_scene
from tests.dhcp_messages import SERVER, read_description

FOLDER = Path(__file__).parent / "dhcp"
HERE = Arrival(SERVER, "eth0")
SPOKEN = ("<", "!")
# `@port 4011`: from here on the client speaks to the boot server.
BOOT_SERVER_PORT = 4011


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def paragraphs(text: str) -> Iterator[str]:
    """What a client says, the scene and remarks; without the answers."""
    for paragraph in text.split("\n\n"):
        lines = [line for line in paragraph.splitlines() if line and not line.startswith(SPOKEN)]
        if lines:
            yield "\n".join(lines)


class Player:
    """Plays one conversation and writes down what happened."""

    def __init__(
        self, addresses: Addresses, clock: Clock, settled: Callable[[], Awaitable[None]], ledger: Ledger
    ) -> None:
        self._addresses = addresses
        self._settled = settled
        self._clock = clock
        self._ledger = ledger
        self._arrival = HERE
        self._port = 67
        self.events: list[Event] = []

    async def play(self, text: str) -> str:
        """The conversation with the answers that we give now."""
        spoken = []
        for paragraph in paragraphs(text):
            spoken.append(paragraph)
            for line in paragraph.splitlines():
                if line.startswith("@"):
                    await self._set_scene(line[1:].split())
            said = "\n".join(line[2:] for line in paragraph.splitlines() if line.startswith(">"))
            if said:
                spoken.append(await self._answer(said))
        return "\n\n".join(spoken) + "\n"

    async def _set_scene(self, words: list[str]) -> None:
        match words:
            case ["port", port]:
                self._port = int(port)
            case ["wait", seconds]:
                self._clock.wait(float(seconds))
            case ["arrives", "unicast"]:
                self._arrival = Arrival(SERVER, "eth0", broadcast=False)
            case ["arrives", "broadcast"]:
                self._arrival = HERE
            case ["arrives", "unicast", address, interface]:
                self._arrival = Arrival(address, interface, broadcast=False)
            case ["arrives", address, interface, *further]:
                also, _, elsewhere = " ".join(further).partition("elsewhere")
                self._arrival = Arrival(
                    address, interface, also=tuple(also.split()), elsewhere=tuple(elsewhere.split())
                )
            case _:
                await set_scene(self._ledger, words)

    async def _answer(self, said: str) -> str:
        self.events.clear()
        request = decode(encode(read_description(said), limit=1472))
        if self._port == BOOT_SERVER_PORT:
            return await self._answer_boot_server(request)
        answers = self._addresses.answer([(request, self._arrival)])
        await answers.saved
        lines = [f"< silence: {reason}" for reason in answers.ignored] or ["< silence"]
        replies = [*answers.at_once, *answers.replies]
        if replies:
            reply = replies[0]
            to = reply.destination
            lines = [f"< to {to.way.value} {to.address}:{to.port}"]
            lines += [f"< {line}" for line in describe(decode(reply.data)).splitlines()]
        return "\n".join(lines + [_event_line(event) for event in self.events])

    async def _answer_boot_server(self, request: DhcpMessage) -> str:
        told = self._addresses.proxy.answer(request, self._arrival)
        await self._settled()
        shown = describe(decode(told.data)).splitlines() if told.data else [f"silence: {told.reason}"]
        return "\n".join([*(f"< {line}" for line in shown), *map(_event_line, self.events)])


def _event_line(event: Event) -> str:
    data = "".join(f" {name}={value!r}" for name, value in event.data.items())
    machine = f" of {event.machine}" if event.machine else ""
    return f"! {event.kind} {event.mac}{machine} {event.key}{data}".rstrip()
