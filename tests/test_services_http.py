"""What all routes share: who calls, how bodies are read, how errors look."""

import asyncio

import pytest
from aiohttp import web

from provisioner.model.access import TokenPurpose
from provisioner.services.http import SESSION_COOKIE, App, unless_closing
from tests.parts import PASSWORD, opened, serving

JSON_PROBLEM = "application/problem+json"


@pytest.fixture
async def parts(tmp_path):
    async with opened(tmp_path) as parts:
        yield parts


async def problem(response, status):
    assert (response.status, response.content_type) == (status, JSON_PROBLEM)
    body = await response.json()
    assert body["status"] == status and body["title"] and body["detail"] and body["code"]
    return body


async def test_errors_are_problems_with_all_their_parts(parts):
    async with serving(parts.operators_app(), await parts.secret()) as client:
        body = await problem(await client.get("/api/v1/machines/x"), 404)
        assert body == {
            "type": "about:blank",
            "title": "not found",
            "status": 404,
            "code": "not-found",
            "detail": "there is no machine 'x'",
            "object": "x",
            "errors": [],
        }


async def test_wrong_paths_and_methods_are_problems(parts):
    async with serving(parts.operators_app()) as client:
        assert "/api/v1/nothing" in (await problem(await client.get("/api/v1/nothing"), 404))["detail"]
        body = await problem(await client.put("/api/v1/machines"), 405)
        assert "does not take PUT; it takes GET, HEAD, POST" in body["detail"]


async def test_without_a_token_nobody_gets_anything(parts):
    async with serving(parts.operators_app()) as client:
        assert (await problem(await client.get("/api/v1/machines"), 401))["code"] == "login-required"


async def test_a_wrong_or_ended_token_is_refused(parts):
    secret = await parts.secret(TokenPurpose.SESSION)
    parts.clock.pass_seconds(13 * 3600)
    for token in ("wrong", secret):
        async with serving(parts.operators_app(), token) as client:
            assert (await problem(await client.get("/api/v1/machines"), 401))["code"] == "token-refused"


async def test_a_ticket_is_no_token(parts):
    async with serving(parts.agents_app(), await parts.ticket()) as client:
        await problem(await client.get("/api/v1/machines"), 401)


async def test_a_login_gives_a_token_and_logging_out_ends_it(parts):
    async with serving(parts.operators_app()) as client:
        said = {"username": "admin", "password": PASSWORD}
        answer = await client.post("/api/v1/login", json=said)
        headers = {"Authorization": f"Bearer {(await answer.json())['token']}"}
        assert (await client.get("/api/v1/machines", headers=headers)).status == 200
        assert (await client.post("/api/v1/logout", headers=headers)).status == 204
        assert (await client.get("/api/v1/machines", headers=headers)).status == 401
        body = await problem(await client.post("/api/v1/login", json=said | {"password": "x"}), 401)
        assert body["code"] == "login-refused"


async def test_passwords_are_not_taken_on_the_provisioning_network(parts):
    async with serving(parts.agents_app()) as client:
        await problem(await client.post("/api/v1/login", json={"username": "admin", "password": PASSWORD}), 404)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 201),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://HOST"}, 201),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({}, 403),
    ],
    ids=str,
)
async def test_a_cookie_changes_things_only_from_our_own_pages(parts, headers, status):
    cookie = f"{SESSION_COOKIE}={await parts.secret(TokenPurpose.SESSION)}"
    async with serving(parts.operators_app()) as client:
        host = f"{client.host}:{client.port}"
        sent = {name: text.replace("HOST", host) for name, text in headers.items()} | {"Cookie": cookie}
        assert (await client.get("/api/v1/machines", headers=sent)).status == 200
        answer = await client.post("/api/v1/machines", json={"name": "n1"}, headers=sent)
        assert answer.status == status
        if status == 403:
            assert (await problem(answer, 403))["code"] == "cross-site"


async def test_cookies_do_not_count_on_the_provisioning_network(parts):
    headers = {"Cookie": f"{SESSION_COOKIE}={await parts.secret(TokenPurpose.SESSION)}"}
    async with serving(parts.agents_app()) as client:
        await problem(await client.get("/api/v1/machines", headers=headers), 401)


@pytest.mark.parametrize("text", ["x", "-1", "9" * 30, "0" * 18 + "9" * 30, "0" * 5000])
async def test_a_wrong_number_in_the_query_is_named(parts, text):
    async with serving(parts.operators_app(), await parts.secret()) as client:
        body = await problem(await client.get("/api/v1/events", params={"after": text}), 400)
        assert [error["path"] for error in body["errors"]] == ["after"]


async def test_a_wrong_method_is_answered_with_those_there_are(parts):
    async with serving(parts.operators_app(), await parts.secret()) as client:
        answer = await client.delete("/api/v1/machines")
        assert (await problem(answer, 405))["code"] == "method-not-allowed"
        assert answer.headers["Allow"] == "GET, HEAD, POST"
        options = await client.options("/api/v1/machines")
        assert (options.status, options.headers["Allow"]) == (204, "GET, HEAD, OPTIONS, POST")
        assert (await client.options("/api/v1/nothing")).status == 404


async def test_who_is_not_logged_in_is_told_how(parts):
    async with serving(parts.operators_app()) as client:
        assert (await client.get("/api/v1/machines")).headers["WWW-Authenticate"] == "Bearer"


async def test_a_body_must_be_json_and_must_be_there(parts):
    machine = await parts.ready()
    async with serving(parts.operators_app(), await parts.secret()) as client:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        body = await problem(await client.post("/api/v1/machines", data=b'{"name": "n1"}', headers=form), 415)
        assert body["code"] == "unsupported-media-type" and "application/json" in body["detail"]
        for path in (f"machines/{machine}/params/count", "stages/mine", "subnets/mine"):
            answer = await client.put(f"/api/v1/{path}", data=b"")
            assert (await problem(answer, 400))["code"] == "body-missing"


async def test_who_waits_is_answered_at_once_when_the_server_stops(parts):
    waiting = asyncio.Event()

    async def wait(request: web.Request) -> web.Response:
        waiting.set()
        assert await unless_closing(request, asyncio.Event().wait()) is None
        return web.Response(text="as it is now")

    app = App(parts.tokens, cookies=False).build([[web.get("/wait", wait)]])
    async with serving(app) as client, asyncio.timeout(20):
        asked = asyncio.ensure_future(client.get("/wait"))
        await waiting.wait()
        await app.shutdown()
        assert await (await asked).text() == "as it is now"


async def test_what_is_waited_for_is_handed_on(parts):
    async def look(request: web.Request) -> web.Response:
        return web.Response(text=await unless_closing(request, asyncio.sleep(0, "there")))

    app = App(parts.tokens, cookies=False).build([[web.get("/look", look)]])
    async with serving(app) as client:
        assert await (await client.get("/look")).text() == "there"
