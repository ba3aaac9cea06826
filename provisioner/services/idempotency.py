"""`Idempotency-Key`: an operator's POST that is sent again under the same key is answered as it was the first time."""

from __future__ import annotations

import hashlib
import re

from aiohttp import web

from provisioner.access import Who
from provisioner.conductor.replies import Replies
from provisioner.errors import Invalid, PowerError, ProvisionerError
from provisioner.model.operations import Reply
from provisioner.services.http import body_bytes, principal, problem
from provisioner.services.operations import Handler

HEADER = "Idempotency-Key"
_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
_KEPT_HEADERS = ("Content-Type", "Location", "ETag")


def once(handler: Handler, replies: Replies) -> Handler:
    """The handler, carried out once for each key of each caller.

    Answers of requests that were refused are not kept: nothing was done, so trying again is safe and may succeed.
    """

    async def guarded(request: web.Request) -> web.StreamResponse:
        sent = request.headers.get(HEADER)
        caller = principal(request)
        if sent is None or caller.who is not Who.USER:
            return await handler(request)
        if _KEY.fullmatch(sent) is None:
            raise Invalid(f"{HEADER} is not 1 to 255 printable ASCII characters", status=400, code="idempotency-key")
        key = _digest(str(caller), sent)
        # With the key in it nobody can tell by guessing which secrets the body held.
        known = await replies.begin(key, _digest(sent, request.method, request.path_qs, await body_bytes(request)))
        if known is not None:
            return _replay(known)
        return await _carry_out(handler, request, replies, key)

    return guarded


async def _carry_out(handler: Handler, request: web.Request, replies: Replies, key: str) -> web.StreamResponse:
    done = False
    try:
        answer = await handler(request)
        done = True
    except PowerError as error:
        # The BMC may well have done it.
        answer, done = problem(error), True
    finally:
        if not done:
            await _forget(replies, key)
    if isinstance(answer, web.Response):
        headers = {name: answer.headers[name] for name in _KEPT_HEADERS if name in answer.headers}
        body = answer.body if isinstance(answer.body, bytes) else b""
        await replies.finish(key, answer.status, headers, body)
    return answer


async def _forget(replies: Replies, key: str) -> None:
    try:
        await replies.forget(key)
    except ProvisionerError:
        # The error that is on its way to the caller says more; the mark ends by itself.
        return


def _replay(reply: Reply) -> web.Response:
    return web.Response(body=reply.body, status=reply.status, headers={**reply.headers, "Idempotent-Replayed": "true"})


def _digest(*parts: str | bytes) -> str:
    found = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        found.update(len(data).to_bytes(8, "big") + data)
    return found.hexdigest()
