"""The web UI in a real browser: what changes shows without reload, and what an operator does has its effect."""

import asyncio

import pytest
from playwright.async_api import expect

from provisioner.errors import BmcUnreachable
from provisioner.model.machines import ExitState, JobState, Machine
from provisioner.power.driver import PowerState
from tests.browser import hardware
from tests.browser.demo_state import PASSWORD, discovered
from tests.browser.pages import PHONE, Visit

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def at_work(demo, name="n1"):
    """A machine with a running job."""
    story = await discovered(demo, 1, name, 2)
    demo.clock.run()
    await story.assign("hello", 0)
    await story.begin()
    return story


# --- logging in -----------------------------------------------------------------------------------------------


async def test_login_leads_back_to_the_page_that_was_asked_for(demo, stranger):
    await discovered(demo, 1, "n1", 5)
    await stranger.log_in("admin", PASSWORD, "/machines/n1/inventory")
    await expect(stranger.find("machine-name")).to_have_text("n1")
    assert stranger.page.url.endswith("/machines/n1/inventory")


async def test_a_wrong_password_is_said_in_the_form(browser, url):
    visit = await Visit.open(browser, url)
    await visit.log_in("admin", "wrong")
    await expect(visit.find("login-error")).to_have_text("Wrong user name or password.")
    await expect(visit.find("username")).to_have_value("admin")


async def test_a_session_that_ended_leads_to_the_form_and_back(browser, demo, url):
    await discovered(demo, 1, "n1", 5)
    visit = await Visit.open(browser, url)
    await visit.log_in("admin", PASSWORD)
    await visit.open_machine("n1")
    await visit.page.context.clear_cookies()
    await visit.power("power-status")
    await expect(visit.find("login")).to_be_visible()
    await visit.find("username").fill("admin")
    await visit.find("password").fill(PASSWORD)
    await visit.find("log-in").click()
    await expect(visit.find("machine-name")).to_have_text("n1")


# --- what happens shows by itself -----------------------------------------------------------------------------


async def test_a_new_machine_appears_in_the_list(demo, visit):
    await expect(visit.find("no-machines")).to_be_visible()
    demo.clock.run()
    story = demo.story(1)
    await story.netboot()
    await story.come_up()
    await expect(visit.row(story.machine.name)).to_have_attribute("data-state", "working")


async def test_the_list_follows_a_machine_through_its_work(demo, visit):
    story = await at_work(demo)
    await expect(visit.row("n1")).to_have_attribute("data-state", "working")
    await expect(visit.row("n1")).to_contain_text("is running task hello")
    await story.end()
    await expect(visit.row("n1")).to_have_attribute("data-state", "complete")


async def test_the_machine_page_follows_state_steps_and_advice(demo, visit):
    story = await at_work(demo)
    await visit.open_machine("n1")
    await visit.wait_for_state("working")
    await expect(visit.find("step", task="hello")).to_have_attribute("data-status", "running")
    await story.end(JobState.FAILED, ExitState.FAILED, 3, "no such disk")
    await visit.wait_for_state("failed")
    await expect(visit.find("sentence")).to_contain_text("failed in task hello with exit code 3: no such disk")
    await expect(visit.find("step", task="hello")).to_have_attribute("data-status", "failed")
    await visit.find("run-again").click()
    assert await visit.notice() == "It goes on."
    await story.begin()
    await visit.wait_for_state("working")
    await expect(visit.find("sentence")).to_contain_text("attempt 2")


async def test_the_timeline_grows_and_what_was_opened_stays_open(demo, visit):
    story = await at_work(demo)
    await visit.open_machine("n1", "timeline")
    first = visit.find("event").first
    await expect(first).to_have_attribute("data-kind", "dhcp.offer")
    await first.locator("summary").click()
    count = await visit.find("event").count()
    await story.end()
    await expect(visit.find("event", kind="machine.complete")).to_have_count(2)
    assert await visit.find("event").count() > count
    await expect(first.locator("details")).to_have_attribute("open", "")


