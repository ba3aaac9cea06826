"""A text in logs: found in every line that has it, once, wherever blocks end; bounded by hits, bytes and time."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.errors import StoreError
from provisioner.store.log_search import BLOCK_BYTES, LONGEST_LINE_BYTES, SHOWN_BYTES, Bounds, Hit, Wanted, search


def written(folder, *logs):
    """[(job, path)] of logs j0, j1, ..."""
    made = []
    for number, data in enumerate(logs):
        path = folder / f"j{number}.log"
        path.write_bytes(data)
        made.append((f"j{number}", path))
    return made


def hits(folder, data, text, *, case=False):
    return [found.hit for found in search(written(folder, data), Wanted(text, case), Bounds(), Event()).found]


def test_a_hit_has_the_lines_number_the_texts_offset_and_the_line(tmp_path):
    assert hits(tmp_path, b"one\ntwo words\nthree", "word") == [Hit(2, 8, "two words")]


def test_a_line_is_one_hit_however_often_it_has_the_text(tmp_path):
    assert hits(tmp_path, b"a a a\nb\na", "a") == [Hit(1, 0, "a a a"), Hit(3, 8, "a")]


@pytest.mark.parametrize(
    ("text", "case", "found"),
    [
        ("error", False, [1, 2, 3]),
        ("Error", True, [2]),
        ("ÄRGER", False, [4, 5]),
        ("ärger", True, [4]),
        ("straße", False, []),
        ("e.r", False, []),
        ("", True, []),
    ],
)
def test_upper_and_lower_case_are_the_same_unless_case_counts(tmp_path, text, case, found):
    log = "an error\nError\nERROR\närger\nÄRGER\nStrasse\n".encode()
    if text:
        assert [hit.line for hit in hits(tmp_path, log, text, case=case)] == found


def test_the_text_is_literal(tmp_path):
    assert [hit.line for hit in hits(tmp_path, b"axb\na.b\na[b\n", "a.b")] == [2]


def test_bytes_that_are_no_text_are_shown_as_such(tmp_path):
    assert hits(tmp_path, b"\xff\xfe here\r\n", "here") == [Hit(1, 3, "\ufffd\ufffd here")]


def test_of_a_long_line_what_is_around_the_text_is_shown(tmp_path):
    (hit,) = hits(tmp_path, b"x" * 5000 + b"needle" + b"y" * 5000, "needle")
    assert (hit.line, hit.offset, len(hit.text)) == (1, 5000, SHOWN_BYTES)
    assert "xneedley" in hit.text


@pytest.mark.parametrize("before", [BLOCK_BYTES - 3, BLOCK_BYTES, 3 * BLOCK_BYTES - 1])
def test_a_text_across_the_end_of_a_block_is_found(tmp_path, before):
    log = b"0123456\n" * (before // 8) + b"z" * (before % 8) + b"needle\n"
    (hit,) = hits(tmp_path, log, "needle")
    assert (hit.line, hit.offset) == (before // 8 + 1, before)


@pytest.mark.parametrize("before", [10, LONGEST_LINE_BYTES - 3, LONGEST_LINE_BYTES + BLOCK_BYTES - 3, 9_000_000])
def test_a_text_in_an_endless_line_is_found_once(tmp_path, before):
    log = b"one\n" + b"x" * before + b"needle" + b"x" * 3_000_000 + b"needle\nneedle"
    assert [(hit.line, hit.offset) for hit in hits(tmp_path, log, "needle")] == [
        (2, before + 4),
        (3, len(log) - 6),
    ]


@settings(deadline=None, max_examples=50)
@given(lines=st.lists(st.text("ab\x00é", max_size=6), max_size=20), text=st.text("abé", min_size=1, max_size=3))
def test_the_same_lines_are_found_as_by_looking_at_each(lines, text):
    with TemporaryDirectory() as folder:
        found = hits(Path(folder), "\n".join(lines).encode(), text, case=True)
    assert [(hit.line, hit.text) for hit in found] == [(n, line) for n, line in enumerate(lines, 1) if text in line]


# --- several logs, bounds -------------------------------------------------------------------------------------


def test_logs_are_looked_through_in_the_order_given(tmp_path):
    logs = written(tmp_path, b"needle", b"hay", b"needle\nneedle")
    result = search(reversed(logs), Wanted("needle"), Bounds(), Event())
    assert [found.job for found in result.found] == ["j2", "j2", "j0"]
    assert (result.searched, result.truncated) == (3, False)


def test_a_log_that_is_not_there_has_no_hits(tmp_path):
    logs = [("gone", tmp_path / "gone.log"), *written(tmp_path, b"needle")]
    result = search(logs, Wanted("needle"), Bounds(), Event())
    assert ([found.job for found in result.found], result.searched) == (["j0"], 2)


def test_a_log_that_cannot_be_read_is_a_store_error(tmp_path):
    with pytest.raises(StoreError, match="cannot read the log"):
        search([("j", tmp_path)], Wanted("a"), Bounds(), Event())


def test_no_more_hits_than_wanted_and_it_is_told_that_there_may_be_more(tmp_path):
    logs = written(tmp_path, b"a\na\na", b"a")
    result = search(logs, Wanted("a"), Bounds(hits=2), Event())
    assert (len(result.found), result.truncated) == (2, True)
    assert not search(logs, Wanted("a"), Bounds(hits=5), Event()).truncated


def test_no_more_bytes_are_read_than_allowed(tmp_path):
    logs = written(tmp_path, b"x" * 10, b"x" * 10, b"needle")
    result = search(logs, Wanted("needle"), Bounds(bytes=15), Event())
    assert (result.found, result.searched, result.truncated) == ([], 2, True)


def test_a_search_ends_when_its_time_is_up(tmp_path):
    seconds = count()
    logs = written(tmp_path, *[b"x"] * 50)
    result = search(logs, Wanted("a"), Bounds(seconds=10), Event(), lambda: float(next(seconds)))
    assert result.truncated
    assert 0 < result.searched < 11


def test_a_search_that_nobody_waits_for_ends(tmp_path):
    stop = Event()
    stop.set()
    result = search(written(tmp_path, b"a"), Wanted("a"), Bounds(), stop)
    assert (result.searched, result.truncated) == (0, True)
