"""Thousands of DHCP clients, a network that loses, repeats and delays, a server that is killed and whose clock is set.

Time is simulated; the server is the real `Addresses` on a real ledger, over a store that a crash can cut off and whose
disk can be full. After each message what clients hold is compared: `World` raises AssertionError when two of them hold
one address, or when one that renews in time loses its own without an operator having wanted it.
"""

from __future__ import annotations

from asyncio import sleep
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import count
from random import Random

import msgspec

from provisioner.bus import Bus
from provisioner.conductor.addresses import Addresses, Answers
from provisioner.conductor.boot_choices import BootChoices
from provisioner.conductor.ledger import Ledger
from provisioner.errors import StoreError
from provisioner.leases import OFFER_HOLD
from provisioner.links import Arrival
from provisioner.model.addresses import Reservation, Subnet
from provisioner.model.content import Bootenv
from provisioner.params import Params
from provisioner.store.batches import Batch
from provisioner.wire.dhcp import DhcpMessage, MessageType, decode
from tests.dhcp_messages import SERVER, changed, decline, discover, inform, mac, reboot, release, renew, select

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
BROADCAST, UNICAST = Arrival(SERVER, "eth0"), Arrival(SERVER, "eth0", broadcast=False)
RELAY = "10.79.0.1"
LEASE = 600
_GIVING_BACK = (MessageType.RELEASE, MessageType.DECLINE)
# Longer than any message is on its way.
LATEST = 90.0


def subnet(name: str, second: int, size: int, **more: str) -> Subnet:
    """A /20 with a pool of this size."""
    last = 255 + size
    pool = f"10.{second}.1.0", f"10.{second}.{last // 256}.{last % 256}"
    cidr = f"10.{second}.0.0/20"
    times = {"lease_seconds": LEASE, "reserved_lease_seconds": LEASE}
    return Subnet(name=name, cidr=cidr, pool_start=pool[0], pool_end=pool[1], **times, **more)  # type: ignore[arg-type]


class Store:
    """What is on disk, and what a crash takes."""

    path = "memory"

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], object] = {}
        self._under_way: list[Batch] = []
        self._events = 0
        self.full = False

    def load(self, table: str) -> Iterator[tuple[str, bytes]]:
        return ((key, msgspec.json.encode(value)) for (kind, key), value in self._rows.items() if kind == table)

    def last_event_id(self) -> int:
        return self._events

    def submit(self, batch: Batch, *, lazy: bool = False) -> None:
        self._under_way.append(batch)

    def hurry(self) -> None:
        """All is written at once anyway."""

    def write(self) -> None:
        """All that was handed over is on disk, or the disk is full."""
        batches, self._under_way = self._under_way, []
        for batch in batches:
            if self.full:
                batch.settled(StoreError("the disk is full"))
                continue
            for each in batch.writes:
                if each.value is None:
                    self._rows.pop((each.table, each.key), None)
                else:
                    self._rows[each.table, each.key] = each.value
            self._events += len(batch.events)
            batch.settled(None)

    def crash(self) -> None:
        """Nothing of what is under way is there any more."""
        self._under_way = []


class Client:
    """A DHCP client by RFC 2131, figure 5; `holds` is what it uses until `until`."""

    def __init__(self, number: int, relayed: bool) -> None:
        self.number = number
        self.relayed = relayed
        self.state = "off"
        self.xid = 0
        self.tries = 0
        self.asked_at = 0.0
        self.wanted = ""
        self.holds = ""
        self.until = 0.0
        self.remembers = ""
        # Each change of state makes what was planned before void.
        self.turn = 0


