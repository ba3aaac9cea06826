"""From a ticket to a token: how a netbooted machine becomes known. It tries until it is, or its ticket is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Callable

from .client import Client
from .clock import Clock
from .errors import Conflict, Denied, Nonsense, Refused
from .protocol import Registration, read_registration, register

CLASH_PAUSE_SECONDS = 60.0  # a person has to solve an identity clash; no need to hurry the server about it


def join(
    client: Client, clock: Clock, card: Mapping[str, object], url: str, key: str, note: Callable[[str], None]
) -> Registration:
    """Register. Raises `Denied` when the ticket is refused, `Stopped` when told to stop."""
    while True:
        try:
            registration = read_registration(client.call(register(card, key)), url)
        except Denied:
            raise
        except Conflict as conflict:
            note(f"another machine has our identity, trying again in {CLASH_PAUSE_SECONDS:.0f} s: {conflict}")
        except (Refused, Nonsense) as error:
            note(f"cannot register, trying again in {CLASH_PAUSE_SECONDS:.0f} s: {error}")
        else:
            note(f"registered as {registration.name or registration.machine}")
            return registration
        clock.sleep(CLASH_PAUSE_SECONDS)
