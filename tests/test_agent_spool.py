"""The spool: a queue of bytes by offset."""

import os
from errno import ENOSPC
from io import BytesIO
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.spool import Place, Spool


def test_bytes_come_out_as_they_went_in() -> None:
    spool = Spool(100)
    spool.append(b"abc")
    spool.append(b"def")
    assert (spool.start, spool.end, spool.read(101, 3)) == (100, 106, b"bcd")


def test_it_begins_at_any_offset_and_empty() -> None:
    assert (Spool(7).start, Spool(7).end, Spool(7).read(7, 10)) == (7, 7, b"")


def test_room_is_freed_segment_by_segment() -> None:
    spool = Spool(0, Place(segment_bytes=4))
    for piece in (b"abcd", b"efgh", b"ij"):
        spool.append(piece)
    spool.forget(5)
    assert (spool.start, spool.read(4, 9)) == (4, b"efgh")


def test_a_read_ends_where_a_segment_ends() -> None:
    spool = Spool(0, Place(segment_bytes=2))
    spool.append(b"abc")
    spool.append(b"def")
    assert (spool.read(1, 9), spool.read(3, 9)) == (b"bc", b"def")


def test_what_does_not_fit_is_refused_whole_and_fits_again_when_room_was_freed() -> None:
    spool = Spool(0, Place(limit_bytes=6, segment_bytes=4))
    assert spool.append(b"abcd")
    assert not spool.append(b"efg")
    spool.forget(4)
    assert spool.append(b"efg")
    assert spool.read(4, 9) == b"efg"


def test_a_folder_that_is_full_or_gone_refuses_too() -> None:
    spool = Spool(0, Place("/nowhere"))
    assert spool.append(b"fits into memory")
    assert not spool.append(bytes(1024 * 1024))
    assert spool.end == len(b"fits into memory")
    assert spool.trouble == "the spool in /nowhere takes no more: No such file or directory"
    spool.close()


def open_files(folder: Path) -> list[str]:
    """Files of this process in a folder; temporary ones have no name there any more."""
    links = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return [link for link in links if link.startswith(f"{folder}/")]


def test_few_bytes_stay_in_memory_and_many_go_to_disk(tmp_path: Path) -> None:
    spool = Spool(0, Place(str(tmp_path), memory_bytes=10))
    spool.append(b"ten bytes.")
    assert open_files(tmp_path) == []
    spool.append(b"more")
    assert len(open_files(tmp_path)) == 1
    assert spool.read(0, 99) == b"ten bytes.more"
    spool.close()
    assert open_files(tmp_path) == []


def test_without_memory_the_first_byte_goes_to_disk(tmp_path: Path) -> None:
    spool = Spool(0, Place(str(tmp_path), memory_bytes=0))
    spool.append(b"a")
    assert len(open_files(tmp_path)) == 1
    spool.close()


def test_a_full_spool_says_that_the_server_was_away() -> None:
    spool = Spool(0, Place(limit_bytes=3))
    assert not spool.append(b"abcd")
    assert spool.trouble == "the server was away too long, the spool's 3 bytes are full"


def test_a_full_disk_refuses_the_piece_and_says_so() -> None:
    spool = Spool(0, Place(memory_bytes=0), open_file=lambda folder: FullDisk())
    assert not spool.append(b"abc")
    assert (spool.start, spool.end) == (0, 0)
    assert spool.trouble.endswith("takes no more: No space left on device")
    spool.close()


def test_what_a_full_disk_took_before_can_still_be_read_and_it_may_take_more_later() -> None:
    room = [5]
    spool = Spool(0, Place(memory_bytes=0), open_file=lambda folder: SmallDisk(room))
    assert spool.append(b"abc")
    assert not spool.append(b"defgh")
    assert spool.read(0, 99) == b"abc"
    room[0] = 99
    assert spool.append(b"xyz")
    assert spool.read(0, 99) == b"abcxyz"
    spool.close()


class SmallDisk(BytesIO):
    """Takes a few bytes at once, and none beyond its room, as an unbuffered file does."""

    def __init__(self, room: list[int]) -> None:
        super().__init__()
        self._room = room

    def write(self, data: object) -> int:
        piece = bytes(data)[: min(2, self._room[0] - self.tell())]  # type: ignore[call-overload]
        if not piece:
            raise OSError(ENOSPC, os.strerror(ENOSPC))
        return super().write(piece)


class FullDisk(BytesIO):
    def write(self, data: object) -> int:
        raise OSError(ENOSPC, os.strerror(ENOSPC))


@settings(deadline=None)
@given(st.integers(0, 99), st.lists(st.binary(max_size=9)), st.integers(1, 9), st.data())
def test_every_byte_is_where_it_was_written_until_forgotten(
    start: int, pieces: list[bytes], segment: int, data: st.DataObject
) -> None:
    spool = Spool(start, Place(segment_bytes=segment))
    whole, offset = b"", start
    for piece in pieces:
        spool.append(piece)
        whole += piece
        offset = data.draw(st.integers(offset, start + len(whole)))
        spool.forget(offset)
        assert spool.start <= offset
        read = b""
        while more := spool.read(offset + len(read), 5):
            read += more
        assert read == whole[offset - start :]
