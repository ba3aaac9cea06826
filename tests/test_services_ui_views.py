"""What each page shows, gathered from durable state."""

import pytest

from provisioner.errors import Invalid, NotFound
from provisioner.model.machines import Machine
from provisioner.services.ui_jobs import JobViews
from provisioner.services.ui_views import EVENTS_LIMIT, Views
from tests.browser.demo_state import Demo, discovered, fill


@pytest.fixture
async def demo(tmp_path):
    demo = Demo(tmp_path)
    await demo.open()
    yield demo
    await demo.close()


@pytest.fixture
def views(demo):
    of_jobs = JobViews(demo.ledger, demo.catalog, demo.jobs, demo.database, demo.assets)
    return Views(demo.ledger, demo.catalog, demo.jobs, demo.actions, demo.database, of_jobs)


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
    assert found["boots"][0].phases[0].told[0].event.kind == "dhcp.offer"
    assert found["earlier"] == 0


async def test_a_long_timeline_is_shown_from_its_end_with_the_way_to_what_was_before(demo, views):
    story = await discovered(demo, 1, "n1", 500)
    for _ in range(EVENTS_LIMIT):
        await story.tell("machine.update", "n1")
    newest = await views.machine(story.machine, "timeline", {})
    assert sum(boot.count for boot in newest["boots"]) == EVENTS_LIMIT
    earlier = await views.machine(story.machine, "timeline", {"before": str(newest["earlier"])})
    assert earlier["boots"][0].phases[0].told[0].event.kind == "dhcp.offer"


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


async def test_content_of_an_unknown_kind_names_those_there_are(views):
    with pytest.raises(NotFound, match="unknown kind of content 'x'; there is: bootenvs"):
        views.content("x")
    with pytest.raises(NotFound):
        views.content_object("tasks", "nobody")


async def test_a_param_is_shown_with_its_layer_its_pack_and_what_is_wrong_with_it(demo, views):
    story = await discovered(demo, 1, "n1", 5)
    rows = {row.name: row for row in (await views.machine(story.machine, "params", {}))["params"]}
    assert (rows["power/driver"].source, rows["power/driver"].origin) == ("default", "pack base")
    assert {row.error for row in rows.values()} == {""}


async def test_all_machines_that_fit_are_chosen_in_the_order_of_the_list(demo, views):
    stories = {name: await discovered(demo, number, name, 5) for number, name in ((1, "n10"), (2, "n9"), (3, "a2"))}
    assert views.chosen({}) == [stories[name].id for name in ("a2", "n9", "n10")]
    assert views.chosen({"q": "n9", "state": "complete"}) == [stories["n9"].id]
    assert views.chosen({"state": "failed"}) == []


async def test_work_begins_anew_from_any_stage_of_the_workflow(demo, views):
    story = await discovered(demo, 1, "n1", 5)
    await story.assign("deploy")
    stages = (await views.machine(story.machine, "jobs", {}))["stages"]
    assert stages == demo.catalog.view["workflows"]["deploy"].stages
    await story.assign("")
    assert (await views.machine(story.machine, "jobs", {}))["stages"] == ()
