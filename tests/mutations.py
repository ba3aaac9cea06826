"""Datagrams that go wrong: real ones with bits flipped, ends cut off, lengths that lie, and parts of others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random

# DHCP's fixed part with its cookie; where a message is shorter, these places fall on whatever is there.
_SNAME_AT, _FILE_AT, _OPTIONS_AT = 44, 108, 240
_LARGEST = 1400


class Mutator:
    """Mutates conversations, each the same way for the same seed."""

    def __init__(self, seed: int, conversations: Sequence[bytes]) -> None:
        self._random = Random(seed)
        self._conversations = list(conversations)
        self._ways: tuple[Callable[[bytearray], bytes], ...] = (
            self._flipped,
            self._flipped,
            self._replaced,
            self._replaced,
            self._cut,
            self._padded,
            self._spliced,
            self._length_lies,
            self._overloaded,
            self._repeated,
            bytes,
            self._noise,
        )

    def datagrams(self, count: int) -> Iterator[bytes]:
        """So many of them; one in twelve is not mutated at all, so that conversations get somewhere."""
        random, ways, conversations = self._random.random, self._ways, self._conversations
        kinds, number = len(ways), len(conversations)
        for _ in range(count):
            data = bytearray(conversations[int(random() * number)])
            yield ways[int(random() * kinds)](data)

    def _place(self, data: bytearray, first: int = 0) -> int:
        return first + int(self._random.random() * (len(data) - first)) if len(data) > first else 0

    def _flipped(self, data: bytearray) -> bytes:
        bits = self._random.getrandbits(48)
        for _ in range(1 + bits % 4):
            bits >>= 3
            data[self._place(data)] ^= 1 << (bits & 7)
        return bytes(data)

    def _replaced(self, data: bytearray) -> bytes:
        """Bytes among the options, which is where the meaning is; or anywhere."""
        first = _OPTIONS_AT if len(data) > _OPTIONS_AT and self._random.random() < 0.7 else 0
        for _ in range(1 + int(self._random.random() * 4)):
            data[self._place(data, first)] = int(self._random.random() * 256)
        return bytes(data)

    def _cut(self, data: bytearray) -> bytes:
        return bytes(data[: self._place(data)])

    def _padded(self, data: bytearray) -> bytes:
        size = min(len(data) + int(self._random.random() * 600), _LARGEST)
        return bytes(data).ljust(size, b"\xff" if self._random.random() < 0.3 else b"\0")

    def _spliced(self, data: bytearray) -> bytes:
        other = self._conversations[int(self._random.random() * len(self._conversations))]
        return bytes(data[: self._place(data)]) + other[int(self._random.random() * len(other)) :]

    def _length_lies(self, data: bytearray) -> bytes:
        """One of the lengths after a code (TFTP has none: there it is a byte like others)."""
        lengths = list(_lengths(data))
        at = lengths[int(self._random.random() * len(lengths))] if lengths else self._place(data)
        data[at] = (0, 1, 255, data[at] ^ 1, int(self._random.random() * 256))[int(self._random.random() * 5)]
        return bytes(data)

    def _overloaded(self, data: bytearray) -> bytes:
        """Options in `file` and `sname` that again say that there are options in these."""
        if len(data) <= _OPTIONS_AT:
            return self._replaced(data)
        again = bytes((52, 1, 3, 12, 3, 97, 98, 99)) * 8
        data[_SNAME_AT : _SNAME_AT + 64] = again
        data[_FILE_AT : _FILE_AT + 128] = again + again
        return bytes(data[:_OPTIONS_AT]) + bytes((52, 1, int(self._random.random() * 5))) + bytes(data[_OPTIONS_AT:])

    def _repeated(self, data: bytearray) -> bytes:
        """The options many times over."""
        tail = bytes(data[_OPTIONS_AT:] or data[2:])
        head = bytes(data[: len(data) - len(tail)])
        return (head + tail.rstrip(b"\xff\0") * 12)[:_LARGEST]

    def _noise(self, data: bytearray) -> bytes:
        return self._random.randbytes(int(self._random.random() * 500))


def _lengths(data: bytearray) -> Iterator[int]:
    at = _OPTIONS_AT
    while at + 1 < len(data) and data[at] != 255:
        if data[at] == 0:
            at += 1
            continue
        yield at + 1
        at += 2 + data[at + 1]
