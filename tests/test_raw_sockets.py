"""Raw sockets: had with the right to, none without; and what this host is on."""

from __future__ import annotations

import os
import socket
import sys
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from provisioner.raw_sockets import connected_networks, hardware_address, icmp6, raw
from tests.peers.programs import missing

ROUTES = """Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
br0	00000000	01004D0A	0003	0	0	0	00000000	0	0	0
br0	00004D0A	00000000	0001	0	0	0	00FFFFFF	0	0	0
eth1	0000090A	01004D0A	0003	0	0	0	00FFFFFF	0	0	0
"""


def test_raw_sockets_are_had_with_the_right_to_and_are_none_without():
    sockets = raw()
    assert (sockets is not None) == (os.geteuid() == 0)
    if sockets is not None:
        with pytest.raises(OSError, match="No such device"):
            hardware_address(sockets.frames, "nosuch0")
        assert hardware_address(sockets.frames, "lo") == "00:00:00:00:00:00"
        sockets.close()


def test_networks_without_a_gateway_are_those_that_this_host_is_on(tmp_path: Path):
    (tmp_path / "route").write_text(ROUTES)
    assert connected_networks(tmp_path) == [("br0", IPv4Network("10.77.0.0/24"))]


def test_a_host_without_ipv4_is_on_no_network(tmp_path: Path):
    assert connected_networks(tmp_path) == []


def test_the_raw_socket_hears_router_solicitations_alone() -> None:
    sock = icmp6()
    if sock is None:
        missing("this needs root")
    with sock:
        words = sock.getsockopt(socket.IPPROTO_ICMPV6, 1, 32)
        bits = b"".join(
            int.from_bytes(words[at : at + 4], sys.byteorder).to_bytes(4, "little") for at in range(0, 32, 4)
        )
        assert [kind for kind in range(256) if not bits[kind // 8] >> kind % 8 & 1] == [133]
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS) == 255
