"""Network cards out of the /sys tree below a root, and the few facts that only the kernel's calls tell."""

from __future__ import annotations

import array
import os
import re
import socket
from collections.abc import Iterable
from contextlib import suppress
from fcntl import ioctl
from struct import pack, unpack_from
from typing import Callable

from .hardware import PCI_ADDRESS, link_name, number
from .host import network_cards, read_text

_SIOCETHTOOL = 0x8946
_ETHTOOL_GPERMADDR = 0x20
_SIOCGIFADDR = 0x8915
_MAC_BYTES = 6
_MAX_ADDR_BYTES = 32  # linux/netdevice.h
_NAME_BYTES = 16  # IFNAMSIZ


def cards(
    root: str, permanent_mac: Callable[[str], str], addresses: Callable[[str], list[str]]
) -> list[dict[str, object]]:
    """All network cards; the two functions take an interface's name and are asked of the running kernel."""
    return [_card(root, name, permanent_mac(name), addresses(name)) for name in network_cards(root)]


def _card(root: str, name: str, permanent_mac: str, addresses: list[str]) -> dict[str, object]:
    base = f"sys/class/net/{name}"
    current = read_text(root, f"{base}/address").lower()
    path = os.path.realpath(os.path.join(root, base, "device"))
    pci = PCI_ADDRESS.findall(path)
    speed = number(read_text(root, f"{base}/speed"))  # unreadable without link, -1 where the driver does not know
    return {
        "name": name,
        "mac": permanent_mac or current,
        "current_mac": current,
        "driver": link_name(root, f"{base}/device/driver"),
        "speed_mbps": speed if speed > 0 else None,
        "link": read_text(root, f"{base}/carrier") == "1",
        "mtu": number(read_text(root, f"{base}/mtu")),
        "pci": pci[-1] if pci else "",
        "addresses": addresses,
    }


def by_mac(found: Iterable[dict[str, object]], mac: str) -> str:
    """The name of the card with a MAC, "" for none."""
    names = [str(card["name"]) for card in found if mac and mac in (card["mac"], card["current_mac"])]
    return names[0] if names else ""


def kernel_permanent_mac(name: str) -> str:
    """The MAC burnt into a card, also while it takes part in a bond; "" when the kernel does not say."""
    call = array.array("B", pack("II", _ETHTOOL_GPERMADDR, _MAX_ADDR_BYTES) + bytes(_MAX_ADDR_BYTES))
    request = pack(f"{_NAME_BYTES}sP", name.encode(), call.buffer_info()[0])
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as kernel:
        ioctl(kernel, _SIOCETHTOOL, request + bytes(16))
        size = unpack_from("I", call.tobytes(), 4)[0]
        mac = call.tobytes()[8 : 8 + _MAC_BYTES]
        if size == _MAC_BYTES and any(mac):
            return ":".join(f"{octet:02x}" for octet in mac)
    return ""


def kernel_addresses(name: str, root: str = "/") -> list[str]:
    """The first IPv4 address and the global IPv6 addresses of an interface."""
    found = []
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as kernel:
        answer = ioctl(kernel, _SIOCGIFADDR, pack("256s", name.encode()[: _NAME_BYTES - 1]))
        found.append(socket.inet_ntoa(answer[20:24]))
    return found + global_ipv6(read_text(root, "proc/net/if_inet6"), name)


def global_ipv6(text: str, name: str) -> list[str]:
    """The addresses of global scope (00) of an interface in /proc/net/if_inet6."""
    words = (re.split(r"\s+", line.strip()) for line in text.splitlines())
    return [
        socket.inet_ntop(socket.AF_INET6, bytes.fromhex(word[0]))
        for word in words
        if len(word) == 6 and word[3] == "00" and word[5] == name
    ]
