"""Probes on real cables: a host that uses an address without having asked is found, and the next address is offered."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager

import pytest

from provisioner.conductor.conflicts import Question
from provisioner.model.addresses import Lease, LeaseState, Subnet
from provisioner.raw_sockets import raw
from provisioner.services.dhcp import DhcpService, open_socket
from provisioner.services.frames import Frames
from provisioner.services.probes import PORTION, Prober
from provisioner.wire.dhcp import decode, encode
from tests.conversations.dhcp import Clock
from tests.dhcp_messages import discover, mac
from tests.lab import Lab
from tests.test_conductor_addresses import running
from tests.test_services_dhcp import until

pytestmark = pytest.mark.peer
SQUATTER = "52:54:00:99:99:99"
HERE = Subnet(name="here", cidr="10.77.0.0/24", pool_start="10.77.0.10", pool_end="10.77.0.99")
FAR = Subnet(name="far", cidr="10.9.0.0/24", pool_start="10.9.0.10", pool_end="10.9.0.99")


class List:
    """Wants to know a list of addresses once, and others in advance, and writes down what came of them."""

    def __init__(self, *questions, advance=()):
        self._questions, self._advance = list(questions), list(advance)
        self.portions, self.networks = [], []
        self.silent, self.answered = [], []

    def begin(self, wake):
        pass

    def needed(self):
        return True

    def wanted(self):
        questions, self._questions = self._questions, []
        return questions

    def due(self, count):
        portion, self._advance = self._advance[:count], self._advance[count:]
        self.portions.append(len(portion))
        return portion

    def rest(self, networks):
        self.networks = networks

    def free(self, addresses):
        self.silent += addresses
        return []

    def in_use(self, address, mac):
        self.answered.append((address, mac))
        return []


@pytest.fixture
def lab():
    """A server with two cards: on the one a squatter, behind the other a router with a network that has one too."""
    with Lab() as made:
        for name in ("server", "squatter", "far"):
            made.namespace(name)
        made.cable("server", "srv0", "squatter", "eth0", SQUATTER)
        made.cable("server", "srv1", "far", "eth0")
        made.do("server", "addr add 10.77.0.1/24 dev srv0", "addr add 10.8.0.1/24 dev srv1")
        made.do("server", "route add 10.9.0.0/24 via 10.8.0.2")
        made.do("squatter", "addr add 10.77.0.10/24 dev eth0", "addr add 10.77.0.12/24 dev eth0")
        made.do("far", "addr add 10.8.0.2/24 dev eth0", "addr add 10.9.0.1/32 dev lo", "addr add 10.9.0.10/32 dev lo")
        made.do("far", "route add blackhole 10.9.0.0/24")
        yield made


@asynccontextmanager
async def probing(lab, asking, resume=list, **options):
    with lab.inside("server"):
        sockets = raw()
        task = asyncio.create_task(Prober(asking, sockets, resume, 7, **options).run())
        try:
            yield sockets
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            sockets.close()


async def test_who_has_an_address_is_found_by_arp_and_others_are_silent(lab):
    asking = List(*(Question(f"10.77.0.{last}", "srv0") for last in (10, 11, 12)))
    async with probing(lab, asking):
        await until(lambda: asking.silent)
    assert sorted(asking.answered) == [("10.77.0.10", SQUATTER), ("10.77.0.12", SQUATTER)]
    assert asking.silent == ["10.77.0.11"]


async def test_who_has_an_address_behind_a_router_is_found_by_echo_and_others_are_silent(lab):
    asking = List(Question("10.9.0.10", ""), Question("10.9.0.11", ""), Question("10.255.0.1", ""))
    async with probing(lab, asking):
        await until(lambda: asking.silent)
    assert (asking.answered, asking.silent) == ([("10.9.0.10", "")], ["10.9.0.11", "10.255.0.1"])


async def test_behind_a_relay_on_our_own_network_arp_finds_who_has_an_address(lab):
    asking = List(Question("10.77.0.10", ""), Question("10.77.0.11", ""), Question("10.9.0.10", ""))
    async with probing(lab, asking):
        await until(lambda: asking.silent and len(asking.answered) == 2)
    assert sorted(asking.answered) == [("10.77.0.10", SQUATTER), ("10.9.0.10", "")]
    assert asking.silent == ["10.77.0.11"]


async def test_five_hundred_addresses_are_all_asked_for_at_once(lab):
    """By echo the kernel would keep half of these questions and drop the others, as it has no room for more."""
    lab.do("squatter", "route add local 10.77.2.0/23 dev eth0")
    lab.do("server", "addr add 10.77.1.1/16 dev srv0")
    asked = [f"10.77.{number >> 8}.{number & 255}" for number in range(512, 1024)]
    asking = List(*(Question(each, "") for each in asked))
    async with probing(lab, asking):
        await until(lambda: len(asking.silent) + len(asking.answered) == len(asked))
    assert asking.silent == []


async def test_what_is_asked_for_in_advance_is_so_by_a_few_at_a_time(lab):
    asking = List(advance=[Question(f"10.77.0.{last}", "srv0") for last in range(20, 90)])
    async with probing(lab, asking):
        await until(lambda: len(asking.silent) == 70)
    assert asking.portions[:3] == [PORTION, PORTION, 70 - 2 * PORTION]


async def test_stocks_are_for_the_networks_on_which_clients_are_served(lab):
    asking = List()
    async with probing(lab, asking, interfaces=("srv1",)):
        await until(lambda: asking.networks)
    assert [(name, str(network)) for name, network in asking.networks] == [("srv1", "10.8.0.0/24")]


async def test_a_storm_that_waited_goes_on_in_portions(lab):
    portions = []
    asking = List(Question("10.77.0.11", "srv0"))
    asking.free = lambda addresses: list(range(600))
    async with probing(lab, asking, lambda messages: portions.append(messages)):
        await until(lambda: sum(map(len, portions)) == 600)
    assert [len(each) for each in portions] == [256, 256, 88]
    assert [each for portion in portions for each in portion] == list(range(600))


async def test_ending_while_a_question_is_open_leaves_nothing_behind(lab):
    asking = List(Question("10.77.0.11", "srv0"))
    async with probing(lab, asking):
        await until(lambda: asking.wanted() == [])
    assert (asking.answered, asking.silent) == ([], [])


async def test_asking_on_an_interface_that_is_gone_finds_nobody(lab):
    asking = List(Question("10.77.0.10", "eth9"))
    async with probing(lab, asking):
        await until(lambda: asking.silent)
    assert asking.answered == []


@asynccontextmanager
async def serving(lab, folder, *subnets):
    """The service with its prober in the server's namespace, on a real ledger."""
    async with running(folder / "db", Clock()) as server:
        await server.save(*subnets)
        with lab.inside("server"):
            sockets = raw()
            service = DhcpService(open_socket(), server.addresses, frames=Frames(sockets.frames))
            prober = Prober(server.addresses.conflicts, sockets, service.resume, 7)
            tasks = [asyncio.create_task(each) for each in (service.run(), prober.run())]
            try:
                yield server
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                sockets.close()


