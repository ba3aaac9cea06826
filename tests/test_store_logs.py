"""Job logs at explicit offsets: whatever is sent twice, late or in pieces, the file holds each byte once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.errors import DiskFull, StoreError, TooLarge
from provisioner.store.logs import JobLogs, LogGap
from tests.small_disk import small_disk

JOB = "1f0c5a44-0000-4000-8000-000000000001"


@pytest.fixture
def logs(tmp_path):
    store = JobLogs(tmp_path, limit_bytes=100)
    yield store
    store.close()


@settings(deadline=None, max_examples=20)
@given(whole=st.binary(max_size=300), cuts=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=12))
def test_the_log_is_always_a_beginning_of_what_was_written(whole, cuts):
    """Pieces of `whole` arrive in any order, overlapping and repeated; those beyond the end are refused."""

    async def play(logs):
        size = 0
        for start, end in cuts:
            piece = whole[start:end]
            if start > size:
                with pytest.raises(LogGap) as caught:
                    await logs.append(JOB, start, piece)
                assert caught.value.size == size
            else:
                size = max(size, start + len(piece)) if start <= len(whole) else size
                assert await logs.append(JOB, start, piece) == size
            assert await logs.read(JOB) == (whole[:size], size)

    with TemporaryDirectory() as folder:
        logs = JobLogs(Path(folder))
        asyncio.run(play(logs))
        logs.close()


async def test_a_log_that_has_not_begun_is_empty(logs):
    assert await logs.read(JOB) == (b"", 0)
    assert await logs.size(JOB) == 0


async def test_reading_gives_a_part_and_the_whole_size(logs):
    await logs.append(JOB, 0, b"0123456789")
    assert await logs.read(JOB, 3, 4) == (b"3456", 10)
    assert await logs.read(JOB, 50) == (b"", 10)


async def test_a_gap_says_from_where_to_send_again_and_writes_nothing(logs):
    await logs.append(JOB, 0, b"abc")
    with pytest.raises(LogGap) as caught:
        await logs.append(JOB, 4, b"e")
    assert (caught.value.size, caught.value.status, caught.value.code) == (3, 409, "log-gap")
    assert await logs.read(JOB) == (b"abc", 3)


async def test_a_log_may_be_as_long_as_the_limit_and_no_longer(logs):
    assert await logs.append(JOB, 0, b"x" * 100) == 100
    with pytest.raises(TooLarge, match="would exceed 100 bytes"):
        await logs.append(JOB, 100, b"y")
    assert await logs.size(JOB) == 100


async def test_bytes_that_are_there_already_are_welcome_at_the_limit(logs):
    await logs.append(JOB, 0, b"x" * 100)
    assert await logs.append(JOB, 90, b"x" * 10) == 100


async def test_logs_of_two_jobs_are_apart(logs):
    other = JOB.replace("1f", "1e")
    await logs.append(JOB, 0, b"one")
    await logs.append(other, 0, b"other")
    assert (await logs.read(JOB))[0] == b"one"


async def test_writes_at_the_same_time_do_not_mix(logs):
    await asyncio.gather(*(logs.append(JOB, 0, b"0123456789"[:end]) for end in (3, 10, 7, 10)))
    assert await logs.read(JOB) == (b"0123456789", 10)


async def test_a_deleted_log_is_gone_and_deleting_it_again_is_harmless(logs):
    await logs.append(JOB, 0, b"x")
    await logs.delete(JOB)
    await logs.delete(JOB)
    assert await logs.size(JOB) == 0


async def test_a_folder_that_cannot_be_made_is_a_store_error(tmp_path):
    (tmp_path / "file").write_text("")
    logs = JobLogs(tmp_path / "file")
    with pytest.raises(StoreError, match="cannot open the log"):
        await logs.append(JOB, 0, b"x")
    logs.close()


async def test_a_log_that_cannot_be_read_says_so(logs):
    logs.path(JOB).mkdir(parents=True)
    with pytest.raises(StoreError, match="cannot read the log"):
        await logs.read(JOB)


async def test_sizes_of_logs_are_told(logs):
    await logs.append(JOB, 0, b"abc")
    assert (logs.size_now(JOB), logs.size_now("other")) == (3, 0)


async def test_a_log_that_cannot_be_removed_is_a_store_error(logs):
    logs.path(JOB).mkdir(parents=True)
    with pytest.raises(StoreError, match="cannot remove the log"):
        await logs.delete(JOB)


async def test_what_does_not_fit_on_the_disk_is_cut_off_again_and_can_be_sent_once_there_is_room(tmp_path):
    data = bytes(range(256)) * 400
    with small_disk(tmp_path / "disk") as disk:
        logs = JobLogs(disk.folder)
        await logs.append(JOB, 0, data)
        disk.fill(leave_bytes=64 << 10)
        with pytest.raises(DiskFull, match="cannot write the log .*make room on the disk"):
            await logs.append(JOB, len(data), data)
        assert await logs.read(JOB) == (data, len(data))
        disk.free()
        assert await logs.append(JOB, len(data), data) == 2 * len(data)
        assert (await logs.read(JOB))[0] == data * 2
        logs.close()


async def test_bytes_that_are_not_on_the_disk_yet_are_not_shown(tmp_path):
    begun, going_on = Event(), Event()
    going_on.set()

    def sync(descriptor):
        begun.set()
        assert going_on.wait(20)

    logs = JobLogs(tmp_path, sync=sync)
    await logs.append(JOB, 0, b"on disk")
    begun.clear()
    going_on.clear()
    writing = asyncio.create_task(logs.append(JOB, 7, b", not yet"))
    await asyncio.to_thread(begun.wait, 20)
    assert await logs.read(JOB) == (b"on disk", 7) and await logs.size(JOB) == 7
    going_on.set()
    assert await writing == 16
    assert await logs.read(JOB) == (b"on disk, not yet", 16)
    logs.close()


async def test_bytes_that_a_killed_server_left_are_on_the_disk_before_they_are_acknowledged(tmp_path):
    synced = []
    logs = JobLogs(tmp_path, sync=synced.append)
    logs.path(JOB).parent.mkdir()
    logs.path(JOB).write_bytes(b"abc")
    assert await logs.append(JOB, 0, b"abc") == 3 and len(synced) == 1
    logs.close()


async def test_what_the_disk_refused_is_neither_kept_nor_shown(tmp_path):
    def sync(descriptor):
        raise OSError(5, "Input/output error")

    logs = JobLogs(tmp_path, sync=sync)
    with pytest.raises(StoreError):
        await logs.append(JOB, 0, b"abc")
    assert await logs.read(JOB) == (b"", 0)
    logs.close()
