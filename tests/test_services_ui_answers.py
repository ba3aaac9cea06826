"""How the web UI answers: headers, fragments, posted forms."""

import pytest

from tests.ui_browser import opened

MULTIPART = "multipart/form-data; boundary=q"
UNREADABLE = {
    "a boundary that there is not": ("multipart/form-data", b"x"),
    "letters that there are not": ("application/x-www-form-urlencoded; charset=nope", b"username=admin"),
    "letters of a part that there are not": (
        MULTIPART,
        b'--q\r\nContent-Disposition: form-data; name="a"\r\nContent-Type: text/plain; charset=nope\r\n\r\nx\r\n--q--',
    ),
    "a transfer encoding that there is not": (
        MULTIPART,
        b'--q\r\nContent-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: nope\r\n\r\nx\r\n--q--',
    ),
    "a part whose head is none": (MULTIPART, b"--q\r\nnonsense\r\n\r\nx\r\n--q--"),
}
PATHS = ("/", "/jobs", "/leases", "/content", "/health", "/login", "/nothing-here")


@pytest.mark.parametrize("path", PATHS)
async def test_every_page_forbids_what_is_not_its_own(tmp_path, path):
    async with opened(tmp_path) as (_, browser):
        headers = (await browser.answer(path)).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"


async def test_a_page_tells_from_which_event_on_it_must_listen(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        tx = demo.ledger.transaction()
        tx.event("content.load")
        await tx.commit()
        newest = demo.database.last_event_id()
        assert f'data-last-event="{newest}"' in await browser.get("/")


async def test_a_machines_page_listens_to_that_machine_only(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        story = demo.story(1)
        await story.come_up()
        text = await browser.get(f"/machines/{story.machine.name}")
        assert f'data-stream="/api/v1/events/stream?machine={story.id}"' in text


async def test_the_list_does_not_listen_to_logs(tmp_path):
    async with opened(tmp_path) as (_, browser):
        text = await browser.get("/")
        kinds = text.partition("/api/v1/events/stream?kind=")[2].partition('"')[0].split(",")
        assert "machine" in kinds
        assert "job" not in kinds


async def test_several_fragments_come_in_one_answer_without_the_page_around(tmp_path):
    async with opened(tmp_path) as (_, browser):
        text = await browser.get("/?fragment=counts,rows")
        assert 'data-fragment="counts"' in text
        assert 'data-fragment="rows"' in text
        assert "<html" not in text


async def test_an_unknown_fragment_is_not_found(tmp_path):
    async with opened(tmp_path) as (_, browser):
        assert "Unknown fragment" in await browser.get("/?fragment=page", 404)


async def test_a_form_that_cannot_be_read_is_the_callers_fault(tmp_path):
    found = {}
    async with opened(tmp_path) as (_, browser):
        for kind, (said, body) in UNREADABLE.items():
            headers = {"Sec-Fetch-Site": "same-origin", "Content-Type": said}
            async with browser.session.post("/login", data=body, headers=headers) as response:
                found[kind] = response.status
    assert found == dict.fromkeys(UNREADABLE, 400)
