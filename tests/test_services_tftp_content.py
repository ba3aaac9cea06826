"""Files as ready datagrams: in blocks of any size, from memory and from disk, shared, and never stale."""

from __future__ import annotations

import asyncio
import os
import tracemalloc
from random import Random

import pytest

from provisioner.services.tftp_content import CHUNK_BYTES, BytesSource, ChunkCache, FileSource
from provisioner.wire.tftp import Data, decode

CONTENT = Random(1).randbytes(CHUNK_BYTES * 2 + 77)
LONG_AGO = 1_000_000_000


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(CONTENT)
    return path


def opened(path, cache):
    return FileSource(path.open("rb"), cache)


async def blocks(content, block_size, size, at_once=7):
    """Every block as the client sees it."""
    found, first, last = [], 1, size // block_size + 1
    while first <= last:
        run = content.run(first, min(at_once, last + 1 - first))
        if run is None:
            await content.load(first)
            continue
        assert 0 < len(run) <= at_once * (block_size + 4)
        for at in range(0, len(run), block_size + 4):
            found.append(decode(bytes(run[at : at + block_size + 4])))
            first += 1
    return found


def expected(data, block_size):
    last = len(data) // block_size + 1
    return [Data(n & 0xFFFF, data[(n - 1) * block_size : n * block_size]) for n in range(1, last + 1)]


SIZES = [0, 1, 7, 8, 9, 1468, 2936, 65464, CHUNK_BYTES, CHUNK_BYTES + 1, 1468 * (CHUNK_BYTES // 1472), len(CONTENT)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("block_size", [512, 1468, 65464])
async def test_memory_and_disk_give_the_same_blocks(tmp_path, size, block_size):
    data = CONTENT[:size]
    (tmp_path / "f").write_bytes(data)
    on_disk = opened(tmp_path / "f", ChunkCache())
    wanted = expected(data, block_size)
    assert await blocks(BytesSource(data).content(block_size), block_size, size) == wanted
    assert await blocks(on_disk.content(block_size), block_size, size) == wanted
    assert on_disk.size == size
    on_disk.close()


async def test_block_numbers_wrap_round():
    data = bytes(8 * 65_537)
    found = await blocks(BytesSource(data).content(8), 8, len(data), at_once=64)
    assert [block.block for block in found[65_533:65_538]] == [65534, 65535, 0, 1, 2]


async def test_a_chunk_is_read_once_for_all_who_want_it_at_the_same_time(file):
    cache = ChunkCache()
    sources = [opened(file, cache) for _ in range(20)]
    os.utime(file, ns=(LONG_AGO, LONG_AGO))
    reads = []

    def reader():
        reads.append(1)
        return lambda: b"chunk"

    assert await asyncio.gather(*(cache.load(("key", 1, 0), reader) for _ in sources)) == [b"chunk"] * 20
    assert (len(reads), cache.get(("key", 1, 0))) == (1, b"chunk")
    for source in sources:
        source.close()


async def test_what_is_used_seldom_leaves_the_cache_and_what_was_loaded_last_stays():
    cache = ChunkCache(limit_bytes=100)
    for number in range(3):
        await cache.load(("f", 1, number), lambda: lambda: bytes(50))
        cache.get(("f", 1, 0))
    assert [cache.get(("f", 1, number)) is not None for number in range(3)] == [True, False, True]
    await cache.load(("g", 1, 0), lambda: lambda: bytes(1000))
    assert (cache.size, cache.get(("g", 1, 0))) == (1000, bytes(1000))


async def test_a_read_that_fails_is_tried_anew_by_the_next():
    cache = ChunkCache()

    def broken():
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        await cache.load(("f", 1, 0), lambda: broken)
    assert await cache.load(("f", 1, 0), lambda: lambda: b"x") == b"x"


async def test_a_file_written_anew_has_another_identity(file):
    cache = ChunkCache()
    first = opened(file, cache)
    file.write_bytes(CONTENT[::-1])
    second = opened(file, cache)
    assert first.identity != second.identity
    first.close()
    second.close()


async def test_a_file_written_a_moment_ago_shares_with_nobody_as_its_times_may_hide_a_change(file):
    cache = ChunkCache()
    one, other = opened(file, cache), opened(file, cache)
    assert one.identity != other.identity
    one.close()
    other.close()


async def test_a_file_replaced_by_renaming_is_sent_as_it_was(file, tmp_path):
    source = opened(file, ChunkCache())
    content = source.content(1468)
    await content.load(1)
    (tmp_path / "new").write_bytes(b"other")
    (tmp_path / "new").rename(file)
    assert await blocks(content, 1468, source.size) == expected(CONTENT, 1468)
    source.close()


@pytest.mark.parametrize("change", [b"", CONTENT + b"more", CONTENT[::-1]])
async def test_a_file_changed_in_its_place_is_not_sent_mixed(file, change):
    os.utime(file, ns=(LONG_AGO, LONG_AGO))
    source = opened(file, ChunkCache())
    content = source.content(65464)
    file.write_bytes(change)
    with pytest.raises(OSError, match="changed while it was sent"):
        await content.load(1)
    source.close()


async def test_who_ends_its_transfer_takes_no_chunk_from_others(file):
    cache = ChunkCache()
    source = opened(file, cache)
    loading = source.content(1468).load(1)
    source.close()
    assert decode((await loading)[:1472]) == Data(1, CONTENT[:1468])


async def test_the_next_chunk_is_read_ahead_of_its_time(file):
    cache = ChunkCache()
    source = opened(file, cache)
    content = source.content(1468)
    await content.load(1)
    assert content.run(1, 1) is not None
    second = CHUNK_BYTES // 1472 + 1
    await content.load(second)  # The same future as the one that was begun by itself.
    assert content.run(second, 1) is not None
    source.close()


async def test_reading_leaves_no_descriptor_open(file):
    before = len(os.listdir("/proc/self/fd"))
    source = opened(file, ChunkCache())
    await blocks(source.content(1468), 1468, source.size)
    source.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_small_blocks_of_text_cost_nothing_before_they_are_sent():
    text = b"\n" * (4 << 20)
    tracemalloc.start()
    try:
        run = BytesSource(text).content(8).run(1, 64)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert run is not None and len(run) == 64 * 12
    assert peak < 64 * 1024
