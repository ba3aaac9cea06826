"""Which part of a stored file answers a request, if any: conditions and ranges as values (RFC 9110, 13 and 14)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

from msgspec import Struct

# More ranges than this are a mistake or an attack; the whole file answers them.
MOST_RANGES = 100
_RANGES = re.compile(r"bytes[ \t]*=(.*)", re.IGNORECASE | re.DOTALL)
_RANGE = re.compile(r"(\d{0,18})-(\d{0,18})", re.ASCII)
_TAGS = re.compile(r'(W/)?"[\x21\x23-\x7e\x80-\xff]*"')


class Stored(Struct, frozen=True):
    """A file: its size in bytes, its strong entity tag with the quotes, when it was changed in seconds since 1970."""

    size: int
    etag: str
    modified: int


class Answer(Struct, frozen=True):
    """Status 200, 206, 304, 412 or 416, and what is sent of the file with the first two."""

    status: int
    start: int = 0
    length: int = 0

    def content_range(self, size: int) -> str:
        """The field that goes with 206 and 416, else ''."""
        if self.status == 206:
            return f"bytes {self.start}-{self.start + self.length - 1}/{size}"
        return f"bytes */{size}" if self.status == 416 else ""


def answer(method: str, headers: Mapping[str, str], stored: Stored) -> Answer:
    """What a GET or HEAD with these headers is answered with; a condition or range that makes no sense is none."""
    refused = _condition(headers, stored)
    if refused:
        return Answer(refused)
    wanted = headers.get("Range", "")
    if method != "GET" or not wanted or not stored.size or not _range_holds(headers.get("If-Range"), stored):
        return Answer(200, 0, stored.size)
    return _ranged(wanted, stored.size)


def _condition(headers: Mapping[str, str], stored: Stored) -> int:
    """412 or 304 when a condition says so, else 0; in the order of RFC 9110 section 13.2.2."""
    match, unmodified = headers.get("If-Match"), _date(headers.get("If-Unmodified-Since"))
    if match is not None:
        if not _names(match, stored.etag, weakly=False):
            return 412
    elif unmodified is not None and stored.modified > unmodified:
        return 412
    none_match, modified = headers.get("If-None-Match"), _date(headers.get("If-Modified-Since"))
    if none_match is not None:
        return 304 if _names(none_match, stored.etag, weakly=True) else 0
    return 304 if modified is not None and stored.modified <= modified else 0


def _names(text: str, etag: str, *, weakly: bool) -> bool:
    if text.strip() == "*":
        return True
    return any(found[0].removeprefix("W/") == etag and (weakly or not found[1]) for found in _TAGS.finditer(text))


def _range_holds(text: str | None, stored: Stored) -> bool:
    """Whether what the client has a part of is still the same (section 13.1.5); a date has to be the very same."""
    if text is None:
        return True
    return text.strip() == stored.etag or _date(text) == stored.modified


def _date(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        parsed = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    try:
        return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp())
    except (OverflowError, ValueError):
        return None


def _ranged(text: str, size: int) -> Answer:
    """One range is sent as such, also when it was asked for in pieces. Ranges apart are answered with the whole file,
    as section 14.2 allows: nobody who boots asks for them.
    """
    found = _RANGES.fullmatch(text.strip())
    parts = found[1].split(",") if found else []
    if not parts or len(parts) > MOST_RANGES:
        return Answer(200, 0, size)
    spans = []
    for part in parts:
        limits = _RANGE.fullmatch(part.strip())
        if limits is None or not (limits[1] or limits[2]) or _is_backwards(limits[1], limits[2]):
            return Answer(200, 0, size)
        spans.append(_span(limits[1], limits[2], size))
    wanted = sorted((start, end) for start, end in spans if start < end)
    if not wanted:
        return Answer(416)
    start, end = wanted[0]
    for following, until in wanted[1:]:
        if following > end:
            return Answer(200, 0, size)
        end = max(end, until)
    return Answer(206, start, end - start)


def _is_backwards(first: str, last: str) -> bool:
    return bool(first and last) and int(last) < int(first)


def _span(first: str, last: str, size: int) -> tuple[int, int]:
    """From where to before where; empty when nothing of it is there."""
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size
