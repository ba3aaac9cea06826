"""What the pages of jobs show."""

import pytest

from provisioner.model.machines import ExitState, Job, JobState
from provisioner.services.ui_jobs import LEAD_BYTES, TAIL_BYTES, JobViews
from tests.browser.demo_state import Demo, discovered, fill


@pytest.fixture
async def demo(tmp_path):
    demo = Demo(tmp_path)
    await demo.open()
    yield demo
    await demo.close()


@pytest.fixture
def views(demo):
    return JobViews(demo.ledger, demo.catalog, demo.jobs, demo.database, demo.assets)


async def at_work(demo):
    story = await discovered(demo, 1, "n1", 5)
    await story.assign("hello")
    await story.begin()
    return story


async def test_other_attempts_are_those_of_the_same_task_at_the_same_place(demo, views):
    story = await discovered(demo, 1, "n1", 5)
    await story.assign("hello")
    await story.begin()
    first = story.job
    await story.end(JobState.FAILED, ExitState.FAILED, 1)
    await story.change(runnable=True)
    await story.begin()
    found = await views.job(story.job)
    assert [each.job.id for each in found["attempts"]] == [first.id]
    assert story.job.attempt == 2


async def test_a_jobs_rendered_files_are_shown(demo, views):
    story = await discovered(demo, 1, "n1", 5)
    await story.assign("hello")
    await story.begin()
    assert [file.name for file in (await views.job(story.job))["files"]] == ["hello"]


async def test_of_a_long_log_the_page_brings_the_end_from_the_start_of_a_line(demo, views):
    story = await discovered(demo, 1, "n1", 5)
    await story.assign("hello")
    await story.begin()
    lines = "".join(f"line {number:06}\n" for number in range(TAIL_BYTES // 8))
    await story.write(lines)
    log = await views.log(story.job)
    assert log.size == len(lines)
    assert log.text.startswith("line ")
    assert log.text.endswith(lines[-12:])
    assert lines[log.start :] == log.text


async def test_control_sequences_are_left_out_of_the_plain_log(demo, views):
    story = await discovered(demo, 1, "n1", 5)
    await story.assign("hello")
    await story.begin()
    await story.write("\x1b[31mred\x1b[0m\ttab\x1b]0;title\x07 bell\x07\n\x1b[2Kend\r\n")
    assert (await views.log(story.job)).text == "red\ttab bell\nend\n"


async def test_changes_of_stage_are_left_out_of_the_list_of_jobs(demo, views):
    await fill(demo)
    shown = views.jobs({})
    assert not [each for each in shown["jobs"] if each.job.task.startswith("stage:")]
    moments = [each.job.created_at for each in shown["jobs"]]
    assert moments == sorted(moments, reverse=True)


async def test_the_list_of_jobs_is_narrowed_by_words_and_state(demo, views):
    await fill(demo)
    (failed,) = views.jobs({"state": "failed"})["jobs"]
    assert (failed.machine, failed.job.task) == ("rack1-n04", "image-write")
    assert {each.machine for each in views.jobs({"q": "n02 image"})["jobs"]} == {"rack1-n02"}


async def test_a_log_is_shown_around_a_place_in_it(demo, views):
    story = await at_work(demo)
    lines = [f"line {number:06}\n" for number in range(20_000)]
    await story.write("".join(lines))
    at = 12 * 9000 + 7
    log = await views.log_at(story.job, at)
    assert log.hit == lines[9000]
    assert log.text.startswith("line ") and log.text.endswith(lines[8999])
    assert len(log.text) <= LEAD_BYTES
    assert log.rest.startswith(lines[9001])
    assert (log.at, log.size) == (at, 12 * 20_000)
    assert log.start == at - 7 - len(log.text)


async def test_a_place_in_the_first_line_and_one_behind_the_end(demo, views):
    story = await at_work(demo)
    await story.write("one\ntwo")
    first = await views.log_at(story.job, 1)
    assert (first.text, first.hit, first.rest) == ("", "one\n", "two")
    last = await views.log_at(story.job, 5)
    assert (last.text, last.hit, last.rest) == ("one\n", "two", "")
    beyond = await views.log_at(story.job, 99)
    assert (beyond.at, beyond.text) == (-1, "one\ntwo")


async def test_what_a_job_handed_in_is_listed(demo, views):
    story = await at_work(demo)
    await story.hand_in("report.txt", b"all is well")
    assert [(each.name, each.size) for each in (await views.job(story.job))["assets"]] == [("report.txt", 11)]


async def test_a_job_knows_the_one_before_it_until_that_is_removed(demo, views):
    story = await at_work(demo)
    job = story.job
    before = (await views.job(job))["previous"]
    assert before.id == job.previous
    tx = demo.ledger.transaction()
    tx.delete(Job, job.previous)
    await tx.commit()
    assert (await views.job(job))["previous"] is None
