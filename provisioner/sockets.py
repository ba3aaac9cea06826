"""Sockets: bound here, or inherited from whoever started us (systemd socket activation); and readiness told back.

sd_listen_fds(3): LISTEN_PID is us, LISTEN_FDS counts descriptors from 3 on, LISTEN_FDNAMES names them.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Mapping
from ipaddress import IPv6Address
from pathlib import Path

import structlog

from provisioner.config import Listener
from provisioner.errors import SettingError

log = structlog.get_logger(__name__)

_EVERY_IPV4 = "0.0.0.0"
_FIRST_INHERITED = 3


def inherited(environment: Mapping[str, str], pid: int) -> dict[str, socket.socket]:
    """The sockets that were handed over, by name; none when they were meant for another process."""
    if environment.get("LISTEN_PID") != str(pid):
        return {}
    count = int(environment.get("LISTEN_FDS", "0"))
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    found = {}
    for place in range(count):
        name = names[place] if place < len(names) else ""
        sock = socket.socket(fileno=_FIRST_INHERITED + place)
        sock.set_inheritable(False)
        sock.setblocking(False)
        found[name] = sock
    return found


def tcp(address: str, port: int) -> socket.socket:
    """A listening TCP socket."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(1024)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def tcp6(address: str, port: int) -> socket.socket:
    """A listening TCP socket for IPv6 alone: IPv4 has one of its own."""
    sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(1024)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def udp6(address: str, port: int) -> socket.socket:
    """A UDP socket for IPv6 alone that tells at which address of ours a datagram came."""
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock


def beside(name: str, twin: Listener, port: int, opener: Callable[[str, int], socket.socket]) -> socket.socket | None:
    """The socket of a service on IPv6 beside its twin that listens on every IPv4 address, at this port.

    None where nobody asked for it: the host has no IPv6, or something else serves there; the latter is said.
    """
    if twin.off or twin.host != _EVERY_IPV4:
        return None
    try:
        return opener("::", port)
    except OSError as error:
        if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            log.warning("listen.not-on-ipv6", service=name, port=port, error=error.strerror, setting=f"listen.{name}")
        return None


def bind(name: str, listener: Listener, opener: Callable[[str, int], socket.socket]) -> socket.socket:
    """The socket of a service; raises SettingError saying what to do when it cannot be had."""
    where = f"{listener.host}:{listener.port}"
    kind = "udp" if name in ("dhcp", "proxy", "tftp", "dhcp6", "tftp6") else "tcp"
    try:
        return opener(listener.host, listener.port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            why = (
                f"{kind} port {listener.port} is in use; `ss -l{kind[0]}np sport = :{listener.port}` shows by whom."
                f" End that, or set listen.{name} to another place or `off`"
            )
        elif error.errno in (errno.EACCES, errno.EPERM):
            why = f"ports below 1024 need root or CAP_NET_BIND_SERVICE; or set listen.{name} to a higher port or `off`"
        elif error.errno == errno.EADDRNOTAVAIL:
            why = f"{listener.host} is not an address of this host; `ip -br address` shows which are"
        else:
            why = str(error.strerror)
        raise SettingError(f"cannot listen for {name} on {where}: {why}", object=f"listen.{name}") from error


def notify(environment: Mapping[str, str], message: str) -> None:
    """Tell the service manager (sd_notify(3)); does nothing when nobody wants to know."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            sock.sendto(message.encode(), address)
        except OSError as error:
            os.write(2, f"cannot tell the service manager {message!r}: {error}\n".encode())


def local_addresses(proc: Path = Path("/proc/net")) -> frozenset[str]:
    """All addresses of this host, IPv4 and IPv6, as text."""
    found = set()
    last = ""
    for line in _lines(proc / "fib_trie"):
        word = line.split()
        if word[:1] == ["|--"]:
            last = word[1]
        elif word[:3] == ["/32", "host", "LOCAL"]:
            found.add(last)
    found |= {str(IPv6Address(bytes.fromhex(line.split()[0]))) for line in _lines(proc / "if_inet6")}
    return frozenset(found)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:  # no such protocol in this kernel
        return []
