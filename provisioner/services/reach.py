"""By which address of ours an HTTP client has reached us: what it says in `Host`, or else where its connection ends.

`Host` comes first, because a port or an address may be translated on the way; what is in it goes into boot scripts, so
nothing but a name or an address counts.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from typing import Any

from aiohttp import web

from provisioner.conductor.boot_context import Reached

_HOST = re.compile(r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}))(?P<port>:[0-9]{1,5})?")
_LITERAL = re.compile(r"\[(?P<name>[0-9A-Fa-f:.]{2,45})\](?P<port>:[0-9]{1,5})?")


def reached_by(host: str, local: Any) -> Reached:
    """From a `Host` header, '' when there was none, and the socket's own name."""
    found = _LITERAL.fullmatch(host) or _HOST.fullmatch(host)
    if found is None or not _is_sane(found["name"], found["port"], literal=host.startswith("[")):
        return _from_socket(local)
    return Reached(found["name"], f"http://{host}")


def of_request(request: web.BaseRequest) -> Reached:
    """For a request to aiohttp."""
    local = request.transport.get_extra_info("sockname") if request.transport is not None else None
    return reached_by(request.headers.get("Host", ""), local)


def client_of(peer: Any) -> str:
    """The address of the other end; an IPv4 client of an IPv6 socket is an IPv4 client."""
    text = str(peer[0]) if isinstance(peer, tuple) and peer else ""
    return text.removeprefix("::ffff:") if text.startswith("::ffff:") and "." in text else text


def reached_at(address: str, port: int) -> Reached:
    """By an address of ours, for clients that speak something else than HTTP."""
    return _from_socket((address, port))


def _is_sane(name: str, port: str | None, *, literal: bool) -> bool:
    if port is not None and not 0 < int(port[1:]) <= 65535:
        return False
    if not literal:
        return True
    try:
        return isinstance(ip_address(name), IPv6Address)
    except ValueError:
        return False


def _from_socket(local: Any) -> Reached:
    address, port = (client_of(local), local[1]) if isinstance(local, tuple) and len(local) > 1 else ("localhost", 80)
    # A zone is ours alone: the client knows its interface by another name.
    address = address.partition("%")[0]
    host = f"[{address}]" if ":" in address else address
    return Reached(address, f"http://{host}:{port}")
