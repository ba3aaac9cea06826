"""Plain forms that change machines and jobs."""

import pytest

from provisioner.model.machines import Job, JobState, Machine
from provisioner.power.driver import PowerState
from provisioner.services.ui_forms import param_value
from provisioner.store.event_search import EventQuery
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
        await browser.post("/machines/n1/work", {"verb": "resume"})
        assert demo.ledger.read(Machine, story.id).runnable is True
        await story.run("done\n")
        await browser.post("/machines/n1/work", {"verb": "rewind"})
        assert demo.ledger.read(Machine, story.id).current_task == -1
        response = await browser.post("/machines/n1/work", {"verb": "dance"})
        assert "there is: go-through, lock, no-step, pause, restart, resume" in await response.text()


async def test_a_workflow_is_restarted_from_its_start_or_a_stage_after_a_question(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        story = await idle(demo)
        await story.assign("deploy")
        await browser.post("/machines/n1/work", {"verb": "pause"})
        form = {"verb": "restart", "stage": "deploy-image"}
        text = await (await browser.post("/machines/n1/work", form)).text()
        assert "Begin the work of n1 anew, from stage deploy-image?" in text
        assert demo.ledger.read(Machine, story.id).stage == "deploy-prepare"
        await browser.post("/machines/n1/work", {**form, "confirmed": "yes"})
        assert demo.ledger.read(Machine, story.id).stage == "deploy-image"
        await browser.post("/machines/n1/work", {"verb": "restart", "confirmed": "yes"})
        assert demo.ledger.read(Machine, story.id).stage == "deploy-prepare"
        response = await browser.post("/machines/n1/work", {**form, "stage": "nope", "confirmed": "yes"})
        assert response.status == 422


async def test_a_machine_is_stepped_locked_and_stopped_before_an_entry(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        story = await idle(demo)

        async def after(**form):
            response = await browser.post("/machines/n1/work", form)
            assert response.headers["Location"] == "/machines/n1"
            return demo.ledger.read(Machine, story.id)

        assert (await after(verb="step")).step is True
        assert (await after(verb="no-step")).step is False
        await after(verb="stop-before", entry="inventory")
        assert (await after(verb="stop-before", entry="stage:hello")).stop_before == ("inventory", "stage:hello")
        assert (await after(verb="go-through", entry="inventory")).stop_before == ("stage:hello",)
        assert (await browser.post("/machines/n1/work", {"verb": "stop-before", "entry": "a:b"})).status == 422
        assert (await after(verb="lock")).locked is True
        assert (await after(verb="unlock")).locked is False


async def test_a_secret_is_shown_on_a_page_of_its_own_and_that_is_recorded(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        story = await idle(demo)
        assert ">secret<" not in await browser.get("/machines/n1/params")
        response = await browser.post("/machines/n1/params", {"reveal": "power/password"})
        assert ">secret<" in await response.text()
        assert response.headers["Cache-Control"] == "no-store"
        events = await demo.database.events(EventQuery(machine=story.id, kinds=("param.reveal",)))
        assert [(event.key, event.by) for event in events] == [("power/password", "user:admin")]
        assert (await browser.post("/machines/n1/params", {"reveal": "no/such"})).status == 404


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
        text = await (await browser.post(f"/jobs/{job.id}/cancel", {})).text()
        assert "Cancel task hello?" in text and "TERM" in text and "KILL" in text
        assert demo.ledger.read(Job, job.id).cancel_requested is False
        await browser.post(f"/jobs/{job.id}/cancel", {"confirmed": "yes"})
        assert demo.ledger.read(Job, job.id).cancel_requested is True
        await story.end(JobState.FAILED)
        response = await browser.post(f"/jobs/{job.id}/cancel", {"confirmed": "yes"})
        assert response.status == 409


async def test_nothing_is_changed_for_whoever_is_not_logged_in(tmp_path):
    async with opened(tmp_path, logged_in=False) as (demo, browser):
        story = await idle(demo)
        before = demo.ledger.read(Machine, story.id)
        for path in ("workflow", "work", "power", "params"):
            response = await browser.post(f"/machines/n1/{path}", {"workflow": "hello", "verb": "pause"})
            assert response.status == 401
        assert demo.ledger.read(Machine, story.id) == before