class World:
    """Everything there is, and its time."""

    def __init__(self, seed: int, clients: int = 5000, pools: tuple[int, int, int] = (1500, 1300, 1600)) -> None:
        self.random = Random(seed)
        self.seed = seed
        self.now = 0.0
        self.skew = 0.0
        self._plan: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._inbox: list[tuple[DhcpMessage, Arrival]] = []
        self.store = Store()
        self.up = False
        self.moved: set[str] = set()
        self.told: Counter[str] = Counter()
        self.holders: dict[str, Client] = {}
        self.offers: dict[str, tuple[str, float]] = {}
        self._subnets = (
            subnet("first", 77, pools[0], shared_network="floor"),
            subnet("second", 78, pools[1], shared_network="floor"),
            subnet("hall", 79, pools[2]),
        )
        self.clients = [Client(number, number % 3 == 0) for number in range(1, clients + 1)]
        self._start()
        tx = self.ledger.transaction()
        for each in self._subnets:
            tx.put(each)
        tx.commit()
        self.store.write()

    # --- time -------------------------------------------------------------------------------------------------

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        """Do something in so many seconds."""
        heappush(self._plan, (self.now + seconds, next(self._numbers), what))

    async def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self._plan and self._plan[0][0] <= end:
            self.now, _, what = heappop(self._plan)
            what()
            if self.store.full:
                # Those who wait for what could not be saved hear of it before anything else happens.
                await sleep(0)
        self.now = end

    def wall(self) -> datetime:
        """What the server's clock says."""
        return EPOCH + timedelta(seconds=self.now + self.skew)

    # --- the server -------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self.ledger = Ledger(self.store, Bus(), self.wall)  # type: ignore[arg-type]
        self.ledger.load()
        choices = BootChoices(self.ledger, lambda: Params({}), lambda machine: Bootenv(name="local"))
        self.addresses = Addresses(self.ledger, choices, steady=lambda: self.now)
        self.addresses.follow()
        # What it does before the first message too: the clock is read when the server starts.
        self.addresses.answer([])
        self.store.write()
        self.up = True

    def crash(self) -> None:
        """Kill the server in the middle of what it does; it comes back, maybe with its clock set back meanwhile."""
        if not self.up:
            return
        self.told["crashes"] += 1
        if self._inbox:
            self.addresses.answer(self._inbox)
        self.store.crash()
        self.offers.clear()
        self._inbox, self.up = [], False
        if self.random.random() < 0.3:
            self.skew -= self.random.uniform(10, 86400)
        self.later(self.random.uniform(1, 30), self._start)

    def set_clock(self) -> None:
        """Somebody sets the server's clock."""
        if self.up:
            self.told["clock steps"] += 1
            self.offers.clear()
            self.skew += self.random.choice([-1, 1]) * 10 ** self.random.uniform(1, 5.5)

    def fill_disk(self) -> None:
        """Nothing can be saved for a while."""
        self.told["full disks"] += 1
        self.store.full = True

        def make_room() -> None:
            self.store.full = False

        self.later(self.random.uniform(1, 30), make_room)

    def reserve(self) -> None:
        """An operator keeps an address for somebody, or no longer."""
        if not self.up or self.store.full:
            return
        tx = self.ledger.transaction()
        old = list(self.ledger.all(Reservation))
        if len(old) > 100:
            gone = self.random.choice(old)
            tx.delete(Reservation, gone.address)
            self.moved |= {gone.address, gone.mac}
        client = self.random.choice(self.clients)
        if not self.ledger.reservations_by_mac(mac(client.number)):
            network = self.random.choice(self._subnets)
            address = network.cidr.replace("0.0/20", f"{self.random.randint(1, 3)}.{self.random.randint(1, 254)}")
            if self.ledger.get(Reservation, address) is None:
                tx.put(Reservation(address=address, mac=mac(client.number)))
                self.moved |= {address, mac(client.number)}
                self.told["reservations"] += 1
        tx.commit()
        self.store.write()

    def _drain(self) -> None:
        if not self.up or not self._inbox:
            return
        inbox, self._inbox = self._inbox[:64], self._inbox[64:]
        answers = self.addresses.answer(inbox)
        for reply in answers.at_once:
            self._send_back(reply.data)
        self.store.write()
        saved = answers.saved.exception() is None
        self._check_offers(inbox, answers, saved)
        if not saved:
            self.told["not acknowledged"] += len(answers.replies)
        for reply in answers.replies if saved else ():
            self._send_back(reply.data)
        self.told.update(f"ignored: {reason}" for reason in answers.ignored)
        if self._inbox:
            self.later(0.001, self._drain)

    # --- the network ------------------------------------------------------------------------------------------

    def _carry(self, deliver: Callable[[], None]) -> None:
        """Bring something over: mostly at once and once, sometimes twice, late, or never."""
        chance = self.random.random()
        if chance < 0.05:
            return
        for _ in range(2 if chance > 0.93 else 1):
            slow = self.random.random()
            delay = (
                0.002 if slow < 0.7 else self.random.uniform(0, 3) if slow < 0.99 else self.random.uniform(3, LATEST)
            )
            self.later(delay, deliver)

    def send(self, client: Client, message: DhcpMessage, arrival: Arrival = BROADCAST) -> None:
        """From the client towards the server, by its relay unless it is unicast."""
        if client.relayed and arrival is BROADCAST:
            message = changed(message, giaddr=RELAY, hops=1)
        message = changed(message, xid=client.xid)

        def arrive() -> None:
            self.told[f"asked: {message.message_type.name if message.message_type else ''}"] += 1
            if not self.up:
                return
            if not self._inbox:
                self.later(0.002, self._drain)
            self._inbox.append((message, arrival))

        self._carry(arrive)

    def _send_back(self, data: bytes) -> None:
        reply = decode(data)
        client = self.clients[int(reply.mac.replace(":", ""), 16) - int(mac(0).replace(":", ""), 16) - 1]
        self._carry(lambda: self.hear(client, reply))

    def _check_offers(self, inbox: Sequence[tuple[DhcpMessage, Arrival]], answers: Answers, saved: bool) -> None:
        """No address is on offer to two clients: only a crash or a clock that was set can forget an offer, a full disk
        cannot.
        """
        settled = {decode(reply.data).mac for reply in answers.replies} if saved else set()
        settled |= {message.mac for message, _ in inbox if message.message_type in _GIVING_BACK}
        self.offers = {address: held for address, held in self.offers.items() if held[0] not in settled}
        for offer in (decode(reply.data) for reply in answers.at_once):
            to, until = self.offers.get(offer.yiaddr, ("", 0.0))
            assert to in ("", offer.mac) or until <= self.now, f"{offer.yiaddr} on offer twice (seed {self.seed})"
            if offer.mac not in settled:
                self.offers[offer.yiaddr] = offer.mac, self.now + OFFER_HOLD.total_seconds()

    # --- the clients ------------------------------------------------------------------------------------------

    def _enter(self, client: Client, state: str, seconds: float, then: Callable[[Client], None]) -> None:
        """Be in this state; unless something else happens first, do that afterwards."""
        client.state = state
        client.turn += 1
        turn = client.turn

        def go_on() -> None:
            if client.turn == turn:
                then(client)

        self.later(seconds, go_on)

    def _drop(self, client: Client) -> None:
        if client.holds and self.holders.get(client.holds) is client:
            del self.holders[client.holds]
        client.remembers, client.holds = client.holds or client.remembers, ""

    def _new_exchange(self, client: Client) -> None:
        client.xid = self.random.getrandbits(32)
        client.tries = 0
        client.asked_at = self.now

    def begin(self, client: Client) -> None:
        """Power on: go on with the address of last time, or ask for any."""
        self._drop(client)
        self._new_exchange(client)
        if client.remembers and self.random.random() < 0.4:
            self._reboot(client)
        else:
            self._discover(client)

    def _again(self, client: Client, ask: Callable[[Client], None], state: str) -> None:
        """Wait for an answer, four times and longer each time; then begin anew."""
        client.tries += 1
        if client.tries <= 4:
            self._enter(client, state, 2.0**client.tries + self.random.random(), ask)
        else:
            self._enter(client, "off", self.random.uniform(60, 300), self.begin)

    def _discover(self, client: Client) -> None:
        hint = client.remembers if self.random.random() < 0.5 else ""
        # Firmware, iPXE and the system of one machine send different client ids.
        options = {61: self.random.choice([b"\1abc", b"\0" + bytes(16), b"\xffdef"])}
        self.send(client, discover(client.number, hint, options))
        self._again(client, self._discover, "selecting")

    def _select(self, client: Client) -> None:
        self.send(client, select(client.number, client.wanted))
        self._again(client, self._select, "requesting")

    def _reboot(self, client: Client) -> None:
        client.wanted = client.remembers
        self.send(client, reboot(client.number, client.wanted))
        self._again(client, self._reboot, "requesting")

    def _renew(self, client: Client) -> None:
        if self.now >= client.until:
            self.begin(client)
            return
        self._new_exchange(client)
        client.wanted = client.holds
        rebinding = client.until - self.now < LEASE / 8
        self.send(client, renew(client.number, client.holds), BROADCAST if rebinding else UNICAST)
        left = client.until - self.now
        self._enter(client, "renewing", min(left, max(left / 2, 10.0)), self._renew)

    def _bound(self, client: Client) -> None:
        """What a client does with its address: mostly keep it, for longer than the lease."""
        left = client.until - self.now
        chance = self.random.random()
        if chance < 0.06:
            self._enter(client, "bound", self.random.uniform(0, left), self._leave)
        elif chance < 0.12:
            self._enter(client, "bound", self.random.uniform(0, left), self._go_silent)
        elif chance < 0.2:
            self._enter(client, "bound", self.random.uniform(1, 60), self.begin)
        else:
            if chance < 0.25:
                self.send(client, inform(client.number, client.holds), UNICAST)
            self._enter(client, "bound", max(left - LEASE / 2, 0), self._renew)

    def _leave(self, client: Client) -> None:
        """Give the address back; whoever comes back does so after the last copy of that has arrived."""
        self.send(client, release(client.number, client.holds), UNICAST)
        self._drop(client)
        self._enter(client, "off", LATEST + self.random.uniform(5, 300), self.begin)

    def _go_silent(self, client: Client) -> None:
        """Lose power, maybe to be moved to another room."""
        self._drop(client)
        if self.random.random() < 0.2:
            client.relayed = not client.relayed
        self._enter(client, "off", self.random.uniform(5, 900), self.begin)

    def hear(self, client: Client, reply: DhcpMessage) -> None:
        """An answer reaches the client."""
        kind = reply.message_type
        if reply.xid != client.xid:
            return
        if client.state == "selecting" and kind is MessageType.OFFER:
            client.wanted, client.tries = reply.yiaddr, 0
            client.asked_at = self.now
            self._select(client)
        elif client.state in ("requesting", "renewing") and kind is MessageType.NAK:
            self._refused(client)
        elif client.state in ("requesting", "renewing") and kind is MessageType.ACK and reply.yiaddr == client.wanted:
            self._given(client, reply)

    def _refused(self, client: Client) -> None:
        self.told["refused"] += 1
        if client.state == "renewing" and client.until > self.now:
            self.told["refused renewals"] += 1
            wanted_by_operator = {client.holds, mac(client.number)} & self.moved
            assert wanted_by_operator, f"{mac(client.number)} lost {client.holds} in time (seed {self.seed})"
        self.begin(client)

    def _given(self, client: Client, reply: DhcpMessage) -> None:
        address = reply.yiaddr
        until = client.asked_at + int.from_bytes(reply.options[51])
        other = self.holders.get(address)
        if other is not None and other is not client and other.until > self.now and until > self.now:
            names = f"{mac(other.number)} and {mac(client.number)}"
            raise AssertionError(f"{names} both have {address} at {self.now:.3f} (seed {self.seed})")
        self.told["given"] += 1
        if client.state == "requesting" and self.random.random() < 0.005:
            self.told["declined"] += 1
            self.send(client, decline(client.number, address))
            client.remembers = ""
            self._enter(client, "off", LATEST + 10, self.begin)
            return
        if client.holds != address:
            self._drop(client)
        client.holds, client.until = address, until
        self.holders[address] = client
        self._bound(client)
