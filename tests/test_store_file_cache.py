"""Copies on disk: whole or not at all, and never more than the limit."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from provisioner.store.file_cache import FileCache, NoRoom, Note, Part


class Clock:
    """Stands until it is set."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(tmp_path: Path, clock: Clock) -> FileCache:
    cache = FileCache(tmp_path / "repos", 10_000, clock)
    cache.open()
    return cache


def note(path: str, content: bytes) -> Note:
    return Note(path, len(content), '"e"', '"u"', "Sun, 09 Sep 2001 01:46:40 GMT", "text/plain", 60)


def keep(cache: FileCache, path: str, content: bytes, source: str = "debian") -> None:
    part = cache.begin(len(content))
    cache.write(part, content)
    cache.keep(part, source, note(path, content))


def read(cache: FileCache, path: str, source: str = "debian") -> bytes | None:
    found = cache.find(source, path)
    if found is None:
        return None
    with found.file as file:
        file.seek(0)
        return file.read(found.note.size)


def files(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "repos").rglob("*") if path.is_file()]


def test_a_copy_is_found_again_with_its_note(cache: FileCache) -> None:
    keep(cache, "dists/InRelease", b"content")
    found = cache.find("debian", "dists/InRelease")
    assert found is not None and found.note == note("dists/InRelease", b"content")
    found.file.close()
    assert read(cache, "dists/InRelease") == b"content"
    assert read(cache, "dists/Release") is None and read(cache, "dists/InRelease", "other") is None


def test_a_newer_copy_takes_the_place_of_the_older(cache: FileCache) -> None:
    keep(cache, "a", b"old content")
    before = cache.size
    keep(cache, "a", b"new")
    assert read(cache, "a") == b"new" and cache.size < before


def test_a_part_is_no_copy_and_the_next_start_removes_it(cache: FileCache, tmp_path: Path, clock: Clock) -> None:
    part = cache.begin(3)
    part.write(b"abc")
    assert read(cache, "a") is None and len(files(tmp_path)) == 1
    cache.drop(part)
    left = cache.begin(3)
    left.write(b"abc")
    FileCache(tmp_path / "repos", 10_000, clock).open()
    assert files(tmp_path) == []
    left.drop()


def test_a_restart_finds_the_copies_and_their_size(cache: FileCache, tmp_path: Path, clock: Clock) -> None:
    keep(cache, "a", b"content")
    again = FileCache(tmp_path / "repos", 10_000, clock)
    again.open()
    assert again.size == cache.size and read(again, "a") == b"content"


@pytest.mark.parametrize("damage", ["cut", "empty", "longer", "mark", "note"])
def test_a_damaged_copy_is_none_and_goes(cache: FileCache, tmp_path: Path, damage: str) -> None:
    keep(cache, "a", b"content" * 10)
    (path,) = files(tmp_path)
    data = path.read_bytes()
    path.write_bytes(
        {
            "cut": data[:-5],
            "empty": b"",
            "longer": b"x" + data,
            "mark": data[:-1] + b"?",
            "note": data[:-20] + b"}" * 8 + data[-12:],
        }[damage]
    )
    assert read(cache, "a") is None and files(tmp_path) == []


def test_a_copy_of_another_path_under_this_name_is_none(cache: FileCache, tmp_path: Path) -> None:
    keep(cache, "a", b"content")
    keep(cache, "b", b"other")
    one, other = files(tmp_path)
    one.write_bytes(other.read_bytes())
    assert {read(cache, "a"), read(cache, "b")} & {None}


def test_those_used_least_recently_go_first(cache: FileCache, clock: Clock) -> None:
    for name in "abc":
        keep(cache, name, name.encode() * 2500)
        clock.now += 1000
    assert read(cache, "a") is not None
    keep(cache, "d", b"d" * 2500)
    assert [read(cache, name) is not None for name in "abcd"] == [True, False, True, True]
    assert cache.size <= 10_000


def test_what_is_larger_than_the_limit_is_not_begun(cache: FileCache, tmp_path: Path) -> None:
    keep(cache, "a", b"content")
    with pytest.raises(NoRoom):
        cache.begin(10_001)
    assert read(cache, "a") == b"content" and len(files(tmp_path)) == 1


def test_parts_take_room_from_their_beginning_until_they_are_dropped(cache: FileCache) -> None:
    keep(cache, "a", b"x" * 5000)
    part = cache.begin(6000)
    assert read(cache, "a") is None
    with pytest.raises(NoRoom):
        cache.begin(6000)
    cache.drop(part)
    cache.drop(cache.begin(6000))


def test_a_part_that_turns_out_longer_takes_room_as_it_grows(cache: FileCache) -> None:
    keep(cache, "a", b"x" * 5000)
    part = cache.begin(0)
    for _ in range(9):
        cache.write(part, b"x" * 1000)
    assert read(cache, "a") is None
    with pytest.raises(NoRoom):
        cache.write(part, b"x" * 2000)
    cache.drop(part)


