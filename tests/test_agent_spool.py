"""The spool: a queue of bytes by offset."""

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.spool import Spool


def test_bytes_come_out_as_they_went_in() -> None:
    spool = Spool(100)
    spool.append(b"abc")
    spool.append(b"def")
    assert (spool.start, spool.end, spool.read(101, 3)) == (100, 106, b"bcd")


def test_it_begins_at_any_offset_and_empty() -> None:
    assert (Spool(7).start, Spool(7).end, Spool(7).read(7, 10)) == (7, 7, b"")


def test_room_is_freed_segment_by_segment() -> None:
    spool = Spool(0, segment_bytes=4)
    for piece in (b"abcd", b"efgh", b"ij"):
        spool.append(piece)
    spool.forget(5)
    assert (spool.start, spool.read(4, 9)) == (4, b"efgh")


def test_a_read_ends_where_a_segment_ends() -> None:
    spool = Spool(0, segment_bytes=2)
    spool.append(b"abc")
    spool.append(b"def")
    assert (spool.read(1, 9), spool.read(3, 9)) == (b"bc", b"def")


def test_what_does_not_fit_is_refused_whole_and_fits_again_when_room_was_freed() -> None:
    spool = Spool(0, limit=6, segment_bytes=4)
    assert spool.append(b"abcd")
    assert not spool.append(b"efg")
    spool.forget(4)
    assert spool.append(b"efg")
    assert spool.read(4, 9) == b"efg"


def test_a_folder_that_is_full_or_gone_refuses_too() -> None:
    spool = Spool(0, folder="/nowhere")
    assert spool.append(b"fits into memory")
    assert not spool.append(bytes(1024 * 1024))
    assert spool.end == len(b"fits into memory")
    spool.close()


@settings(deadline=None)
@given(st.integers(0, 99), st.lists(st.binary(max_size=9)), st.integers(1, 9), st.data())
def test_every_byte_is_where_it_was_written_until_forgotten(
    start: int, pieces: list[bytes], segment: int, data: st.DataObject
) -> None:
    spool = Spool(start, segment_bytes=segment)
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
