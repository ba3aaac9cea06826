"""Conditions and ranges, each as RFC 9110 has it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.wire.http_parts import MOST_RANGES, Answer, Stored, answer

FILE = Stored(size=100, etag='"abc"', modified=1_000_000_000)
THEN = "Sun, 09 Sep 2001 01:46:40 GMT"
BEFORE, AFTER = "Sun, 09 Sep 2001 01:46:39 GMT", "Sun, 09 Sep 2001 01:46:41 GMT"
WHOLE = Answer(200, 0, 100)


@pytest.mark.parametrize(
    ("wanted", "start", "length"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-", 0, 100),
        ("bytes=10-19", 10, 10),
        ("bytes=90-1000", 90, 10),
        ("bytes=-5", 95, 5),
        ("bytes=-1000", 0, 100),
        ("Bytes = 1-2", 1, 2),
        ("bytes=0-9,10-19", 0, 20),
        ("bytes=5-9, 0-6", 0, 10),
        ("bytes=0-9,200-300", 0, 10),
    ],
)
def test_a_range_is_sent_as_such(wanted: str, start: int, length: int) -> None:
    assert answer("GET", {"Range": wanted}, FILE) == Answer(206, start, length)


@pytest.mark.parametrize(
    "wanted",
    ["bytes=0-1,50-51", "lines=0-1", "bytes=", "bytes=-", "bytes=a-b", "bytes=9-1", "0-1", "bytes=0-1,x", "bytes=1",
     "bytes=" + ",".join(["0-0"] * (MOST_RANGES + 1)), "bytes=٣-٤"],
)  # fmt: skip
def test_ranges_apart_and_ranges_that_make_no_sense_are_answered_with_the_whole(wanted: str) -> None:
    assert answer("GET", {"Range": wanted}, FILE) == WHOLE


@pytest.mark.parametrize("wanted", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_behind_the_end_is_refused_and_says_how_long_the_file_is(wanted: str) -> None:
    refused = answer("GET", {"Range": wanted}, FILE)
    assert refused.status == 416 and refused.content_range(100) == "bytes */100"


def test_a_range_says_which_part_it_is() -> None:
    assert Answer(206, 10, 5).content_range(100) == "bytes 10-14/100" and WHOLE.content_range(100) == ""


def test_head_and_an_empty_file_have_no_ranges() -> None:
    assert answer("HEAD", {"Range": "bytes=0-1"}, FILE) == WHOLE
    assert answer("GET", {"Range": "bytes=0-1"}, Stored(0, '"e"', 0)) == Answer(200, 0, 0)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-None-Match": '"abc"'}, 304),
        ({"If-None-Match": 'W/"abc"'}, 304),
        ({"If-None-Match": '"x", "abc"'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"x"'}, 200),
        ({"If-None-Match": '"x"', "If-Modified-Since": AFTER}, 200),
        ({"If-Modified-Since": THEN}, 304),
        ({"If-Modified-Since": BEFORE}, 200),
        ({"If-Modified-Since": "yesterday"}, 200),
        ({"If-Modified-Since": "Sun, 09 Sep 99999 01:46:40 GMT"}, 200),
        ({"If-Match": '"abc"'}, 200),
        ({"If-Match": 'W/"abc"'}, 412),
        ({"If-Match": '"x"'}, 412),
        ({"If-Unmodified-Since": BEFORE}, 412),
        ({"If-Unmodified-Since": THEN}, 200),
        ({"If-Match": '"abc"', "If-Unmodified-Since": BEFORE}, 200),
    ],
)
def test_conditions(headers: dict[str, str], status: int) -> None:
    assert [answer(method, headers, FILE).status for method in ("GET", "HEAD")] == [status, status]


@pytest.mark.parametrize(
    ("condition", "status"),
    [('"abc"', 206), ('W/"abc"', 200), ('"x"', 200), (THEN, 206), (BEFORE, 200), (AFTER, 200), ("nonsense", 200)],
)
def test_a_part_is_sent_only_of_what_the_client_has_the_other_parts_of(condition: str, status: int) -> None:
    assert answer("GET", {"Range": "bytes=0-1", "If-Range": condition}, FILE).status == status


@given(st.text(max_size=40), st.integers(0, 200))
def test_whatever_is_asked_for_is_inside_of_the_file(wanted: str, size: int) -> None:
    for text in (wanted, f"bytes={wanted}"):
        found = answer(
            "GET", {"Range": text, "If-Range": wanted} if len(wanted) % 2 else {"Range": text}, Stored(size, '"e"', 0)
        )
        assert 0 <= found.start <= found.start + found.length <= size


@given(st.integers(1, 1000), st.lists(st.tuples(st.integers(0, 1200), st.integers(0, 1200)), min_size=1, max_size=4))
def test_a_part_holds_all_that_was_asked_for(size: int, spans: list[tuple[int, int]]) -> None:
    spans = [(min(span), max(span)) for span in spans]
    found = answer("GET", {"Range": "bytes=" + ",".join(f"{a}-{b}" for a, b in spans)}, Stored(size, '"e"', 0))
    there = {place for a, b in spans for place in range(a, min(b + 1, size))}
    sent = set(range(found.start, found.start + found.length))
    assert (found.status == 416) == (not there)
    if found.status != 416:
        assert there <= sent and (found.status == 200 or there == sent)
