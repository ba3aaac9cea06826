"""The same for many machines from plain forms."""

from urllib.parse import urlencode

import pytest

from provisioner.errors import Invalid
from provisioner.model.machines import Machine
from provisioner.model.operations import Operation
from provisioner.services.ui_fleet import asked
from tests.browser.demo_state import discovered
from tests.ui_browser import opened


async def rack(demo):
    return [await discovered(demo, number, f"n{number}", 5) for number in (1, 2, 3)]


def workflows(demo, stories):
    return [demo.ledger.read(Machine, story.id).workflow for story in stories]


@pytest.mark.parametrize(
    "form", [{}, {"do": "dance"}, {"do": "power"}, {"do": "power", "action": "explode"}], ids=["", "do", "none", "no"]
)
def test_what_is_unknown_is_refused_with_what_there_is(form):
    with pytest.raises(Invalid, match="there is: "):
        asked(form)


def test_what_cuts_off_or_drops_work_is_warned_of():
    assert asked({"do": "power", "action": "power-off"}).warning
    assert asked({"do": "assign", "workflow": "hello"}).warning
    assert not asked({"do": "power", "action": "power-on"}).warning
    assert not asked({"do": "resume"}).warning


async def test_a_workflow_is_assigned_to_the_chosen_after_a_question_with_their_number(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        stories = await rack(demo)
        form = [("do", "assign"), ("workflow", "hello"), ("machine", stories[0].id), ("machine", stories[2].id)]
        text = await (await browser.post("/bulk", form)).text()
        assert "Assign workflow hello: 2 machines?" in text
        assert text.count('name="machine"') == 2
        assert workflows(demo, stories) == ["discover"] * 3
        text = await (await browser.post("/bulk", [*form, ("confirmed", "yes")])).text()
        assert "Done for 2 of 2 machines." in text
        assert workflows(demo, stories) == ["hello", "discover", "hello"]


async def test_all_means_all_that_fit_the_filter(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        stories = await rack(demo)
        form = {"do": "assign", "workflow": "hello", "all": "yes", "q": "n2", "state": "", "confirmed": "yes"}
        await browser.post("/bulk", form)
        assert workflows(demo, stories) == ["discover", "hello", "discover"]
        text = await (await browser.post("/bulk", {**form, "confirmed": ""})).text()
        assert f'name="machine" value="{stories[1].id}"' in text and 'name="all"' not in text
        chosen = await browser.get("/bulk/machines?" + urlencode({"q": "n", "state": "failed"}))
        assert chosen == '{"machines":[]}'


async def test_each_machine_has_a_result_of_its_own(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        stories = await rack(demo)
        await stories[0].change(locked=True)
        form = [("do", "pause"), *(("machine", story.id) for story in stories), ("machine", "gone")]
        text = await (await browser.post("/bulk", form)).text()
        assert "Done for 2 of 4 machines, refused for 2." in text
        assert "Machine n1 is locked; unlock it first" in text
        assert [demo.ledger.read(Machine, story.id).runnable for story in stories] == [True, False, False]


async def test_power_leads_to_an_operation_that_is_followed(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        stories = await rack(demo)
        form = [("do", "power"), ("action", "power-cycle"), *(("machine", story.id) for story in stories)]
        text = await (await browser.post("/bulk", form)).text()
        assert "Power cycle: 3 machines?" in text and demo.power.calls == []
        response = await browser.post("/bulk", [*form, ("confirmed", "yes")])
        (operation,) = demo.ledger.read_all(Operation)
        assert response.headers["Location"] == f"/operations/{operation.id}"
        assert "3 machines" in await browser.get(f"/operations/{operation.id}")
        await browser.get("/operations/none", 404)


async def test_nothing_chosen_is_said(tmp_path):
    async with opened(tmp_path) as (_, browser):
        response = await browser.post("/bulk", {"do": "resume"})
        assert response.status == 422
        assert "no machine is chosen" in (await response.text()).lower()


async def test_a_stranger_does_nothing(tmp_path):
    async with opened(tmp_path, logged_in=False) as (_, browser):
        assert (await browser.post("/bulk", {"do": "resume"})).status == 401
        for path in ("/bulk/machines", "/operations/x", "/clashes", "/logs?q=x"):
            assert (await browser.answer(path)).headers["Location"].startswith("/login?next=")


async def test_a_form_on_another_site_does_nothing(tmp_path):
    async with opened(tmp_path) as (_, browser):
        response = await browser.post("/bulk", {"do": "resume"}, {"Sec-Fetch-Site": "cross-site"})
        assert response.status == 403
