"""Which interfaces there are, with our IPv6 addresses on them; told anew whenever the kernel says that they changed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from ipaddress import IPv6Address
from pathlib import Path

import structlog
from msgspec import Struct

log = structlog.get_logger(__name__)

ADDRESSES = Path("/proc/net/if_inet6")

# <linux/rtnetlink.h>: links, IPv6 addresses.
_RTMGRP_LINK, _RTMGRP_IPV6_IFADDR = 0x1, 0x100
_LARGEST_NEWS = 65536
# <linux/if_addr.h>: such an address cannot be sent from yet, or ever.
_UNUSABLE = 0x40 | 0x08


class Interface6(Struct, frozen=True):
    """An interface that speaks IPv6: its link-local address, '' while there is none, and its other addresses."""

    name: str
    index: int
    link_local: str = ""
    addresses: tuple[str, ...] = ()


def read_interfaces(text: str) -> dict[int, Interface6]:
    """The interfaces by index, from what the kernel says in /proc/net/if_inet6."""
    found: dict[int, Interface6] = {}
    for line in text.splitlines():
        packed, index_text, _, _, flags, name = line.split()
        index = int(index_text, 16)
        old = found.get(index, Interface6(name, index))
        if int(flags, 16) & _UNUSABLE:
            found[index] = old
            continue
        address = IPv6Address(bytes.fromhex(packed))
        if address.is_link_local:
            found[index] = Interface6(name, index, str(address), old.addresses)
        elif not address.is_loopback:
            found[index] = Interface6(name, index, old.link_local, tuple(sorted((*old.addresses, str(address)))))
        else:
            found[index] = old
    return found


class Interfaces6:
    """The interfaces as they are now. `changed` is called with them at first and after every change."""

    def __init__(self, changed: Callable[[Mapping[int, Interface6]], None], source: Path = ADDRESSES) -> None:
        self._changed = changed
        self._source = source
        self._news: socket.socket | None = None
        self._known: dict[int, Interface6] | None = None

    def start(self) -> None:
        """Look, and listen to the kernel from now on; on the event loop."""
        try:
            self._news = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
            self._news.bind((0, _RTMGRP_LINK | _RTMGRP_IPV6_IFADDR))
            asyncio.get_running_loop().add_reader(self._news, self._heard)
        except OSError as error:
            log.warning("interfaces.not-followed", error=str(error.strerror))
        self.look()

    def stop(self) -> None:
        """Listen no more."""
        if self._news is not None:
            asyncio.get_running_loop().remove_reader(self._news)
            self._news.close()
            self._news = None

    def look(self) -> None:
        """Read what there is, and tell when it is not what it was."""
        try:
            found = read_interfaces(self._source.read_text())
        except OSError:
            # The kernel has no IPv6, or it was switched off.
            found = {}
        if found != self._known:
            self._known = found
            self._changed(found)

    def _heard(self) -> None:
        assert self._news is not None
        try:
            while True:
                self._news.recv(_LARGEST_NEWS)
        except BlockingIOError:
            pass
        except OSError as error:
            # More happened than the buffer holds (ENOBUFS): we look at everything anyhow.
            log.debug("interfaces.news-lost", error=str(error.strerror))
        self.look()
