"""The less usual in a real browser: many machines at once, debugging, secrets, held newcomers, a search in logs."""

import re

import pytest
from playwright.async_api import expect

from provisioner.model.machines import Clash, Machine
from tests.browser.demo_state import PASSWORD, clashing, discovered
from tests.browser.pages import PHONE, Visit

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def rack(demo, count=3):
    stories = [await discovered(demo, number, f"n{number}", 5) for number in range(1, count + 1)]
    demo.clock.run()
    return stories


async def pick(visit, *names):
    for name in names:
        await visit.row(name).locator("[data-testid=pick]").check()


def fields(demo, stories, name):
    return [getattr(demo.ledger.read(Machine, story.id), name) for story in stories]


# --- many machines at once ------------------------------------------------------------------------------------


async def test_what_is_done_with_the_chosen_has_a_result_for_each(demo, visit):
    stories = await rack(demo)
    await stories[0].change(locked=True)
    await visit.go("/")
    await expect(visit.find("bulk-bar")).to_be_hidden()
    await pick(visit, "n1", "n3")
    await expect(visit.find("bulk-count")).to_have_text("2 chosen")
    await visit.find("bulk-pause").click()
    await expect(visit.find("bulk-results")).to_contain_text("Pause: done for 1 of 2, refused for 1")
    await expect(visit.find("bulk-refusal")).to_contain_text("machine n1 is locked; unlock it first")
    assert fields(demo, stories, "runnable") == [True, True, False]


async def test_all_that_fit_the_filter_are_given_a_workflow_after_a_yes(demo, visit):
    stories = await rack(demo)
    await visit.go("/")
    await visit.find("filter").fill("10.77.0.12")
    await expect(visit.find("machine-row")).to_have_count(1)
    await visit.find("pick-all").check()
    await expect(visit.find("bulk-count")).to_have_text("1 chosen")
    await visit.find("bulk-assign").click()
    await visit.find("bulk-workflow").select_option("hello")
    await visit.find("bulk-assign-submit").click()
    await expect(visit.find("confirm")).to_contain_text("Assign hello: 1 machine?")
    await visit.confirm()
    await expect(visit.find("bulk-results")).to_contain_text("Assign hello: done for 1 of 1")
    assert fields(demo, stories, "workflow") == ["discover", "hello", "discover"]


async def test_a_power_action_on_many_is_confirmed_with_their_number_and_followed(demo, visit):
    stories = await rack(demo)
    await visit.go("/")
    await visit.find("pick-all").check()
    await visit.row("n2").locator("[data-testid=pick]").uncheck()
    await expect(visit.find("bulk-count")).to_have_text("2 chosen")
    await visit.find("bulk-power").click()
    await visit.find("bulk-action").select_option("power-cycle")
    await visit.find("bulk-power-submit").click()
    await expect(visit.find("confirm")).to_contain_text("Power cycle: 2 machines?")
    await visit.find("confirm-no").click()
    assert demo.power.calls == []
    await visit.find("bulk-power-submit").click()
    await visit.confirm()
    await expect(visit.find("operation")).to_have_attribute("data-state", "finished")
    await expect(visit.find("result")).to_have_count(2)
    assert sorted(address for _, address in demo.power.calls) == ["10.77.1.1", "10.77.1.3"]
    assert len(stories) == 3


async def test_the_choice_stays_while_the_list_changes_and_enter_does_nothing(demo, visit):
    stories = await rack(demo)
    await visit.go("/")
    await pick(visit, "n2")
    await visit.row("n2").locator("[data-testid=pick]").press("Enter")
    await stories[1].assign("hello", 0)
    await stories[1].begin()
    await expect(visit.row("n2")).to_have_attribute("data-state", "working")
    await expect(visit.row("n2").locator("[data-testid=pick]")).to_be_checked()
    await expect(visit.find("bulk-count")).to_have_text("1 chosen")
    await expect(visit.find("bulk-results")).to_be_hidden()


# --- one machine ----------------------------------------------------------------------------------------------


async def test_a_stop_is_set_seen_and_taken_away(demo, visit):
    (story,) = await rack(demo, 1)
    await story.assign("deploy", 0)
    await visit.open_machine("n1")
    await visit.find("stop-before", entry="image-settings").click()
    await expect(visit.find("stop", task="image-settings")).to_contain_text("stops here")
    assert demo.ledger.read(Machine, story.id).stop_before == ("image-settings",)
    await visit.find("go-through", entry="image-settings").click()
    await expect(visit.find("stop")).to_have_count(0)