def client_socket(port, address=""):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.bind((address, port))
    sock.setblocking(False)
    return sock


async def ask(sock, message, to):
    loop = asyncio.get_running_loop()
    sock.sendto(encode(message), (to, 67))
    return decode(await asyncio.wait_for(loop.sock_recv(sock, 2000), 10))


async def test_an_address_that_answers_is_quarantined_and_the_next_free_one_is_offered(lab, tmp_path):
    async with serving(lab, tmp_path, HERE) as server:
        with lab.opened("squatter", lambda: client_socket(68)) as client:
            offers = [await ask(client, discover(number), "10.77.0.255") for number in (1, 2, 3)]
        await server.save()
        assert [offer.yiaddr for offer in offers] == ["10.77.0.11", "10.77.0.13", "10.77.0.14"]
        conflicts = {(each.key, each.mac) for each in server.bus.events if each.kind == "dhcp.conflict"}
        assert conflicts == {("10.77.0.10", SQUATTER), ("10.77.0.12", SQUATTER)}
        assert server.ledger.get(Lease, "10.77.0.10").state is LeaseState.QUARANTINED


async def test_a_reply_to_a_relay_waits_for_the_echo(lab, tmp_path):
    async with serving(lab, tmp_path, FAR) as server:
        with lab.opened("far", lambda: client_socket(67, "10.9.0.1")) as relay:
            offer = await ask(relay, discover(1, giaddr="10.9.0.1"), "10.8.0.1")
        await server.save()
        assert offer.yiaddr == "10.9.0.11"
        [event] = [each for each in server.bus.events if each.kind == "dhcp.conflict"]
        assert (event.key, event.data["asked"], event.data["client"]) == ("10.9.0.10", "icmp", mac(1))


async def test_while_the_route_table_cannot_be_read_questions_are_asked_by_echo_and_end(lab):
    def unreadable():
        raise OSError(24, "Too many open files")

    asking = List(Question("10.9.0.10", ""), Question("10.9.0.11", ""), Question("10.77.0.11", "srv0"))
    async with probing(lab, asking, connected=unreadable):
        await until(lambda: len(asking.silent) == 2)
    assert (asking.answered, sorted(asking.silent)) == ([("10.9.0.10", "")], ["10.77.0.11", "10.9.0.11"])
    assert asking.networks == []


async def test_when_nothing_can_be_asked_nobody_waits_for_it_and_it_is_tried_again(lab):
    waking, built = [], []

    def build():
        built.append(1)
        if len(built) == 1:
            raise OSError(24, "Too many open files")

    asking = List(Question("10.77.0.10", "srv0"))
    asking.begin = waking.append
    async with probing(lab, asking, build=build):
        await until(lambda: asking.silent)
        assert (asking.answered, asking.silent) == ([], ["10.77.0.10"])
        asking._questions = [Question("10.77.0.12", "srv0")]
        waking[0]()
        await until(lambda: asking.answered)
    assert (asking.answered, len(built)) == ([("10.77.0.12", SQUATTER)], 2)


async def test_leases_are_put_right_before_anything_is_decided_by_the_clock(lab):
    asking = List(Question("10.77.0.10", "srv0"), advance=[Question("10.77.0.12", "srv0")])
    looked_at = []
    decide = asking.rest, asking.due, asking.in_use

    def follow_clock():
        looked_at.append("clock")

    def after(what):
        def decided(*words):
            assert looked_at.pop() == "clock"
            return what(*words)

        return decided

    asking.rest, asking.due, asking.in_use = map(after, decide)
    async with probing(lab, asking, follow_clock=follow_clock):
        await until(lambda: len(asking.answered) == 2)
    assert looked_at == []
