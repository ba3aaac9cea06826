"""Who may hand in files, until when, under which names."""

from __future__ import annotations

from datetime import timedelta

import pytest

from provisioner.access import Principal, Who
from provisioner.conductor.assets import GRACE, check_name, takes_assets
from provisioner.errors import Invalid, NotFound, Refused, TooLarge
from provisioner.model.machines import Job, JobState
from tests.parts import START

AGENT = Principal(Who.MACHINE, "m1")


def a_job(state, ended=None):
    return Job(id="j1", machine="m1", task="t", state=state, created_at=START, ended_at=ended)


async def save(parts, job):
    tx = parts.ledger.transaction()
    tx.put(job)
    await tx.commit()


async def pieces(*data):
    for each in data:
        yield each


async def give(parts, name="a", *data, length=0, job="j1"):
    return await parts.job_assets.receive(job, name, length, pieces(*data), AGENT)


@pytest.mark.parametrize("state", [JobState.CREATED, JobState.RUNNING, JobState.INCOMPLETE])
async def test_a_job_that_has_not_ended_hands_in_files(parts, state):
    await save(parts, a_job(state))
    asset = await give(parts, "a", b"abc", b"def")
    assert (asset.size, asset.created_at) == (6, START)
    assert await parts.assets.listed("j1") == [asset]
    assert await parts.events("job.asset") == [("j1", {"task": "t", "name": "a", "size": 6})]


async def test_what_was_under_way_when_the_job_ended_is_taken(parts):
    await save(parts, a_job(JobState.CANCELLED, START - GRACE))
    assert (await give(parts)).size == 0


async def test_a_job_that_ended_long_ago_takes_no_more(parts):
    await save(parts, a_job(JobState.FINISHED, START - GRACE - timedelta(seconds=1)))
    with pytest.raises(Refused, match="has ended: it takes no more files"):
        await give(parts)


def test_a_job_without_an_end_that_is_final_takes_none():
    assert not takes_assets(a_job(JobState.FAILED), START)


async def test_a_job_that_does_not_exist_takes_none(parts):
    with pytest.raises(NotFound, match="there is no job 'other'"):
        await give(parts, job="other")


async def test_what_is_announced_as_too_large_is_refused_before_it_is_read(parts):
    await save(parts, a_job(JobState.RUNNING))
    with pytest.raises(TooLarge, match="would exceed 1000000 bytes together"):
        await give(parts, "a", b"never read", length=1_000_001)
    assert list(parts.assets.kept()) == []


async def test_what_turns_out_too_large_leaves_nothing(parts):
    await save(parts, a_job(JobState.RUNNING))
    with pytest.raises(TooLarge):
        await give(parts, "a", b"x" * 999_999, b"xx")
    assert list(parts.assets.kept()) == []
    assert await parts.events("job.asset") == []


async def test_a_file_of_a_job_that_was_removed_meanwhile_is_removed_too(parts):
    await save(parts, a_job(JobState.RUNNING))

    async def slow():
        yield b"abc"
        tx = parts.ledger.transaction()
        tx.delete(Job, "j1")
        await tx.commit()
        yield b"def"

    with pytest.raises(NotFound):
        await parts.job_assets.receive("j1", "a", 0, slow(), AGENT)
    assert list(parts.assets.kept()) == []


@pytest.mark.parametrize("name", [".hidden", "a b", "", "x" * 129])
def test_a_wrong_name_is_told_with_what_is_right(name):
    with pytest.raises(Invalid, match="1 to 128 letters, digits") as caught:
        check_name(name)
    assert [field.path for field in caught.value.fields] == ["name"]
