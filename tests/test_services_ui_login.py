"""Logging in to the web UI and out of it."""

import pytest

from provisioner.services.http import SESSION_COOKIE
from provisioner.services.ui_login import local_path
from tests.browser.demo_state import PASSWORD
from tests.ui_browser import OWN_PAGE, opened

FORM = {"username": "admin", "password": PASSWORD}


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ("/machines/n1?tab=x", "/machines/n1?tab=x"),
        ("/", "/"),
        ("", "/"),
        ("https://elsewhere.example/", "/"),
        ("//elsewhere.example", "/"),
        ("/\\elsewhere.example", "/"),
        ("\\\\elsewhere.example", "/"),
        ("/\telsewhere", "/"),
        ("/x\r\nSet-Cookie: a=b", "/"),
        ("javascript:alert(1)", "/"),
        ("/login?next=/login", "/"),
        ("/logout", "/"),
    ],
)
def test_login_leads_only_to_our_own_pages(asked, path):
    assert local_path(asked) == path


async def test_a_session_is_a_cookie_that_scripts_and_other_sites_cannot_use(tmp_path):
    async with opened(tmp_path, logged_in=False) as (_, browser):
        response = await browser.post("/login", {**FORM, "next": "/jobs"})
        assert (response.status, response.headers["Location"]) == (303, "/jobs")
        cookie = response.cookies[SESSION_COOKIE]
        assert cookie["httponly"] is True
        assert (cookie["samesite"], cookie["path"]) == ("Strict", "/")


async def test_a_wrong_password_is_said_on_the_form_which_keeps_name_and_destination(tmp_path):
    async with opened(tmp_path, logged_in=False) as (_, browser):
        response = await browser.post("/login", {"username": 'ad"min', "password": "x", "next": "/jobs"})
        text = await response.text()
        assert response.status == 401
        assert "Wrong user name or password." in text
        assert 'value="ad&#34;min"' in text
        assert 'name="next" value="/jobs"' in text
        assert SESSION_COOKIE not in response.cookies


async def test_another_site_cannot_log_its_visitors_in(tmp_path):
    async with opened(tmp_path, logged_in=False) as (_, browser):
        response = await browser.post("/login", FORM, {"Sec-Fetch-Site": "cross-site"})
        assert response.status == 403
        assert SESSION_COOKIE not in response.cookies


async def test_whoever_is_not_logged_in_is_sent_to_the_form_and_back(tmp_path):
    async with opened(tmp_path, logged_in=False) as (_, browser):
        for path in ("/", "/machines/x", "/jobs", "/leases", "/content", "/content/tasks/a", "/health"):
            response = await browser.answer(f"{path}?q=1")
            assert response.status == 303
            assert response.headers["Location"].startswith("/login?next=%2F")
            assert response.headers["Location"].endswith("%3Fq%3D1")


async def test_a_fragment_is_refused_instead_of_answered_with_a_form(tmp_path):
    async with opened(tmp_path, logged_in=False) as (_, browser):
        assert (await browser.answer("/?fragment=rows")).status == 401


async def test_a_session_ends_with_logging_out(tmp_path):
    async with opened(tmp_path) as (_, browser):
        assert '"admin"' in await browser.get("/session")
        response = await browser.post("/logout", {})
        assert response.headers["Location"] == "/login"
        assert '""' in await browser.get("/session")
        assert (await browser.answer("/")).status == 303


async def test_another_site_cannot_use_the_session(tmp_path):
    async with opened(tmp_path) as (_, browser):
        response = await browser.post("/logout", {}, {"Sec-Fetch-Site": "cross-site"})
        assert response.status == 403
        assert '"admin"' in await browser.get("/session")


async def test_old_browsers_are_told_apart_by_origin(tmp_path):
    async with opened(tmp_path) as (_, browser):
        assert (await browser.post("/logout", {}, {"Origin": "https://elsewhere.example"})).status == 403
        assert (await browser.post("/logout", {}, OWN_PAGE)).status == 303
