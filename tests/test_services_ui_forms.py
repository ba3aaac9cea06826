"""Plain forms that change machines and jobs."""

import pytest

from provisioner.model import Job, JobState, Machine
from provisioner.power.driver import PowerState
from provisioner.services.ui_forms import param_value
from tests.browser.demo_state import discovered
from tests.ui_browser import opened


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("5", {"type": "integer"}, 5),
        ("5", {"type": "string"}, "5"),
        ("5", {}, 5),
        ("true", {"type": "boolean"}, True),
        ('["a"]', {"type": "array"}, ["a"]),
        ("plain words", {}, "plain words"),
        ("[broken", {"type": "array"}, "[broken"),
    ],
)
def test_a_value_is_text_where_the_param_is_text_else_json(text, schema, value):
    assert param_value(text, schema) == value


async def idle(demo):
    return await discovered(demo, 1, "n1", 5)


async def test_a_workflow_is_assigned(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        story = await idle(demo)
        response = await browser.post("/machines/n1/workflow", {"workflow": "hello"})
        assert response.headers["Location"] == "/machines/n1"
        assert demo.ledger.read(Machine, story.id).workflow == "hello"


async def test_a_disk_is_granted_only_after_a_question(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        story = await idle(demo)
        form = {"workflow": "deploy", "disk": "0x5<b>", "hours": "2"}
        response = await browser.post("/machines/n1/workflow", form)
        text = await response.text()
        assert "May workflow deploy erase disk 0x5&lt;b&gt; of n1?" in text
        assert demo.ledger.read(Machine, story.id).workflow == "discover"
        assert 'name="confirmed" value="yes"' in text
        await browser.post("/machines/n1/workflow", {**form, "confirmed": "yes"})
        machine = demo.ledger.read(Machine, story.id)
        assert (machine.workflow, [grant.disk for grant in machine.erase_grants]) == ("deploy", ["0x5<b>"])


async def test_hours_that_are_no_number_change_nothing(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        story = await idle(demo)
        for hours in ("soon", "nan", "-1", "1e9"):
            form = {"workflow": "deploy", "disk": "any", "hours": hours, "confirmed": "yes"}
            assert (await browser.post("/machines/n1/workflow", form)).status == 422
        assert demo.ledger.read(Machine, story.id).workflow == "discover"


async def test_an_unknown_workflow_is_told_with_those_there_are(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        await idle(demo)
        response = await browser.post("/machines/n1/workflow", {"workflow": "nope"})
        assert response.status == 422
        assert "there is: deploy, discover" in await response.text()


async def test_work_is_paused_run_again_and_started_over(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        story = await idle(demo)
        await story.assign("hello")
        await browser.post("/machines/n1/work", {"verb": "pause"})
        assert demo.ledger.read(Machine, story.id).runnable is False
        await browser.post("/machines/n1/work", {"verb": "run"})
        assert demo.ledger.read(Machine, story.id).runnable is True
        await story.run("done\n")
        await browser.post("/machines/n1/work", {"verb": "restart"})
        assert demo.ledger.read(Machine, story.id).current_task == -1
        response = await browser.post("/machines/n1/work", {"verb": "dance"})
        assert "there is: pause, restart, run" in await response.text()


async def test_power_that_cuts_off_is_asked_about_other_power_is_not(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        await idle(demo)
        text = await (await browser.post("/machines/n1/power", {"action": "power-off"})).text()
        assert "switch it off at once" in text
        assert demo.power.states["10.77.1.1"] is PowerState.ON
        await browser.post("/machines/n1/power", {"action": "power-off", "confirmed": "yes"})
        assert demo.power.states["10.77.1.1"] is PowerState.OFF
        await browser.post("/machines/n1/power", {"action": "power-on"})
        assert demo.power.states["10.77.1.1"] is PowerState.ON


async def test_a_param_is_set_and_removed(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        story = await idle(demo)
        await browser.post("/machines/n1/params", {"name": "hello/lines", "value": "7"})
        assert demo.ledger.read(Machine, story.id).params["hello/lines"] == 7
        response = await browser.post("/machines/n1/params", {"name": "hello/lines", "value": "many"})
        assert response.status == 422
        await browser.post("/machines/n1/params", {"remove": "hello/lines"})
        assert "hello/lines" not in demo.ledger.read(Machine, story.id).params


async def test_a_job_is_cancelled(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        story = await idle(demo)
        await story.assign("hello")
        await story.begin()
        job = story.job
        await browser.post(f"/jobs/{job.id}/cancel", {})
        assert demo.ledger.read(Job, job.id).cancel_requested is True
        await story.end(JobState.FAILED)
        response = await browser.post(f"/jobs/{job.id}/cancel", {})
        assert response.status == 409


async def test_nothing_is_changed_for_whoever_is_not_logged_in(tmp_path):
    async with opened(tmp_path, logged_in=False) as (demo, browser):
        story = await idle(demo)
        before = demo.ledger.read(Machine, story.id)
        for path in ("workflow", "work", "power", "params"):
            response = await browser.post(f"/machines/n1/{path}", {"workflow": "hello", "verb": "pause"})
            assert response.status == 401
        assert demo.ledger.read(Machine, story.id) == before
