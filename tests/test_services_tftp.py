"""The TFTP service on loopback sockets: what it serves, refuses, repeats and survives."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import ExitStack, asynccontextmanager
from itertools import pairwise
from random import Random

import pytest

from provisioner.errors import Denied, Invalid, NotFound, StoreError
from provisioner.services.tftp import LARGEST_NETASCII, REQUESTS_AT_ONCE, TftpService, clean_path, open_socket
from provisioner.wire.tftp import Ack, Data, Error, Limits, OptionAck, Request, encode
from tests.fakes.file_tree import MemoryTree, Notebook
from tests.tftp_client import LossyProxy, TftpClient

MEGABYTE = Random(1).randbytes(1_000_003)
SMALL = b"x" * 1000
HERE = "127.0.0.1"


@asynccontextmanager
async def serving(files, host=HERE, **options):
    """A running service; yields (address, file tree, notebook, service)."""
    sock = open_socket(host, 0)
    address = sock.getsockname()
    tree, notebook = MemoryTree(files), Notebook()
    service = TftpService(sock, tree, notebook, **options)
    task = asyncio.create_task(service.run())
    await asyncio.sleep(0)
    try:
        yield address, tree, notebook, service
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# --- serving --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {}, {"blksize": "8"}, {"blksize": "1468", "tsize": "0"}, {"blksize": "65464"}, {"windowsize": "16"},
        {"blksize": "1432", "windowsize": "64"}, {"BLKSIZE": "1024", "WindowSize": "3"}, {"timeout": "1"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 40_000])
async def test_a_file_arrives_with_any_options(options, size):
    content = MEGABYTE[:size]
    async with serving({"f": content}) as (address, *_), client_of(address) as client:
        options = {name.lower(): value for name, value in options.items()}
        assert await client.get("f", **options) == content


def client_of(address):
    """An async context around the client."""

    @asynccontextmanager
    async def opened():
        with TftpClient(address) as client:
            yield client

    return opened()


async def test_a_file_on_disk_arrives(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(MEGABYTE)
    async with serving({"f": path}) as (address, *_), client_of(address) as client:
        assert await client.get("f", blksize="1468", windowsize="16") == MEGABYTE


async def test_block_numbers_wrap_round():
    content = Random(2).randbytes(8 * 70_000)
    async with serving({"f": content}) as (address, *_), client_of(address) as client:
        assert await client.get("f", blksize="8", windowsize="64") == content


async def test_many_transfers_at_once(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(MEGABYTE[:200_000])
    async with serving({"f": path}) as (address, _, notebook, _):
        with ExitStack() as stack:
            clients = [stack.enter_context(TftpClient(address)) for _ in range(60)]
            got = await asyncio.gather(*(client.get("f", blksize="1468", windowsize="4") for client in clients))
        assert all(each == MEGABYTE[:200_000] for each in got)
        assert len(await notebook.wait(60)) == 60


async def test_a_turn_takes_in_a_few_requests_and_others_have_theirs_in_between():
    async with serving({"f": SMALL}) as (address, tree, *_):
        with ExitStack() as stack:
            for _ in range(REQUESTS_AT_ONCE + 6):
                stack.enter_context(TftpClient(address)).request("f")
            taken = [0]
            while taken[-1] < REQUESTS_AT_ONCE + 6:
                await asyncio.sleep(0)
                taken.append(len(tree.asked))
        assert max(after - before for before, after in pairwise(taken)) == REQUESTS_AT_ONCE


async def test_each_transfer_is_written_down_with_its_bytes():
    async with serving({"f": SMALL}) as (address, _, notebook, _), client_of(address) as client:
        await client.get("/f")
        assert await notebook.wait() == [("tftp", "f", HERE, 1000, "")]


async def test_what_was_agreed_and_sent_again_is_written_down_too():
    async with serving({"f": SMALL}) as (address, _, notebook, _), client_of(address) as client:
        await client.get("f", blksize="600", windowsize="4", unknown="1")
        await notebook.wait()
        agreed = {"blksize": "600", "windowsize": "4"}
        assert notebook.details == [{"options": agreed, "blksize": 600, "resent": 0}]


async def test_the_tree_learns_who_asks_and_by_which_address():
    async with serving({"f": SMALL}) as (address, tree, *_), client_of(address) as client:
        await client.get("f")
        assert tree.asked == [("f", HERE, HERE)]


async def test_the_answer_comes_from_the_address_that_was_asked():
    sock = open_socket("", 0)
    service = TftpService(sock, MemoryTree({"f": SMALL}), Notebook())
    task = asyncio.create_task(service.run())
    with TftpClient(("127.0.0.9", sock.getsockname()[1]), "127.0.0.7") as client:
        client.request("f")
        await client.receive()
        assert client.peer[0] == "127.0.0.9"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_options_are_acknowledged_before_the_first_block():
    async with serving({"f": SMALL}) as (address, *_), client_of(address) as client:
        client.request("f", blksize="600", tsize="0", unknown="7")
        assert await client.receive() == OptionAck({"blksize": "600", "tsize": "1000"})
        assert await client.ask(Ack(0)) == Data(1, SMALL[:600])
        assert await client.ask(Ack(1)) == Data(2, SMALL[600:])


async def test_our_limits_go_before_what_is_asked():
    options = {"limits": Limits(block_size=1024, window=2)}
    async with serving({"f": MEGABYTE[:9000]}, **options) as (address, *_), client_of(address) as client:
        client.request("f", blksize="1468", windowsize="16")
        assert await client.receive() == OptionAck({"blksize": "1024", "windowsize": "2"})
        client.send(Ack(0))
        assert [(await client.receive()).block for _ in range(2)] == [1, 2]


async def test_netascii_has_its_line_ends_and_its_own_size():
    async with serving({"f": b"a\nb\r"}) as (address, *_), client_of(address) as client:
        assert await client.get("f", "netascii", tsize="0") == b"a\r\nb\r\0"


async def test_netascii_of_a_file_on_disk(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"line\n" * 1000)
    async with serving({"f": path}) as (address, *_), client_of(address) as client:
        assert await client.get("f", "netascii") == b"line\r\n" * 1000


async def test_netascii_of_a_huge_file_is_refused(tmp_path):
    path = tmp_path / "f"
    with path.open("wb") as file:
        file.truncate(LARGEST_NETASCII + 1)
    async with serving({"f": path}) as (address, *_), client_of(address) as client:
        refusal = await client.get("f", "netascii")
        assert (refusal.code, "ask for octet" in refusal.message) == (2, True)


async def test_a_request_for_the_size_alone_is_no_error():
    async with serving({"f": SMALL}) as (address, _, notebook, _), client_of(address) as client:
        client.request("f", tsize="0")
        assert await client.receive() == OptionAck({"tsize": "1000"})
        client.send(Error(0, "User aborted the transfer"))
        assert await notebook.wait() == [("tftp", "f", HERE, 0, "")]


# --- refusing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../../etc/passwd", "/../etc/passwd", "a/../../b", "..\\..\\windows", "a/.."])
async def test_a_name_that_leaves_the_tree_is_an_access_violation_and_is_written_down(name):
    async with serving({}) as (address, tree, notebook, _), client_of(address) as client:
        refusal = await client.get(name)
        assert (refusal.code, refusal.message) == (2, f"access violation: {name!r} is outside of what is served")
        assert tree.asked == []
        assert await notebook.wait() == [("tftp", name, HERE, 0, refusal.message)]


@pytest.mark.parametrize(
    ("problem", "code", "text"),
    [
        (NotFound("there is no file 'f'"), 1, "there is no file 'f'"),
        (Denied("not for you"), 2, "access violation: not for you"),
        (Invalid("boot script: 'x' is undefined"), 0, "boot script: 'x' is undefined"),
        (FileNotFoundError(2, "No such file"), 1, "file not found"),
        (IsADirectoryError(21, "Is a directory"), 1, "file not found"),
        (PermissionError(13, "Permission denied"), 2, "access violation"),
        (OSError(5, "Input/output error"), 0, "cannot read the file: Input/output error"),
    ],
)
async def test_what_the_tree_raises_is_told_to_the_client_and_written_down(problem, code, text):
    async with serving({"f": problem}) as (address, _, notebook, _), client_of(address) as client:
        assert await client.get("f") == Error(code, text)
        assert (await notebook.wait())[0][4] == text


async def test_a_tree_that_breaks_does_not_break_the_service():
    files = {"f": RuntimeError("broken"), "g": SMALL}
    async with serving(files) as (address, _, notebook, _), client_of(address) as client:
        client.request("f")
        assert (await notebook.wait())[0][4] == "our own fault"
        assert await client.get("g") == SMALL


async def test_a_broken_notebook_does_not_break_the_service():
    async with serving({"f": SMALL}) as (address, _, notebook, _), client_of(address) as client:
        notebook.failure = StoreError("disk full")
        assert [await client.get("f") for _ in range(2)] == [SMALL, SMALL]


async def test_writing_is_refused():
    async with serving({"f": SMALL}) as (address, _, notebook, _), client_of(address) as client:
        assert await client.ask(Request("f", write=True)) == Error(2, "access violation: this server is read-only")
        assert await notebook.wait()


async def test_an_unknown_mode_is_an_illegal_operation():
    async with serving({"f": SMALL}) as (address, *_), client_of(address) as client:
        assert await client.ask(b"\0\1f\0mail\0") == Error(4, "unknown mode: mail")


async def test_beyond_the_most_transfers_a_request_waits_for_its_turn_by_being_asked_again():
    async with serving({"f": SMALL}, most_transfers=1) as (address, _, _, service), client_of(address) as first:
        first.request("f")
        await first.receive()
        async with client_of(address) as second:
            second.request("f")
            # The answer to this comes after the first was seen.
            assert await second.ask(b"\0\1f\0mail\0") == Error(4, "unknown mode: mail")
            assert service.dropped["too many transfers"] == 1
            assert await first.ask(Ack(1)) == Data(2, SMALL[512:])
            first.send(Ack(2))
            assert await second.get("f") == SMALL


async def test_who_has_acknowledged_nothing_gives_way_when_all_places_are_taken():
    async with (
        serving({"f": SMALL}, most_transfers=1, patience_seconds=0.0) as (address, _, notebook, service),
        client_of(address) as idle,
        client_of(address) as client,
    ):
        idle.request("f")
        await idle.receive()
        assert await client.get("f") == SMALL
        assert (await notebook.wait())[0][4] == "gave way to other transfers: the client has acknowledged nothing"
        assert not service.dropped


async def test_a_transfer_that_was_acknowledged_keeps_its_place():
    async with (
        serving({"f": SMALL}, most_transfers=1, patience_seconds=0.0) as (address, _, _, service),
        client_of(address) as first,
        client_of(address) as second,
    ):
        first.request("f")
        await first.receive()
        assert await first.ask(Ack(1)) == Data(2, SMALL[512:])
        second.request("f")
        assert await second.ask(b"\0\1f\0mail\0") == Error(4, "unknown mode: mail")
        assert service.dropped["too many transfers"] == 1


# --- repeating ------------------------------------------------------------------------------------------------


async def test_a_repeated_request_does_not_begin_a_second_transfer():
    async with serving({"f": SMALL}) as (address, tree, *_), client_of(address) as client:
        client.request("f")
        client.request("f")
        assert await client.receive() == Data(1, SMALL[:512])
        assert await client.ask(Ack(1)) == Data(2, SMALL[512:])
        assert len(tree.asked) == 1


async def test_a_new_request_from_the_same_port_ends_the_old_transfer():
    async with serving({"f": SMALL, "g": b"other"}) as (address, _, notebook, _), client_of(address) as client:
        client.request("f")
        await client.receive()
        client.request("g")
        assert await client.receive() == Data(1, b"other")
        assert (await notebook.wait())[0][4] == "the client began anew"


async def test_a_machine_that_was_reset_mid_transfer_gets_the_same_file_anew():
    async with serving({"f": SMALL}) as (address, _, notebook, _), client_of(address) as client:
        client.request("f")
        await client.receive()
        await client.ask(Ack(1))
        client.request("f")
        assert await client.receive() == Data(1, SMALL[:512])


async def test_a_lost_block_is_sent_again_without_being_asked():
    async with serving({"f": SMALL}) as (address, *_), client_of(address) as client:
        client.request("f")
        assert await client.receive() == Data(1, SMALL[:512])
        assert await client.receive() == Data(1, SMALL[:512])


async def test_what_a_client_gives_up_is_written_down_with_its_reason():
    async with serving({"f": SMALL}) as (address, _, notebook, _), client_of(address) as client:
        client.request("f")
        await client.receive()
        await client.ask(Ack(1))
        client.send(Error(3, "disk full"))
        assert await notebook.wait() == [("tftp", "f", HERE, 512, "the client gave up: disk full (3)")]


async def test_a_client_that_is_gone_is_noticed():
    async with serving({"f": SMALL}) as (address, _, notebook, service):
        async with client_of(address) as client:
            client.request("f")
            await client.receive()
        # Its port is closed: the next block comes back as an ICMP error.
        line = (await notebook.wait())[0]
        assert line[4].startswith("the client is gone") or line[4].startswith("cannot send")
        assert service._active == {}


# --- one port, a range of ports, IPv6 ---------------------------------------------------------------------------------


async def test_with_a_single_port_all_goes_from_the_port_that_was_asked(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(MEGABYTE[:100_000])
    async with serving({"f": path}, single_port=True) as (address, _, notebook, _):
        with ExitStack() as stack:
            clients = [stack.enter_context(TftpClient(address)) for _ in range(20)]
            got = await asyncio.gather(*(client.get("f", blksize="1468", windowsize="4") for client in clients))
            assert all(each == MEGABYTE[:100_000] for each in got)
            assert {client.peer for client in clients} == {address}
        assert {line[4] for line in await notebook.wait(20)} == {""}


async def test_with_a_single_port_a_stranger_cannot_take_part_and_odd_packets_end_nothing():
    async with serving({"f": SMALL}, single_port=True) as (address, *_), client_of(address) as client:
        client.request("f")
        await client.receive()
        async with client_of(address) as stranger:
            for packet in (encode(Error(0, "stop it")), encode(Ack(1)), b"", b"\0\4", b"\0\x09xx"):
                stranger.send(packet, address)
                if packet[:2] != b"\0\4" and packet[:2] != b"\0\5":
                    client.send(packet)
        assert await client.ask(Ack(1)) == Data(2, SMALL[512:])


async def test_with_a_single_port_a_repeated_request_begins_no_second_transfer():
    async with serving({"f": SMALL}, single_port=True) as (address, tree, *_), client_of(address) as client:
        client.request("f")
        client.request("f")
        assert await client.receive() == Data(1, SMALL[:512])
        assert await client.ask(Ack(1)) == Data(2, SMALL[512:])
        assert len(tree.asked) == 1


async def test_transfers_are_sent_from_the_ports_that_were_given():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind((HERE, 0))
        port = free.getsockname()[1]
    async with serving({"f": SMALL}, ports=(port, port)) as (address, _, notebook, _), client_of(address) as client:
        client.request("f")
        await client.receive()
        assert client.peer == (HERE, port)
        async with client_of(address) as second:
            refusal = await second.get("f")
            assert refusal == Error(0, f"cannot open a port: all ports from {port} to {port} are in use")
        client.send(Ack(1))
        await client.receive()
        client.send(Ack(2))
        assert len(await notebook.wait(2)) == 2
        assert await client.get("f") == SMALL


class Client6(TftpClient):
    """The same over IPv6."""

    def __init__(self, service, host="::1"):
        self.sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.sock.bind((host, 0))
        self.sock.setblocking(False)
        self.service = service
        self.peer = None


@pytest.mark.parametrize("single_port", [False, True])
async def test_over_ipv6_it_is_the_same(single_port):
    async with serving({"f": MEGABYTE[:50_000]}, "::1", single_port=single_port) as (address, tree, notebook, _):
        with Client6(address[:2]) as client:
            assert await client.get("f", blksize="1428", windowsize="16") == MEGABYTE[:50_000]
            assert (await client.get("nothing")).code == 1
            assert client.peer[:2] == address[:2]
        assert tree.asked == [("f", "::1", "::1"), ("nothing", "::1", "::1")]
        assert (await notebook.wait())[0] == ("tftp", "f", "::1", 50_000, "")


@pytest.mark.parametrize("single_port", [False, True])
async def test_an_ipv4_client_of_a_socket_for_both_is_told_of_by_its_ipv4_address(single_port):
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", 0))
    tree, notebook = MemoryTree({"f": SMALL}), Notebook()
    task = asyncio.create_task(TftpService(sock, tree, notebook, single_port=single_port).run())
    with TftpClient(("127.0.0.9", sock.getsockname()[1])) as client:
        assert await client.get("f") == SMALL
        assert client.peer[0] == "127.0.0.9"
        assert (await client.get("nothing")).code == 1
    assert (tree.asked[0], (await notebook.wait())[0][2]) == (("f", HERE, "127.0.0.9"), HERE)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# --- surviving ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [b"", b"\0", b"\0\4\0", b"\0\x09xx", b"\0\1f\0octet\0", b"\0\4\xff\xff", b"x" * 500])
async def test_odd_packets_do_not_end_a_transfer(noise):
    async with serving({"f": SMALL}) as (address, *_), client_of(address) as client:
        client.request("f")
        await client.receive()
        client.send(noise)
        assert await client.ask(Ack(1)) == Data(2, SMALL[512:])


async def test_data_from_the_client_ends_its_transfer_with_an_error():
    async with serving({"f": SMALL}) as (address, *_), client_of(address) as client:
        client.request("f")
        await client.receive()
        assert (await client.ask(Data(1, b"x"))).code == 5


async def test_a_stranger_cannot_take_part_in_a_transfer():
    async with serving({"f": SMALL}) as (address, *_), client_of(address) as client:
        client.request("f")
        await client.receive()
        async with client_of(address) as stranger:
            stranger.send(Error(0, "stop it"), client.peer)
            stranger.send(Ack(1), client.peer)
        assert await client.ask(Ack(1)) == Data(2, SMALL[512:])


async def test_packets_that_are_no_requests_are_counted():
    async with serving({"f": SMALL}) as (address, _, _, service), client_of(address) as client:
        for packet in (b"", b"\0\4\0\1", b"\0\7\0\0", encode(Error(0, "x"))):
            client.send(packet, address)
        assert await client.get("f") == SMALL
        assert service.dropped == {
            "shorter than a TFTP packet": 1, "not a request": 2, "unknown TFTP operation": 1,
        }  # fmt: skip


async def test_five_thousand_mutated_packets_leave_the_service_serving():
    random = Random(1)
    good = encode(Request("f", "octet", {"blksize": "1468", "tsize": "0", "windowsize": "4"}))
    async with serving({"f": SMALL}) as (address, _, _, _):
        async with client_of(address) as noisy:
            for _ in range(5000):
                data = bytearray(good[: random.choice([len(good), random.randint(0, len(good))])])
                for _ in range(random.randint(0, 6)):
                    if data:
                        data[random.randrange(len(data))] = random.randrange(256)
                noisy.send(bytes(data), address)
                await asyncio.sleep(0)
        async with client_of(address) as client:
            assert await client.get("f") == SMALL


@pytest.mark.parametrize("single_port", [False, True])
async def test_mutated_packets_to_a_transfer_of_others_leave_it_going_on(single_port):
    random = Random(2)
    seeds = [encode(Ack(1)), encode(Error(0, "x")), encode(Data(1, b"x")), encode(Request("f")), encode(OptionAck({}))]
    async with serving({"f": SMALL}, single_port=single_port) as (address, *_), client_of(address) as client:
        client.request("f")
        await client.receive()
        async with client_of(address) as noisy:
            for _ in range(2000):
                data = bytearray(random.choice(seeds) + random.randbytes(random.randint(0, 40)))
                data[random.randrange(len(data))] = random.randrange(256)
                noisy.send(bytes(data), client.peer)
                await asyncio.sleep(0)
        client.send(Ack(1))
        # On a busy host the first block was sent again meanwhile.
        while (packet := await client.receive()) == Data(1, SMALL[:512]):
            client.send(Ack(1))
        assert packet == Data(2, SMALL[512:])


async def test_a_thousand_transfers_at_once_leave_nothing_open(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(MEGABYTE[:20_000])
    async with serving({"f": path}) as (address, _, notebook, service):
        with ExitStack() as stack:
            clients = [stack.enter_context(TftpClient(address)) for _ in range(1000)]
            before = len(os.listdir("/proc/self/fd"))
            for client in clients:
                # All are begun before one goes on.
                client.request("f", blksize="1468", windowsize="8")
                await client.receive()
            assert len(service._active) == 1000
            got = await asyncio.gather(*(client.get("f", blksize="1468", windowsize="8") for client in clients))
            assert all(each == MEGABYTE[:20_000] for each in got)
            await notebook.wait(1000)
            # A client that asked once more on a busy host has left a transfer behind that ends by itself.
            while service._active:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            # The event loop's pool may have taken a descriptor or two for itself.
            assert len(os.listdir("/proc/self/fd")) <= before + 2


async def test_a_file_that_becomes_shorter_ends_its_transfer_with_an_error(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(MEGABYTE)
    async with serving({"f": path}) as (address, *_), client_of(address) as client:
        client.request("f", blksize="65464")
        await client.receive()
        path.write_bytes(b"")
        assert (await client.ask(Ack(0))).code == 0


@pytest.mark.parametrize(("loss", "double", "swap"), [(0.01, 0.0, 0.0), (0.1, 0.1, 0.1), (0.0, 1.0, 0.0)])
@pytest.mark.parametrize("window", ["1", "8"])
async def test_a_file_arrives_through_a_network_that_loses_doubles_and_reorders(loss, double, swap, window):
    content = MEGABYTE[:30_000]
    async with serving({"f": content}) as (address, *_):
        proxy = await LossyProxy.open(address, 3, loss, double, swap)
        try:
            async with client_of(proxy.address) as client:
                assert await client.get("f", blksize="1468", windowsize=window) == content
        finally:
            proxy.close()


async def test_a_port_in_use_is_an_error_when_binding():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((HERE, 0))
        with pytest.raises(OSError, match="in use"):
            open_socket(HERE, taken.getsockname()[1])


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("ipxe.efi", "ipxe.efi"),
        ("/ipxe/ipxe.efi", "ipxe/ipxe.efi"),
        ("\\ipxe\\ipxe.efi", "ipxe/ipxe.efi"),
        ("//a/./b", "a/b"),
    ],
)
def test_names_are_cleaned_as_firmware_writes_them(name, path):
    assert clean_path(name) == path


@pytest.mark.parametrize("name", ["", "/", "."])
def test_a_name_that_names_nothing_is_not_found(name):
    with pytest.raises(NotFound):
        clean_path(name)