async def test_an_open_form_is_left_alone_while_the_page_changes(demo, visit):
    story = await at_work(demo)
    await visit.open_machine("n1")
    await visit.find("assign").click()
    await visit.find("workflow-select").select_option("deploy")
    await visit.find("hours").fill("9")
    await story.end()
    await visit.wait_for_state("complete")
    await expect(visit.find("workflow-select")).to_have_value("deploy")
    await expect(visit.find("hours")).to_have_value("9")
    await expect(visit.find("hours")).to_be_focused()


async def test_what_was_missed_while_the_connection_was_away_is_caught_up(browser, demo, url):
    story = await at_work(demo)
    visit = await Visit.open(browser, url)
    await visit.log_in("admin", PASSWORD)
    await visit.open_machine("n1")
    await visit.page.context.set_offline(True)
    await visit.page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide'))")
    await story.write("written in the meantime\n")
    await story.end()
    await visit.page.context.set_offline(False)
    await visit.page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
    await visit.wait_for_state("complete")
    await visit.wait_for_log("written in the meantime")


# --- logs -----------------------------------------------------------------------------------------------------


async def test_a_log_grows_while_it_is_watched_and_is_followed_to_its_end(demo, visit):
    story = await at_work(demo)
    await visit.open_machine("n1")
    for number in range(120):
        await story.write(f"line {number}\n", 0)
    await visit.wait_for_log("line 119")
    assert await visit.at_end_of_log()
    text = await visit.log.inner_text()
    assert [line for line in text.splitlines() if line] == [f"line {number}" for number in range(120)]


async def test_what_is_written_while_a_piece_is_under_way_is_shown(demo, visit):
    story = await at_work(demo)
    asked, heard = asyncio.Event(), asyncio.Event()

    async def held_up(route):
        nothing = await route.fetch()
        asked.set()
        await heard.wait()
        await route.fulfill(response=nothing)

    await visit.page.route("**/log?*", held_up, times=1)
    await visit.open_machine("n1")
    await asked.wait()
    await expect(visit.page.locator("[data-live]")).to_have_attribute("data-live", "on")
    await story.write("written meanwhile\n")
    await story.change(step=True)
    await expect(visit.find("single-step")).to_be_visible()
    heard.set()
    await visit.wait_for_log("written meanwhile")


async def test_a_log_is_asked_for_again_when_the_server_fails(demo, visit):
    story = await at_work(demo)
    await story.write("already here\n")
    await visit.page.route("**/log?*", lambda route: route.fulfill(status=503), times=2)
    await visit.open_machine("n1")
    await visit.wait_for_log("already here")
    visit.complaints.clear()


async def test_whoever_scrolls_up_is_not_dragged_down(demo, visit):
    story = await at_work(demo)
    await visit.open_machine("n1")
    await story.write("".join(f"line {number}\n" for number in range(200)))
    await visit.wait_for_log("line 199")
    await visit.log.hover()
    await visit.page.mouse.wheel(0, -900)
    await expect(visit.find("log").locator(".log-follow")).to_be_visible()
    await story.write("one more\n")
    await visit.wait_for_log("one more")
    assert not await visit.at_end_of_log()
    await visit.find("log").locator(".log-follow").click()
    assert await visit.at_end_of_log()


async def test_colours_are_shown_and_markup_stays_text(demo, visit):
    story = await at_work(demo)
    await visit.open_machine("n1")
    await story.write("\x1b[1;31mred\x1b[0m <img src=x onerror=alert(1)> \x1b]0;title\x07\x1b[2Jend\n")
    await story.write(" 10 %\r 20 %\r100 %\ndo")
    await story.write("ne\n")
    await visit.wait_for_log("done")
    assert (await visit.log.inner_text()).splitlines()[-3:] == ["red <img src=x onerror=alert(1)> end", "100 %", "done"]
    await expect(visit.log.locator(".a-fg1.a-bold")).to_have_text("red")
    await expect(visit.log.locator("img")).to_have_count(0)


