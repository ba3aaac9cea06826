"""Operators of filters, on values of every type."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.model.machines import JobState
from provisioner.services.filters import OPERATORS, predicate, text_of

MOMENT = datetime(2026, 1, 1, 12, tzinfo=UTC)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("value", "operator", "wanted", "fits"),
    [
        (1, "eq", "1", True),
        (1.5, "eq", "1.5", True),
        (True, "eq", "true", True),
        (True, "eq", "1", False),
        (None, "eq", "", True),
        (JobState.FAILED, "eq", "failed", True),
        ({"a": 1}, "eq", '{"a":1}', True),
        (MOMENT, "eq", "2026-01-01T12:00:00Z", True),
        (MOMENT, "ge", "2026-01-01", True),
        (MOMENT, "gt", "soon", False),
        (10, "gt", "9", True),
        ("10", "gt", "9", False),
        (True, "gt", "0", False),
        ([1, 20], "gt", "9", True),
        ([], "gt", "9", False),
        ("ab", "in", "a,ab", True),
        (7, "in", "6,7", True),
        ("Hello", "has", "ELL", True),
        ("Hello", "like", "h*O", True),
        ("Hello", "like", "h*x", False),
        ("a[b]", "like", "a[b]", True),
        ("", "exists", "false", True),
        (0, "exists", "true", True),
        (False, "exists", "true", True),
    ],
    ids=str,
)
def test_an_operator_finds(value, operator, wanted, fits):
    assert predicate(lambda each: each, operator, wanted, "x")(value) is fits


@given(ANY)
def test_a_value_equals_its_own_text(value):
    if not isinstance(value, list):
        assert OPERATORS["eq"](text_of(value))(value)


@given(ANY, st.sampled_from(sorted(OPERATORS)), st.text(max_size=8))
def test_no_value_breaks_a_filter(value, operator, wanted):
    if operator == "exists":
        wanted = "true"
    assert OPERATORS[operator](wanted)(value) in (True, False)
