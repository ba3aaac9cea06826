"""Types of options: whatever a type writes it shows again, and what is not of a type is not shown as one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.wire.option_types import TYPES


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(TYPES)), st.binary(min_size=1, max_size=24))
def test_what_is_shown_is_written_as_the_same_bytes(name, value):
    kind = TYPES[name]
    shown = kind.show(value)
    if not shown:
        return
    written = kind.parse(shown)
    # Text loses the NUL bytes at its end; routes lose what lies behind their prefix.
    assert kind.show(written) == shown
    if name not in ("text", "routes"):
        assert written == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("address", b"\1\2\3"), ("addresses", b"\1\2\3\4\5"), ("addresses", b""), ("u16", b"\1"), ("i32", b"\1"),
        ("flag", b"\2"), ("type", b"\x63"), ("shorts", b"\1"), ("pairs", b"\1\2\3\4"), ("pairs", b""),
        ("routes", b"\x21\1\2\3\4\5\6\7\x08\x09"), ("routes", b"\x08\x0a"), ("domains", b"\xc0\x0c"),
        ("domains", b"\3lab"), ("text", b"a\1"),
    ],
)  # fmt: skip
def test_what_is_not_of_a_type_is_not_shown_as_one(name, value):
    assert TYPES[name].show(value) is None