async def test_characters_that_arrive_in_pieces_are_put_together(demo, visit):
    story = await at_work(demo)
    await visit.open_machine("n1")
    data = "Größe: 4 € – ✓\n".encode()
    for place in range(len(data)):
        await demo.jobs.append_log(story.job.id, place, data[place : place + 1])
        if place % 5 == 0:
            await asyncio.sleep(0)
    await visit.wait_for_log("Größe: 4 € – ✓")


async def test_of_a_huge_log_the_end_comes_first_and_the_start_when_asked_for(demo, visit):
    story = await at_work(demo)
    lines = [f"{number:06} {'x' * 60}" for number in range(40_000)]
    await story.write("\n".join(lines) + "\n")
    await visit.go(f"/jobs/{story.job.id}")
    await visit.wait_for_log("039999")
    assert await visit.at_end_of_log()
    assert "000000 " not in await visit.log.inner_text()
    await visit.find("log-from-start").click()
    await visit.wait_for_log("000000 ")
    assert "039999 " not in await visit.log.inner_text()
    await visit.find("log-end").click()
    await visit.wait_for_log("039999")


async def test_the_next_jobs_log_takes_the_place_of_the_last(demo, visit):
    story = await discovered(demo, 1, "n1", 2)
    demo.clock.run()
    await story.assign("discover", 0)
    await story.begin()
    await story.write("first task\n")
    await visit.open_machine("n1")
    await visit.wait_for_log("first task")
    await story.end()
    await story.begin()
    await story.write("second task\n")
    await visit.wait_for_log("second task")
    await expect(visit.log).not_to_contain_text("first task")


# --- what an operator does ------------------------------------------------------------------------------------


async def test_a_workflow_is_assigned(demo, visit):
    story = await discovered(demo, 1, "n1", 5)
    demo.clock.run()
    await visit.open_machine("n1")
    await visit.assign("hello")
    assert await visit.notice() == "Workflow hello is assigned."
    await expect(visit.find("sentence")).to_contain_text("is about to run task hello")
    assert demo.ledger.read(Machine, story.id).workflow == "hello"


async def test_leave_to_erase_a_disk_is_given_only_after_a_yes(demo, visit):
    story = await discovered(demo, 1, "n1", 5)
    demo.clock.run()
    await visit.open_machine("n1")
    await visit.find("assign").click()
    await expect(visit.find("erase")).to_be_hidden()
    await visit.find("workflow-select").select_option("deploy")
    await expect(visit.find("erase")).to_be_visible()
    await visit.find("disk-select").select_option(hardware.DISK_WWN)
    await visit.find("assign-submit").click()
    await expect(visit.find("confirm")).to_contain_text("/dev/nvme0n1 · 960 GB")
    await visit.find("confirm-no").click()
    assert demo.ledger.read(Machine, story.id).erase_grants == ()
    await visit.find("assign-submit").click()
    await visit.confirm()
    assert await visit.notice() == "Workflow deploy is assigned."
    machine = demo.ledger.read(Machine, story.id)
    assert (machine.workflow, [grant.disk for grant in machine.erase_grants]) == ("deploy", [hardware.DISK_WWN])
    await expect(visit.find("machine-header")).to_contain_text(f"Disk {hardware.DISK_WWN} may be erased")


async def test_what_the_server_refuses_is_said_in_the_form(browser, demo, url):
    story = await discovered(demo, 1, "n1", 5)
    await story.change(locked=True)
    visit = await Visit.open(browser, url)
    await visit.log_in("admin", PASSWORD)
    await visit.open_machine("n1")
    await visit.assign("hello")
    await expect(visit.find("assign-error")).to_have_text("Machine n1 is locked; unlock it first.")


async def test_power_is_cycled_after_a_yes_and_not_after_a_no(demo, visit):
    await discovered(demo, 1, "n1", 5)
    demo.clock.run()
    demo.power.states["10.77.1.1"] = PowerState.OFF
    await visit.open_machine("n1")
    await visit.power("power-cycle")
    await expect(visit.find("confirm")).to_contain_text("Power cycle: n1?")
    await visit.find("confirm-no").click()
    assert demo.power.calls == []
    await visit.find("action-power-cycle").click()
    await visit.confirm()
    assert await visit.notice() == "Power cycle: was off; is on."
    assert demo.power.calls == [("power-cycle", "10.77.1.1")]
    await expect(visit.find("power")).to_have_text("on")


