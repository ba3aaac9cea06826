"""Objects of the API as the model's values, so that the CLI says of them what the UI says, word for word."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from msgspec.structs import fields

from provisioner.cli.exits import Failure
from provisioner.events import Event
from provisioner.model.machines import Job, Machine
from provisioner.services.ui_words import exact

S = TypeVar("S", bound=msgspec.Struct)


def machine_of(shown: Mapping[str, Any]) -> Machine:
    """The machine that the API showed."""
    return _value(shown, Machine)


def job_of(shown: Mapping[str, Any]) -> Job:
    """The job that the API showed."""
    return _value(shown, Job)


def event_of(shown: Mapping[str, Any]) -> Event:
    """The event that the API showed."""
    return _value(shown, Event)


def _value(shown: Mapping[str, Any], cls: type[S]) -> S:
    """What the API adds to the model's fields (`available`, `progress`) is left out."""
    known = {each.name for each in fields(cls)}
    try:
        return msgspec.convert({name: value for name, value in shown.items() if name in known}, cls)
    except msgspec.ValidationError as error:
        raise Failure(
            f"the server's answer is not understood: {error}",
            "client and server are of different versions: use the client that came with the server",
        ) from error


def exact_of(time: str | None) -> str:
    """A time of the API as people read it, '' when there is none."""
    return exact(datetime.fromisoformat(time)) if time else ""
