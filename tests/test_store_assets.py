"""Assets come in whole or not at all; the newest whole one has the name; lists need nothing but the files."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from provisioner.errors import DiskFull, NotFound, StoreError, TooLarge
from provisioner.store.assets import HIGHEST_COUNT, NAME, Assets
from tests.small_disk import small_disk

JOB = "1f0c5a44-0000-4000-8000-000000000001"
NOW = datetime(2026, 1, 1, 12, 0, 0, 123456, UTC)


@pytest.fixture
def assets(tmp_path):
    store = Assets(tmp_path / "assets", 1000)
    yield store
    store.close()


async def give(assets, name, *pieces, job=JOB, now=NOW):
    async with assets.upload(job, name) as upload:
        for piece in pieces:
            await upload.write(piece)
        return await upload.finish(now)


async def content(assets, name, job=JOB):
    return (await assets.open(job, name))[1].read_bytes()


def files(assets):
    return sorted(path.name for path in assets._folder.glob("*/*"))


async def test_an_asset_is_kept_with_its_size_digest_and_time(assets):
    given = await give(assets, "report.txt", b"abc", b"def")
    assert (given.name, given.size, given.created_at) == ("report.txt", 6, NOW)
    assert given.sha256 == hashlib.sha256(b"abcdef").hexdigest()
    assert await assets.listed(JOB) == [given]
    assert await content(assets, "report.txt") == b"abcdef"


async def test_an_empty_asset_is_an_asset(assets):
    assert (await give(assets, "empty")).size == 0
    assert await content(assets, "empty") == b""


async def test_assets_are_listed_by_name(assets):
    for name in ("b", "a.txt", "C"):
        await give(assets, name, b"x")
    assert [asset.name for asset in await assets.listed(JOB)] == ["C", "a.txt", "b"]


async def test_the_list_needs_nothing_but_the_files(assets, tmp_path):
    given = await give(assets, "report.txt", b"abc")
    again = Assets(tmp_path / "assets", 1000)
    assert await again.listed(JOB) == [given]
    again.close()


async def test_an_asset_that_is_not_there_is_told_with_those_that_are(assets):
    await give(assets, "a", b"x")
    with pytest.raises(NotFound, match=r"has no asset 'b'; there is: a"):
        await assets.open(JOB, "b")
    with pytest.raises(NotFound, match="there is: none"):
        await assets.open("other", "a")


# --- replacing ------------------------------------------------------------------------------------------------


async def test_a_later_asset_of_the_same_name_replaces_the_first(assets):
    for number in range(12):
        await give(assets, "a", b"%d" % number)
    assert await content(assets, "a") == b"11"
    assert len(files(assets)) == 1


async def test_one_that_is_cut_off_leaves_the_asset_it_would_have_replaced(assets):
    await give(assets, "a", b"first")
    async with assets.upload(JOB, "a") as upload:
        await upload.write(b"sec")
    assert await content(assets, "a") == b"first"
    assert len(files(assets)) == 1


async def test_of_two_that_come_in_together_the_one_that_is_complete_last_wins(assets):
    async with assets.upload(JOB, "a") as one, assets.upload(JOB, "a") as two:
        await one.write(b"one")
        await two.write(b"two")
        await two.finish(NOW)
        await one.finish(NOW)
    assert await content(assets, "a") == b"one"
    assert len(files(assets)) == 1


async def test_the_newer_one_is_read_though_a_crash_left_both(assets):
    await give(assets, "a", b"old")
    (old,) = files(assets)
    path = assets._folder / JOB / old
    data = path.read_bytes()
    await give(assets, "a", b"new", now=NOW - timedelta(days=1))
    path.write_bytes(data)
    assert await content(assets, "a") == b"new"
    assert assets.sweep() == 1
    assert await content(assets, "a") == b"new"
    assert old not in files(assets)


# --- what is cut off ------------------------------------------------------------------------------------------


async def test_an_upload_that_is_cut_off_leaves_nothing(assets):
    with pytest.raises(ConnectionError):
        async with assets.upload(JOB, "a") as upload:
            await upload.write(b"abc")
            raise ConnectionError
    assert list(assets.kept()) == []


async def test_an_upload_whose_request_is_cancelled_leaves_nothing(assets):
    begun = asyncio.Event()

    async def send():
        async with assets.upload(JOB, "a") as upload:
            await upload.write(b"abc")
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(send())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(assets.kept()) == []
    assert (await give(assets, "b", b"x" * 1000)).size == 1000


async def test_what_a_crash_left_is_swept(assets):
    await give(assets, "a", b"x")
    (assets._folder / JOB / ".part-x").write_bytes(b"half")
    assert assets.sweep() == 1
    assert len(files(assets)) == 1


async def test_sweeping_before_there_is_any_asset_is_harmless(assets):
    assert assets.sweep() == 0


async def test_an_upload_is_finished_once(assets):
    async with assets.upload(JOB, "a") as upload:
        await upload.finish(NOW)
        with pytest.raises(ValueError, match="once"):
            await upload.finish(NOW)


# --- limits ---------------------------------------------------------------------------------------------------


async def test_a_job_may_have_as_many_bytes_as_the_limit_and_no_more(assets):
    await give(assets, "a", b"x" * 600)
    await give(assets, "b", b"x" * 400)
    with pytest.raises(TooLarge, match="would exceed 1000 bytes together"):
        await give(assets, "c", b"x")
    assert len(files(assets)) == 2
    assert (await give(assets, "c", b"x", job="other")).size == 1


async def test_what_is_announced_is_refused_at_once_when_it_does_not_fit(assets):
    await give(assets, "a", b"x" * 600)
    with pytest.raises(TooLarge):
        async with assets.upload(JOB, "b", 401):
            raise AssertionError("it was let in")
    async with assets.upload(JOB, "b", 400) as upload:
        await upload.write(b"x" * 400)
        assert (await upload.finish(NOW)).size == 400
    assert len(files(assets)) == 2


async def test_what_is_coming_in_counts(assets):
    async with assets.upload(JOB, "a") as upload:
        await upload.write(b"x" * 600)
        with pytest.raises(TooLarge):
            await give(assets, "b", b"x" * 401)
    assert (await give(assets, "b", b"x" * 1000)).size == 1000


async def test_replacing_an_asset_counts_the_new_one_only(assets):
    await give(assets, "a", b"x" * 900)
    assert (await give(assets, "a", b"y" * 1000)).size == 1000


async def test_a_job_may_have_only_so_many_assets(assets):
    for number in range(HIGHEST_COUNT):
        await give(assets, f"a{number}")
    with pytest.raises(TooLarge, match=f"has {HIGHEST_COUNT} assets already"):
        await give(assets, "more")
    await give(assets, "a0")


@pytest.mark.parametrize("name", ["a", "a.b", "-a", "_", "A" * 128, "core.1234_x-y"])
def test_a_name_may_be(name):
    assert NAME.fullmatch(name)


@pytest.mark.parametrize("name", ["", ".", "..", ".a", "a/b", "a b", "a~1", "ä", "a\n", "A" * 129])
def test_a_name_may_not_be(name):
    assert NAME.fullmatch(name) is None


# --- removing, disks ------------------------------------------------------------------------------------------


async def test_all_assets_of_a_job_are_removed_and_removing_them_again_is_harmless(assets):
    await give(assets, "a", b"abc")
    await give(assets, "b", b"def")
    assert (list(assets.kept()), assets.size_now(JOB)) == ([JOB], 6)
    assets.remove(JOB)
    assets.remove(JOB)
    assert (list(assets.kept()), await assets.listed(JOB), assets.size_now(JOB)) == ([], [], 0)


async def test_what_cannot_be_removed_is_a_store_error(assets):
    assets._folder.mkdir()
    (assets._folder / JOB).write_text("")
    with pytest.raises(StoreError, match="cannot remove the assets"):
        assets.remove(JOB)


async def test_a_folder_that_cannot_be_made_is_a_store_error(tmp_path):
    (tmp_path / "file").write_text("")
    assets = Assets(tmp_path / "file", 1000)
    with pytest.raises(StoreError, match="cannot make a file in"):
        await give(assets, "a", b"x")
    assets.close()


async def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        assets = Assets(disk.folder / "assets", 1 << 30)
        await give(assets, "a", b"first")
        with pytest.raises(DiskFull, match="cannot write asset a of job .*make room on the disk"):
            await give(assets, "a", *[b"x" * 100_000] * 20)
        assert await content(assets, "a") == b"first"
        assert len(files(assets)) == 1
        assert (await give(assets, "a", *[b"x" * 100_000] * 5)).size == 500_000
        assets.close()
