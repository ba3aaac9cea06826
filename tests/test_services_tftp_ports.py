"""The sockets of TFTP: addresses, ports, runs of datagrams that the kernel cuts or cannot cut, and readiness."""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import closing

import pytest

from provisioner.services.tftp_ports import Lost, OwnPort, PortRange, Readers, SharedPort, open_socket, plain

HERE = "127.0.0.1"


@pytest.fixture
def client():
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.bind((HERE, 0))
        sock.settimeout(5)
        yield sock


@pytest.fixture(params=["own", "shared"])
def port(request, client):
    if request.param == "own":
        own = OwnPort.open(client.getsockname(), HERE)
        yield own
        own.close()
    else:
        with closing(open_socket(HERE, 0)) as sock:
            yield SharedPort(sock, client.getsockname(), HERE)


def received(client, count):
    return [client.recv(70000) for _ in range(count)]


def test_a_run_arrives_as_datagrams_of_which_the_last_is_short(port, client):
    port.prepare(96, 16)
    run = b"".join(bytes([n]) * 100 for n in range(5)) + b"end"
    port.send(memoryview(run))
    assert received(client, 6) == [bytes([n]) * 100 for n in range(5)] + [b"end"]


def test_what_is_said_stays_in_one_piece_whatever_the_block_size(port, client):
    port.prepare(8, 16)
    port.send(bytes(36))
    port.say(b"x" * 500)
    port.send(b"y" * 24)
    assert [len(each) for each in received(client, 6)] == [12, 12, 12, 500, 12, 12]


@pytest.mark.parametrize(
    ("block_size", "window", "most"), [(8, 200, 64), (1468, 64, 44), (1468, 16, 16), (65464, 4, 1)]
)
def test_one_call_takes_as_many_blocks_as_the_kernel(port, block_size, window, most):
    port.prepare(block_size, window)
    assert port.most == most


class CannotCut(OwnPort):
    """As where a block does not fit into a frame."""

    def _send_many(self, data):
        raise OSError(errno.EINVAL, "no")


class Full(CannotCut):
    """As where the kernel's buffer is full after some datagrams."""

    room = 2

    def _send_one(self, data):
        if not self.room:
            raise BlockingIOError
        self.room -= 1
        super()._send_one(data)


def test_where_the_kernel_cannot_cut_a_run_leaves_one_by_one_and_the_next_are_of_one_block(client):
    port = CannotCut(OwnPort.open(client.getsockname(), HERE).sock)
    port.prepare(96, 16)
    port.send(b"a" * 100 + b"b" * 100 + b"c")
    assert received(client, 3) == [b"a" * 100, b"b" * 100, b"c"]
    assert port.most == 1
    port.close()


def test_the_rest_of_a_run_for_which_there_is_no_room_counts_as_lost(client):
    port = Full(OwnPort.open(client.getsockname(), HERE).sock)
    port.prepare(96, 16)
    with pytest.raises(Lost):
        port.send(bytes(300))
    with pytest.raises(BlockingIOError):
        port.send(bytes(100))
    port.close()


def test_a_way_that_is_missing_for_now_is_a_loss_and_not_the_end():
    class NoWay(OwnPort):
        def _send_one(self, data):
            raise OSError(errno.EHOSTUNREACH, "no route")

    port = NoWay(OwnPort.open((HERE, 9), HERE).sock)
    for send in (port.send, port.say):
        with pytest.raises(Lost):
            send(b"")
    port.close()


def test_a_range_gives_each_its_own_port_and_says_when_there_is_none_left(client):
    probe = OwnPort.open(client.getsockname(), HERE)
    first = probe.sock.getsockname()[1]
    probe.close()
    ports = PortRange((first, first))
    one = ports.open(client.getsockname(), HERE)
    assert one.sock.getsockname()[1] == first
    with pytest.raises(OSError, match=f"all ports from {first} to {first} are in use"):
        ports.open(client.getsockname(), HERE)
    one.close()
    ports.open(client.getsockname(), HERE).close()


def test_an_ipv4_client_of_an_ipv6_socket_is_served_by_ipv4(client):
    port = OwnPort.open(("::ffff:127.0.0.1", client.getsockname()[1], 0, 0), HERE)
    port.say(b"x")
    assert (port.sock.family, client.recv(10)) == (socket.AF_INET, b"x")
    port.close()


@pytest.mark.parametrize(
    ("address", "shown"), [("::ffff:10.0.0.1", "10.0.0.1"), ("10.0.0.1", "10.0.0.1"), ("fd00::1", "fd00::1")]
)
def test_addresses_are_shown_plain(address, shown):
    assert plain(address) == shown


def test_a_thousand_requests_at_once_wait_for_their_turn(client):
    with closing(open_socket(HERE, 0)) as sock:
        sock.setblocking(False)
        for _ in range(400):
            client.sendto(b"\0\1ipxe/snponly.efi\0octet\0tsize\x000\0", sock.getsockname())
        for _ in range(400):
            sock.recv(100)


async def test_all_sockets_that_have_something_are_called_back_and_removed_ones_are_not():
    readers = Readers()
    readers.start()
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(100)]
    heard: list[int] = []
    done = asyncio.Event()

    def listen(number, near):
        def ready(now):
            heard.append(number)
            near.recv(10)
            if len(heard) == 99:
                done.set()

        readers.add(near, ready)

    for number, (near, _) in enumerate(pairs):
        listen(number, near)
    readers.remove(pairs[7][0])
    for _, far in pairs:
        far.send(b"x")
    await done.wait()
    assert sorted(heard) == [number for number in range(100) if number != 7]
    readers.stop()
    for near, far in pairs:
        near.close()
        far.close()
