"""Save what has already happened: a disk that fails makes it late, never lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from provisioner.errors import StoreError

log = structlog.get_logger(__name__)

AGAIN_SECONDS = 5.0
Wait = Callable[[float], Awaitable[None]]


async def until_saved(save: Callable[[], Awaitable[object]], wait: Wait = asyncio.sleep) -> None:
    """Call `save` again, after a pause each, until the store takes what it writes."""
    while True:
        try:
            await save()
        except StoreError as error:
            log.error("store.later", error=error.message)
            await wait(AGAIN_SECONDS)
        else:
            return