async def test_a_bmc_that_does_not_answer_is_said_with_its_reason(browser, demo, url):
    await discovered(demo, 1, "n1", 5)
    demo.power.faults["10.77.1.1"] = BmcUnreachable("no answer from 10.77.1.1:623; check address and cable")
    visit = await Visit.open(browser, url)
    await visit.log_in("admin", PASSWORD)
    await visit.open_machine("n1")
    await visit.power("power-on")
    assert await visit.notice("bad") == "No answer from 10.77.1.1:623; check address and cable."


async def test_a_job_is_cancelled_after_a_yes(demo, visit):
    story = await at_work(demo)
    await visit.go(f"/jobs/{story.job.id}")
    await visit.find("cancel").click()
    await visit.confirm()
    await expect(visit.find("cancel")).to_be_disabled()
    await story.end(JobState.FAILED, ExitState.FAILED, 143, "stopped")
    await visit.wait_for_state("cancelled")


async def test_a_param_is_set_and_removed(demo, visit):
    story = await discovered(demo, 1, "n1", 5)
    demo.clock.run()
    await visit.open_machine("n1", "params")
    await visit.find("set-param").click()
    await visit.find("param-name").select_option("hello/lines")
    await visit.find("param-value").fill("many")
    await visit.find("param-submit").click()
    await expect(visit.find("param-error")).to_contain_text("hello/lines")
    visit.complaints.clear()
    await visit.find("param-value").fill("33")
    await visit.find("param-submit").click()
    await expect(visit.find("param", name="hello/lines")).to_contain_text("33")
    assert demo.ledger.read(Machine, story.id).params["hello/lines"] == 33
    await visit.find("param", name="hello/lines").locator("[data-testid=remove-param]").click()
    await visit.confirm()
    await expect(visit.find("param", name="hello/lines")).to_contain_text("default")


async def test_the_list_is_narrowed_while_one_types(demo, visit):
    for number in (1, 2, 3):
        await discovered(demo, number, f"n{number}", 5)
    await visit.go("/")
    await visit.page.keyboard.press("/")
    await visit.page.keyboard.type("n2")
    await expect(visit.find("machine-row")).to_have_count(1)
    assert visit.page.url.endswith("?q=n2")
    await visit.find("filter").fill("")
    await expect(visit.find("machine-row")).to_have_count(3)
    await visit.find("chip-complete").click()
    assert visit.page.url.endswith("?state=complete")
    await visit.page.go_back()
    await expect(visit.find("chip-all")).to_have_attribute("aria-current", "true")


async def test_menus_are_left_with_escape(demo, visit):
    await discovered(demo, 1, "n1", 5)
    await visit.open_machine("n1")
    summary = visit.find("power-menu").locator("summary")
    await summary.focus()
    await visit.page.keyboard.press("Enter")
    await expect(visit.find("action-power-on")).to_be_visible()
    await visit.page.keyboard.press("Escape")
    await expect(visit.find("action-power-on")).to_be_hidden()
    await expect(summary).to_be_focused()


async def test_everything_works_without_javascript(browser, demo, url):
    story = await at_work(demo)
    await story.write("hello from the log\n")
    visit = await Visit.open(browser, url, java_script_enabled=False, viewport=PHONE)
    await visit.log_in("admin", PASSWORD)
    await visit.row("n1").locator("a").first.click()
    await expect(visit.log).to_contain_text("hello from the log")
    await visit.find("power-menu").locator("summary").click()
    await visit.find("action-power-cycle").click()
    await visit.find("confirm-page").get_by_role("button").click()
    assert demo.power.calls == [("power-cycle", "10.77.1.1")]
    await visit.find("assign").click()
    await visit.find("workflow-select").select_option("discover")
    await visit.find("assign-submit").click()
    await expect(visit.find("stage")).to_have_text("discover")