def test_the_copies_of_one_source_can_be_measured_and_removed(cache: FileCache) -> None:
    keep(cache, "a", b"content")
    keep(cache, "b", b"content", "other")
    assert cache.size == cache.size_of("debian") + cache.size_of("other") and cache.size_of("third") == 0
    assert cache.clear("debian") > 7 and cache.clear("third") == 0
    assert read(cache, "a") is None and read(cache, "b", "other") == b"content"
    assert cache.size == cache.size_of("other")


def test_without_a_limit_all_is_kept(tmp_path: Path, clock: Clock) -> None:
    cache = FileCache(tmp_path / "repos", 0, clock)
    cache.open()
    keep(cache, "a", b"x" * 100_000)
    keep(cache, "b", b"x" * 100_000)
    assert read(cache, "a") is not None and read(cache, "b") is not None


def test_a_copy_knows_when_it_was_last_right(cache: FileCache, clock: Clock) -> None:
    keep(cache, "a", b"x")
    clock.now += 500
    cache.validated("debian", "a")
    cache.validated("debian", "gone")
    found = cache.find("debian", "a")
    assert found is not None and found.validated_at == clock.now
    found.file.close()


def test_a_copy_can_be_forgotten(cache: FileCache) -> None:
    keep(cache, "a", b"x")
    cache.forget("debian", "a")
    cache.forget("debian", "a")
    assert read(cache, "a") is None and cache.size == 0


def test_a_copy_that_is_dropped_while_it_is_opened_can_still_be_read(tmp_path: Path) -> None:
    dropping: list[Path] = []

    def clock() -> float:
        for path in dropping:
            path.unlink()
        return 1_000_000.0

    cache = FileCache(tmp_path / "repos", 10_000, clock)
    cache.open()
    keep(cache, "a", b"content")
    (kept,) = files(tmp_path)
    os.utime(kept, (0, 0))
    dropping.append(kept)
    assert read(cache, "a") == b"content"


def measured(tmp_path: Path) -> int:
    return sum(path.stat().st_size for path in files(tmp_path))


def test_a_copy_that_is_removed_while_another_takes_its_place_is_counted_once(tmp_path: Path) -> None:
    meanwhile: list[Callable[[], None]] = []

    def clock() -> float:
        while meanwhile:
            meanwhile.pop()()
        return 1_000_000.0

    cache = FileCache(tmp_path / "repos", 10_000, clock)
    cache.open()
    keep(cache, "a", b"old content")
    meanwhile.append(lambda: cache.forget("debian", "a"))
    keep(cache, "a", b"new")
    assert cache.size == cache.size_of("debian") == measured(tmp_path)


def test_threads_that_keep_and_remove_the_same_copies_count_them_right(cache: FileCache, tmp_path: Path) -> None:
    def work(number: int) -> None:
        for turn in range(12):
            keep(cache, str(turn % 3), b"x" * (1500 + 100 * number))
            if turn % 4 == number:
                cache.forget("debian", str(turn % 3))
            read(cache, str(turn % 2))
        cache.clear("debian" if number else "other")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert cache.size == measured(tmp_path) <= 10_000
    cache.drop(cache.begin(10_000))
    assert cache.size == measured(tmp_path) == 0


class TakesLittle(FileIO):
    """A file on a disk that takes three bytes at a time."""

    def write(self, data: Any) -> int:
        return super().write(memoryview(data)[:3])


def test_what_the_disk_takes_in_parts_is_written_whole(cache: FileCache, tmp_path: Path) -> None:
    path = tmp_path / "repos" / "x.part"
    part = Part(path, cast(BinaryIO, TakesLittle(path, "wb")))
    cache.write(part, b"content")
    cache.keep(part, "debian", note("a", b"content"))
    assert read(cache, "a") == b"content"


class FullDisk(FileIO):
    """A file on a disk that is full for as long as `is_full` says so, and notices after two bytes."""

    def __init__(self, path: Path, is_full: Callable[[], bool]) -> None:
        super().__init__(path, "wb")
        self._is_full = is_full

    def write(self, data: Any) -> int:
        if self._is_full():
            super().write(memoryview(data)[:2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


def test_copies_make_way_on_a_full_disk(cache: FileCache, tmp_path: Path) -> None:
    keep(cache, "old", b"content")
    path = tmp_path / "repos" / "x.part"
    part = Part(path, cast(BinaryIO, FullDisk(path, lambda: cache.size > 0)))
    cache.write(part, b"new")
    cache.keep(part, "debian", note("a", b"new"))
    assert read(cache, "a") == b"new" and read(cache, "old") is None


def test_a_disk_that_is_full_without_copies_is_an_error_and_nothing_is_appended(
    cache: FileCache, tmp_path: Path
) -> None:
    path = tmp_path / "repos" / "x.part"
    part = Part(path, cast(BinaryIO, FullDisk(path, lambda: True)))
    with pytest.raises(OSError, match="No space"):
        cache.write(part, b"new")
    assert part.size == 0 == path.stat().st_size
    cache.drop(part)
