"""Kinds of events have a source and a sentence."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import msgspec
import pytest

from provisioner.events import KINDS, Event


@pytest.mark.parametrize(("kind", "sentence"), KINDS.items())
def test_a_kind_is_source_dot_word_with_a_sentence(kind, sentence):
    assert re.fullmatch(r"[a-z]+6?\.[a-z]+(-[a-z]+)?", kind) and sentence and not sentence.endswith(".")


def test_an_event_comes_back_from_json_as_it_was():
    event = Event(id=3, time=datetime(2026, 1, 1, tzinfo=UTC), kind="job.end", data={"state": "failed"})
    assert msgspec.json.decode(msgspec.json.encode(event), type=Event) == event
