"""Plays the conversations in `dhcp6/` with `Addresses6` on a real ledger; `@ arrives` takes a source and interface."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from provisioner.conductor.addresses6 import Addresses6
from provisioner.events import Event
from provisioner.wire.dhcp6 import Dhcp6Message, MessageType6, Option, Relay, Relayed, decode, encode
from provisioner.wire.dhcp6_options import CLIENT_ID, IA_NA, SERVER_ID, IaAddress, IaNa, encode_ia
from provisioner.wire.dhcp6_text import describe, parse_option
from tests.conversations.dhcp import Clock, paragraphs
from tests.dhcp6_messages import arrival

FOLDER = Path(__file__).parent / "dhcp6"


def read_description(text: str) -> Relayed:
    """The message that `describe` would show as this text."""
    relays: list[Relay] = []
    kind, xid = MessageType6.SOLICIT, 0
    options: list[Option] = []
    for line in text.strip().splitlines():
        words = line.split()
        if words[0] == "option":
            options.append(_option(line))
        elif words[0].startswith("RELAY"):
            relays.append(Relay(kind=MessageType6[words[0]], hops=int(words[2]), link=words[4], peer=words[6]))
        else:
            kind, xid = MessageType6[words[0]], int(words[2], 16)
            if relays and options:
                relays[-1] = replace(relays[-1], options=tuple(options))
                options = []
    return Relayed(Dhcp6Message(kind=kind, xid=xid, options=tuple(options)), tuple(relays))


def _option(line: str) -> Option:
    code, shown = int(line.split()[1]), line.partition(" = ")[2]
    if code in (CLIENT_ID, SERVER_ID):
        return code, parse_option(code, shown.partition(" ")[0])
    if code == IA_NA:
        head, *rest = [part.split() for part in shown.split("; ")]
        addresses = tuple(IaAddress(part[0], int(part[2]), int(part[4])) for part in rest)
        return code, encode_ia(IaNa(head[1], int(head[3]), int(head[5]), addresses))
    return code, parse_option(code, shown)


class Player6:
    """Plays one conversation and writes down what happened."""

    def __init__(self, addresses: Addresses6, clock: Clock) -> None:
        self._addresses = addresses
        self._clock = clock
        self._arrival = arrival(1)
        self.events: list[Event] = []

    async def play(self, text: str) -> str:
        """The conversation with the answers that we give now."""
        spoken = []
        for paragraph in paragraphs(text):
            spoken.append(paragraph)
            for line in paragraph.splitlines():
                if line.startswith("@"):
                    self._set_scene(line[1:].split())
            said = "\n".join(line[2:].strip() for line in paragraph.splitlines() if line.startswith(">"))
            if said:
                spoken.append(await self._answer(said))
        return "\n\n".join(spoken) + "\n"

    def _set_scene(self, words: list[str]) -> None:
        match words:
            case ["wait", seconds]:
                self._clock.wait(float(seconds))
            case ["arrives", source, interface]:
                self._arrival = replace(self._arrival, source=source, interface=interface)
            case _:
                raise ValueError(words)

    async def _answer(self, said: str) -> str:
        self.events.clear()
        request = decode(encode(read_description(said)))
        answers = self._addresses.answer([(request, self._arrival)])
        await answers.saved
        lines = [f"< silence: {reason}" for reason in answers.ignored]
        for when, replies in (("at once", answers.at_once), ("once saved", answers.later)):
            for reply in replies:
                lines.append(f"< {when} to {reply.arrival.source}:{reply.port}")
                lines += [f"< {line}" for line in describe(decode(reply.data)).splitlines()]
        return "\n".join(lines + [_event_line(event) for event in self.events])


def _event_line(event: Event) -> str:
    data = "".join(f" {name}={value!r}" for name, value in event.data.items())
    machine = f" of {event.machine}" if event.machine else ""
    return f"! {event.kind} {event.mac}{machine} {event.key}{data}".rstrip()
