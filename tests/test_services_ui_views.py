"""What each page shows, gathered from durable state."""

from datetime import UTC, datetime, timedelta

import pytest

from provisioner.errors import Invalid, NotFound
from provisioner.model import ExitState, JobState, Lease, LeaseState, Machine
from provisioner.services.ui_views import EVENTS_LIMIT, TAIL_BYTES, Views
from tests.browser.demo_state import Demo, discovered, fill


@pytest.fixture
async def demo(tmp_path):
    demo = Demo(tmp_path)
    await demo.open()
    yield demo
    await demo.close()


@pytest.fixture
def views(demo):
    return Views(demo.ledger, demo.catalog, demo.jobs, demo.actions, demo.database)


async def test_machines_are_listed_in_the_order_of_their_numbers(demo, views):
    for number, name in ((1, "n10"), (2, "n9"), (3, "a2")):
        await discovered(demo, number, name, 5)
    assert [each.machine.name for each in views.machines({})["rows"]] == ["a2", "n9", "n10"]


async def test_the_list_is_narrowed_by_words_and_state(demo, views):
    await fill(demo)
    assert [each.machine.name for each in views.machines({"state": "failed"})["rows"]] == ["rack1-n04"]
    assert [each.machine.name for each in views.machines({"q": "N05 10.77"})["rows"]] == ["rack1-n05"]
    counts = {state: number for state, _, number in views.machines({})["counts"]}
    assert counts == {"working": 2, "waiting": 1, "failed": 1, "complete": 3, "absent": 1, "idle": 0}


async def test_what_is_not_on_disk_yet_is_not_shown(demo, views):
    story = await discovered(demo, 1, "n1", 5)
    tx = demo.ledger.transaction()
    tx.delete(Machine, story.id)
    written = tx.commit()
    assert len(views.machines({})["rows"]) == 1
    await written
    assert views.machines({})["rows"] == []


async def test_a_machines_timeline_begins_before_it_was_known(demo, views):
    story = await discovered(demo, 1, "n1", 5)
    found = await views.machine(story.machine, "timeline", {})
    assert found["boots"][0].phases[0].told[0].event.kind == "dhcp.discover"
    assert found["earlier"] == 0


async def test_a_long_timeline_is_shown_from_its_end_with_the_way_to_what_was_before(demo, views):
    story = await discovered(demo, 1, "n1", 500)
    for _ in range(EVENTS_LIMIT):
        await story.tell("machine.update", "n1")
    newest = await views.machine(story.machine, "timeline", {})
    assert sum(boot.count for boot in newest["boots"]) == EVENTS_LIMIT
    earlier = await views.machine(story.machine, "timeline", {"before": str(newest["earlier"])})
    assert earlier["boots"][0].phases[0].told[0].event.kind == "dhcp.discover"


@pytest.mark.parametrize("before", ["x", "-1", "1" * 30, "²"])
async def test_the_number_of_an_event_is_checked(demo, views, before):
    story = await discovered(demo, 1, "n1", 5)
    with pytest.raises(Invalid):
        await views.machine(story.machine, "timeline", {"before": before})


async def test_a_page_that_a_machine_does_not_have_names_those_it_has(demo, views):
    story = await discovered(demo, 1, "n1", 5)
    with pytest.raises(NotFound, match="there is: inventory, jobs, overview"):
        await views.machine(story.machine, "secrets", {})


async def test_secure_params_are_hidden_wherever_the_machine_is_shown(demo, views):
    story = await discovered(demo, 1, "n1", 5)
    params = (await views.machine(story.machine, "params", {}))["params"]
    assert {param.name: param.secure for param in params}["power/password"] is True
    raw = (await views.machine(story.machine, "raw", {}))["raw"]
    assert "secret" not in str([param.value for param in params]) + str(raw)


async def test_params_say_where_their_values_come_from(demo, views):
    story = await discovered(demo, 1, "n1", 5)
    sources = {param.name: param.source for param in (await views.machine(story.machine, "params", {}))["params"]}
    assert (sources["os/hostname"], sources["hello/lines"]) == ("machine", "default")


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


async def test_a_lease_whose_time_is_over_has_expired_whatever_was_written(demo, views):
    tx = demo.ledger.transaction()
    long_ago = datetime.now(UTC) - timedelta(days=2)
    tx.put(Lease(address="10.77.0.9", mac="52:54:00:00:00:01", state=LeaseState.ACKED, expires_at=long_ago))
    await tx.commit()
    assert [each.state for each in views.leases({})["leases"]] == ["expired"]


async def test_addresses_in_use_are_counted_by_pool(demo, views):
    await fill(demo)
    (rack,) = views.leases({})["subnets"]
    assert rack.total == 90
    assert rack.taken == sum(each.state in ("acked", "quarantined") for each in views.leases({})["leases"])


async def test_content_of_an_unknown_kind_names_those_there_are(views):
    with pytest.raises(NotFound, match="unknown kind of content 'x'; there is: bootenvs"):
        views.content("x")
    with pytest.raises(NotFound):
        views.content_object("tasks", "nobody")


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


async def test_leases_are_narrowed_by_words(demo, views):
    await fill(demo)
    assert [each.lease.address for each in views.leases({"q": "RACK1-n03"})["leases"]] == ["10.77.0.13"]
    assert views.leases({"q": "quarantined 00:72"})["total"] == 1
    assert views.leases({"q": "nobody"})["leases"] == []


async def test_a_param_is_shown_with_its_layer_its_pack_and_what_is_wrong_with_it(demo, views):
    story = await discovered(demo, 1, "n1", 5)
    machine = demo.ledger.read(Machine, story.id)
    rows = {row.name: row for row in views._params(machine)}
    assert (rows["power/driver"].source, rows["power/driver"].origin) == ("default", "pack base")
    assert {row.error for row in rows.values()} == {""}
