"""Looking for a text in job logs: block by block, so that a log of any size costs little memory.

Logs are bytes. The text is looked for as its UTF-8 bytes, in any case unless told otherwise; one hit a line is enough.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from threading import Event
from time import monotonic

from msgspec import Struct

from provisioner.store.folders import failed

# Looking through a block keeps all other threads waiting for less than a millisecond.
BLOCK_BYTES = 256 << 10
# A line that goes on for longer than this is looked through in pieces, which overlap by more than any text is long.
LONGEST_LINE_BYTES = 2 << 20
LONGEST_TEXT = 200
_OVERLAP_BYTES = 8 * LONGEST_TEXT
# As much of a line as is shown.
SHOWN_BYTES = 400


class Hit(Struct, frozen=True):
    """A line that has the text: its number from 1, the offset of the text in the log, the line (or what is around)."""

    line: int
    offset: int
    text: str


class Found(Struct, frozen=True):
    """A hit in the log of a job."""

    job: str
    hit: Hit


class Bounds(Struct, frozen=True):
    """When a search ends though there is more: after so many hits, bytes read, or seconds."""

    hits: int = 100
    bytes: int = 1 << 30
    seconds: float = 5.0


class Result(Struct, frozen=True):
    """What was found, in how many logs it was looked for, and whether a bound ended the search before the last."""

    found: list[Found]
    searched: int
    truncated: bool


class Wanted(Struct, frozen=True):
    """What is looked for; `text` is not empty. Without `case`, letters are found in upper and lower case alike."""

    text: str
    case: bool = False

    def pattern(self) -> re.Pattern[bytes]:
        """Finds it in bytes as `fold` leaves them."""
        return re.compile(b"".join(_encoded(letter) if self.case else _any_case(letter) for letter in self.text))

    def fold(self, data: bytes) -> bytes:
        """The same number of bytes, with ASCII letters in lower case unless case counts: far faster than a pattern."""
        return data if self.case else data.lower()


def _encoded(letter: str) -> bytes:
    return re.escape(letter.encode("utf-8", "surrogateescape"))


def _any_case(letter: str) -> bytes:
    if letter.isascii():
        return _encoded(letter.lower())
    forms = sorted(map(_encoded, {letter, letter.lower(), letter.upper()}))
    return forms[0] if len(forms) == 1 else b"(?:" + b"|".join(forms) + b")"


def search(
    logs: Iterable[tuple[str, Path]],
    wanted: Wanted,
    bounds: Bounds,
    stop: Event,
    clock: Callable[[], float] = monotonic,
) -> Result:
    """Look through the logs in this order; `stop` ends it early when nobody waits for it any more.

    Raises StoreError for a log that cannot be read; one that is not there (any more) has no hits.
    """
    found: list[Found] = []
    searched, read, end = 0, 0, clock() + bounds.seconds

    def over() -> bool:
        return len(found) >= bounds.hits or read >= bounds.bytes or stop.is_set() or clock() >= end

    for job, path in logs:
        if over():
            return Result(found, searched, True)
        searched += 1
        try:
            for size, hits in _blocks(path, wanted):
                read += size
                for hit in hits:
                    if over():
                        return Result(found, searched, True)
                    found.append(Found(job, hit))
                if over() and size:
                    return Result(found, searched, True)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise failed(f"read the log {path}", error, job) from error
    return Result(found, searched, False)


def _blocks(path: Path, wanted: Wanted) -> Iterator[tuple[int, list[Hit]]]:
    """For each block of the log how many bytes were read, and the hits in the lines that end in it."""
    pattern = wanted.pattern()
    with path.open("rb") as file:
        held, offset, line, last = b"", 0, 1, 0
        while True:
            block = file.read(BLOCK_BYTES)
            data = held + block
            cut = data.rfind(b"\n") + 1 if block else len(data)
            if not cut and len(data) > LONGEST_LINE_BYTES:
                cut = len(data) - _OVERLAP_BYTES
            lines = data[:cut]
            hits = [hit for hit in _hits(lines, wanted.fold(lines), pattern, offset, line) if hit.line != last]
            yield len(block), hits
            if not block:
                return
            last = hits[-1].line if hits else last
            held, offset, line = data[cut:], offset + cut, line + data.count(b"\n", 0, cut)


def _hits(data: bytes, folded: bytes, pattern: re.Pattern[bytes], offset: int, line: int) -> Iterator[Hit]:
    place = counted = 0
    while match := pattern.search(folded, place):
        line += data.count(b"\n", counted, match.start())
        counted = match.start()
        start = data.rfind(b"\n", 0, match.start()) + 1
        end = data.find(b"\n", match.start())
        end = end if end >= 0 else len(data)
        yield Hit(line, offset + match.start(), _shown(data[start:end], match.start() - start))
        place = end


def _shown(line: bytes, at: int) -> str:
    """The line, or what is around the hit in a long one; bytes that are no text are shown as such."""
    start = 0 if len(line) <= SHOWN_BYTES else max(0, min(at - SHOWN_BYTES // 4, len(line) - SHOWN_BYTES))
    return line[start : start + SHOWN_BYTES].decode("utf-8", "replace").rstrip("\r")
