"""What the flight recorder kept of a served exchange can be saved, read back, and played again."""

from __future__ import annotations

from provisioner.links import Arrival
from provisioner.recording import Packet
from provisioner.store.recorder import FlightRecorder
from provisioner.wire.capture import capture, read_capture
from provisioner.wire.dhcp import encode
from tests.conversations.dhcp import HERE, Player
from tests.conversations.recorded import conversation
from tests.dhcp_messages import OVMF, discover, mac, renew, select
from tests.test_conductor_addresses import SUBNET, running

CLIENT, ALL, OURS = ("0.0.0.0", 68), ("255.255.255.255", 67), ("10.77.0.1", 67)
EXCHANGES = (
    (0.0, discover(1, options=OVMF), HERE),
    (1.0, select(1, "10.77.0.10", options=OVMF), HERE),
    (900.0, renew(1, "10.77.0.10"), Arrival(OURS[0], "eth0", broadcast=False)),
)


async def served(server, recorder) -> None:
    """Serve the exchanges and record them, as the DHCP service does."""
    last = 0.0
    for time, message, arrival in EXCHANGES:
        server.clock.wait(time - last)
        last = time
        answers = server.addresses.answer([(message, arrival)])
        await answers.saved
        to = ALL if arrival.broadcast else OURS
        recorder.keep("dhcp", time, message.mac, False, encode(message), CLIENT, to, "eth0")
        for reply in (*answers.at_once, *answers.replies):
            recorder.keep("dhcp", time, reply.mac, True, reply.data, OURS, ("255.255.255.255", 68), "eth0")
    recorder.flush()


def said(text):
    """Without the ways of the answers and the timeline, which a capture does not have."""
    return [line for line in text.splitlines() if line[:1] in "<>" and line and not line.startswith("< to ")]


async def test_what_was_recorded_is_played_again_with_the_same_answers(tmp_path):
    recorder = FlightRecorder(tmp_path / "recorder", 1 << 20)
    async with running(tmp_path / "first.db") as server:
        await server.save(SUBNET)
        await served(server, recorder)
    recorded = conversation(read_capture(capture(recorder.packets(mac(1)))))
    recorder.close()
    assert recorded.count("< OFFER") == 1 and recorded.count("< ACK") == 2
    async with running(tmp_path / "second.db") as server:
        await server.save(SUBNET)
        player = Player(server.addresses, server.clock, server.ledger.settled, server.ledger)
        server.bus.events = player.events
        assert said(await player.play(recorded)) == said(recorded)


def packet(time, data, *, outgoing=False, source=CLIENT, destination=ALL):
    return Packet(
        time=time,
        protocol="dhcp",
        mac=mac(1),
        outgoing=outgoing,
        interface="eth0",
        source=source[0],
        source_port=source[1],
        destination=destination[0],
        destination_port=destination[1],
        data=data,
    )


def test_times_and_ways_are_told():
    text = conversation(
        [
            packet(0.0, encode(discover(1))),
            packet(0.0, encode(discover(1)), outgoing=True, source=OURS, destination=("255.255.255.255", 68)),
            packet(30.0, encode(renew(1, "10.77.0.10")), destination=OURS),
        ]
    )
    scenes = [line for line in text.splitlines() if line.startswith("@")]
    assert scenes == ["@arrives 10.77.0.1 eth0", "@wait 30.000", "@arrives unicast 10.77.0.1 eth0"]
