"""ETags: what a client saw is named by one, and a change can be bound to it (RFC 9110, section 13)."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec
from aiohttp import web

from provisioner.errors import ProvisionerError
from provisioner.model.machines import Machine

_encode = msgspec.json.Encoder(order="sorted").encode
_TAG = re.compile(r'(?:W/)?"[^"]*"')
_HASH_LENGTH = 20


class PreconditionFailed(ProvisionerError):
    """The object is no longer, or not yet, what the caller took it for."""

    code = "precondition-failed"
    status = 412


def revision_tag(machine: Machine) -> str:
    """A machine's tag: its revision."""
    return f'"{machine.revision}"'


def tag_of(shown: Any) -> str:
    """The tag of anything else: a hash of what is shown of it."""
    return f'"{hashlib.sha256(_encode(shown)).hexdigest()[:_HASH_LENGTH]}"'


def check(request: web.Request, tag: str | None, name: str) -> None:
    """Raise PreconditionFailed when If-Match or If-None-Match forbid a change; `tag` None: there is no such object.

    To be called right before the change is decided, with the object as it is then and no await in between.
    """
    wanted = request.headers.get("If-Match")
    if wanted is not None and (tag is None or not _names(wanted, tag, weak=False)):
        now = f"it is {tag} now" if tag else "there is none"
        raise PreconditionFailed(f"If-Match {wanted[:80]} does not fit {name!r}: {now}; look again", object=name)
    unwanted = request.headers.get("If-None-Match")
    if unwanted is not None and tag is not None and _names(unwanted, tag, weak=True):
        raise PreconditionFailed(f"If-None-Match {unwanted[:80]}: {name!r} is {tag}", object=name)


def is_known(request: web.Request, tag: str) -> bool:
    """Whether the caller has this already, as If-None-Match says."""
    known = request.headers.get("If-None-Match")
    return known is not None and _names(known, tag, weak=True)


def _names(header: str, tag: str, *, weak: bool) -> bool:
    if header.strip() == "*":
        return True
    tags = _TAG.findall(header)
    return tag in tags or (weak and f"W/{tag}" in tags)
