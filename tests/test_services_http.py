"""What all routes share: who calls, how bodies are read, how errors look."""

import asyncio
import gc
from contextlib import asynccontextmanager

import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError
from aiohttp.test_utils import make_mocked_request
from structlog.testing import capture_logs

from provisioner.model.access import TokenPurpose
from provisioner.server import web_runner
from provisioner.services.http import SESSION_COOKIE, App, RequestLog, body_bytes, unless_closing, unless_left
from provisioner.services.ui_answers import posted
from tests.parts import PASSWORD, serving

JSON_PROBLEM = "application/problem+json"


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


@asynccontextmanager
async def slow_server(body_seconds=0.05, idle_seconds=75.0):
    """Where a body is read, and somebody who writes to it as he likes."""
    read = []

    async def take(request):
        read.append(await body_bytes(request))
        return web.Response(text=f"{len(read[-1])}")

    async def take_form(request):
        return web.Response(text=str(await posted(request)))

    app = App(None, cookies=False, body_seconds=body_seconds).build(
        [[web.post("/x", take), web.post("/form", take_form)]]
    )
    runner = web_runner(app, idle_seconds)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    reader, writer = await asyncio.open_connection(*runner.addresses[0])
    try:
        yield reader, writer
    finally:
        writer.close()
        await runner.cleanup()


FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"


@pytest.mark.parametrize("head", [b"POST /x HTTP/1.1\r\n", b"POST /form HTTP/1.1\r\n" + FORM])
async def test_a_body_that_does_not_come_is_answered_with_408_and_its_connection_closed(head):
    async with slow_server() as (reader, writer):
        writer.write(head + b"Host: x\r\nContent-Length: 100\r\n\r\nhalf=of it")
        answer = (await reader.readuntil(b"}")).decode()
    assert answer.startswith("HTTP/1.1 408 ") and "Connection: close" in answer
    assert '"code":"request-timeout"' in answer and "of the body came 10 bytes and then next to nothing" in answer


async def test_a_body_that_trickles_has_been_left_as_well():
    async with slow_server(0.2) as (reader, writer):
        writer.write(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        answer = asyncio.ensure_future(reader.readuntil(b"}"))
        while not answer.done():
            writer.write(b"x")
            await asyncio.wait((answer,), timeout=0.02)
    assert answer.result().startswith(b"HTTP/1.1 408 ")


async def test_a_body_may_take_as_long_as_it_likes_while_it_comes():
    pieces = [bytes(2048)] * 20
    connection = BaseProtocol(asyncio.get_running_loop())
    connection.connection_made(asyncio.Transport())
    content = StreamReader(connection, 2**16, loop=asyncio.get_running_loop())
    app = App(None, cookies=False, body_seconds=0.05).build([])
    request = make_mocked_request("POST", "/x", payload=content, app=app)
    reading = asyncio.ensure_future(unless_left(request, request.read()))
    for piece in pieces:
        await asyncio.wait((reading,), timeout=0.03)
        content.feed_data(piece)
    content.feed_eof()
    assert await reading == b"".join(pieces)


async def test_half_a_head_is_not_waited_for():
    async with slow_server(idle_seconds=0.05) as (reader, writer):
        writer.write(b"POST /x HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        assert await reader.read() == b""


async def test_half_a_second_head_is_not_waited_for_either():
    async with slow_server(idle_seconds=0.05) as (reader, writer):
        writer.write(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nxPOST /x HTT")
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200 ") and answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    "sent",
    [
        b"NONSENSE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"GET /x HTTP/7.1\r\nHost: x\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: x\r\nX-Odd: \x01\r\n\r\n",
        b"GET /x\x7f HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\nContent-Encoding: gzip\r\n\r\n" + b"x" * 20,
    ],
)
async def test_what_is_no_request_is_refused_and_one_line_in_the_log(sent, caplog):
    with capture_logs() as logs:
        async with slow_server(idle_seconds=1.0) as (reader, writer):
            writer.write(sent)
            answer = await reader.read()
    assert answer.split()[1] == b"400" and answer.count(b" 400 Bad Request") == 1
    assert [(line["event"], line["count"]) for line in logs] == [("http.malformed", 1)]
    # Whose body it was is not told.
    assert logs[0]["client"] == ("" if b"gzip" in sent else "127.0.0.1")
    assert len(logs[0]["problem"]) <= 200 and "exc_info" not in logs[0] and caplog.records == []


def test_of_many_that_are_no_requests_only_some_are_lines_and_all_are_counted():
    heard = RequestLog()
    with capture_logs() as logs:
        for _ in range(150):
            heard.exception("Error from %s", "10.0.0.9", exc_info=HttpProcessingError(message="no\n  way"))
    lines = [(line["count"], line["client"], line["problem"]) for line in logs if line["log_level"] == "info"]
    assert lines == [(1, "10.0.0.9", "no way"), (10, "10.0.0.9", "no way"), (100, "10.0.0.9", "no way")]
    assert heard.malformed == 150


@pytest.mark.parametrize("head", [b"Expect: 100-\xf1ontinue", b"Expect: 100-continue\r\nContent-Length: 9"])
async def test_what_is_expected_of_us_leaves_no_traceback(head, caplog):
    with capture_logs() as logs:
        async with slow_server(idle_seconds=1.0) as (reader, writer):
            writer.write(b"POST /x HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n")
            writer.write_eof()
            await reader.read()
    assert {line["event"] for line in logs} <= {"http.malformed", "http.gone"} and caplog.records == []


async def test_a_body_that_fails_as_its_reader_goes_is_no_task_that_nobody_looks_at():
    connection = BaseProtocol(asyncio.get_running_loop())
    connection.connection_made(asyncio.Transport())
    content = StreamReader(connection, 2**16, loop=asyncio.get_running_loop())
    app = App(None, cookies=False).build([])
    request = make_mocked_request("POST", "/x", payload=content, app=app)
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["message"]))
    reading = asyncio.ensure_future(unless_left(request, request.read()))
    for _ in range(4):
        await asyncio.sleep(0)
    content.set_exception(ConnectionResetError("gone"))
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    del reading, content, request
    await asyncio.sleep(0)
    gc.collect()
    assert told == []


def test_a_fault_of_ours_is_told_whole():
    error = RuntimeError("ours")
    with capture_logs() as logs:
        RequestLog().exception("Error from %s", "10.0.0.9", exc_info=error)
    assert logs == [{"event": "http.failed", "log_level": "error", "problem": "Error from 10.0.0.9", "exc_info": error}]