async def test_work_is_stepped_and_restarted_from_a_stage(demo, visit):
    (story,) = await rack(demo, 1)
    await story.assign("deploy", 0)
    await visit.open_machine("n1")
    more = visit.find("more-menu").locator("summary")
    await more.click()
    await visit.find("step-on").click()
    await expect(visit.find("single-step")).to_be_visible()
    await story.run("done\n")
    await visit.wait_for_state("waiting")
    await expect(visit.find("sentence")).to_contain_text("single-step after 'check-erase-grant'")
    await visit.find("run-again").click()
    await visit.wait_for_state("working")
    await more.click()
    await visit.find("restart-stage").select_option("deploy-prepare")
    await visit.find("restart-from").click()
    await visit.confirm()
    await expect(visit.find("stage")).to_have_text("deploy-prepare")
    assert demo.ledger.read(Machine, story.id).stage == "deploy-prepare"


async def test_a_machine_is_locked_and_its_history_exported(demo, visit):
    (story,) = await rack(demo, 1)
    await visit.open_machine("n1")
    more = visit.find("more-menu").locator("summary")
    await more.click()
    await visit.find("lock").click()
    await expect(visit.find("machine-header")).to_contain_text("locked")
    assert demo.ledger.read(Machine, story.id).locked is True
    await more.click()
    async with visit.page.expect_download() as started:
        await visit.find("export").click()
    assert (await started.value).suggested_filename == "n1.tar"


async def test_a_param_says_why_and_a_secret_is_shown_only_when_asked_for(demo, visit):
    await rack(demo, 1)
    await visit.open_machine("n1", "params")
    row = visit.find("param", name="hello/lines")
    await row.locator("summary").click()
    await expect(row.locator("[data-testid=layer]")).to_have_attribute("data-effect", "used")
    secret = visit.find("param", name="power/password")
    await secret.locator("[data-testid=reveal]").click()
    await expect(secret.locator("[data-testid=secret-value]")).to_have_text("secret")
    await secret.locator("[data-testid=hide]").click()
    await expect(secret).not_to_contain_text("secret")
    await visit.open_machine("n1", "timeline")
    await expect(visit.find("event", kind="param.reveal")).to_contain_text("power/password")


# --- held newcomers, logs -------------------------------------------------------------------------------------


async def test_a_held_newcomer_is_noticed_at_once_and_resolved(demo, visit):
    (story,) = await rack(demo, 1)
    await visit.go("/")
    clash = await clashing(demo, story, 9)
    await visit.find("clash-notice").click()
    await expect(visit.find("clash", mac=clash.mac)).to_contain_text("It looks like machine n1")
    await visit.find("who-new").check()
    await visit.find("resolve").click()
    await expect(visit.find("machine-name")).to_have_text(re.compile("^m-"))
    assert list(demo.ledger.read_all(Clash)) == []


async def test_a_line_is_found_in_all_logs_and_the_log_opens_there(demo, visit):
    (story,) = await rack(demo, 1)
    await story.assign("hello", 0)
    await story.begin()
    lines = [f"{number:06} {'x' * 40}" for number in range(30_000)]
    lines[7000] = "\x1b[31mthe needle\x1b[0m in the stack"
    await story.write("\n".join(lines) + "\n")
    await visit.go("/jobs")
    await visit.find("search-logs").click()
    await visit.find("log-text").fill("Needle")
    await visit.find("log-machine").fill("n1")
    await visit.find("log-search").click()
    await expect(visit.find("hit")).to_have_count(1)
    await visit.find("hit").click()
    hit = visit.log.locator(".log-hit")
    await expect(hit).to_have_text("the needle in the stack")
    await expect(hit).to_be_in_viewport()
    await expect(visit.log).to_contain_text("006999 ")
    await expect(visit.log).to_contain_text("007001 ")
    await visit.find("log-end").click()
    await visit.wait_for_log("029999")


async def test_the_unusual_works_without_javascript_too(browser, demo, url):
    stories = await rack(demo, 2)
    await stories[0].assign("deploy", 0)
    visit = await Visit.open(browser, url, java_script_enabled=False, viewport=PHONE)
    await visit.log_in("admin", PASSWORD)
    await visit.find("pick-all").check()
    await visit.find("bulk-pause").click()
    await expect(visit.find("bulk-summary")).to_have_text("Done for 2 of 2 machines.")
    await visit.page.goto(f"{url}/machines/n1")
    await visit.find("run-again").click()
    await visit.find("stop-before", entry="image-write").click()
    await expect(visit.find("stop", task="image-write")).to_be_visible()
    await visit.find("more-menu").locator("summary").click()
    await visit.find("restart-stage").select_option("deploy-image")
    await visit.find("restart-from").click()
    await visit.find("confirm-page").get_by_role("button").click()
    await expect(visit.find("stage")).to_have_text("deploy-image")
    await visit.page.goto(f"{url}/machines/n1/params")
    await visit.find("reveal").click()
    await expect(visit.find("secret-value")).to_have_text("secret")
    await visit.page.goto(f"{url}/")
    await pick(visit, "n1", "n2")
    await visit.find("bulk-power").click()
    await visit.find("bulk-action").select_option("power-status")
    await visit.find("bulk-power-submit").click()
    await expect(visit.find("operation")).to_be_visible()
